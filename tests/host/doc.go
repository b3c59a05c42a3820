// Package host puts the deployment's files on a real system and has the real programs work with
// them. Its tests need root and Debian's packages, so they are built only with the tag host; make
// test-host runs them.
package host
