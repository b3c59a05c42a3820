// Package machine rehearses the whole deployment on a virtual machine: from an empty folder to what
// a reboot leaves, by the commands that a person gives. Run it with make test-machine-full; it takes
// more than an hour where processors are emulated.
//
// The tests need the build tag machine. What they compare, the containers that the program declared
// and those that Docker runs, is tested without one.
package machine
