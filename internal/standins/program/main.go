// Command program is the stand-ins for the programs of images that cannot be had when the
// deployment is rehearsed without a registry. Each speaks as much of the real one's protocols as the
// deployment asks for, reads the files that the deployment gives it, and refuses everything else.
//
// Which of them it is, its own name says (/usr/bin/loki), or the variable HOMELAB_STANDIN where that
// is not a stand-in's, or its first argument.
package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
)

// variable names the stand-in where the program is started under the name of an image's script.
const variable = "HOMELAB_STANDIN"

// standin is one of the programs. It runs until the context ends, or its work is done.
type standin func(ctx context.Context, p process) error

// process is what a stand-in was started with.
type process struct {
	// args are the arguments after the program's name.
	args []string
	// env looks up a variable.
	env func(string) string
	// out takes the lines of the log.
	out io.Writer
	// root is put before the paths of all files; empty outside of tests.
	root string
	// listen is put in the place of the address that is listened on; empty outside of tests.
	listen string
	// ready is told the address once the stand-in listens; nil outside of tests.
	ready func(address string)
}

// path is where a file is.
func (p process) path(name string) string { return filepath.Join("/", p.root, name) }

// standins are the programs by name.
var standins = map[string]standin{
	"alloy":              alloy,
	"cadvisor":           cadvisor,
	"gluetun":            gluetun,
	"gluetun-entrypoint": gluetun,
	"grafana":            grafana,
	"healthcheck":        socketHealth,
	"jackett":            jackett,
	"jellyfin":           jellyfin,
	"jellyseerr":         jellyseerr,
	"loki":               loki,
	"promtail":           promtail,
	"prowlarr":           arr("prowlarr", "Prowlarr", "2.6.5.5623"),
	"radarr":             arr("radarr", "Radarr", "6.4.4.10685"),
	"recyclarr":          recyclarr,
	"socket-proxy":       socketProxy,
	"sonarr":             arr("sonarr", "Sonarr", "4.0.20.3012"),
	"wget":               wget,
}

// choose returns the stand-in that is meant, and its arguments.
func choose(words []string, env func(string) string) (standin, []string, error) {
	if len(words) == 0 {
		return nil, nil, fmt.Errorf("there is no name")
	}
	if run, ok := standins[filepath.Base(words[0])]; ok {
		return run, words[1:], nil
	}
	name, args := env(variable), words[1:]
	if name == "" && len(args) > 0 {
		name, args = args[0], args[1:]
	}
	run, ok := standins[name]
	if !ok {
		return nil, nil, fmt.Errorf("there is no stand-in for %q", name)
	}
	return run, args, nil
}

func main() {
	run, args, err := choose(os.Args, os.Getenv)
	if err == nil {
		ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
		defer stop()
		err = run(ctx, process{args: args, env: os.Getenv, out: os.Stdout})
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "stand-in:", err)
		os.Exit(1)
	}
}
