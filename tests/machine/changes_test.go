//go:build machine

package machine

import (
	"bufio"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"os"
	"regexp"
	"strings"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"homelab/internal/rehearsal"
)

// setting returns a setting that is itself a group of them.
func setting(config map[string]any, path ...string) map[string]any {
	for _, name := range path {
		config = config[name].(map[string]any)
	}
	return config
}

// download is a large file on its way to somebody who reads slowly. finish reads the rest.
func (l *lab) download() (finish func()) {
	l.t.Helper()
	request, err := http.NewRequestWithContext(l.t.Context(), http.MethodGet, films+"/web/main.jellyfin.bundle.js", nil)
	require.NoError(l.t, err)
	response, err := (&http.Client{Transport: l.visitor("198.51.100.61").client.Transport}).Do(request)
	require.NoError(l.t, err)
	l.t.Cleanup(func() { _ = response.Body.Close() })
	require.Equal(l.t, http.StatusOK, response.StatusCode)
	require.Greater(l.t, response.ContentLength, int64(32<<20), "too small to be on its way for long")
	type part struct {
		size int64
		err  error
	}
	enough, slowly := make(chan struct{}), make(chan part, 1)
	go func() {
		var read part
		for read.err == nil {
			var n int64
			n, read.err = io.CopyN(io.Discard, response.Body, 4<<10)
			read.size += n
			select {
			case <-enough:
				slowly <- read
				return
			case <-time.After(200 * time.Millisecond):
			}
		}
		slowly <- read
	}()
	return func() {
		l.t.Helper()
		close(enough)
		read := <-slowly
		require.NoError(l.t, read.err, "after %d bytes", read.size)
		rest, err := io.Copy(io.Discard, response.Body)
		require.NoError(l.t, err, "after %d bytes", read.size+rest)
		assert.Equal(l.t, response.ContentLength, read.size+rest)
		assert.Greater(l.t, rest, response.ContentLength/2, "the download had nearly ended before the change")
	}
}

// rotate has the next `up` make a secret of the stack anew.
func (l *lab) rotate(name string) {
	l.t.Helper()
	out, err := l.pulumi("stack", "export").Output()
	require.NoError(l.t, err)
	var state struct {
		Deployment struct {
			Resources []struct{ URN string }
		}
	}
	require.NoError(l.t, json.Unmarshal(out, &state))
	for _, r := range state.Deployment.Resources {
		if strings.HasSuffix(r.URN, "RandomPassword::"+name) {
			said, err := l.pulumi("state", "taint", r.URN, "--yes").CombinedOutput()
			require.NoError(l.t, err, "%s", said)
			return
		}
	}
	require.Failf(l.t, "no such secret", "%s", name)
}

// blastRadius changes one thing after the other, and looks at who started again. What somebody
// downloads meanwhile arrives whole.
func (l *lab) blastRadius() {
	const service, own = "jellyseerr", "custom-exporter"
	versions := l.ownImages()
	for _, change := range []struct {
		what string
		do   func(config map[string]any)
		// who starts again or is new; the rest must run on.
		who []string
	}{
		{"a new user", func(config map[string]any) {
			config["homelab:users"] = append(config["homelab:users"].([]any), map[string]any{
				"name": "guest", "displayName": "Guest", "email": "guest@example.com", "groups": []any{"users"},
			})
		}, []string{}},
		{"another limit of one service", func(config map[string]any) {
			setting(config, "homelab:services", service)["memoryMiB"] = 640
		}, []string{service}},
		{"a country that is kept out", func(config map[string]any) {
			setting(config, "homelab:cloudflare")["blockedCountries"] = []any{"KP"}
		}, []string{}},
		{"another policy at the portal and in the proxy", func(config map[string]any) {
			setting(config, "homelab:services", service)["access"] = map[string]any{"policy": "one-factor", "groups": []any{"users"}}
		}, []string{}},
		{"a service of one's own", func(config map[string]any) {
			config["homelab:customServices"] = map[string]any{"exporter": map[string]any{
				"image": versions[0], "port": 9100, "user": "2002:2002", "health": map[string]any{"path": "/"},
				"memoryMiB": 128, "hostname": "exporter",
			}}
		}, []string{own}},
		{"another version of its image", func(config map[string]any) {
			setting(config, "homelab:customServices", "exporter")["image"] = versions[1]
		}, []string{own}},
		{"without it again", func(config map[string]any) { delete(config, "homelab:customServices") }, []string{}},
		{"another password of the sessions' store", func(map[string]any) {
			l.rotate("authelia-store-password")
		}, []string{"authelia", "authelia-store"}},
		{"a service less", func(config map[string]any) {
			setting(config, "homelab:services", service)["enabled"] = false
		}, []string{}},
		{"a new service", func(config map[string]any) {
			setting(config, "homelab:services", service)["enabled"] = true
		}, []string{service}},
	} {
		before := l.healthy()
		l.configure(change.do)
		finish := l.download()
		l.run("up")
		finish()
		assert.Equal(l.t, change.who, restarted(before, l.healthy()), change.what)
	}
	l.nothingToChange()
}

