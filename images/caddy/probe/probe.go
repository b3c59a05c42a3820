// Package probe adds commands to Caddy that ask a running Caddy how it is. They need no shell and
// no other program, so that the image can do without.
package probe

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"time"

	"github.com/caddyserver/caddy/v2"
	caddycmd "github.com/caddyserver/caddy/v2/cmd"
	"github.com/spf13/cobra"
)

const (
	// DefaultSocket is the admin API's socket.
	DefaultSocket = "/run/caddy/admin.sock"
	// DefaultHealth is the URL of the health check.
	DefaultHealth = "http://127.0.0.1:8081/healthz"

	timeout     = 5 * time.Second
	maxResponse = 16 << 20
)

// Register adds the commands healthy, loaded-hosts and enforces. Call it once, before Caddy's main
// function.
func Register() {
	registerEnforces()
	caddycmd.RegisterCommand(caddycmd.Command{
		Name:  "healthy",
		Usage: "[--url <url>]",
		Short: "Exits with 0 if the running Caddy answers its health check",
		CobraFunc: func(cmd *cobra.Command) {
			cmd.Args = cobra.NoArgs
			cmd.Flags().String("url", DefaultHealth, "The health check's URL")
			cmd.RunE = caddycmd.WrapCommandFuncForCobra(func(f caddycmd.Flags) (int, error) {
				return exit(Healthy(context.Background(), f.String("url")))
			})
		},
	})
	caddycmd.RegisterCommand(caddycmd.Command{
		Name:  "loaded-hosts",
		Usage: "[--socket <path>] [--server <name>] HOST [HOST...]",
		Short: "Exits with 0 if the running configuration has a route for each HOST, and names those without",
		CobraFunc: func(cmd *cobra.Command) {
			cmd.Args = cobra.MinimumNArgs(1)
			cmd.Flags().String("socket", DefaultSocket, "The admin API's unix socket")
			cmd.Flags().String("server", "", "Look only at this server")
			cmd.RunE = caddycmd.WrapCommandFuncForCobra(func(f caddycmd.Flags) (int, error) {
				return exit(LoadedHosts(context.Background(), f.String("socket"), f.String("server"), f.Args()))
			})
		},
	})
}

func registerEnforces() {
	caddycmd.RegisterCommand(caddycmd.Command{
		Name:  "enforces",
		Usage: "[--url <url>] [--patience <duration>] BANNED",
		Short: "Exits with 0 once the running Caddy refuses the address BANNED, blocks an attack, and serves a harmless request",
		CobraFunc: func(cmd *cobra.Command) {
			cmd.Args = cobra.ExactArgs(1)
			cmd.Flags().String("url", DefaultEnforcement, "The URL to try")
			cmd.Flags().Duration("patience", DefaultPatience, "How long a decision may take to have an effect")
			cmd.RunE = caddycmd.WrapCommandFuncForCobra(func(f caddycmd.Flags) (int, error) {
				return exit(Enforces(context.Background(), f.String("url"), f.Arg(0), f.Duration("patience")))
			})
		},
	})
}

func exit(err error) (int, error) {
	if err != nil {
		return caddy.ExitCodeFailedStartup, err
	}
	return caddy.ExitCodeSuccess, nil
}

// Healthy returns an error unless url answers 200. A redirect is no answer.
func Healthy(ctx context.Context, url string) error {
	client := &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	if _, err := get(ctx, client, url); err != nil {
		return fmt.Errorf("checking health: %w", err)
	}
	return nil
}

// LoadedHosts asks the admin API on socket for the running configuration, and returns an error that
// names each of hosts for which no route of the server, or of any server if it is empty, is loaded.
func LoadedHosts(ctx context.Context, socket, server string, hosts []string) error {
	dialer := &net.Dialer{}
	client := &http.Client{Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return dialer.DialContext(ctx, "unix", socket)
	}}}
	// The admin API accepts only this Host on a socket.
	body, err := get(ctx, client, "http://127.0.0.1/config/")
	if err != nil {
		return fmt.Errorf("reading the running configuration from %s: %w", socket, err)
	}
	var running config
	if err := json.Unmarshal(body, &running); err != nil {
		return fmt.Errorf("reading the running configuration from %s: %w", socket, err)
	}
	missing, err := running.missing(server, hosts)
	if err != nil {
		return err
	}
	if len(missing) > 0 {
		return fmt.Errorf("no route is loaded for: %s", join(missing))
	}
	return nil
}

func get(ctx context.Context, client *http.Client, url string) (body []byte, err error) {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return nil, err
	}
	response, err := client.Do(request)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, response.Body.Close()) }()
	if response.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("%s answered %s", url, response.Status)
	}
	return io.ReadAll(io.LimitReader(response.Body, maxResponse))
}
