package boxes

import (
	"crypto/tls"
	"encoding/base64"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/pkg/sftp"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/crypto/ssh"
)

func (w *world) client() *http.Client {
	return &http.Client{Transport: w.transport(), Timeout: 20 * time.Second}
}

// Deleted and changed accounts lose their connections at once; the others keep theirs.
func TestAccountsAreCutOff(t *testing.T) {
	for name, change := range map[string]func(*Box){
		"deleted":          func(b *Box) { b.Subaccounts = nil },
		"another password": func(b *Box) { b.Subaccounts[0].Password = "Another/Password1" },
		"read-only":        func(b *Box) { b.Subaccounts[0].Readonly = true },
		"another home":     func(b *Box) { b.Subaccounts[0].HomeDirectory = "other" },
		"no protocol":      func(b *Box) { b.Access.SSH, b.Access.WebDAV = false, false },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			w.apply(aBox())
			conn, err := w.dial(sshPort, login1, ssh.Password(password))
			require.NoError(t, err)
			files := w.sftp(sftpPort, login1, password)
			stays := w.sftp(sftpPort, owner, ownerPassword)
			session, err := conn.NewSession()
			require.NoError(t, err)
			input, err := session.StdinPipe()
			require.NoError(t, err)
			require.NoError(t, session.Start("dd of=copy"))
			_, err = input.Write([]byte("begun"))
			require.NoError(t, err)
			upload, feed := io.Pipe()
			done := make(chan error, 1)
			go func() {
				request, err := http.NewRequest(http.MethodPut, "https://"+w.at(webdavPort)+"/upload", upload)
				if err == nil {
					request.SetBasicAuth(login1, password)
					_, err = w.client().Do(request)
				}
				done <- err
			}()
			_, err = feed.Write([]byte("begun"))
			require.NoError(t, err)
			unfinishedUploads := func() int {
				found, err := filepath.Glob(w.inBox(home, unfinished+"*"))
				require.NoError(t, err)
				return len(found)
			}
			require.Eventually(t, func() bool { return unfinishedUploads() == 1 }, 5*time.Second, 10*time.Millisecond)

			w.apply(aBox()) // the same again changes nothing
			_, err = files.Stat(".")
			require.NoError(t, err)

			declared := aBox()
			change(&declared)
			w.apply(declared)
			require.Error(t, conn.Wait())
			_, err = files.Stat(".")
			require.Error(t, err)
			require.Eventually(t, func() bool { return unfinishedUploads() == 0 }, 5*time.Second, 10*time.Millisecond, "an upload went on")
			require.NoError(t, feed.Close())
			require.Error(t, <-done)
			assert.NoFileExists(t, w.inBox(home, "upload"))
			if name != "no protocol" {
				_, err = stays.Stat(".")
				require.NoError(t, err, "somebody else was cut off")
			}
		})
	}
}

// An account has ten connections, whatever they speak.
func TestConnectionsAreLimited(t *testing.T) {
	w := newWorld(t)
	w.apply(aBox())
	var clients []*ssh.Client
	for i := range maxConnections {
		conn, err := w.dial([]uint16{sftpPort, sshPort}[i%2], login1, ssh.Password(password))
		require.NoError(t, err)
		defer conn.Close()
		clients = append(clients, conn)
	}
	conn, err := w.dial(sshPort, login1, ssh.Password(password))
	if err == nil {
		_, err = sftp.NewClient(conn)
	}
	require.Error(t, err, "an eleventh connection")
	code, _ := w.http("PROPFIND", "/", login1, password, "", "Depth", "0")
	assert.Equal(t, http.StatusServiceUnavailable, code)
	code, _ = w.http("PROPFIND", "/", owner, ownerPassword, "", "Depth", "0")
	assert.Equal(t, http.StatusMultiStatus, code, "another account has its own ten")
	require.NoError(t, clients[0].Close())
	require.Eventually(t, func() bool {
		code, _ := w.http("PROPFIND", "/", login1, password, "", "Depth", "0")
		return code == http.StatusMultiStatus
	}, 5*time.Second, 20*time.Millisecond)
}

