//go:build chain

package config

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

const cloudflareToken = "test-token-of-forty-characters-0123456789"

// fail2banFiles are ours, by their path in the configuration.
var fail2banFiles = []string{
	"jail.local", "fail2ban.local", "filter.d/homelab-authelia.conf", "filter.d/homelab-caddy.conf", "action.d/homelab_cloudflare.py",
}

// fail2banConfig lays our files over the package's and returns the directory.
func fail2banConfig(t *testing.T, api string) string {
	t.Helper()
	dir := t.TempDir()
	require.NoError(t, os.CopyFS(dir, os.DirFS("/etc/fail2ban")))
	paths := []string{
		"/opt/homelab/caddy/logs/access.log", dir + "/access.log",
		"/opt/homelab/authelia/logs/authelia.log", dir + "/authelia.log",
		"/var/log/fail2ban.log", dir + "/fail2ban.log",
		"/opt/homelab/fail2ban/secrets/cloudflare-ban-token", dir + "/token",
		"https://api.cloudflare.com/client/v4", api,
	}
	for _, file := range fail2banFiles {
		text := rendered(t, "fail2ban", file)
		switch file {
		case "jail.local":
			text = replaced(t, text, paths...)
		case "fail2ban.local":
			text = replaced(t, text, paths[4:6]...)
		}
		write(t, filepath.Join(dir, file), text)
	}
	write(t, filepath.Join(dir, "token"), cloudflareToken+"\n")
	for _, log := range []string{"access.log", "authelia.log", "fail2ban.log"} {
		write(t, filepath.Join(dir, log), "")
	}
	return dir
}

func TestFail2banAccepts(t *testing.T) {
	client := installed(t, "fail2ban-client", "fail2ban")
	dir := fail2banConfig(t, "http://127.0.0.1:1")
	accepted(t, client, "-c", dir, "-t")
	dump := accepted(t, client, "-c", dir, "-d")
	for _, jail := range []string{"homelab-authelia", "homelab-caddy", "recidive", "sshd"} {
		assert.Contains(t, dump, fmt.Sprintf("['start', '%s']", jail))
	}
	assert.NotContains(t, dump, cloudflareToken)
}

func TestFail2banRefuses(t *testing.T) {
	client := installed(t, "fail2ban-client", "fail2ban")
	dir := fail2banConfig(t, "http://127.0.0.1:1")
	require.NoError(t, os.Remove(filepath.Join(dir, "filter.d/homelab-caddy.conf")))
	out, err := run(t, client, "-c", dir, "-t")
	require.Error(t, err, out)
}

