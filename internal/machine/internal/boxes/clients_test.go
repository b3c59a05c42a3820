package boxes

import (
	"crypto/sha256"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/crypto/ssh"
)

// rclone writes the configuration as homelab-media does, for a protocol, and returns the command.
func (w *world) rclone(protocol string) []string {
	w.t.Helper()
	obscured := strings.TrimSpace(w.must("", password, "rclone", "obscure", "-"))
	config := fmt.Sprintf("[media]\ntype = webdav\nurl = https://%s/\nvendor = other\nuser = %s\npass = %s\n", w.at(webdavPort), login1, obscured)
	if protocol == "sftp" {
		w.sshOptions(sshPort, "")
		host, port, err := net.SplitHostPort(w.at(sshPort))
		require.NoError(w.t, err)
		config = fmt.Sprintf("[media]\ntype = sftp\nhost = %s\nport = %s\nuser = %s\nshell_type = none\nmd5sum_command = none\nsha1sum_command = none\nknown_hosts_file = %s\npass = %s\n",
			host, port, login1, filepath.Join(w.files, "known_hosts"), obscured)
	}
	return []string{"rclone", "--config", w.write("rclone.conf", config, 0o600), "--ca-cert", filepath.Join(w.files, "ca.pem"), "--retries", "1", "--low-level-retries", "1"}
}

func TestRclone(t *testing.T) {
	for _, protocol := range []string{"webdav", "sftp"} {
		t.Run(protocol, func(t *testing.T) {
			w := newWorld(t)
			w.apply(aBox())
			command := w.rclone(protocol)
			rclone := func(stdin string, args ...string) string {
				t.Helper()
				return w.must("", stdin, append(command, args...)...)
			}
			film := w.random("film.mkv", 3*mebibyte)
			rclone("", "copyto", film, "media:movies/A Film (2020)/film ä.mkv")
			want, err := os.ReadFile(film)
			require.NoError(t, err)
			got, err := os.ReadFile(w.inBox(home, "movies", "A Film (2020)", "film ä.mkv"))
			require.NoError(t, err)
			assert.Equal(t, sha256.Sum256(want), sha256.Sum256(got))
			assert.Equal(t, string(want[mebibyte:mebibyte+100]), rclone("", "cat", "--offset", fmt.Sprint(mebibyte), "--count", "100", "media:movies/A Film (2020)/film ä.mkv"))

			rclone("a note", "rcat", "media:tv/note")
			rclone("", "moveto", "media:tv/note", "media:movies/note")
			assert.Equal(t, "a note", rclone("", "cat", "media:movies/note"))
			rclone("", "mkdir", "media:music")
			assert.Equal(t, "movies/\nmusic/\ntv/\n", rclone("", "lsf", "media:"))
			rclone("", "deletefile", "media:movies/note")
			rclone("", "purge", "media:movies")
			assert.Equal(t, "music/\ntv/\n", rclone("", "lsf", "media:"))
			assert.NoDirExists(t, w.inBox(home, "movies"))

			declared := aBox()
			declared.Subaccounts[0].Password = "Another/Password1"
			w.apply(declared)
			_, err = w.run("", "", append(command, "lsf", "media:")...)
			require.Error(t, err, "the old password was taken")
		})
	}
}

// OpenSSH's own sftp and scp, and rsync, on the ports that have them.
func TestOpenSSHAndRsync(t *testing.T) {
	w := newWorld(t)
	w.apply(aBox())
	film := w.random("film.mkv", mebibyte)
	for _, port := range []uint16{sftpPort, sshPort} {
		name := fmt.Sprintf("film-%d", port)
		batch := fmt.Sprintf("mkdir movies-%d\nput %s\nrename film.mkv %s\nls -l\nsymlink %s link-%d\nchmod 600 %s\nget %s copy-%d\npwd\n", port, film, name, name, port, name, name, port)
		args := append([]string{"sftp"}, w.sshOptions(port, "")...)
		said := w.must(password, batch, append(args, "-o", "BatchMode=no", "-b", "-", login1+"@127.0.0.1")...)
		assert.Contains(t, said, fmt.Sprintf("Remote working directory: %s\n", map[uint16]string{sftpPort: "/", sshPort: "/home"}[port]))
		want, err := os.ReadFile(film)
		require.NoError(t, err)
		for _, path := range []string{w.inBox(home, name), filepath.Join(w.files, fmt.Sprintf("copy-%d", port))} {
			got, err := os.ReadFile(path)
			require.NoError(t, err)
			assert.Equal(t, want, got)
		}
		info, err := os.Stat(w.inBox(home, name))
		require.NoError(t, err)
		assert.Equal(t, os.FileMode(0o600), info.Mode().Perm())
		target, err := os.Readlink(w.inBox(home, fmt.Sprintf("link-%d", port)))
		require.NoError(t, err)
		assert.Equal(t, name, target)
	}
	for _, old := range []string{"", "-O"} { // by SFTP, and by scp's own protocol
		args := append([]string{"scp"}, w.sshOptions(sshPort, "")...)
		if old != "" {
			args = append(args, old)
		}
		w.must(password, "", append(args, film, login1+"@127.0.0.1:by-scp"+old)...)
		assert.FileExists(t, w.inBox(home, "by-scp"+old))
	}
	w.must(password, "", "rsync", "--archive", "--rsh", "ssh "+strings.Join(w.sshOptions(sshPort, ""), " "), film, login1+"@127.0.0.1:by-rsync/")
	assert.FileExists(t, w.inBox(home, "by-rsync", "film.mkv"))
}