// silent is a connection whose other end has no power.
type silent struct {
	net.Conn
	off atomic.Bool
}

// Write loses what is written.
func (s *silent) Write(p []byte) (int, error) {
	if s.off.Load() {
		return len(p), nil
	}
	return s.Conn.Write(p)
}

// A client that is silently gone gives its connections back.
func TestAClientWithoutPower(t *testing.T) {
	w := newWorld(t)
	w.apply(aBox())
	var conns []*silent
	dial := func(address string) net.Conn {
		conn, err := net.Dial("tcp", address)
		require.NoError(t, err)
		conns = append(conns, &silent{Conn: conn})
		return conns[len(conns)-1]
	}
	conn, channels, requests, err := ssh.NewClientConn(dial(w.at(sshPort)), "box", &ssh.ClientConfig{
		User: login1, Auth: []ssh.AuthMethod{ssh.Password(password)}, HostKeyCallback: ssh.InsecureIgnoreHostKey(),
	})
	require.NoError(t, err)
	_, err = sftp.NewClient(ssh.NewClient(conn, channels, requests))
	require.NoError(t, err)
	stays := w.sftp(sshPort, login1, password)
	upload := tls.Client(dial(w.at(webdavPort)), &tls.Config{RootCAs: w.ca, ServerName: "127.0.0.1"})
	header := "PUT /film HTTP/1.1\r\nHost: box\r\nContent-Length: 100\r\nAuthorization: Basic " +
		base64.StdEncoding.EncodeToString([]byte(login1+":"+password)) + "\r\n\r\nbegun"
	_, err = upload.Write([]byte(header))
	require.NoError(t, err)
	b, err := w.server.box("7")
	require.NoError(t, err)
	a := b.account(login1)
	count := func() int {
		a.mu.Lock()
		defer a.mu.Unlock()
		return len(a.conns)
	}
	require.Eventually(t, func() bool { return count() == 3 }, 5*time.Second, 10*time.Millisecond)
	for _, c := range conns {
		c.off.Store(true)
	}
	require.Eventually(t, func() bool { return count() == 1 }, 5*patience, 10*time.Millisecond)
	_, err = stays.Stat(".")
	require.NoError(t, err, "a client that answers was hung up on")
	assert.NoFileExists(t, w.inBox(home, "film"))
}

// A full box answers as one does, by each protocol, and has room again after something went.
func TestAFullBox(t *testing.T) {
	w := newWorld(t)
	declared := aBox()
	declared.Size = 3 * mebibyte
	w.apply(declared)
	large := strings.Repeat("x", 2*mebibyte)
	code, _ := w.http(http.MethodPut, "/first", login1, password, large)
	require.Equal(t, http.StatusCreated, code)
	code, _ = w.http(http.MethodPut, "/second", login1, password, large)
	assert.Equal(t, http.StatusInsufficientStorage, code)
	assert.NoFileExists(t, w.inBox(home, "second"))
	code, _ = w.http("COPY", "/first", login1, password, "", "Destination", "/copy")
	assert.Equal(t, http.StatusInsufficientStorage, code)

	c := w.sftp(sshPort, login1, password)
	f, err := c.Create("third")
	require.NoError(t, err)
	_, err = f.Write([]byte(large))
	var status *sftp.StatusError
	require.ErrorAs(t, err, &status)
	assert.Equal(t, uint32(sftp.ErrSSHFxFailure), status.Code)
	require.NoError(t, f.Close())
	require.Error(t, c.Truncate("third", 4*mebibyte))
	vfs, err := c.StatVFS(".")
	require.NoError(t, err)
	assert.Equal(t, uint64(3*mebibyte), vfs.TotalSpace())
	require.NoError(t, c.Remove("third"))

	said, exit := w.command(login1, password, "dd of=fourth", strings.Repeat("x", 8*mebibyte))
	assert.NotZero(t, exit)
	assert.Contains(t, said, "Disk quota exceeded")
	require.NoError(t, c.Remove("fourth"))

	// What a snapshot holds stays in use.
	_, err = w.server.Snapshot("7")
	require.NoError(t, err)
	require.NoError(t, c.Remove("first"))
	code, _ = w.http(http.MethodPut, "/fifth", login1, password, large)
	assert.Equal(t, http.StatusInsufficientStorage, code)
	snapshots, err := w.server.Snapshots("7")
	require.NoError(t, err)
	require.NoError(t, w.server.DeleteSnapshot("7", snapshots[0].Name))
	code, _ = w.http(http.MethodPut, "/fifth", login1, password, large)
	assert.Equal(t, http.StatusCreated, code)

	declared.Size = 8 * mebibyte
	w.apply(declared)
	code, _ = w.http(http.MethodPut, "/second", login1, password, large)
	assert.Equal(t, http.StatusCreated, code)
}

