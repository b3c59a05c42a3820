//go:build host

package host

import (
	"context"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// hears answers as a webhook over TLS on port 443, and as a mail server on port 587 that wants
// STARTTLS and a login. What it hears it writes as lines of JSON. A file named status says what the
// webhook answers instead of 200.
const hears = `
import http.server, json, os, ssl, sys, threading, time
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import AuthResult
folder, username, password = sys.argv[1:4]
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain(folder + "/cert.pem", folder + "/key.pem")

def note(name, what):
    with open(f"{folder}/{name}", "a") as file:
        file.write(json.dumps(what) + "\n")

class Webhook(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"])).decode()
        status = int(open(folder + "/status").read()) if os.path.exists(folder + "/status") else 200
        if status == 200:
            note("webhook", {"path": self.path, "title": self.headers["Title"], "body": body})
        self.send_response(status)
        self.send_header("Location", "https://ntfy.example.com/elsewhere")
        self.send_header("Content-Length", "0")
        self.end_headers()
    do_GET = do_POST

class Mailbox:
    async def handle_DATA(self, server, session, envelope):
        note("mail", {"path": ",".join(envelope.rcpt_tos), "title": "", "body": envelope.content.decode()})
        return "250 OK"

def login(server, session, envelope, mechanism, data):
    return AuthResult(success=(data.login, data.password) == (username.encode(), password.encode()), handled=False)

Controller(Mailbox(), hostname="127.0.0.1", port=587, tls_context=context, require_starttls=True, authenticator=login, auth_required=True).start()
server = http.server.ThreadingHTTPServer(("127.0.0.1", 443), Webhook)
server.socket = context.wrap_socket(server.socket, server_side=True)
threading.Thread(target=server.serve_forever, daemon=True).start()
open(folder + "/listening", "w").close()
time.sleep(3600)
`

// message is what arrived.
type message struct{ Path, Title, Body string }

// listener is who hears of failures.
type listener struct {
	t   *testing.T
	dir string
}

// listen starts the webhook and the mail server on the machine.
func (m *machine) listen(t *testing.T, username, password string) *listener {
	t.Helper()
	l := &listener{t, filepath.Join(m.dir, "hears")}
	require.NoError(t, os.Mkdir(l.dir, 0o755))
	run(t, "openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2", "-subj", "/CN=ntfy.example.com",
		"-addext", "subjectAltName=DNS:ntfy.example.com,DNS:smtp.example.com", "-keyout", l.dir+"/key.pem", "-out", l.dir+"/cert.pem")
	m.addLine(t, "/etc/hosts", "127.0.0.1 localhost ntfy.example.com smtp.example.com")
	server := m.command(context.Background(), "", "/usr/bin/python3", "-c", hears, l.dir, username, password)
	server.Stderr = os.Stderr
	require.NoError(t, server.Start())
	t.Cleanup(func() { _ = server.Process.Kill(); _ = server.Wait() })
	require.Eventually(t, func() bool { _, err := os.Stat(l.dir + "/listening"); return err == nil }, time.Minute, 50*time.Millisecond)
	return l
}

// heard is what arrived in one way, in order.
func (l *listener) heard(way string) []message {
	text, _ := os.ReadFile(l.dir + "/" + way)
	var out []message
	for _, line := range strings.Split(strings.TrimSpace(string(text)), "\n") {
		if line != "" {
			var m message
			require.NoError(l.t, json.Unmarshal([]byte(line), &m))
			out = append(out, m)
		}
	}
	return out
}

// noSandbox takes away what a user's manager cannot make in a namespace of the test's.
const noSandbox = `ProtectSystem=no
ProtectHome=no
ProtectProc=default
ProtectClock=no
ProtectControlGroups=no
ProtectHostname=no
ProtectKernelLogs=no
ProtectKernelModules=no
ProtectKernelTunables=no
PrivateTmp=no
PrivateDevices=no
ReadWritePaths=
RuntimeDirectory=
`

// TestAFailureIsTold has a real systemd start the deployment's units: a backup that fails is told
// by webhook and by mail.
func TestAFailureIsTold(t *testing.T) {
	w := simulate(t, map[string]any{
		"homelab:smtp":        map[string]any{"host": "smtp.example.com", "username": "homelab@example.com", "sender": "homelab@example.com"},
		"homelab:alerts.mail": true,
	})
	all := commands(w)
	m := newMachine(t)
	m.startSystemd(t)
	m.install(t, all)
	url, err := os.ReadFile(m.at("/opt/homelab/alerts/webhook"))
	require.NoError(t, err)
	password, err := os.ReadFile(m.at("/opt/homelab/alerts/smtp-password"))
	require.NoError(t, err)
	l := m.listen(t, "homelab@example.com", string(password))
	started := false
	for _, c := range all {
		assert.NotContains(t, c.script, string(url))
		for _, unit := range []string{"homelab-alert@.service", "homelab-alert-deployed.service", "homelab-backup.service", "homelab-check.service"} {
			if c.script != "sudo -n /usr/local/sbin/homelab-unit put "+unit {
				continue
			}
			m.replay(t, c)
			dropIn := m.at("/etc/systemd/system/" + unit + ".d/test.conf")
			require.NoError(t, os.MkdirAll(filepath.Dir(dropIn), 0o755))
			require.NoError(t, os.WriteFile(dropIn, []byte("[Service]\nEnvironment=SSL_CERT_FILE="+l.dir+"/cert.pem\n"+noSandbox), 0o644))
		}
		if strings.HasSuffix(c.script, "homelab-unit start homelab-alert-deployed.service") {
			m.must(t, "/usr/local/sbin/systemctl", "daemon-reload")
			m.replay(t, c)
			started = true
		}
	}
	require.True(t, started)
	arrived := func(way string, count int) message {
		t.Helper()
		require.Eventually(t, func() bool { return len(l.heard(way)) == count }, time.Minute, 100*time.Millisecond, "%v", l.heard(way))
		return l.heard(way)[count-1]
	}
	assert.Contains(t, arrived("webhook", 1).Title, ": alerts arrive here")
	assert.Equal(t, "https://ntfy.example.com"+arrived("webhook", 1).Path, string(url))
	assert.Equal(t, "admin@example.com", arrived("mail", 1).Path)

	// Nothing is there to back up.
	m.must(t, "install", "-d", "-m", "0700", "/opt/homelab/backup/state")
	m.must(t, "/usr/local/sbin/systemctl", "daemon-reload")
	said, err := m.run("", "/usr/local/sbin/systemctl", "start", "homelab-backup.service")
	require.Error(t, err, said)
	told := arrived("webhook", 2)
	assert.Contains(t, told.Title, ": homelab-backup.service failed")
	assert.Contains(t, told.Body, "journalctl -u homelab-backup.service")
	mail := arrived("mail", 2)
	assert.Contains(t, mail.Body, ": homelab-backup.service failed")
	assert.Contains(t, mail.Body, "From: homelab@example.com")

	// The machine is not what it must be: nothing of it runs here.
	said, err = m.run("", "/usr/local/sbin/systemctl", "start", "homelab-check.service")
	require.Error(t, err, said)
	assert.Contains(t, arrived("webhook", 3).Title, ": homelab-check.service failed")

	t.Run("as Alertmanager sends it", func(t *testing.T) {
		m.asAlertmanager(t, l)
		assertAlertmanager(t, arrived("webhook", 4).Body)
	})
	t.Run("what does not happen", func(t *testing.T) { m.overdue(t) })
	t.Run("nobody takes it", func(t *testing.T) { m.undeliverable(t, l, string(url), string(password)) })
}

// asAlertmanager has a failure told to a webhook that takes Alertmanager's messages.
func (m *machine) asAlertmanager(t *testing.T, l *listener) {
	file := m.at("/opt/homelab/alerts/alerts.json")
	before, err := os.ReadFile(file)
	require.NoError(t, err)
	changed := strings.Replace(string(before), `"format": "ntfy"`, `"format": "alertmanager"`, 1)
	require.NotEqual(t, string(before), changed)
	require.NoError(t, os.WriteFile(file, []byte(changed), 0o600))
	said, err := m.run("", "env", "SSL_CERT_FILE="+l.dir+"/cert.pem", "/opt/homelab/alerts/homelab-alert", "failed", "test.service")
	require.NoError(t, err, said)
	require.NoError(t, os.WriteFile(file, before, 0o600))
}

// assertAlertmanager requires a message of version 4 of Alertmanager's webhook, with its fields and
// no others (prometheus.io/docs/alerting/latest/configuration, webhook_config).
func assertAlertmanager(t *testing.T, body string) {
	t.Helper()
	var message struct {
		Version           string            `json:"version"`
		GroupKey          string            `json:"groupKey"`
		TruncatedAlerts   int               `json:"truncatedAlerts"`
		Status            string            `json:"status"`
		Receiver          string            `json:"receiver"`
		GroupLabels       map[string]string `json:"groupLabels"`
		CommonLabels      map[string]string `json:"commonLabels"`
		CommonAnnotations map[string]string `json:"commonAnnotations"`
		ExternalURL       string            `json:"externalURL"`
		Alerts            []struct {
			Status       string            `json:"status"`
			Labels       map[string]string `json:"labels"`
			Annotations  map[string]string `json:"annotations"`
			StartsAt     time.Time         `json:"startsAt"`
			EndsAt       time.Time         `json:"endsAt"`
			GeneratorURL string            `json:"generatorURL"`
			Fingerprint  string            `json:"fingerprint"`
		} `json:"alerts"`
	}
	decoder := json.NewDecoder(strings.NewReader(body))
	decoder.DisallowUnknownFields()
	require.NoError(t, decoder.Decode(&message), body)
	assert.Equal(t, "4", message.Version)
	require.Len(t, message.Alerts, 1)
	assert.Equal(t, "firing", message.Alerts[0].Status)
	assert.Contains(t, message.Alerts[0].Annotations["summary"], "test.service failed")
	assert.Contains(t, message.Alerts[0].Annotations["description"], "journalctl -u test.service")
	assert.Equal(t, "critical", message.Alerts[0].Labels["severity"])
	assert.WithinDuration(t, time.Now(), message.Alerts[0].StartsAt, time.Minute)
}

// overdue has the watcher look at backups of several ages.
func (m *machine) overdue(t *testing.T) {
	state := "/opt/homelab/backup/state/"
	ago := func(hours int) time.Time { return time.Now().Add(-time.Duration(hours) * time.Hour) }
	for _, c := range []struct {
		what    string
		watched int // hours
		record  map[string]any
		want    string
	}{
		{"a new repository", 1, nil, ""},
		{"never a backup", 40, nil, "there was never a backup, and the repository is 40 hours old"},
		{"a backup of today", 400, map[string]any{"last_success_timestamp_seconds": ago(20).Unix()}, ""},
		{"a night without", 400, map[string]any{"last_success_timestamp_seconds": ago(37).Unix()}, "the last backup is 37 hours old"},
		{
			"failures", 400, map[string]any{"last_success_timestamp_seconds": ago(50).Unix(), "problem": "the box is full"},
			"the last backup is 50 hours old; the last attempt failed: the box is full",
		},
	} {
		require.NoError(t, os.RemoveAll(m.at(state+"backup.json")))
		require.NoError(t, os.WriteFile(m.at(state+"watched-since"), nil, 0o600))
		require.NoError(t, os.Chtimes(m.at(state+"watched-since"), ago(c.watched), ago(c.watched)))
		if c.record != nil {
			text, err := json.Marshal(c.record)
			require.NoError(t, err)
			require.NoError(t, os.WriteFile(m.at(state+"backup.json"), text, 0o600))
		}
		said, err := m.run("", program, "overdue")
		if c.want == "" {
			assert.NoError(t, err, "%s: %s", c.what, said)
		} else {
			require.Error(t, err, c.what)
			assert.Contains(t, said, c.want)
		}
	}
}

// undeliverable is what must not count as told, and must not show what is secret.
func (m *machine) undeliverable(t *testing.T, l *listener, url, password string) {
	send := func(env ...string) (string, error) {
		return m.run("", append(append([]string{"env"}, env...), "/opt/homelab/alerts/homelab-alert", "failed", "test.service")...)
	}
	trust := "SSL_CERT_FILE=" + l.dir + "/cert.pem"
	said, err := send(trust)
	require.NoError(t, err, said)
	for _, c := range []struct{ what, status, password, env, want string }{
		{"an error", "500", password, trust, "the webhook at ntfy.example.com answers with status 500"},
		{"a redirect", "302", password, trust, "the webhook at ntfy.example.com answers with status 302"},
		{"somebody else's certificate", "200", password, "A=b", "the webhook at ntfy.example.com does not answer: [SSL: CERTIFICATE_VERIFY_FAILED]"},
		{"a wrong password", "200", "wrong", trust, "the mail server smtp.example.com refuses the login of homelab@example.com with status 535"},
	} {
		require.NoError(t, os.WriteFile(l.dir+"/status", []byte(c.status), 0o600))
		require.NoError(t, os.WriteFile(m.at("/opt/homelab/alerts/smtp-password"), []byte(c.password), 0o400))
		said, err := send(c.env)
		var failed *exec.ExitError
		require.ErrorAs(t, err, &failed, c.what)
		assert.Contains(t, said, c.want)
		assert.NotContains(t, said, strings.TrimPrefix(url, "https://ntfy.example.com"))
		assert.NotContains(t, said, password)
	}
}
