// Package control is the tailnet's own process. It runs headscale, which can only be stopped by a
// signal and ends its process on some errors, and the nodes of people by tsnet, whose settings hold
// for a whole process. That process can reach nothing but the tailnet: it resolves no names, opens
// no UDP socket, and connects to the addresses of its settings only, whatever Tailscale's code
// tries (its fallbacks would ask the real Tailscale's servers).
package control

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"syscall"

	"github.com/juanfont/headscale/hscontrol"
	"github.com/juanfont/headscale/hscontrol/types"
)

// Command is the first argument by which the program runs as this process; main passes the rest to
// Main.
const Command = "tailnet-control"

// Settings say what the process serves. They hold no secret.
type Settings struct {
	// Headscale is the path of headscale's configuration.
	Headscale string `json:"headscale"`
	// Socket is the path of the unix socket at which nodes are asked for. Its folder is removed when
	// the process ends.
	Socket string `json:"socket"`
	// Upstream is headscale's address on this computer.
	Upstream string `json:"upstream"`
	// API is the path of headscale's own unix socket.
	API string `json:"api"`
	// NoiseKey is the path of headscale's key.
	NoiseKey string `json:"noiseKey"`
	// Relay is the path of the unix socket where nodes reach headscale.
	Relay string `json:"relay"`
	// ControlURL is where the nodes reach headscale: by HTTP, and by address, because no name
	// resolves here. Tailscale's own encryption is inside.
	ControlURL string `json:"controlURL"`
	// Nodes is the folder of the nodes' states.
	Nodes string `json:"nodes"`
	// Dials are the only addresses that nodes connect to, and where each really is.
	Dials map[string]string `json:"dials"`
}

// Environment is that of the process: nothing of the caller's but where things are. Proxy is how
// all of Tailscale's connections get to the dialer of this package.
func Environment() []string {
	out := []string{"ALL_PROXY=" + scheme + "://settings"}
	for _, name := range []string{"PATH", "HOME", "TMPDIR", "SystemRoot"} {
		if value, ok := os.LookupEnv(name); ok {
			out = append(out, name+"="+value)
		}
	}
	return out
}

// Main runs the process with the settings in the file that the only argument names, until standard
// input ends; it returns the exit status. Both programs log to standard error.
func Main(args []string) int {
	if err := run(args); err != nil {
		fmt.Fprintf(os.Stderr, "%s: %v\n", Command, err)
		return 1
	}
	return 0
}

func run(args []string) error {
	if len(args) != 1 {
		return fmt.Errorf("usage: %s SETTINGS", Command)
	}
	text, err := os.ReadFile(args[0])
	if err != nil {
		return err
	}
	var settings Settings
	if err := json.Unmarshal(text, &settings); err != nil {
		return fmt.Errorf("reading %s: %w", args[0], err)
	}
	if err := seal(settings.Dials); err != nil {
		return err
	}
	nodes, err := serveNodes(settings)
	if err != nil {
		return err
	}
	if err := types.LoadConfig(settings.Headscale, true); err != nil {
		return err
	}
	config, err := types.LoadServerConfig()
	if err != nil {
		return err
	}
	server, err := hscontrol.NewHeadscale(config)
	if err != nil {
		return err
	}
	front, err := serveRelay(settings)
	if err != nil {
		return err
	}
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		// Not waited for: a node that was carrying something may take long to end.
		go nodes.close()
		_ = front.Close()
		// The only way to end headscale, and it closes its database.
		_ = syscall.Kill(os.Getpid(), syscall.SIGTERM)
	}()
	// The sockets' folder is the process's own: who started it may be gone.
	err = server.Serve()
	if errors.Is(err, http.ErrServerClosed) {
		err = nil // it was told to end
	}
	return errors.Join(err, os.RemoveAll(filepath.Dir(settings.Socket)))
}
