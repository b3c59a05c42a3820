// Package engine acts on a machine's Docker engine as Docker's Pulumi provider does: it takes the
// inputs of a resource, and returns what the provider would report. The errors are the provider's.
// What is said of the provider is true of pulumi-docker 4.11.2 (terraform-provider-docker 3.9).
package engine

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"strings"
	"time"

	"github.com/containerd/errdefs"
	"github.com/moby/moby/client"

	"homelab/internal/rehearsal"
)

// Options say how to reach engines, and where images come from.
type Options struct {
	// Dial opens a TCP connection to host:port from the operator's computer. Required.
	Dial func(ctx context.Context, address string) (net.Conn, error)
	// Images returns a substitute for an image, as `docker save` writes it, by the name that the
	// program gives: repository:tag@digest, or the name of an image that it builds. The error
	// matches fs.ErrNotExist when there is none. nil: there are no substitutes.
	Images func(ref string) (io.ReadCloser, error)
	// Load loads the substitute of an image that Images has by a way of the machine's own, which is
	// faster than the connection to its engine, and returns what `docker load` says. host is that of
	// the call. It returns false when the machine has no such way; nil: none has.
	Load func(ctx context.Context, host, ref string) (said string, loaded bool, err error)
	// Slowness is how many times as slow the machine is as the one that it stands for: a container may
	// take that much longer until it is healthy, and a new one's health is asked for less often. nil: 1.
	Slowness func() int
	// Offline engines can pull nothing: what they lack and has no substitute is an error at once.
	Offline bool
}

// Engine acts on Docker engines. Make it with New.
type Engine struct {
	options Options
	// connect opens a connection to the engine of a call.
	connect func(ctx context.Context, call rehearsal.DockerCall) (net.Conn, error)
	// patience is how long what is in use may stay so, as the provider's is.
	patience time.Duration
}

// New returns an Engine.
func New(options Options) *Engine {
	e := &Engine{options: options, patience: 30 * time.Second}
	e.connect = e.overSSH
	return e
}

// Docker does what a call asks for.
func (e *Engine) Docker(ctx context.Context, call rehearsal.DockerCall) (rehearsal.DockerResult, error) {
	kind, ok := kinds[call.Type]
	if !ok {
		return rehearsal.DockerResult{}, fmt.Errorf("%s is not part of a rehearsal on machines", call.Type)
	}
	act, ok := kind[call.Operation]
	if !ok {
		return rehearsal.DockerResult{}, fmt.Errorf("%s of %s is not part of a rehearsal on machines", call.Operation, call.Type)
	}
	api, err := client.New(
		client.WithHost("tcp://machine:0"), // a name only: connections come from connect
		client.WithDialContext(func(ctx context.Context, _, _ string) (net.Conn, error) { return e.connect(ctx, call) }))
	if err != nil {
		return rehearsal.DockerResult{}, err
	}
	defer func() { _ = api.Close() }() // ends its idle connections
	return act(&session{Engine: e, api: api, ctx: ctx, call: call})
}

// session is one call on one engine.
type session struct {
	*Engine

	api  *client.Client
	ctx  context.Context
	call rehearsal.DockerCall
}

// act is one operation on one type of resource.
type act func(s *session) (rehearsal.DockerResult, error)

// kinds are the resources that an engine has.
var kinds = map[string]map[rehearsal.Operation]act{
	"docker:index/container:Container": {
		rehearsal.Create: createContainer, rehearsal.Read: readContainer, rehearsal.Update: updateContainer, rehearsal.Remove: removeContainer,
	},
	"docker:index/network:Network": {rehearsal.Create: createNetwork, rehearsal.Read: readNetwork, rehearsal.Remove: removeNetwork},
	"docker:index/volume:Volume":   {rehearsal.Create: createVolume, rehearsal.Read: readVolume, rehearsal.Remove: removeVolume},
	"docker:index/remoteImage:RemoteImage": {
		rehearsal.Create: createImage, rehearsal.Read: readImage, rehearsal.Update: createImage, rehearsal.Remove: removeImage,
	},
	"docker:index/image:Image": {rehearsal.Create: buildImage},
}

// until asks again every second until the answer is not busy any more, or patience is over.
func (s *session) until(try func() error, busy string) error {
	deadline := time.Now().Add(s.patience)
	for {
		err := try()
		if err == nil || !strings.Contains(err.Error(), busy) || time.Now().After(deadline) {
			return err
		}
		if err := s.sleep(time.Second); err != nil {
			return err
		}
	}
}

func (s *session) sleep(d time.Duration) error {
	select {
	case <-s.ctx.Done():
		return s.ctx.Err()
	case <-time.After(d):
		return nil
	}
}

// gone reports that the engine does not have what it was asked for.
func gone(err error) bool { return errdefs.IsNotFound(err) }

// none reports that there is no substitute for an image.
func none(err error) bool { return errors.Is(err, fs.ErrNotExist) }

// said is an error in the words of the provider, which are not Go's style.
func said(format string, args ...any) error { return fmt.Errorf(format, args...) }
