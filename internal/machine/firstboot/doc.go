// Package firstboot boots virtual machines with the program's own user data, on a network with
// everything that a first boot asks for, and judges what the boot made of them. See docs/rehearsal.md.
package firstboot
