package service

import (
	"fmt"
	"strings"

	"homelab/components/images"
	"homelab/components/internal/imageref"
	"homelab/components/workload"
)

// CustomType is the type token of a service of the operator's own.
const CustomType = "homelab:service:Custom"

// customPrefix begins the names on the machine of the operator's own services, so that none of them
// ever has the name of one of this program's.
const customPrefix = "custom-"

// CustomArgs is what an operator says of a service of their own. It can say no more than a
// Definition.
type CustomArgs struct {
	// Name is its name in the settings.
	Name string
	// Image is what runs.
	Image imageref.Reference
	// Port is the TCP port on which it answers.
	Port int
	// User is its uid:gid in numbers.
	User string
	// Command replaces the image's default arguments; empty keeps them.
	Command []string
	// Environment are variables that are no secrets.
	Environment map[string]string
	// Health is how the engine knows that it works. The path is asked for with wget or curl,
	// whichever the image has.
	Health Health
	// Folders are where it keeps things.
	Folders []CustomFolder
	// Scratch are folders in memory.
	Scratch []string
	// Library is where it reads the media library; empty means nowhere.
	Library string
	// Slot is its number in the ranges of the networks, from 64.
	Slot int
	// Uses are the services to which it may open connections.
	Uses []Use
	// Internet lets it reach public addresses.
	Internet bool
}

// CustomFolder is a folder of a service of the operator's own.
type CustomFolder struct {
	// Path is absolute, inside the container.
	Path string
	// Databases are the SQLite databases in it, as relative paths.
	Databases []string
	// Disposable says why it need not be backed up; empty means that it is.
	Disposable string
}

func (f CustomFolder) keeps() workload.Contents {
	switch {
	case f.Disposable != "":
		return workload.Disposable(f.Disposable)
	case len(f.Databases) > 0:
		return workload.Databases(f.Databases...)
	}
	return workload.Files()
}

// customScratchMiB is the size of each of its folders in memory.
const customScratchMiB = 64

// Custom is the definition of a service of the operator's own. Its offer is not used: the settings
// have everything that an offer would say.
func Custom(args CustomArgs) Definition {
	d := Definition{
		Name: customPrefix + args.Name, Title: args.Name, Type: CustomType, Image: images.FromOperator(args.Image), Port: args.Port, User: args.User,
		Command: args.Command, Environment: args.Environment, Health: args.Health, Slot: args.Slot, Uses: args.Uses,
		Metrics: workload.NoMetrics("a service of the operator's own, whose metrics nobody has named"),
	}
	if args.Health.Path != "" {
		url := fmt.Sprintf("http://127.0.0.1:%d%s", args.Port, args.Health.Path)
		d.Health = Health{Command: []string{"sh", "-c", `wget -q -O /dev/null "$0" || curl -fsS -o /dev/null "$0"`, url}}
	}
	if args.Internet {
		d.WayOut = workload.Internet
	}
	for _, f := range args.Folders {
		d.Folders = append(d.Folders, Folder{Base: strings.ReplaceAll(strings.Trim(f.Path, "/"), "/", "-"), Target: f.Path, Keeps: f.keeps()})
	}
	for _, target := range args.Scratch {
		if d.Scratch == nil {
			d.Scratch = map[string]int{}
		}
		d.Scratch[target] = customScratchMiB
	}
	if args.Library != "" {
		d.Library = ReadLibrary(args.Library)
	}
	return d
}
