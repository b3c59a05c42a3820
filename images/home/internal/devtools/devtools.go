// Package devtools drives a headless Chromium for tests, by its DevTools protocol over a pipe.
// https://chromedevtools.github.io/devtools-protocol/
package devtools

import (
	"bufio"
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// patience bounds the wait for one answer of the browser.
const patience = 60 * time.Second

// Browser is a running Chromium.
type Browser struct {
	in     io.Writer
	folder string // its profile

	reading sync.Once
	engine  string // axe-core, see Axe

	mutex   sync.Mutex
	last    int
	waiting map[int]chan message
	pages   map[string]*Page // by session
	ended   error
}

type message struct {
	ID      int             `json:"id,omitempty"`
	Session string          `json:"sessionId,omitempty"`
	Method  string          `json:"method,omitempty"`
	Params  json.RawMessage `json:"params,omitempty"`
	Result  json.RawMessage `json:"result,omitempty"`
	Error   *problem        `json:"error,omitempty"`
}

type problem struct {
	Message string `json:"message"`
}

// Start starts a browser, which ends with the test.
func Start(t testing.TB) *Browser {
	t.Helper()
	theirIn, in, err := os.Pipe()
	require.NoError(t, err)
	out, theirOut, err := os.Pipe()
	require.NoError(t, err)
	var log bytes.Buffer
	folder := t.TempDir()
	command := exec.Command("chromium", "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking",
		"--disable-component-update", "--hide-scrollbars", "--force-color-profile=srgb", "--user-data-dir="+folder, "--remote-debugging-pipe",
		"--remote-debugging-port=0", "about:blank")
	command.ExtraFiles = []*os.File{theirIn, theirOut} // descriptors 3 and 4
	command.Stderr, command.WaitDelay = &log, 5*time.Second
	require.NoError(t, command.Start())
	require.NoError(t, errors.Join(theirIn.Close(), theirOut.Close()))
	b := &Browser{in: in, folder: folder, waiting: map[int]chan message{}, pages: map[string]*Page{}}
	read := make(chan struct{})
	go func() {
		defer close(read)
		b.read(out)
	}()
	t.Cleanup(func() {
		_ = in.Close() // whereupon the browser ends
		ended := make(chan struct{})
		go func() { _ = command.Wait(); close(ended) }()
		select {
		case <-ended:
		case <-time.After(10 * time.Second):
			_ = command.Process.Kill()
			<-ended
		}
		_ = out.Close()
		<-read
		if t.Failed() {
			t.Log(log.String())
		}
	})
	return b
}

// read gives each answer to who waits for it, and each event to its page.
func (b *Browser) read(out io.Reader) {
	reader := bufio.NewReader(out)
	for {
		data, err := reader.ReadBytes(0)
		var m message
		if err == nil {
			err = json.Unmarshal(bytes.TrimSuffix(data, []byte{0}), &m)
		}
		b.mutex.Lock()
		if err != nil {
			b.ended = fmt.Errorf("the browser has ended: %w", err)
			for _, waiting := range b.waiting {
				close(waiting)
			}
			b.waiting = nil
			b.mutex.Unlock()
			return
		}
		waiting, page := b.waiting[m.ID], b.pages[m.Session]
		delete(b.waiting, m.ID)
		b.mutex.Unlock()
		switch {
		case waiting != nil:
			waiting <- m
		case page != nil && m.Method != "":
			page.event(m)
		}
	}
}

// call sends a command and reads its result.
func (b *Browser) call(session, method string, parameters, result any) error {
	data, err := json.Marshal(parameters)
	if err != nil {
		return fmt.Errorf("%s: %w", method, err)
	}
	answer := make(chan message, 1)
	b.mutex.Lock()
	if b.ended != nil {
		defer b.mutex.Unlock()
		return b.ended
	}
	b.last++
	id := b.last
	b.waiting[id] = answer
	data, err = json.Marshal(message{ID: id, Session: session, Method: method, Params: data})
	if err == nil {
		_, err = b.in.Write(append(data, 0))
	}
	b.mutex.Unlock()
	if err != nil {
		return fmt.Errorf("%s: %w", method, err)
	}
	select {
	case m, ok := <-answer:
		switch {
		case !ok:
			return b.ended
		case m.Error != nil:
			return fmt.Errorf("%s: %s", method, m.Error.Message)
		case result == nil:
			return nil
		}
		return json.Unmarshal(m.Result, result)
	case <-time.After(patience):
		return fmt.Errorf("%s: no answer", method)
	}
}

// Page is one page in a browser, with cookies and cache of its own.
type Page struct {
	t       testing.TB
	browser *Browser
	session string
	origin  string
	loaded  chan struct{}

	mutex   sync.Mutex
	headers map[string]string
	asked   []string
	said    []string
	foreign []string
}

// Open makes an empty page. It may ask one origin only; every request there gets the headers, as a
// proxy would add them.
func (b *Browser) Open(t testing.TB, origin string, headers map[string]string) *Page {
	t.Helper()
	var context struct{ BrowserContextID string }
	require.NoError(t, b.call("", "Target.createBrowserContext", map[string]any{}, &context))
	var target struct{ TargetID string }
	require.NoError(t, b.call("", "Target.createTarget", map[string]any{"url": "about:blank", "browserContextId": context.BrowserContextID}, &target))
	var session struct{ SessionID string }
	require.NoError(t, b.call("", "Target.attachToTarget", map[string]any{"targetId": target.TargetID, "flatten": true}, &session))
	p := &Page{t: t, browser: b, session: session.SessionID, origin: origin, headers: headers, loaded: make(chan struct{}, 100)}
	b.mutex.Lock()
	b.pages[p.session] = p
	b.mutex.Unlock()
	for _, domain := range []string{"Page.enable", "Runtime.enable", "Log.enable", "Network.enable", "Accessibility.enable"} {
		p.Call(domain, map[string]any{}, nil)
	}
	p.Call("Fetch.enable", map[string]any{"patterns": []any{map[string]any{"urlPattern": "*"}}}, nil)
	t.Cleanup(func() {
		require.NoError(t, b.call("", "Target.disposeBrowserContext", map[string]any{"browserContextId": context.BrowserContextID}, nil))
	})
	return p
}

// Call sends a command of the protocol to the page, and reads its result.
func (p *Page) Call(method string, parameters, result any) {
	p.t.Helper()
	require.NoError(p.t, p.browser.call(p.session, method, parameters, result))
}

// event handles what the page does. It must not wait for the browser.
func (p *Page) event(m message) {
	switch m.Method {
	case "Page.loadEventFired":
		p.loaded <- struct{}{}
	case "Fetch.requestPaused":
		go p.request(m.Params)
	case "Log.entryAdded", "Runtime.exceptionThrown", "Runtime.consoleAPICalled":
		p.mutex.Lock()
		defer p.mutex.Unlock()
		p.said = append(p.said, m.Method+" "+string(m.Params))
	}
}

// request lets a request to the origin pass, with the headers, and no other.
func (p *Page) request(parameters json.RawMessage) {
	var paused struct {
		RequestID string
		Request   struct {
			URL     string
			Headers map[string]string
		}
	}
	if err := json.Unmarshal(parameters, &paused); err != nil {
		p.note(&p.foreign, err.Error())
		return
	}
	path, own := strings.CutPrefix(paused.Request.URL, p.origin)
	if !own || !strings.HasPrefix(path, "/") {
		p.note(&p.foreign, paused.Request.URL)
		_ = p.browser.call(p.session, "Fetch.failRequest", map[string]any{"requestId": paused.RequestID, "errorReason": "BlockedByClient"}, nil)
		return
	}
	p.note(&p.asked, path)
	headers := []map[string]string{}
	for name, value := range paused.Request.Headers {
		headers = append(headers, map[string]string{"name": name, "value": value})
	}
	p.mutex.Lock()
	for name, value := range p.headers {
		headers = append(headers, map[string]string{"name": name, "value": value})
	}
	p.mutex.Unlock()
	// An error is a page that has gone.
	_ = p.browser.call(p.session, "Fetch.continueRequest", map[string]any{"requestId": paused.RequestID, "headers": headers}, nil)
}

func (p *Page) note(list *[]string, text string) {
	p.mutex.Lock()
	defer p.mutex.Unlock()
	*list = append(*list, text)
}

// SetHeaders replaces what is added to requests from now on.
func (p *Page) SetHeaders(headers map[string]string) {
	p.mutex.Lock()
	defer p.mutex.Unlock()
	p.headers = headers
}

// Asked returns the paths that were asked for.
func (p *Page) Asked() []string { return p.copy(&p.asked) }

// Foreign returns what was asked for elsewhere, and refused.
func (p *Page) Foreign() []string { return p.copy(&p.foreign) }

// Said returns what is on the console: errors, violated policies, messages.
func (p *Page) Said() []string { return p.copy(&p.said) }

func (p *Page) copy(list *[]string) []string {
	p.mutex.Lock()
	defer p.mutex.Unlock()
	return append([]string{}, *list...)
}

// Show opens a path of the origin, and waits until it is loaded.
func (p *Page) Show(path string) {
	p.t.Helper()
	for len(p.loaded) > 0 {
		<-p.loaded
	}
	var result struct{ ErrorText string }
	p.Call("Page.navigate", map[string]any{"url": p.origin + path}, &result)
	require.Empty(p.t, result.ErrorText)
	select {
	case <-p.loaded:
	case <-time.After(patience):
		require.Fail(p.t, "the page is not loaded", path)
	}
}

// Viewport sets the size in CSS pixels, how many pixels of the screen each has, and whether it is a
// phone's.
func (p *Page) Viewport(width, height int, scale float64, phone bool) {
	p.t.Helper()
	p.Call("Emulation.setDeviceMetricsOverride", map[string]any{"width": width, "height": height, "deviceScaleFactor": scale, "mobile": phone}, nil)
	p.Call("Emulation.setTouchEmulationEnabled", map[string]any{"enabled": phone}, nil)
}

// Dark sets whether the visitor prefers dark colors.
func (p *Page) Dark(dark bool) {
	p.t.Helper()
	value := "light"
	if dark {
		value = "dark"
	}
	p.Call("Emulation.setEmulatedMedia", map[string]any{"features": []any{map[string]any{"name": "prefers-color-scheme", "value": value}}}, nil)
}

// Evaluate reads the value of an expression in the page.
func (p *Page) Evaluate(expression string, result any) {
	p.t.Helper()
	require.NoError(p.t, p.evaluate(expression, result))
}

func (p *Page) evaluate(expression string, result any) error {
	var answer struct {
		Result           struct{ Value json.RawMessage }
		ExceptionDetails *struct{ Exception struct{ Description string } }
	}
	parameters := map[string]any{"expression": expression, "returnByValue": true, "awaitPromise": true}
	if err := p.browser.call(p.session, "Runtime.evaluate", parameters, &answer); err != nil {
		return err
	}
	if answer.ExceptionDetails != nil {
		return fmt.Errorf("evaluating %s: %s", expression, answer.ExceptionDetails.Exception.Description)
	}
	return json.Unmarshal(answer.Result.Value, result)
}

// Text returns the text of the page as it is shown; empty while it is loaded.
func (p *Page) Text() string {
	var text string
	if p.evaluate("document.body.innerText", &text) != nil {
		return ""
	}
	return text
}

// Press presses and releases a key, such as Tab.
func (p *Page) Press(key string, code int) {
	p.t.Helper()
	for _, kind := range []string{"rawKeyDown", "keyUp"} {
		p.Call("Input.dispatchKeyEvent", map[string]any{"type": kind, "key": key, "code": key, "windowsVirtualKeyCode": code}, nil)
	}
}

// Screenshot writes a picture of the page to a file; whole means with what one must scroll to.
func (p *Page) Screenshot(file string, whole bool) {
	p.t.Helper()
	var picture struct{ Data string }
	p.Call("Page.captureScreenshot", map[string]any{"format": "png", "captureBeyondViewport": whole}, &picture)
	data, err := base64.StdEncoding.DecodeString(picture.Data)
	require.NoError(p.t, err)
	require.NoError(p.t, os.WriteFile(file, data, 0o644))
}
