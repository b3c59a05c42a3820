package lab

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/crypto/ssh"

	"homelab/internal/boxkeys"
	"homelab/internal/machine/internal/link"
	"homelab/internal/machine/internal/tailnet/control"
	"homelab/internal/rehearsal"
)

// TestMain lets the tailnet run its own process from this executable, and a test its QEMU.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == fakeQEMU {
		if err := beQEMU(os.Args[2:]); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	if len(os.Args) > 1 && os.Args[1] == control.Command {
		os.Exit(control.Main(os.Args[2:]))
	}
	os.Exit(m.Run())
}

// open opens a rehearsal that ends with the test.
func open(t *testing.T, state, cache string) *Lab {
	t.Helper()
	l, err := Open(t.Context(), Options{State: state, Cache: cache})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, l.Close(context.Background(), false)) })
	return l
}

var media = rehearsal.Box{
	ID: "100000001", Name: "media", Location: "fsn1", Bytes: 1 << 40, SnapshotSlots: 10,
	Main: rehearsal.Account{User: "u000001", Password: "Long-enough-1", Server: "u000001.your-storagebox.de", WebDAV: true, External: true},
	Subaccounts: []rehearsal.Account{
		{User: "u000001-sub1", Password: "Long-enough-2", Server: "u000001-sub1.your-storagebox.de", Home: "library", WebDAV: true, External: true},
	},
}

// get asks a box over WebDAV, as a host of the internet.
func get(t *testing.T, l *Lab, method string, account rehearsal.Account, body string) (int, string, error) {
	t.Helper()
	client := &http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{
		TLSClientConfig: &tls.Config{RootCAs: l.authority.Pool()}, DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return l.Dial(ctx, rehearsal.Target{Origin: rehearsal.FromInternet, Network: "tcp", Address: firstBox.String() + ":443"})
		},
	}}
	req, err := http.NewRequestWithContext(t.Context(), method, "https://"+account.Server+"/film.mkv", strings.NewReader(body))
	require.NoError(t, err)
	req.SetBasicAuth(account.User, account.Password)
	resp, err := client.Do(req)
	if err != nil {
		return 0, "", err
	}
	defer func() { require.NoError(t, resp.Body.Close()) }()
	text, err := io.ReadAll(resp.Body)
	return resp.StatusCode, string(text), err
}

func TestBoxesOutliveTheProgram(t *testing.T) {
	state, cache := t.TempDir(), t.TempDir()
	l := open(t, state, cache)
	require.NoError(t, l.SetBox(t.Context(), media))
	account := media.Subaccounts[0]
	code, _, err := get(t, l, http.MethodPut, account, "a film")
	require.NoError(t, err)
	assert.Equal(t, http.StatusCreated, code)
	wrong := account
	wrong.Password = "Wrong-enough-1"
	code, _, err = get(t, l, http.MethodGet, wrong, "")
	require.NoError(t, err)
	assert.Equal(t, http.StatusUnauthorized, code)
	second := media
	second.ID, second.Main.User, second.Main.Server, second.Subaccounts = "100000002", "u000002", "u000002.your-storagebox.de", nil
	require.NoError(t, l.SetBox(t.Context(), second), "it has addresses of its own")
	require.NoError(t, l.Close(t.Context(), true))

	l = open(t, state, cache)
	code, text, err := get(t, l, http.MethodGet, account, "")
	require.NoError(t, err)
	assert.Equal(t, http.StatusOK, code)
	assert.Equal(t, "a film", text)
	readOnly := media
	readOnly.Subaccounts = []rehearsal.Account{account}
	readOnly.Subaccounts[0].ReadOnly = true
	require.NoError(t, l.SetBox(t.Context(), readOnly))
	code, _, err = get(t, l, http.MethodPut, account, "another")
	require.NoError(t, err)
	assert.Equal(t, http.StatusForbidden, code)
	require.NoError(t, l.DeleteBox(t.Context(), media.ID))
	require.NoError(t, l.DeleteBox(t.Context(), media.ID))
	_, _, err = get(t, l, http.MethodGet, account, "")
	require.Error(t, err)
	info, err := os.Stat(state + "/lab.json")
	require.NoError(t, err)
	assert.Equal(t, os.FileMode(0o600), info.Mode().Perm(), "it holds passwords")
}

// Both have the same addresses, names and accounts, and the cache in common.
func TestTwoRehearsalsSideBySideDoNotMeet(t *testing.T) {
	cache := t.TempDir()
	first, second := open(t, t.TempDir(), cache), open(t, t.TempDir(), cache)
	account := media.Subaccounts[0]
	for l, film := range map[*Lab]string{first: "a film", second: "another"} {
		require.NoError(t, l.SetBox(t.Context(), media))
		code, _, err := get(t, l, http.MethodPut, account, film)
		require.NoError(t, err)
		assert.Equal(t, http.StatusCreated, code, "nobody has put it there before")
	}
	require.NoError(t, first.SetAway(t.Context(), rehearsal.BoxParty(media.ID), true))
	_, _, err := get(t, first, http.MethodGet, account, "")
	require.Error(t, err)
	code, text, err := get(t, second, http.MethodGet, account, "")
	require.NoError(t, err)
	assert.Equal(t, http.StatusOK, code)
	assert.Equal(t, "another", text)
	require.NoError(t, first.SetAway(t.Context(), rehearsal.BoxParty(media.ID), false))
	_, text, err = get(t, first, http.MethodGet, account, "")
	require.NoError(t, err)
	assert.Equal(t, "a film", text)
}