// Snapshots are read where they are shown, by every protocol, and written to by none.
func TestSnapshots(t *testing.T) {
	w := newWorld(t)
	declared := aBox()
	declared.Access.ZFS = true
	w.apply(declared)
	require.NoError(t, os.WriteFile(w.inBox(home, "film"), []byte("old"), 0o644))
	name, err := w.server.Snapshot("7")
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(w.inBox(home, "film"), []byte("new"), 0o644))
	path := zfsSnapshots + "/" + name + "/" + home + "/film"
	for port, at := range map[uint16]string{sftpPort: "/", sshPort: "/home/"} {
		c := w.sftp(port, owner, ownerPassword)
		f, err := c.Open(at + path)
		require.NoError(t, err)
		content, err := io.ReadAll(f)
		require.NoError(t, err)
		assert.Equal(t, "old", string(content))
		_, create := c.Create(at + zfsSnapshots + "/" + name + "/new")
		for what, err := range map[string]error{
			"create": create, "remove": c.Remove(at + path), "rename": c.PosixRename(at+path, at+"x"), "rename into": c.PosixRename(at+home+"/film", at+zfsSnapshots+"/film"),
			"mkdir": c.Mkdir(at + zfsFolder + "/x"), "rmdir": c.RemoveDirectory(at + zfsSnapshots), "chmod": c.Chmod(at+path, 0o600), "truncate": c.Truncate(at+path, 0),
		} {
			assert.ErrorIs(t, err, os.ErrPermission, "%s on port %d", what, port)
		}
	}
	said, status := w.command(owner, ownerPassword, "cat "+path, "")
	assert.Zero(t, status)
	assert.Equal(t, "old", said)
	_, status = w.command(owner, ownerPassword, "rm "+path, "")
	assert.NotZero(t, status)
	_, status = w.command(owner, ownerPassword, "cp "+path+" "+home+"/restored", "")
	assert.Zero(t, status)
	code, said := w.http(http.MethodGet, "/"+path, owner, ownerPassword, "")
	assert.Equal(t, http.StatusOK, code)
	assert.Equal(t, "old", said)
	code, _ = w.http(http.MethodDelete, "/"+path, owner, ownerPassword, "")
	assert.Equal(t, http.StatusForbidden, code)
	code, _ = w.http(http.MethodPut, "/"+path, owner, ownerPassword, "x")
	assert.Equal(t, http.StatusForbidden, code)

	// Sub-accounts have none, and a box that does not show them has none for anybody.
	_, err = w.sftp(sshPort, login1, password).Stat("/home/" + zfsFolder)
	require.ErrorIs(t, err, os.ErrNotExist)
	declared.Access.ZFS = false
	w.apply(declared)
	_, err = w.sftp(sshPort, owner, ownerPassword).Stat("/home/" + zfsFolder)
	require.ErrorIs(t, err, os.ErrNotExist)
	said, status = w.command(owner, ownerPassword, "ls -a", "")
	assert.Zero(t, status)
	assert.NotContains(t, said, zfsFolder)
}

