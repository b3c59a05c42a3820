package boxes

import (
	"crypto/md5"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/pkg/sftp"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/crypto/ssh"
)

// logins tries a password on every port and returns where it was taken.
func (w *world) logins(user, secret string) string {
	w.t.Helper()
	var in []string
	for _, port := range []uint16{sftpPort, sshPort} {
		conn, err := w.dial(port, user, ssh.Password(secret))
		if err == nil {
			in = append(in, fmt.Sprint(port))
			require.NoError(w.t, conn.Close())
		}
	}
	if code, _ := w.http("PROPFIND", "/", user, secret, "", "Depth", "0"); code == http.StatusMultiStatus {
		in = append(in, "443")
	}
	return strings.Join(in, " ")
}

func TestWhoGetsIn(t *testing.T) {
	for name, c := range map[string]struct {
		change           func(*Box)
		user, secret, in string
	}{
		"the server's account":            {func(*Box) {}, login1, password, "22 23 443"},
		"the main account":                {func(*Box) {}, owner, ownerPassword, "22 23 443"},
		"a wrong password":                {func(*Box) {}, login1, password + "x", ""},
		"no password":                     {func(*Box) {}, login1, "", ""},
		"the password of another account": {func(*Box) {}, login1, ownerPassword, ""},
		"nobody":                          {func(*Box) {}, "u100001-sub2", password, ""},
		"without SSH":                     {func(b *Box) { b.Subaccounts[0].SSH = false }, login1, password, "443"},
		"without WebDAV":                  {func(b *Box) { b.Subaccounts[0].WebDAV = false }, login1, password, "22 23"},
		"a box without SSH":               {func(b *Box) { b.Access.SSH = false }, login1, password, "443"},
		"a box without WebDAV":            {func(b *Box) { b.Access.WebDAV = false }, login1, password, "22 23"},
		"a read-only account":             {func(b *Box) { b.Subaccounts[0].Readonly = true }, login1, password, "22 23 443"},
		"not reachable from outside":      {func(b *Box) { b.Access.ReachableExternally = false }, login1, password, "22 23 443"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			declared := aBox()
			c.change(&declared)
			w.apply(declared)
			assert.Equal(t, c.in, w.logins(c.user, c.secret))
		})
	}
}

// A client outside Hetzner's network reaches what is reachable externally, and sees no other box.
func TestReachableExternally(t *testing.T) {
	w := newWorld(t)
	outside := &net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(outsideAddress)}}
	login := func(user, secret string) error {
		conn, err := outside.Dial("tcp", w.at(sshPort))
		require.NoError(t, err)
		defer conn.Close()
		_, _, _, err = ssh.NewClientConn(conn, "box", &ssh.ClientConfig{
			User: user, Auth: []ssh.AuthMethod{ssh.Password(secret)}, HostKeyCallback: ssh.InsecureIgnoreHostKey(),
		})
		return err
	}
	curl := func() string {
		return w.must("", "", "curl", "--silent", "--cacert", "ca.pem", "--interface", outsideAddress, "--user", login1+":"+password, "--request", "PROPFIND",
			"--header", "Depth: 0", "--output", "/dev/null", "--write-out", "%{http_code}", "https://"+w.at(webdavPort)+"/")
	}
	w.apply(aBox())
	require.NoError(t, login(login1, password))
	assert.Equal(t, "207", curl())

	declared := aBox()
	declared.Subaccounts[0].ReachableExternally = false
	w.apply(declared)
	require.ErrorContains(t, login(login1, password), "unable to authenticate")
	require.NoError(t, login(owner, ownerPassword))
	assert.Equal(t, "401", curl())

	declared.Access.ReachableExternally = false
	w.apply(declared)
	require.Error(t, login(owner, ownerPassword))
	_, err := w.run("", "", "curl", "--silent", "--cacert", "ca.pem", "--interface", outsideAddress, "https://"+w.at(webdavPort)+"/")
	require.Error(t, err, "the box was there")
}

func TestAWrongPasswordIsSlow(t *testing.T) {
	w := newWorld(t)
	w.apply(aBox())
	for name, try := range map[string]func(string){
		"SSH":    func(secret string) { _, _ = w.dial(sshPort, login1, ssh.Password(secret)) },
		"SFTP":   func(secret string) { _, _ = w.dial(sftpPort, login1, ssh.Password(secret)) },
		"WebDAV": func(secret string) { w.http("PROPFIND", "/", login1, secret, "", "Depth", "0") },
	} {
		began := time.Now()
		try(password)
		assert.Less(t, time.Since(began), loginDelay, name)
		began = time.Now()
		try(password + "x")
		assert.GreaterOrEqual(t, time.Since(began), loginDelay, name)
	}
}

