package rehearsal

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"path/filepath"
	"strings"
	"time"
)

// SocketFile is the name of the API's socket in the state folder.
const SocketFile = "machine.sock"

// maxSocketPath is what a Unix socket's address holds on Linux (unix(7)), without the final zero.
const maxSocketPath = 107

// Prefix is the beginning of every path of the API. A method is called by POST, with its arguments
// as JSON; the answer is JSON, or an error as Failure. What streams has a method of its own.
const Prefix = "/v1/"

// Upgrade is the protocol to which a connection changes that Dial has opened.
const Upgrade = "homelab-stream"

// Failure is the answer to a call that failed.
type Failure struct {
	// Error says why.
	Error string `json:"error"`
}

// Arguments of the methods that take more than one value, and of those that take one text.
type (
	// DeleteArgs are the arguments of Delete.
	DeleteArgs struct {
		ID       string `json:"id"`       // the server's
		Graceful bool   `json:"graceful"` // shut down first
	}
	// FirewallArgs are the arguments of SetFirewall.
	FirewallArgs struct {
		ID    string `json:"id"`    // the server's
		Rules []Rule `json:"rules"` // what may come in
	}
	// PowerArgs are the arguments of SetPower.
	PowerArgs struct {
		ID     string `json:"id"`     // the server's
		Action Action `json:"action"` // what to do
	}
	// PolicyArgs are the arguments of SetPolicy.
	PolicyArgs struct {
		Policy string `json:"policy"` // HuJSON
	}
	// AwayArgs are the arguments of SetAway.
	AwayArgs struct {
		Who  Party `json:"who"`  // whom
		Away bool  `json:"away"` // take off, or bring back
	}
	// IDArgs names what a method works on.
	IDArgs struct {
		ID string `json:"id"` // of a key or a box
	}
)

// Client asks a running homelab-machine. Make it with NewClient.
type Client struct {
	socket string
	http   *http.Client
}

var _ Service = (*Client)(nil)

// NewClient returns a client of the program that serves a state folder. Nothing is dialled yet.
func NewClient(state string) (*Client, error) {
	socket, err := filepath.Abs(filepath.Join(state, SocketFile))
	if err != nil {
		return nil, err
	}
	if len(socket) > maxSocketPath {
		return nil, fmt.Errorf("the path %s is too long for a socket (%d characters, %d may be): name a folder with a shorter path", socket, len(socket), maxSocketPath)
	}
	c := &Client{socket: socket}
	c.http = &http.Client{Transport: &http.Transport{
		DialContext:         func(ctx context.Context, _, _ string) (net.Conn, error) { return c.connect(ctx) },
		MaxIdleConnsPerHost: 16, // the engine works on that many resources at once
		IdleConnTimeout:     time.Minute,
	}}
	return c, nil
}

// Close ends the idle connections. The program goes on.
func (c *Client) Close() { c.http.CloseIdleConnections() }

func (c *Client) connect(ctx context.Context) (net.Conn, error) {
	var d net.Dialer
	conn, err := d.DialContext(ctx, "unix", c.socket)
	if err != nil {
		return nil, fmt.Errorf("homelab-machine does not answer: %w", err)
	}
	return conn, nil
}

// call runs one method.
func (c *Client) call(ctx context.Context, method string, in, out any) error {
	resp, err := c.post(ctx, method, in)
	if err != nil {
		return err
	}
	defer func() { _ = resp.Body.Close() }() // read to its end, or not needed any more
	if out == nil {
		_, err = io.Copy(io.Discard, resp.Body)
	} else {
		err = json.NewDecoder(resp.Body).Decode(out)
	}
	if err != nil {
		return fmt.Errorf("reading the answer of homelab-machine to %s: %w", method, err)
	}
	return nil
}