// Each line is of the form that the program writes; the visitor chose what he can choose.
func TestFail2banFilters(t *testing.T) {
	match := installed(t, "fail2ban-regex", "fail2ban")
	dir := fail2banConfig(t, "http://127.0.0.1:1")
	caddy := func(uri, agent string, status int) string {
		return fmt.Sprintf(`{"level":"info","ts":1795418971.188,"logger":"http.log.access","msg":"handled request","request":{"remote_ip":"173.245.48.9",`+
			`"remote_port":"38152","client_ip":"198.51.100.7","proto":"HTTP/2.0","method":"GET","host":"a.example.com","uri":%q,`+
			`"headers":{"User-Agent":[%q]}},"bytes_read":0,"user_id":"","duration":0.003,"size":0,"status":%d}`, uri, agent, status)
	}
	authelia := func(message string) string {
		return fmt.Sprintf(`{"level":"error","method":"POST","msg":%q,"path":"/api/firstfactor","remote_ip":"198.51.100.7","time":"2026-11-23T07:40:00Z"}`, message)
	}
	const forged = `x","remote_ip":"203.0.113.9","status":403,"client_ip":"203.0.113.9"`
	for name, c := range map[string]struct {
		filter, line string
		want         bool
	}{
		"refused request":                   {"homelab-caddy", caddy("/", "curl", 403), true},
		"refused, forged path":              {"homelab-caddy", caddy("/?"+forged, "curl", 403), true},
		"refused, forged agent":             {"homelab-caddy", caddy("/", forged, 403), true},
		"served, forged path":               {"homelab-caddy", caddy("/?"+forged, "curl", 200), false},
		"served, forged agent":              {"homelab-caddy", caddy("/", forged, 200), false},
		"session has ended":                 {"homelab-caddy", caddy("/", "curl", 401), false},
		"failed password":                   {"homelab-authelia", authelia("Unsuccessful 1FA authentication attempt by user 'bob'"), true},
		"failed second factor":              {"homelab-authelia", authelia("Unsuccessful TOTP authentication attempt by user 'bob'"), true},
		"unknown user":                      {"homelab-authelia", authelia("Error occurred getting details for user with username input 'bob' which usually indicates they do not exist"), true},
		"failed password, forged user name": {"homelab-authelia", authelia("Unsuccessful 1FA authentication attempt by user '" + forged + "'"), true},
		"other error, forged text":          {"homelab-authelia", authelia("Redirect to 'Unsuccessful 1FA authentication attempt by user 'bob''"), false},
		"login":                             {"homelab-authelia", replaced(t, authelia("Successful 1FA authentication attempt made by user 'bob'"), "error", "info"), false},
		"sshd":                              {"sshd[_daemon=\"sshd(?:-session)?\"]", "Nov 23 07:40:00 host sshd[9]: Failed password for root from 198.51.100.7 port 2 ssh2", true},
		"sshd of Debian 13":                 {"sshd[_daemon=\"sshd(?:-session)?\"]", "Nov 23 07:40:00 host sshd-session[9]: Failed password for root from 198.51.100.7 port 2 ssh2", true},
	} {
		t.Run(name, func(t *testing.T) {
			want := ""
			if c.want {
				want = "198.51.100.7"
			}
			assert.Equal(t, want, strings.TrimSpace(accepted(t, match, "-c", dir, "--out", "ip", c.line, c.filter)))
		})
	}
}

// cloudflare is the part of Cloudflare's API that the action uses.
type cloudflare struct {
	mu    sync.Mutex
	next  int
	rules map[string]accessRule
	wrong []string
}

type accessRule struct {
	ID            string `json:"id"`
	Mode          string `json:"mode"`
	Notes         string `json:"notes"`
	Configuration struct {
		Target string `json:"target"`
		Value  string `json:"value"`
	} `json:"configuration"`
}

func (c *cloudflare) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	c.mu.Lock()
	defer c.mu.Unlock()
	const base = "/zones/0123456789abcdef0123456789abcdef/firewall/access_rules/rules"
	id, ok := strings.CutPrefix(r.URL.Path, base)
	id = strings.TrimPrefix(id, "/")
	if !ok || r.Header.Get("Authorization") != "Bearer "+cloudflareToken {
		c.wrong = append(c.wrong, r.Method+" "+r.URL.Path)
		http.Error(w, "refused", http.StatusForbidden)
		return
	}
	result := []accessRule{}
	var body accessRule
	if r.Method == http.MethodPost || r.Method == http.MethodPatch {
		if err := json.NewDecoder(r.Body).Decode(&body); err != nil {
			c.wrong = append(c.wrong, err.Error())
		}
	}
	switch r.Method {
	case http.MethodGet:
		// The real one compares by prefix, so other addresses come along.
		for _, rule := range c.rules {
			if strings.HasPrefix(rule.Configuration.Value, r.URL.Query().Get("configuration.value")) {
				result = append(result, rule)
			}
		}
	case http.MethodPost:
		c.next++
		body.ID = fmt.Sprintf("rule-%d", c.next)
		c.rules[body.ID] = body
	case http.MethodPatch:
		rule := c.rules[id]
		rule.Mode, rule.Notes = body.Mode, body.Notes
		c.rules[id] = rule
	case http.MethodDelete:
		delete(c.rules, id)
	}
	w.Header().Set("Content-Type", "application/json")
	if err := json.NewEncoder(w).Encode(map[string]any{"success": true, "errors": []string{}, "result": result}); err != nil {
		c.wrong = append(c.wrong, err.Error())
	}
}

