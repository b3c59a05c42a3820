// Package images lets the program of each pinned image check the files that the deployment renders
// for it: the whole stack is deployed on simulated clouds, what the machine was given is written
// into a folder, and Docker runs the image's own check on it, as the user, with the mounts, the
// environment and the capabilities of the deployment.
//
//	make test-images
//
// It needs Docker, and the internet for the images. Without it, the tests here hold the command
// lines to what Docker takes, with a strict stand-in: no flag that Docker does not have, no image
// without a digest, no mount of what is not there, and no file that the check names but nothing
// mounts. Which check each program has, or why it has none, is in checks_test.go; a container that
// is not there fails the tests.
package images