// post sends the arguments and returns the answer if it is no failure.
func (c *Client) post(ctx context.Context, method string, in any) (*http.Response, error) {
	body, err := json.Marshal(in)
	if err != nil {
		return nil, fmt.Errorf("asking homelab-machine for %s: %w", method, err)
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://machine"+Prefix+method, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	req.Header.Set("Content-Type", "application/json")
	resp, err := c.http.Do(req)
	if err != nil {
		var wrapped *url.Error // its text is a URL that means nothing to anybody
		if errors.As(err, &wrapped) {
			err = wrapped.Err
		}
		return nil, fmt.Errorf("asking homelab-machine for %s: %w", method, err)
	}
	if resp.StatusCode == http.StatusOK {
		return resp, nil
	}
	defer func() { _ = resp.Body.Close() }()
	return nil, failure(method, resp)
}

// failure reads why a call failed.
func failure(method string, resp *http.Response) error {
	text, err := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
	var said Failure
	if err != nil || json.Unmarshal(text, &said) != nil || said.Error == "" {
		return fmt.Errorf("homelab-machine answers %s with %s: %s", method, resp.Status, strings.TrimSpace(string(text)))
	}
	return errors.New(said.Error)
}

// Boot implements Service.
func (c *Client) Boot(ctx context.Context, server Server) error {
	return c.call(ctx, "boot", server, nil)
}

// Change implements Service.
func (c *Client) Change(ctx context.Context, server Server) error {
	return c.call(ctx, "change", server, nil)
}

// Delete implements Service.
func (c *Client) Delete(ctx context.Context, id string, graceful bool) error {
	return c.call(ctx, "delete", DeleteArgs{id, graceful}, nil)
}

// SetFirewall implements Service.
func (c *Client) SetFirewall(ctx context.Context, id string, rules []Rule) error {
	return c.call(ctx, "firewall", FirewallArgs{id, rules}, nil)
}

// Machines implements Service.
func (c *Client) Machines(ctx context.Context) ([]Machine, error) {
	var out []Machine
	err := c.call(ctx, "machines", struct{}{}, &out)
	return out, err
}

// SetPower implements Service.
func (c *Client) SetPower(ctx context.Context, id string, action Action) error {
	return c.call(ctx, "power", PowerArgs{id, action}, nil)
}

// SetPolicy implements Service.
func (c *Client) SetPolicy(ctx context.Context, policy string) error {
	return c.call(ctx, "policy", PolicyArgs{policy}, nil)
}

// MakeKey implements Service.
func (c *Client) MakeKey(ctx context.Context, key Key) (MadeKey, error) {
	var out MadeKey
	err := c.call(ctx, "key", key, &out)
	return out, err
}

// DeleteKey implements Service.
func (c *Client) DeleteKey(ctx context.Context, id string) error {
	return c.call(ctx, "delete-key", IDArgs{id}, nil)
}

// Devices implements Service.
func (c *Client) Devices(ctx context.Context) ([]Device, error) {
	var out []Device
	err := c.call(ctx, "devices", struct{}{}, &out)
	return out, err
}

// SetBox implements Service.
func (c *Client) SetBox(ctx context.Context, box Box) error {
	return c.call(ctx, "box", box, nil)
}

// DeleteBox implements Service.
func (c *Client) DeleteBox(ctx context.Context, id string) error {
	return c.call(ctx, "delete-box", IDArgs{id}, nil)
}

// BoxKeys implements Service.
func (c *Client) BoxKeys(ctx context.Context) ([]string, error) {
	var out []string
	err := c.call(ctx, "box-keys", struct{}{}, &out)
	return out, err
}

// SetAway implements Service.
func (c *Client) SetAway(ctx context.Context, who Party, away bool) error {
	return c.call(ctx, "away", AwayArgs{who, away}, nil)
}

// SetZone implements Service.
func (c *Client) SetZone(ctx context.Context, zone Zone) error {
	return c.call(ctx, "zone", zone, nil)
}

// Edge implements Service.
func (c *Client) Edge(ctx context.Context) (Edge, error) {
	var out Edge
	err := c.call(ctx, "edge", struct{}{}, &out)
	return out, err
}

// Docker implements Service.
func (c *Client) Docker(ctx context.Context, call DockerCall) (DockerResult, error) {
	var out DockerResult
	err := c.call(ctx, "docker", call, &out)
	return out, err
}

// Ping returns nil when the program answers.
func (c *Client) Ping(ctx context.Context) error {
	return c.call(ctx, "ping", struct{}{}, nil)
}

// End has the program shut down all machines and end. It returns when the machines are off.
func (c *Client) End(ctx context.Context) error {
	return c.call(ctx, "end", struct{}{}, nil)
}

// ConsoleArgs are the arguments of Console.
type ConsoleArgs struct {
	ID     string `json:"id"`     // the server's
	Follow bool   `json:"follow"` // go on with what it writes next
}

// Console implements Service.
func (c *Client) Console(ctx context.Context, id string, follow bool) (io.ReadCloser, error) {
	resp, err := c.post(ctx, "console", ConsoleArgs{id, follow})
	if err != nil {
		return nil, err
	}
	return resp.Body, nil
}

// Progress returns what the program says it is doing, as lines, until the caller closes it or the
// program ends.
func (c *Client) Progress(ctx context.Context) (io.ReadCloser, error) {
	resp, err := c.post(ctx, "progress", struct{}{})
	if err != nil {
		return nil, err
	}
	return resp.Body, nil
}

// Dial implements Service.
func (c *Client) Dial(ctx context.Context, target Target) (_ net.Conn, err error) {
	body, err := json.Marshal(target)
	if err != nil {
		return nil, err
	}
	conn, err := c.connect(ctx)
	if err != nil {
		return nil, err
	}
	// A context that ends while the program still dials ends the connection to it, and so the dial.
	stop := context.AfterFunc(ctx, func() { _ = conn.Close() })
	defer func() {
		if !stop() && err == nil {
			err = ctx.Err()
		}
		if err != nil {
			_ = conn.Close()
			if cause := ctx.Err(); cause != nil {
				err = cause
			}
		}
	}()
	req, err := http.NewRequest(http.MethodPost, "http://machine"+Prefix+"dial", bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	req.Header.Set("Connection", "Upgrade")
	req.Header.Set("Upgrade", Upgrade)
	if err := req.Write(conn); err != nil {
		return nil, fmt.Errorf("asking homelab-machine for a connection: %w", err)
	}
	in := bufio.NewReader(conn)
	resp, err := http.ReadResponse(in, req)
	if err != nil {
		return nil, fmt.Errorf("asking homelab-machine for a connection: %w", err)
	}
	if resp.StatusCode != http.StatusSwitchingProtocols {
		return nil, failure("dial", resp)
	}
	return &stream{UnixConn: conn.(*net.UnixConn), in: in}, nil
}

// stream is a connection of which a part may have been read with the answer.
type stream struct {
	*net.UnixConn

	in *bufio.Reader
}

// Read reads what was read already first.
func (s *stream) Read(p []byte) (int, error) { return s.in.Read(p) }

// WriteTo keeps io.Copy from reading past what was read already.
func (s *stream) WriteTo(w io.Writer) (int64, error) { return s.in.WriteTo(w) }