// What goes into a machine's known_hosts is what a box shows, and stays with the state folder.
func TestBoxKeysAreThoseOfTheBoxes(t *testing.T) {
	state, cache := t.TempDir(), t.TempDir()
	l := open(t, state, cache)
	backup := media
	backup.Subaccounts = []rehearsal.Account{media.Subaccounts[0]}
	backup.Main.SSH, backup.Subaccounts[0].SSH = true, true
	require.NoError(t, l.SetBox(t.Context(), backup))
	keys, err := l.BoxKeys(t.Context())
	require.NoError(t, err)
	account := backup.Subaccounts[0]
	pinned, err := rehearsal.PinBoxes(boxkeys.KnownHosts(account.Server), keys)
	require.NoError(t, err)
	shown := 0
	for rest := []byte(pinned); len(rest) > 0; shown++ {
		var key ssh.PublicKey
		_, _, key, _, rest, err = ssh.ParseKnownHosts(rest)
		require.NoError(t, err)
		algorithms := []string{key.Type()}
		if key.Type() == ssh.KeyAlgoRSA {
			algorithms = []string{ssh.KeyAlgoRSASHA512}
		}
		conn, err := l.Dial(t.Context(), rehearsal.Target{Origin: rehearsal.FromInternet, Network: "tcp", Address: fmt.Sprintf("%s:%d", firstBox, boxkeys.Port)})
		require.NoError(t, err)
		c, _, _, err := ssh.NewClientConn(conn, account.Server, &ssh.ClientConfig{
			User: account.User, Auth: []ssh.AuthMethod{ssh.Password(account.Password)}, HostKeyCallback: ssh.FixedHostKey(key), HostKeyAlgorithms: algorithms,
		})
		require.NoError(t, err, key.Type())
		require.NoError(t, c.Close())
	}
	assert.Equal(t, len(boxkeys.Published()), shown)
	require.NoError(t, l.Close(t.Context(), true))

	again, err := open(t, state, cache).BoxKeys(t.Context())
	require.NoError(t, err)
	assert.Equal(t, keys, again)
}

func TestTheTailnetStartsWhenItIsNeeded(t *testing.T) {
	l := open(t, t.TempDir(), t.TempDir())
	assert.Nil(t, l.tailnet)
	devices, err := l.Devices(t.Context())
	require.NoError(t, err)
	require.Len(t, devices, 1)
	assert.Equal(t, "laptop.tail1234.ts.net", devices[0].Name)
	assert.Equal(t, "admin@example.com", devices[0].User)
	assert.Empty(t, devices[0].Machine)
	_, err = l.MakeKey(t.Context(), rehearsal.Key{Tags: []string{"tag:server"}, Expiry: time.Hour})
	require.ErrorContains(t, err, "tag:server", "nobody owns the tag yet")
	require.NoError(t, l.SetPolicy(t.Context(), `{"tagOwners": {"tag:server": []}, "grants": [{"src": ["*"], "dst": ["*"], "ip": ["*"]}]}`))
	key, err := l.MakeKey(t.Context(), rehearsal.Key{Tags: []string{"tag:server"}, Expiry: time.Hour})
	require.NoError(t, err)
	assert.NotEmpty(t, key.Secret)
	require.NoError(t, l.DeleteKey(t.Context(), key.ID))
	require.ErrorContains(t, l.DeleteKey(t.Context(), "x"), "no key")
	require.NoError(t, l.SetPolicy(t.Context(), ""), "the default policy is one")
}

func TestMachinesThatAreNotThere(t *testing.T) {
	l := open(t, t.TempDir(), t.TempDir())
	ctx := t.Context()
	require.ErrorContains(t, l.SetPower(ctx, "1", rehearsal.CutPower), `no machine "1"`)
	require.ErrorContains(t, l.SetFirewall(ctx, "1", nil), `no machine "1"`)
	require.ErrorContains(t, l.Change(ctx, rehearsal.Server{ID: "1"}), `no machine "1"`)
	_, err := l.Console(ctx, "../x", false)
	require.ErrorContains(t, err, "no machine")
	require.NoError(t, l.Delete(ctx, "1", true), "it is gone")
	require.ErrorContains(t, l.Boot(ctx, rehearsal.Server{ID: "../x", Image: "debian-13"}), "no server's ID")
	require.ErrorContains(t, l.Boot(ctx, rehearsal.Server{ID: "1", Image: "ubuntu-24.04"}), "no image")
	all, err := l.Machines(ctx)
	require.NoError(t, err)
	assert.Empty(t, all)
	for _, target := range []rehearsal.Target{
		{Origin: rehearsal.FromInternet, Network: "tcp", Address: "example.com:443"},
		{Origin: rehearsal.FromInternet, Network: "tcp", Address: "198.51.100.9:443"},
		{Origin: rehearsal.FromInternet, Network: "tcp", Address: "198.51.100.9"},
		{Origin: rehearsal.FromTailnet, Network: "tcp", Address: "198.51.100.9:99999"},
	} {
		_, err := l.Dial(ctx, target)
		require.Error(t, err, "%+v", target)
	}
}

func TestRulesForEverything(t *testing.T) {
	everybody := []netip.Prefix{netip.MustParsePrefix("0.0.0.0/0")}
	got := linkRules([]rehearsal.Rule{{Protocol: "tcp", First: 443, Last: 443, Sources: everybody}, {Protocol: "any", Sources: everybody}})
	assert.Equal(t, []link.Rule{
		{Protocol: "tcp", First: 443, Last: 443, Sources: everybody}, {Protocol: "tcp", First: 1, Last: 65535, Sources: everybody},
		{Protocol: "udp", First: 1, Last: 65535, Sources: everybody}, {Protocol: "icmp", Sources: everybody}, {Protocol: "esp", Sources: everybody},
		{Protocol: "gre", Sources: everybody},
	}, got)
	for _, r := range got {
		require.NoError(t, r.Validate())
	}
}