// A roll back brings back what was, lists of keys included, and takes newer snapshots away.
func TestRollback(t *testing.T) {
	w := newWorld(t)
	start := time.Date(2026, 1, 31, 22, 0, 0, 0, time.UTC)
	w.clock(func() time.Time { return start })
	declared := aBox()
	declared.SnapshotSlots = 3
	w.apply(declared)
	var names []string
	for i := range 3 {
		require.NoError(t, os.WriteFile(w.inBox(home, fmt.Sprint(i)), nil, 0o644))
		start = start.Add(time.Second)
		name, err := w.server.Snapshot("7")
		require.NoError(t, err)
		names = append(names, name)
	}
	assert.Equal(t, "2026-01-31T22-00-01", names[0])
	start = start.Add(time.Second)
	_, err := w.server.Snapshot("7")
	require.ErrorContains(t, err, "all of its 3 snapshots")
	c := w.sftp(sshPort, login1, password)
	require.ErrorContains(t, w.server.Rollback("7", "../data"), "no snapshot")
	require.NoError(t, w.server.Rollback("7", names[1]))
	_, err = c.Stat(".")
	require.Error(t, err, "a client works on in what was replaced")
	entries, err := w.sftp(sshPort, login1, password).ReadDir(".")
	require.NoError(t, err)
	require.Len(t, entries, 2)
	left, err := w.server.Snapshots("7")
	require.NoError(t, err)
	assert.Equal(t, []Snapshot{{Name: names[0]}, {Name: names[1]}}, left)
}

// The plan takes snapshots at its times and keeps as many as it says; those by hand stay.
func TestThePlanTakesSnapshots(t *testing.T) {
	w := newWorld(t)
	began, base := time.Now(), time.Date(2026, 5, 4, 3, 59, 59, 900_000_000, time.UTC)
	w.clock(func() time.Time { return base.Add(time.Since(began)) })
	declared := aBox()
	declared.Plan = &Plan{MaxSnapshots: 2, Hour: 4}
	w.apply(declared)
	require.Eventually(t, func() bool {
		snapshots, err := w.server.Snapshots("7")
		require.NoError(t, err)
		return len(snapshots) == 1 && snapshots[0] == Snapshot{Name: "2026-05-04T04-00-00", Automatic: true}
	}, 5*time.Second, 10*time.Millisecond)
	day := base.Add(time.Hour)
	w.clock(func() time.Time { return base.Add(time.Hour) })
	_, err := w.server.Snapshot("7")
	require.NoError(t, err)
	b, err := w.server.box("7")
	require.NoError(t, err)
	for range 3 {
		day = day.Add(24 * time.Hour)
		now := day
		w.clock(func() time.Time { return now })
		_, err = b.snapshot(true, 2)
		require.NoError(t, err)
	}
	snapshots, err := w.server.Snapshots("7")
	require.NoError(t, err)
	assert.Equal(t, []Snapshot{{"2026-05-04T04-59-59", false}, {"2026-05-06T04-59-59", true}, {"2026-05-07T04-59-59", true}}, snapshots)
}

func TestPlanTimes(t *testing.T) {
	at := func(s string) time.Time {
		out, err := time.Parse(time.RFC3339, s)
		require.NoError(t, err)
		return out
	}
	for _, c := range []struct {
		plan       Plan
		from, next string
	}{
		{Plan{Hour: 4, Minute: 30}, "2026-05-04T04:29:59Z", "2026-05-04T04:30:00Z"},
		{Plan{Hour: 4, Minute: 30}, "2026-05-04T04:30:00Z", "2026-05-05T04:30:00Z"},
		{Plan{Hour: 0}, "2026-12-31T12:00:00+13:00", "2026-12-31T00:00:00Z"},
		{Plan{Hour: 4, DayOfWeek: 1}, "2026-05-04T05:00:00Z", "2026-05-11T04:00:00Z"},
		{Plan{Hour: 4, DayOfWeek: 7}, "2026-05-04T05:00:00Z", "2026-05-10T04:00:00Z"},
		{Plan{Hour: 4, DayOfMonth: 31}, "2026-03-31T05:00:00Z", "2026-05-31T04:00:00Z"},
	} {
		assert.Equal(t, at(c.next).UTC(), c.plan.next(at(c.from)), "%+v", c.plan)
	}
}

