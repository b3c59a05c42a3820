// Package chromium drives a real browser, through the pipe that its developer tools are reached by.
package chromium

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"time"
)

// patience is how long the browser may take for one thing.
const patience = 30 * time.Second

// Browser is a running browser with one page and a profile of its own.
type Browser struct {
	process *exec.Cmd
	to      *os.File
	from    *os.File
	read    *bufio.Reader
	session string
	last    int
	events  []message
	log     bytes.Buffer
}

// message is what goes through the pipe.
type message struct {
	ID        int             `json:"id,omitempty"`
	Session   string          `json:"sessionId,omitempty"`
	Method    string          `json:"method,omitempty"`
	Params    json.RawMessage `json:"params,omitempty"`
	Result    json.RawMessage `json:"result,omitempty"`
	Exception *struct {
		Message string `json:"message"`
	} `json:"error,omitempty"`
}

// Page is what a browser shows.
type Page struct {
	// URL is where it has come to, after all redirects.
	URL string
	// Status is the answer's.
	Status int
	// Text is what there is to read.
	Text string
}

// Start starts a browser with a profile in an empty folder. start starts the process where it shall
// be; names are rules such as "MAP www.example.com 127.0.0.1:8443", by which it finds hosts. It takes
// every certificate.
func Start(start func(*exec.Cmd) error, profile, names string) (_ *Browser, err error) {
	var ends [4]*os.File
	for i := range 2 {
		if ends[2*i], ends[2*i+1], err = os.Pipe(); err != nil {
			return nil, err
		}
	}
	b := &Browser{to: ends[1], from: ends[2], read: bufio.NewReader(ends[2])}
	b.process = exec.Command("chromium", "--headless", "--no-sandbox", "--disable-gpu", "--user-data-dir="+profile, "--remote-debugging-pipe",
		"--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-dev-shm-usage",
		"--ignore-certificate-errors", "--host-resolver-rules="+names, "about:blank")
	b.process.Env = append(os.Environ(), "HOME="+profile)
	b.process.ExtraFiles = []*os.File{ends[0], ends[3]} // 3 and 4, where it looks for the pipe
	b.process.Stderr = &b.log
	err = start(b.process)
	err = errors.Join(err, ends[0].Close(), ends[3].Close())
	if err != nil {
		return nil, fmt.Errorf("starting chromium: %w", err)
	}
	if err := b.attach(); err != nil {
		return nil, errors.Join(err, b.Close())
	}
	return b, nil
}

// attach opens the page.
func (b *Browser) attach() error {
	var target struct {
		ID string `json:"targetId"`
	}
	if err := b.call("Target.createTarget", map[string]any{"url": "about:blank"}, &target); err != nil {
		return err
	}
	var attached struct {
		Session string `json:"sessionId"`
	}
	if err := b.call("Target.attachToTarget", map[string]any{"targetId": target.ID, "flatten": true}, &attached); err != nil {
		return err
	}
	b.session = attached.Session
	return errors.Join(b.call("Page.enable", nil, nil), b.call("Network.enable", nil, nil),
		b.call("Page.setLifecycleEventsEnabled", map[string]any{"enabled": true}, nil))
}

// call asks the browser for something and decodes its answer.
func (b *Browser) call(method string, params, into any) error {
	b.last++
	request := map[string]any{"id": b.last, "method": method}
	if params != nil {
		request["params"] = params
	}
	if b.session != "" {
		request["sessionId"] = b.session
	}
	text, err := json.Marshal(request)
	if err != nil {
		return err
	}
	if _, err := b.to.Write(append(text, 0)); err != nil {
		return fmt.Errorf("%s: %w", method, err)
	}
	for deadline := time.Now().Add(patience); ; {
		m, err := b.next(deadline)
		switch {
		case err != nil:
			return fmt.Errorf("%s: %w: %s", method, err, b.log.String())
		case m.ID != b.last:
			b.events = append(b.events, m)
		case m.Exception != nil:
			return fmt.Errorf("%s: %s", method, m.Exception.Message)
		case into == nil:
			return nil
		default:
			return json.Unmarshal(m.Result, into)
		}
	}
}

func (b *Browser) next(deadline time.Time) (m message, err error) {
	if err := b.from.SetReadDeadline(deadline); err != nil {
		return m, err
	}
	text, err := b.read.ReadBytes(0)
	if err != nil {
		return m, err
	}
	return m, json.Unmarshal(bytes.TrimSuffix(text, []byte{0}), &m)
}

// Open opens an address as somebody does who types it, and returns the page once it has loaded. What
// the page before still says of itself does not count: each loading has a name, its loader's.
func (b *Browser) Open(address string) (*Page, error) {
	b.events = nil
	var loading struct {
		Loader string `json:"loaderId"`
		Fault  string `json:"errorText"`
	}
	if err := b.call("Page.navigate", map[string]any{"url": address}, &loading); err != nil {
		return nil, err
	}
	page := &Page{}
	for deadline := time.Now().Add(patience); ; {
		for _, m := range b.events {
			var event struct {
				Loader   string `json:"loaderId"`
				Name     string
				Type     string
				Response struct {
					URL    string
					Status int
				}
			}
			if json.Unmarshal(m.Params, &event) != nil || event.Loader != loading.Loader {
				continue
			}
			switch {
			case m.Method == "Network.responseReceived" && event.Type == "Document":
				page.URL, page.Status = event.Response.URL, event.Response.Status
			case m.Method == "Page.lifecycleEvent" && event.Name == "load" && page.Status == 0:
				return nil, fmt.Errorf("opening %s: no answer: %s", address, loading.Fault)
			case m.Method == "Page.lifecycleEvent" && event.Name == "load":
				return page, b.Run("document.body ? document.body.innerText : ''", &page.Text)
			}
		}
		m, err := b.next(deadline)
		if err != nil {
			return nil, fmt.Errorf("opening %s: %w", address, err)
		}
		b.events = []message{m}
	}
}

// Run runs a script in the page, and decodes what it returns or promises.
func (b *Browser) Run(script string, into any) error {
	var ran struct {
		Result    struct{ Value json.RawMessage }
		Exception *struct{ Text string } `json:"exceptionDetails"`
	}
	if err := b.call("Runtime.evaluate", map[string]any{"expression": script, "awaitPromise": true, "returnByValue": true}, &ran); err != nil {
		return err
	}
	if ran.Exception != nil {
		return fmt.Errorf("running a script: %s", ran.Exception.Text)
	}
	return json.Unmarshal(ran.Result.Value, into)
}

// Close ends the browser.
func (b *Browser) Close() error {
	b.session = ""
	_ = b.call("Browser.close", nil, nil) // it may be gone before it has answered
	ended := make(chan error, 1)
	go func() { ended <- b.process.Wait() }()
	select {
	case <-ended:
	case <-time.After(patience):
		_ = b.process.Process.Kill()
		<-ended
	}
	return errors.Join(b.to.Close(), b.from.Close())
}
