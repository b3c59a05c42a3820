package settings

import (
	"encoding/json"
	"flag"
	"fmt"
	"math/rand"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/pulumi/pulumi/sdk/v3/go/common/resource"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"homelab/components/internal/access"
	"homelab/components/internal/offer"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// stackConfig is the configuration of a stack under test.
type stackConfig struct {
	// values are by full key; text stays as it is, anything else is marshalled.
	values object
	// secret are the keys set with --secret.
	secret map[string]bool
}

// catalogue is what a program could offer: one service that is on for everybody, one for the
// tailnet, and one that is off and needs another.
func catalogue() []offer.Offer {
	return []offer.Offer{
		{Name: "jellyfin", Hostname: "jellyfin", Visibility: access.Tailnet, Access: access.Access{Policy: access.Native}, MemoryMiB: 4096},
		{
			Name: "jellyseerr", Hostname: "requests", Visibility: access.Public, MemoryMiB: 512, Uses: []string{"jellyfin"},
			Access: access.Access{Policy: access.TwoFactor, Groups: []string{"users"}},
		},
		{
			Name: "radarr", Hostname: "radarr", Visibility: access.Tailnet, MemoryMiB: 512, Off: true,
			Access: access.Access{Policy: access.TwoFactor, Groups: []string{"admins"}}, Wired: true,
		},
		{
			Name: "grafana", Hostname: "grafana", Visibility: access.Tailnet, MemoryMiB: 512, Monitored: true, TwoFactorOnly: true, Uses: []string{"prometheus"},
			Access: access.Access{Policy: access.TwoFactor, Groups: []string{"admins"}}, Off: true,
		},
		{Name: "prometheus", MemoryMiB: 768, Monitored: true, Internal: true},
		{Name: "promtail", MemoryMiB: 4096, Monitored: true, Internal: true, Off: true},
		{
			Name: "qbittorrent", Hostname: "qbittorrent", Visibility: access.Tailnet, MemoryMiB: 1024, BehindTunnel: true, Wired: true,
			Access: access.Access{Policy: access.TwoFactor, Groups: []string{"admins"}},
		},
	}
}

// photos is a service of the operator's own, complete.
func photos() object {
	return object{
		"image": "ghcr.io/example/photos:v3@sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef",
		"port":  2342, "user": "2002:2002", "memoryMiB": 512, "health": object{"path": "/api/v1/status"},
		"folders": list{object{"path": "/photos/storage", "databases": list{"index.db"}}, object{"path": "/cache", "disposable": "made again"}},
		"uses":    list{"jellyfin"}, "reaches": "internet", "hostname": "photos", "visibility": "public",
		"access":      object{"policy": "two-factor", "groups": list{"users"}},
		"environment": list{object{"name": "PHOTOS_PORT", "value": "2342"}}, "scratch": list{"/tmp"}, "library": "read-only",
	}
}

// minimal is the least a stack must set.
func minimal() *stackConfig {
	c := &stackConfig{values: object{
		"pulumi:disable-default-providers": list{"*"},
		"tailscale:oauthClientId":          "kTestCNTRL",
		"homelab:domain":                   "example.com",
		"homelab:adminEmail":               "admin@example.com",
		"homelab:cloudflare":               object{"zoneId": "0123456789abcdef0123456789abcdef"},
		"homelab:tailscale":                object{"tailnet": "tail1234.ts.net", "admins": list{"admin@example.com"}},
		"homelab:alerts":                   object{"webhook": true},
		"homelab:users": list{
			object{"name": "admin", "email": "admin@example.com", "groups": list{"admins", "users"}},
		},
	}, secret: map[string]bool{}}
	random := rand.New(rand.NewSource(1))
	for _, k := range Secrets() {
		if k.Needs == smtpKey || k.Needs == namespace+"monitoring.deadMansSwitch" || strings.HasPrefix(k.Needs, namespace+"vpn") {
			continue
		}
		value, err := k.Generate(random)
		if err != nil {
			panic(err)
		}
		c.values[k.Key] = value
		c.secret[k.Key] = true
	}
	return c
}

// withDeadMansSwitch has the monitoring tell somebody outside that all is well.
func (c *stackConfig) withDeadMansSwitch() *stackConfig {
	c.set(namespace+"monitoring.deadMansSwitch", true).set(deadMansSwitchKey, "https://hc-ping.example.com/0123456789")
	c.secret[deadMansSwitchKey] = true
	return c
}

// rule is a valid custom rule.
func rule(name string) object {
	return object{"name": name, "expression": `http.host eq "a.example.com"`, "action": "block"}
}

// set puts a value at a path such as homelab:server.breakGlass.cidr or homelab:users[0].name,
// making objects on the way.
func (c *stackConfig) set(path string, v any) *stackConfig {
	steps := step.FindAllString(path, -1)
	var at any = c.values
	for i, s := range steps {
		last := i == len(steps)-1
		switch o := at.(type) {
		case object:
			if last {
				o[s] = v
				return c
			}
			if o[s] == nil {
				o[s] = object{}
			}
			at = o[s]
		case list:
			n, err := strconv.Atoi(strings.Trim(s, "[]"))
			if err != nil {
				panic(err)
			}
			if last {
				o[n] = v
				return c
			}
			at = o[n]
		default:
			panic("no such path: " + path)
		}
	}
	return c
}

// withMail adds a mail server.
func (c *stackConfig) withMail() *stackConfig {
	c.set("homelab:smtp", object{"host": "smtp.example.com", "username": "homelab@example.com", "sender": "portal@example.com"})
	c.set("homelab:smtpPassword", "a p4ssword of a mail server").secret["homelab:smtpPassword"] = true
	return c
}

// withWireGuard adds a VPN, and withOpenVPN one of the other type.
func (c *stackConfig) withWireGuard() *stackConfig {
	c.set("homelab:vpn", object{"provider": "airvpn", "presharedKey": true, "wireguard": object{
		"address": "185.213.154.68", "port": 1637, "publicKey": "8xKxGrN0tKq0b0cSTm6xyTpHrrTm5R1sSbUYzX8UrG4=", "addresses": list{"10.67.12.34/32"},
	}})
	return c.withSecrets("homelab:vpn.wireguard", "homelab:vpn.presharedKey")
}

func (c *stackConfig) withOpenVPN() *stackConfig {
	c.set("homelab:vpn", object{"provider": "privatevpn", "portForwarding": true, "openvpn": object{
		"address": "193.138.218.74", "port": 1194, "protocol": "udp", "username": "someone",
	}})
	return c.withSecrets("homelab:vpn.openvpn")
}

// withSecrets sets the secrets that these settings need.
func (c *stackConfig) withSecrets(needs ...string) *stackConfig {
	random := rand.New(rand.NewSource(2))
	for _, k := range Secrets() {
		if !slices.Contains(needs, k.Needs) {
			continue
		}
		value, err := k.Generate(random)
		if err != nil {
			panic(err)
		}
		c.set(k.Key, value).secret[k.Key] = true
	}
	return c
}

// drop removes a top-level key.
func (c *stackConfig) drop(key string) *stackConfig {
	delete(c.values, key)
	return c
}

// text returns every value as the engine hands it to a program.
func (c *stackConfig) text() map[string]string {
	out := map[string]string{}
	for key, v := range c.values {
		if s, ok := v.(string); ok {
			out[key] = s
			continue
		}
		b, err := json.Marshal(v)
		if err != nil {
			panic(err)
		}
		out[key] = string(b)
	}
	return out
}

// recorder notes whatever a program registers or calls.
type recorder struct {
	sync.Mutex
	seen []string
}

func (r *recorder) note(what string) {
	r.Lock()
	defer r.Unlock()
	r.seen = append(r.seen, what)
}

func (r *recorder) NewResource(args pulumi.MockResourceArgs) (string, resource.PropertyMap, error) {
	r.note(args.TypeToken + " " + args.Name)
	return args.Name, args.Inputs, nil
}

func (r *recorder) Call(args pulumi.MockCallArgs) (resource.PropertyMap, error) {
	r.note(args.Token)
	return args.Args, nil
}

// run loads the configuration the way the program does, and asserts that nothing was registered or
// called and that no secret is in the error.
func run(t *testing.T, c *stackConfig) (*Settings, error) {
	t.Helper()
	text := c.text()
	names, err := json.Marshal(text)
	require.NoError(t, err)
	t.Setenv(pulumi.EnvConfig, string(names))
	rec := &recorder{}
	var got *Settings
	err = pulumi.RunErr(func(ctx *pulumi.Context) error {
		var err error
		got, err = Load(ctx, ctx.RootDirectory(), catalogue())
		return err
	}, pulumi.WithMocks("homelab", "prod", rec), func(info *pulumi.RunInfo) {
		info.Config = text
		info.ConfigSecretKeys = sortedKeys(c.secret)
		info.RootDirectory = t.TempDir()
	})
	assert.Empty(t, rec.seen, "something was registered")
	if err != nil {
		assert.Nil(t, got)
		chosen, ok := c.values[passwordsKey].(object)
		for _, password := range allTexts(chosen) {
			assert.True(t, ok)
			assert.NotContains(t, strings.ToLower(err.Error()), strings.ToLower(password), "a chosen password is shown")
		}
		for _, name := range append(secretNames(), sortedKeys(c.secret)...) {
			if value := text[name]; value != "" && !slices.Contains(sortedKeys(keys), strings.TrimPrefix(name, namespace)) {
				assert.NotContains(t, strings.ToLower(err.Error()), strings.ToLower(value), "the value of %s is shown", name)
			}
		}
	}
	return got, err
}

// badCase is a configuration with something wrong.
type badCase struct {
	name   string
	change func(c *stackConfig)
}

// runBad compares the problems of each case with its golden file.
func runBad(t *testing.T, cases []badCase) {
	t.Helper()
	for _, bad := range cases {
		t.Run(bad.name, func(t *testing.T) {
			c := minimal()
			bad.change(c)
			_, err := run(t, c)
			var problems *Problems
			require.ErrorAs(t, err, &problems)
			require.True(t, slices.IsSortedFunc(problems.List, func(a, b Problem) int { return comparePaths(a.Path, b.Path) }))
			for _, p := range problems.List {
				assert.NotEmpty(t, p.What)
				assert.NotEmpty(t, p.Remedy)
			}
			golden(t, filepath.Join("bad", bad.name), problems.Error()+"\n")
		})
	}
}

func golden(t *testing.T, name, got string) {
	t.Helper()
	file := filepath.Join("testdata", name+".golden")
	if *update {
		require.NoError(t, os.MkdirAll(filepath.Dir(file), 0o755))
		require.NoError(t, os.WriteFile(file, []byte(got), 0o644))
		return
	}
	want, err := os.ReadFile(file)
	require.NoError(t, err, "run: go test ./components/settings -update")
	assert.Equal(t, string(want), got)
}

// TestGoldensAreUsed refuses golden files of cases that are gone.
func TestGoldensAreUsed(t *testing.T) {
	known := map[string]bool{}
	for _, cases := range [][]badCase{badEdge, badHost, badPasswords, badPeople, badServices, badCustom, badShapes, badVPN} {
		for _, bad := range cases {
			require.False(t, known[bad.name], "two cases named %s", bad.name)
			known[bad.name] = true
		}
	}
	files, err := filepath.Glob("testdata/bad/*.golden")
	require.NoError(t, err)
	for _, file := range files {
		name := strings.TrimSuffix(filepath.Base(file), ".golden")
		if !known[name] {
			t.Errorf("%s belongs to no case", file)
		}
	}
	assert.GreaterOrEqual(t, len(known), 40, fmt.Sprintf("%d cases", len(known)))
}