// Contents outlive the process and go with the box; what is wrongly declared changes nothing.
func TestBoxesComeAndGo(t *testing.T) {
	w := newWorld(t)
	w.apply(aBox())
	code, _ := w.http(http.MethodPut, "/film", login1, password, "a film")
	require.Equal(t, http.StatusCreated, code)
	require.NoError(t, w.server.Close())
	require.ErrorContains(t, w.server.Apply(aBox()), "closed")

	again, err := New(w.server.options)
	require.NoError(t, err)
	w.server = again
	w.apply(aBox())
	_, said := w.http(http.MethodGet, "/film", login1, password, "")
	assert.Equal(t, "a film", said)

	before := w.at(sshPort)
	moved := aBox()
	moved.Addresses = []netip.Addr{netip.MustParseAddr("203.0.113.11")}
	w.apply(moved)
	assert.NotEqual(t, before, w.at(sshPort))
	_, err = ssh.Dial("tcp", before, &ssh.ClientConfig{HostKeyCallback: ssh.InsecureIgnoreHostKey()})
	require.Error(t, err, "the old address answers")

	require.Error(t, w.server.Remove("../7"))
	require.NoError(t, w.server.Remove("7"))
	assert.NoDirExists(t, filepath.Join(w.dir, "7"))
	_, err = w.server.Usage("7")
	require.ErrorContains(t, err, "no storage box 7")
}

func TestDeclarationsAreChecked(t *testing.T) {
	for want, change := range map[string]func(*Box){
		"letters and digits":                func(b *Box) { b.ID = "../7" },
		"is no user name":                   func(b *Box) { b.Username = "u1/.." },
		"no password":                       func(b *Box) { b.Password = "" },
		"no address":                        func(b *Box) { b.Addresses = nil },
		"holds nothing":                     func(b *Box) { b.Size = 0 },
		"samba cannot be rehearsed":         func(b *Box) { b.Access.Samba = true },
		"11 automatic snapshots":            func(b *Box) { b.Plan = &Plan{MaxSnapshots: 11} },
		"no such time of day: 24:00":        func(b *Box) { b.Plan = &Plan{MaxSnapshots: 1, Hour: 24} },
		"no such day of the week: 8":        func(b *Box) { b.Plan = &Plan{MaxSnapshots: 1, DayOfWeek: 8} },
		"no such day of the month: 32":      func(b *Box) { b.Plan = &Plan{MaxSnapshots: 1, DayOfMonth: 32} },
		"the user name u100001-sub1 twice":  func(b *Box) { b.Subaccounts = append(b.Subaccounts, b.Subaccounts[0]) },
		"must be a path inside the box":     func(b *Box) { b.Subaccounts[0].HomeDirectory = "a/../../b" },
		`the home directory "/backup" must`: func(b *Box) { b.Subaccounts[0].HomeDirectory = "/backup" },
		`the home directory "." must`:       func(b *Box) { b.Subaccounts[0].HomeDirectory = "." },
		"snapshots are no home":             func(b *Box) { b.Subaccounts[0].HomeDirectory = ".zfs/snapshot" },
		"u100001-sub1 has no password":      func(b *Box) { b.Subaccounts[0].Password = "" },
		"sub1: samba cannot be rehearsed":   func(b *Box) { b.Subaccounts[0].Samba = true },
	} {
		b := aBox()
		require.NoError(t, b.Validate())
		assert.Equal(t, []string{"u100001.your-storagebox.de", "u100001-sub1.your-storagebox.de"}, b.Hostnames())
		change(&b)
		err := b.Validate()
		require.ErrorContains(t, err, want)
		assert.NotContains(t, err.Error(), ownerPassword)
	}
}

// A laptop without the programs of port 23 is told what to install; WebDAV needs none of them.
func TestMissingProgramsAreNamed(t *testing.T) {
	w := newWorld(t)
	t.Setenv("PATH", t.TempDir())
	err := w.server.Apply(aBox())
	require.ErrorContains(t, err, "apt-get install bubblewrap")
	require.ErrorContains(t, err, "apt-get install borgbackup")
	declared := aBox()
	declared.Access.SSH = false
	w.apply(declared)
	assert.Equal(t, "443", w.logins(login1, password))
}