// notes returns the notes of the rules about an address.
func (c *cloudflare) notes(address string) []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	out := []string{}
	for _, rule := range c.rules {
		if rule.Configuration.Value == address && rule.Mode == "block" {
			out = append(out, rule.Configuration.Target+" "+rule.Notes)
		}
	}
	return out
}

func (c *cloudflare) add(id, address, notes string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	rule := accessRule{ID: id, Mode: "block", Notes: notes}
	rule.Configuration.Target, rule.Configuration.Value = "ip", address
	c.rules[id] = rule
}

// fail2banRuns starts Fail2ban, in a network of its own so that no ban reaches the machine, and
// returns what asks it. The jail for sshd, which reads the journal, is left out, and a text of
// jail.local replaced.
func fail2banRuns(t *testing.T, dir, old, new string) func(args ...string) string {
	t.Helper()
	client := installed(t, "fail2ban-client", "fail2ban")
	jail := filepath.Join(dir, "jail.local")
	text, err := os.ReadFile(jail)
	require.NoError(t, err)
	write(t, jail, replaced(t, string(text), "[sshd]\nenabled = true", "[sshd]\nenabled = false", old, new))
	write(t, filepath.Join(dir, "fail2ban.d/test.local"), fmt.Sprintf("[DEFAULT]\ndbfile = %s/f2b.sqlite3\n", dir))
	settings := []string{"-c", dir, "-s", filepath.Join(dir, "f2b.sock"), "-p", filepath.Join(dir, "f2b.pid")}
	args := append(settings, "-f", "start")
	if strings.Contains(old, "homelab_cloudflare") {
		start(t, installed(t, "unshare", "util-linux"), append([]string{"--net", installed(t, "fail2ban-server", "fail2ban")}, args...)...)
	} else {
		start(t, installed(t, "fail2ban-server", "fail2ban"), args...)
	}
	require.Eventually(t, func() bool {
		out, err := run(t, client, append(settings, "status", "recidive")...)
		return err == nil && strings.Contains(out, "recidive")
	}, 30*time.Second, 300*time.Millisecond)
	return func(args ...string) string { return accepted(t, client, append(settings, args...)...) }
}

// The host's own bans stand in its firewall before Docker's redirection. This needs root, for the
// network of its own.
func TestFail2banBansOnTheHost(t *testing.T) {
	nsenter, nft := installed(t, "nsenter", "util-linux"), installed(t, "nft", "nftables")
	dir := fail2banConfig(t, "http://127.0.0.1:1")
	ask := fail2banRuns(t, dir, "action = %(on_host)s\n         homelab_cloudflare.py[", "action = %(on_host)s\nunused = [")
	ask("set", "recidive", "banip", "198.51.100.7")
	ask("set", "recidive", "banip", "2001:db8::7")
	pid, err := os.ReadFile(filepath.Join(dir, "f2b.pid"))
	require.NoError(t, err)
	t.Cleanup(func() {
		if own, err := os.ReadFile(filepath.Join(dir, "fail2ban.log")); t.Failed() && err == nil {
			t.Logf("fail2ban.log:\n%s", own)
		}
	})
	firewall := func() string {
		return accepted(t, nsenter, "--net=/proc/"+strings.TrimSpace(string(pid))+"/ns/net", nft, "list", "ruleset")
	}
	require.Eventually(t, func() bool {
		rules := firewall()
		return strings.Contains(rules, "198.51.100.7") && strings.Contains(rules, "2001:db8::7")
	}, 20*time.Second, 200*time.Millisecond)
	rules := firewall()
	assert.Regexp(t, `type filter hook prerouting priority (-150|mangle)`, rules)
	assert.Contains(t, rules, "ip saddr @addr-set-recidive drop")
	assert.Contains(t, rules, "ip6 saddr @addr6-set-recidive drop")
	ask("set", "recidive", "unbanip", "198.51.100.7")
	require.Eventually(t, func() bool { return !strings.Contains(firewall(), "198.51.100.7") }, 20*time.Second, 200*time.Millisecond)
	assert.Contains(t, firewall(), "2001:db8::7")
}