// Each way out of the home is tried by each protocol.
func TestNobodyLeavesTheHome(t *testing.T) {
	w := newWorld(t)
	declared := aBox()
	declared.Access.ZFS = true
	w.apply(declared)
	secret := w.write("secret", "of the laptop", 0o644)
	require.NoError(t, os.WriteFile(w.inBox("secret"), []byte("of the box"), 0o644))
	for link, target := range map[string]string{"absolute": secret, "up": "../secret", "far": strings.Repeat("../", 20) + secret[1:], "folder": w.files, "top": "/"} {
		require.NoError(t, os.Symlink(target, w.inBox(home, link)))
	}
	_, err := w.server.Snapshot("7")
	require.NoError(t, err)
	paths := []string{"../secret", "../../secret", "absolute", "up", "far", "folder/secret", secret, "/home/../secret", "top" + secret, "a/../../secret", ".zfs/snapshot", "/proc/self/environ", "/etc/hostname"}
	client, plain := w.sftp(sshPort, login1, password), w.sftp(sftpPort, login1, password)
	for _, path := range paths {
		for port, c := range map[int]*sftp.Client{23: client, 22: plain} {
			_, err := c.Open(path)
			assert.ErrorIs(t, err, fs.ErrNotExist, "SFTP on port %d read %s", port, path)
			_, _ = c.Create(path + ".new") // wherever this is, it must be in the home
		}
		said, status := w.command(login1, password, "cat "+path, "")
		assert.NotZero(t, status, "cat %s: %s", path, said)
		code, said := w.http(http.MethodGet, "/"+strings.TrimPrefix(path, "/"), login1, password, "")
		assert.NotEqual(t, http.StatusOK, code, "WebDAV read %s: %s", path, said)
	}
	for _, name := range []string{"folder/new", "top" + w.files + "/new", "up", "absolute"} {
		_, _ = w.http(http.MethodPut, "/"+name, login1, password, "written")
		_, _ = w.command(login1, password, "dd of="+name, "written")
	}
	assert.NoFileExists(t, filepath.Join(w.files, "new"))
	assert.NoFileExists(t, secret+".new")
	entries, err := os.ReadDir(w.inBox())
	require.NoError(t, err)
	require.Len(t, entries, 3, "more than the secret, the snapshots and the home: %v", entries)
	for path, want := range map[string]string{secret: "of the laptop", w.inBox("secret"): "of the box"} {
		got, err := os.ReadFile(path)
		require.NoError(t, err)
		assert.Equal(t, want, string(got))
	}
	// Nor does a home that became a link.
	require.NoError(t, os.RemoveAll(w.inBox(home)))
	require.NoError(t, os.Symlink(w.files, w.inBox(home)))
	_, err = w.sftp(sshPort, owner, ownerPassword).ReadDir("/home/" + home)
	require.Error(t, err)
	said, status := w.command(login1, password, "ls", "")
	assert.NotZero(t, status)
	assert.NotContains(t, said, "secret")
	code, _ := w.http("PROPFIND", "/", login1, password, "", "Depth", "1")
	assert.Equal(t, http.StatusNotFound, code)
}