// done is a line of progress that says that something on the machine was changed.
var done = regexp.MustCompile(`(?:command|docker):\S+ \S+ (?:created|updated|deleted|replaced)\b`)

// changed is 1 if a line of progress says that something on the machine was changed, and else 0.
func changed(line string) int { return len(done.FindAllString(line, 1)) }

// cuts is how often this computer's connection is cut.
const cuts = 20

// waits is how long somebody waits for a command that says nothing any more, before he ends it.
const waits = time.Minute

// cutOff moves a network of the containers, which makes most of what is on the machine anew, and
// cuts this computer's connection on the way, again and again, each time somewhere else. The next
// `up` goes on where it was, and the last one ends.
func (l *lab) cutOff() {
	l.move("172.30.9.0/24")
	for i := range cuts {
		out, err := l.upUntil(1+i%4, func(ctx context.Context) error { return l.client.SetAway(ctx, rehearsal.Laptop, true) })
		require.NoError(l.t, l.client.SetAway(l.t.Context(), rehearsal.Laptop, false))
		require.Error(l.t, err, "`up` says that all is well although it was cut off: %s", tail(out))
	}
	l.run("up")
	l.nothingToChange()
}

// move has a network of the containers somewhere else.
func (l *lab) move(to string) {
	l.configure(func(config map[string]any) { setting(config, "homelab:networks")["caddyProxy"] = to })
}

// powerCutInUp moves the network, and cuts the machine's power on the way.
func (l *lab) powerCutInUp() {
	l.move("172.30.10.0/24")
	before := l.boot()
	power := func(ctx context.Context, action rehearsal.Action) error {
		all, err := l.client.Machines(ctx)
		if err != nil {
			return err
		}
		return l.client.SetPower(ctx, all[0].ID, action)
	}
	out, err := l.upUntil(5, func(ctx context.Context) error { return power(ctx, rehearsal.CutPower) })
	require.Error(l.t, err, "`up` says that all is well without the machine: %s", tail(out))
	require.NoError(l.t, power(l.t.Context(), rehearsal.SwitchOn))
	l.booted(before)
	l.run("up")
	l.nothingToChange()
}

// upUntil runs `up` until something on the machine was changed n times, does something about it, and
// returns what the command says.
func (l *lab) upUntil(n int, then func(context.Context) error) (string, error) {
	l.t.Helper()
	ctx, cancel := context.WithTimeout(l.t.Context(), boots)
	defer cancel()
	cmd, out := l.command(ctx, l.deployment("up")...)
	progress, w := io.Pipe()
	watched := io.MultiWriter(cmd.Stdout, w)
	cmd.Stdout, cmd.Stderr = watched, watched
	require.NoError(l.t, cmd.Start())
	acted := make(chan bool)
	go func() {
		for lines := bufio.NewScanner(progress); lines.Scan(); {
			if n -= changed(lines.Text()); n <= 0 {
				break
			}
		}
		if n <= 0 {
			assert.NoError(l.t, then(ctx))
			defer time.AfterFunc(waits, func() { _ = cmd.Process.Signal(os.Interrupt) }).Stop() // it may have ended
		}
		_, _ = io.Copy(io.Discard, progress) // the command goes on to write
		acted <- n <= 0
	}()
	err := cmd.Wait()
	_ = w.Close() // never fails
	require.True(l.t, <-acted, "`up` ended before anything happened: %s", tail(out.String()))
	assert.NotContains(l.t, out.String(), "panic:")
	return out.String(), err
}