// Fail2ban itself runs our jails, filters and action.
func TestFail2banBansAtCloudflare(t *testing.T) {
	api := &cloudflare{rules: map[string]accessRule{}}
	server := httptest.NewServer(api)
	t.Cleanup(server.Close)
	dir := fail2banConfig(t, server.URL)
	ask := fail2banRuns(t, dir, "action = %(on_host)s\n         ", "action = ")

	// Ten failed logins of a visitor, and of one at each of the addresses that are never banned.
	var log strings.Builder
	for range 10 {
		for _, ip := range []string{"198.51.100.7", "173.245.48.9", "100.100.1.2", "172.30.1.5", "2001:db8::7", "2400:cb00::9"} {
			fmt.Fprintf(&log, `{"level":"error","method":"POST","msg":"Unsuccessful 1FA authentication attempt by user 'bob'","path":"/api/firstfactor","remote_ip":%q,"time":%q}`+"\n",
				ip, time.Now().UTC().Format(time.RFC3339))
		}
	}
	write(t, filepath.Join(dir, "authelia.log"), log.String())
	const byAuthelia = "homelab fail2ban homelab-authelia"
	eventually := func(address string, want ...string) {
		t.Helper()
		require.Eventually(t, func() bool { return assert.ObjectsAreEqual(append([]string{}, want...), api.notes(address)) },
			30*time.Second, 200*time.Millisecond, "%s: %v, not %v\n", address, api.notes(address), want)
	}
	eventually("198.51.100.7", "ip "+byAuthelia)
	eventually("2001:db8::/64", "ip_range "+byAuthelia)
	for _, never := range []string{"173.245.48.9", "100.100.1.2", "172.30.1.5", "2400:cb00::9"} {
		assert.Empty(t, api.notes(never), never)
	}

	// A longer ban takes the rule over, and the end of the shorter one leaves it.
	ask("set", "recidive", "banip", "198.51.100.7")
	eventually("198.51.100.7", "ip homelab fail2ban recidive")
	ask("set", "homelab-authelia", "unbanip", "198.51.100.7")
	// All addresses of an IPv6 visitor are one rule, which stays while one of them is banned.
	ask("set", "homelab-authelia", "banip", "2001:db8::8")
	ask("set", "homelab-authelia", "unbanip", "2001:db8::7")
	ask("set", "homelab-authelia", "banip", "2001:db8:0:1::8")
	eventually("2001:db8:0:1::/64", "ip_range "+byAuthelia)
	eventually("2001:db8::/64", "ip_range "+byAuthelia)
	ask("set", "homelab-authelia", "unbanip", "2001:db8::8")
	eventually("2001:db8::/64")
	eventually("2001:db8:0:1::/64", "ip_range "+byAuthelia)
	eventually("198.51.100.7", "ip homelab fail2ban recidive")
	ask("set", "recidive", "unbanip", "198.51.100.7")
	eventually("198.51.100.7")

	// Somebody else's rule, and a rule about an address that only begins the same, are left alone.
	api.add("users-own", "198.51.100.8", "the user's own")
	api.add("longer", "198.51.100.90", byAuthelia)
	ask("set", "recidive", "banip", "198.51.100.8")
	ask("set", "recidive", "unbanip", "198.51.100.8")
	ask("set", "homelab-authelia", "banip", "198.51.100.9")
	eventually("198.51.100.9", "ip "+byAuthelia)
	ask("set", "homelab-authelia", "unbanip", "198.51.100.9")
	eventually("198.51.100.9")
	eventually("198.51.100.8", "ip the user's own")
	eventually("198.51.100.90", "ip "+byAuthelia)
	api.mu.Lock()
	defer api.mu.Unlock()
	assert.Empty(t, api.wrong)
	own, err := os.ReadFile(filepath.Join(dir, "fail2ban.log"))
	require.NoError(t, err)
	assert.NotContains(t, string(own), cloudflareToken)
}
