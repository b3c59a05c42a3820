// Package rules judges a stack: pure functions over a neutral graph of its resources.
//
// The same rules run in the policy pack, on every preview and up, and in the audit of an exported
// stack. They import nothing of the program that they judge and share no constant with it, so a
// mistake there cannot hide itself here. What they know of a resource is its type, its properties and
// what it depends on; a layer of the security chain is found by what its resources are and do, not by
// their names.
package rules