// A read-only account reads by every protocol and changes nothing by any.
func TestReadonly(t *testing.T) {
	w := newWorld(t)
	declared := aBox()
	declared.Subaccounts[0].Readonly = true
	w.apply(declared)
	require.NoError(t, os.WriteFile(w.inBox(home, "film"), []byte("a film"), 0o644))
	before := w.listing()
	for _, port := range []uint16{sftpPort, sshPort} {
		c := w.sftp(port, login1, password)
		_, err := c.Stat("film")
		require.NoError(t, err)
		_, create := c.Create("new")
		_, write := c.OpenFile("film", os.O_WRONLY)
		for what, err := range map[string]error{
			"create": create, "write": write, "mkdir": c.Mkdir("new"), "remove": c.Remove("film"), "rename": c.Rename("film", "new"), "chmod": c.Chmod("film", 0o600),
			"posix rename": c.PosixRename("film", "new"), "link": c.Link("film", "new"), "symlink": c.Symlink("film", "new"), "truncate": c.Truncate("film", 1),
			"times": c.Chtimes("film", time.Now(), time.Now()),
		} {
			assert.ErrorIs(t, err, fs.ErrPermission, "%s on port %d", what, port)
		}
	}
	for _, line := range []string{"touch new", "rm film", "mv film new", "dd of=film", "mkdir new", "chmod 600 film", "cp film new", "rsync --server . new", "install-ssh-key"} {
		said, status := w.command(login1, password, line, "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIICf9svRenC/PLKIL9nk6K/pxQgoiFC41wTNvoIncOxs")
		assert.NotZero(t, status, "%s: %s", line, said)
	}
	for _, r := range [][]string{
		{"PUT", "/new"}, {"PUT", "/film"}, {"DELETE", "/film"}, {"MKCOL", "/new"}, {"MOVE", "/film", "Destination", "/new"}, {"COPY", "/film", "Destination", "/new"},
		{"PROPPATCH", "/film"}, {"LOCK", "/new"},
	} {
		code, _ := w.http(r[0], r[1], login1, password, "x", r[2:]...)
		assert.Equal(t, http.StatusForbidden, code, "%v", r)
	}
	rsh := "ssh " + strings.Join(w.sshOptions(sshPort, ""), " ")
	said, err := w.run(password, "", "borg", "--rsh", rsh, "init", "--encryption", "none", repository)
	require.Error(t, err, "%s", said)
	assert.Equal(t, before, w.listing())

	code, said := w.http(http.MethodGet, "/film", login1, password, "")
	assert.Equal(t, http.StatusOK, code)
	assert.Equal(t, "a film", said)
	said, _ = w.command(login1, password, "cat film", "")
	assert.Equal(t, "a film", said)
}

// listing is every path of the box with its size and mode.
func (w *world) listing() (out []string) {
	w.t.Helper()
	require.NoError(w.t, filepath.WalkDir(w.inBox(), func(path string, _ fs.DirEntry, err error) error {
		info, stat := os.Lstat(path)
		if err = errors.Join(err, stat); err == nil {
			out = append(out, fmt.Sprint(path, info.Mode(), info.ModTime()))
		}
		return err
	}))
	return out
}

func TestCommandsOfPort23(t *testing.T) {
	w := newWorld(t)
	w.apply(aBox())
	require.NoError(t, os.WriteFile(w.inBox(home, "film"), []byte("a film"), 0o644))
	for line, want := range map[string]string{
		"ls": "film\n", "ls ~": "film\n", "cat film": "a film", `cat "film"`: "a film", "pwd": "/home\n", "md5 film": fmt.Sprintf("%x  film\n", md5.Sum([]byte("a film"))), "ls /home/film": "/home/film\n",
		"cat /home/film": "a film", "cat '/./home/film'": "a film",
	} {
		said, status := w.command(login1, password, line, "")
		assert.Zero(t, status, "%s: %s", line, said)
		assert.Equal(t, want, said, line)
	}
	for _, line := range []string{
		"echo hello", "sh", "sh -c ls", "bash", "python3 -c 1", "env", "/bin/ls", "/usr/bin/borg serve", "borg", "borg list homelab", "borg-1.4 --version", "borg-1.3 serve", "rsync film copy",
		"ls; id", "ls && id", "ls | id", "ls > out", "ls $(id)", "ls `id`", "ls & id", "scp film copy", "test -f film", "which borg", "", "ssh box", "find .",
	} {
		said, status := w.command(login1, password, line, "")
		assert.Equal(t, notFoundStatus, status, "%s: %s", line, said)
		assert.Equal(t, notFound, said, line)
	}
	said, status := w.command(login1, password, "df", "")
	assert.Zero(t, status)
	assert.Contains(t, said, fmt.Sprint((1<<40)>>10))
	assert.NoFileExists(t, w.inBox(home, "out"))

	// Port 22 has SFTP and nothing else; neither port forwards or gives a terminal.
	for _, port := range []uint16{sftpPort, sshPort} {
		conn, err := w.dial(port, login1, ssh.Password(password))
		require.NoError(t, err)
		defer conn.Close()
		_, err = conn.Dial("tcp", w.at(webdavPort))
		require.ErrorContains(t, err, "forwards nothing")
		_, err = conn.Listen("tcp", "127.0.0.1:0")
		require.Error(t, err)
		s, err := conn.NewSession()
		require.NoError(t, err)
		require.Error(t, s.RequestPty("xterm", 24, 80, nil))
		require.Error(t, s.RequestSubsystem("netconf"))
		if port == sftpPort {
			require.Error(t, s.Run("ls"))
		}
	}
}