// Keys are read from the account's own list, with OpenSSH's rules on port 23 and RFC 4716's format
// on port 22.
func TestKeys(t *testing.T) {
	w := newWorld(t)
	w.apply(aBox())
	edKey, ed := w.key("ed", "ed25519")
	rsaKey, rsa := w.key("rsa", "rsa")
	signers := map[string]ssh.Signer{}
	for name, path := range map[string]string{"ed": edKey, "rsa": rsaKey} {
		text, err := os.ReadFile(path)
		require.NoError(t, err)
		signers[name], err = ssh.ParsePrivateKey(text)
		require.NoError(t, err)
	}
	_, status := w.command(login1, password, "install-ssh-key", ed+"\n"+rsa+"\n")
	require.Zero(t, status)
	installed, err := os.ReadFile(w.inBox(home, authorizedKeys))
	require.NoError(t, err)
	login := func(port uint16, key string) bool {
		conn, err := w.dial(port, login1, ssh.PublicKeys(signers[key]))
		if err == nil {
			require.NoError(t, conn.Close())
		}
		return err == nil
	}
	assert.True(t, login(sshPort, "ed"))
	assert.True(t, login(sshPort, "rsa"))
	assert.False(t, login(sftpPort, "ed"), "port 22 knows no Ed25519")
	assert.True(t, login(sftpPort, "rsa"))
	_, err = w.dial(sshPort, owner, ssh.PublicKeys(signers["ed"]))
	require.Error(t, err, "a sub-account's key opens the main account")

	list := w.inBox(home, authorizedKeys)
	for line, ok := range map[string]bool{
		ed: true, "restrict " + ed: true, "no-pty,no-port-forwarding " + ed: true, `from="127.0.0.1" ` + ed: true, `from="127.0.0.0/8,10.*" ` + ed: true, `from="10.0.0.0/8" ` + ed: false,
		`from="!127.0.0.1,*" ` + ed: false, "unknown " + ed: false, `expiry-time="20200101" ` + ed: false, `command="ls",command="cat x" ` + ed: false, "cert-authority " + ed: false,
		"#" + ed: false, rsa: false, "": false,
	} {
		require.NoError(t, os.WriteFile(list, []byte(line+"\n"), 0o600))
		assert.Equal(t, ok, login(sshPort, "ed"), line)
		assert.False(t, login(sftpPort, "rsa"), "port 22 took a key in OpenSSH's format")
	}
	for _, path := range []string{list, filepath.Dir(list), w.inBox(home)} {
		require.NoError(t, os.WriteFile(list, installed, 0o600))
		info, err := os.Stat(path)
		require.NoError(t, err)
		require.NoError(t, os.Chmod(path, info.Mode().Perm()|0o020))
		assert.False(t, login(sshPort, "ed"), "others may write to %s", path)
		require.NoError(t, os.Chmod(path, info.Mode().Perm()))
		assert.True(t, login(sshPort, "ed"))
	}
	require.NoError(t, os.WriteFile(list, []byte(`command="cat film",restrict `+ed+"\n"), 0o600))
	require.NoError(t, os.WriteFile(w.inBox(home, "film"), []byte("a film"), 0o600))
	for _, asked := range []string{"ls", "rm film", "internal-sftp"} {
		out, err := w.run("", "", append(append([]string{"ssh"}, w.sshOptions(sshPort, edKey)...), login1+"@127.0.0.1", asked)...)
		require.NoError(t, err)
		assert.Equal(t, "a film", out)
	}
}

// The keys of the declaration are those of a new box, and of no older one.
func TestDeclaredKeys(t *testing.T) {
	w := newWorld(t)
	key, public := w.key("declared", "ed25519")
	declared := aBox()
	declared.SSHKeys = []string{public}
	w.apply(declared)
	ls := append(append([]string{"ssh"}, w.sshOptions(sshPort, key)...), owner+"@127.0.0.1", "ls")
	assert.Equal(t, home+"\n", w.must("", "", ls...))
	declared.SSHKeys = nil
	w.apply(declared)
	w.must("", "", ls...)
	require.NoError(t, os.Remove(w.inBox(authorizedKeys)))
	declared.SSHKeys = []string{public}
	w.apply(declared)
	_, err := w.run("", "", ls...)
	require.Error(t, err)
}

// WebDAV as Apache does it, where clients can tell.
func TestWebDAV(t *testing.T) {
	w := newWorld(t)
	w.apply(aBox())
	code, _ := w.http(http.MethodPut, "/film.mkv", login1, password, "the whole film")
	require.Equal(t, http.StatusCreated, code)
	code, said := w.http(http.MethodGet, "/film.mkv", login1, password, "", "Range", "bytes=4-8")
	assert.Equal(t, http.StatusPartialContent, code)
	assert.Equal(t, "whole", said)
	for depth, want := range map[string]int{"": 403, "infinity": 403, "0": 207, "1": 207} {
		header := []string{"Depth", depth}
		if depth == "" {
			header = nil
		}
		code, _ := w.http("PROPFIND", "/", login1, password, "", header...)
		assert.Equal(t, want, code, "depth %q", depth)
	}
	code, _ = w.http("PROPFIND", "/", "", "", "", "Depth", "0")
	assert.Equal(t, http.StatusUnauthorized, code)
	code, _ = w.http(http.MethodPut, "/no/such/folder", login1, password, "x")
	assert.Equal(t, http.StatusConflict, code)

	// An upload that is cut off leaves the old file, and no other.
	body, writer := io.Pipe()
	go func() {
		_, _ = writer.Write([]byte("half of"))
		time.Sleep(50 * time.Millisecond)
		_ = writer.CloseWithError(io.ErrUnexpectedEOF)
	}()
	request, err := http.NewRequest(http.MethodPut, "https://"+w.at(webdavPort)+"/film.mkv", body)
	require.NoError(t, err)
	request.SetBasicAuth(login1, password)
	request.ContentLength = 100
	_, err = w.client().Do(request)
	require.Error(t, err)
	require.Eventually(t, func() bool {
		entries, err := os.ReadDir(w.inBox(home))
		require.NoError(t, err)
		return len(entries) == 1
	}, 5*time.Second, 10*time.Millisecond)
	_, said = w.http(http.MethodGet, "/film.mkv", login1, password, "")
	assert.Equal(t, "the whole film", said)

	// A lock of one account holds for the other one of the same folder.
	declared := aBox()
	declared.Subaccounts = append(declared.Subaccounts, declared.Subaccounts[0])
	declared.Subaccounts[1].Username = "u100001-sub2"
	w.apply(declared)
	lock := `<D:lockinfo xmlns:D="DAV:"><D:lockscope><D:exclusive/></D:lockscope><D:locktype><D:write/></D:locktype></D:lockinfo>`
	code, _ = w.http("LOCK", "/film.mkv", login1, password, lock, "Timeout", "Second-60")
	require.Equal(t, http.StatusOK, code)
	code, _ = w.http(http.MethodPut, "/film.mkv", "u100001-sub2", password, "another")
	assert.Equal(t, http.StatusLocked, code)
}

// The main account does not remove what is a sub-account's.
func TestHomesStay(t *testing.T) {
	w := newWorld(t)
	declared := aBox()
	declared.Subaccounts[0].HomeDirectory = "teams/backup"
	w.apply(declared)
	c := w.sftp(sshPort, owner, ownerPassword)
	for _, path := range []string{"teams", "teams/backup"} {
		require.Error(t, c.RemoveDirectory(path))
		require.Error(t, c.Rename(path, "elsewhere"))
		code, _ := w.http(http.MethodDelete, "/"+path, owner, ownerPassword, "")
		assert.Equal(t, http.StatusForbidden, code)
	}
	assert.DirExists(t, w.inBox("teams", "backup"))
	declared.Subaccounts = nil
	w.apply(declared)
	require.NoError(t, c.RemoveDirectory("teams/backup"))
}
