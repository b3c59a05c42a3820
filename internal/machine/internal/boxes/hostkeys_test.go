package boxes

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"homelab/internal/boxkeys"
	"homelab/internal/rehearsal"
)

// boxName is the account's server, as the program names it.
const boxName = login1 + ".your-storagebox.de"

// through are options of OpenSSH's programs that reach a port of the box under its own name and
// number, so that the client looks for exactly that in known_hosts.
func (w *world) through(port uint16, known, algorithms string) []string {
	w.t.Helper()
	at := strings.Replace(w.at(port), ":", "/", 1)
	// It ends with ssh, also with one that hangs up first: nobody waits for the box then.
	pipe := w.write(fmt.Sprintf("to-%d", port), "#!/bin/bash\nexec 2>/dev/null 3<>/dev/tcp/"+at+
		"\ncat <&3 &\nanswers=$!\nexec >&-\ntrap 'kill $answers' EXIT HUP TERM\ncat >&3\n", 0o700)
	return []string{
		"-F", "/dev/null", "-o", "ProxyCommand=" + pipe, "-o", "UserKnownHostsFile=" + known, "-o", "GlobalKnownHostsFile=/dev/null",
		"-o", "StrictHostKeyChecking=yes", "-o", "HostKeyAlgorithms=" + algorithms, "-o", fmt.Sprintf("Port=%d", port),
		"-o", "PubkeyAuthentication=no", "-o", "NumberOfPasswordPrompts=1", "-o", "IdentityAgent=none",
	}
}

// pinned are the program's known_hosts for the box as they arrive at a rehearsal's machine, with
// the keys of a server of boxes.
func pinned(t *testing.T, s *Server) string {
	t.Helper()
	text, err := rehearsal.PinBoxes(boxkeys.KnownHosts(boxName), s.PublicKeys())
	require.NoError(t, err)
	return text
}

// The known_hosts that the program declares lead to the rehearsal's boxes, whichever of the pinned
// types the client likes, and to nobody else's.
func TestTheProgramsKnownHosts(t *testing.T) {
	w := newWorld(t)
	w.apply(aBox())
	known := w.write("pinned", pinned(t, w.server), 0o600)
	for _, algorithms := range []string{"ssh-ed25519", "rsa-sha2-256,rsa-sha2-512", "ecdsa-sha2-nistp521"} {
		args := append([]string{"ssh"}, w.through(sshPort, known, algorithms)...)
		assert.Equal(t, "/home\n", w.must(password, "", append(args, login1+"@"+boxName, "pwd")...), algorithms)
		args = append([]string{"sftp", "-o", "BatchMode=no", "-b", "-"}, w.through(sshPort, known, algorithms)...)
		assert.Contains(t, w.must(password, "pwd\n", append(args, login1+"@"+boxName)...), "/home", algorithms)
	}

	refused := func(name, content string, port uint16) {
		t.Helper()
		file := w.write("refused", content, 0o600)
		said, err := w.run(password, "", append(append([]string{"ssh"}, w.through(port, file, "ssh-ed25519")...), login1+"@"+boxName, "pwd")...)
		require.Error(t, err, name)
		assert.Contains(t, said, "Host key verification failed.", name)
	}
	refused("what Hetzner's boxes show", boxkeys.KnownHosts(boxName), sshPort)
	keys, err := HostKeys(t.TempDir())
	require.NoError(t, err)
	refused("another's key", pinned(t, &Server{options: Options{HostKeys: keys}}), sshPort)
	refused("the key under another name", strings.ReplaceAll(pinned(t, w.server), boxName, "other.your-storagebox.de"), sshPort)
	refused("another port, which the program does not pin", pinned(t, w.server), sftpPort)

	// Of port 22 known_hosts have the name alone.
	file := w.write("port22", strings.ReplaceAll(pinned(t, w.server), fmt.Sprintf("[%s]:23", boxName), boxName), 0o600)
	args := append([]string{"sftp", "-o", "BatchMode=no", "-b", "-"}, w.through(sftpPort, file, "ssh-ed25519")...)
	assert.Contains(t, w.must(password, "pwd\n", append(args, login1+"@"+boxName)...), "Remote working directory: /\n")
}

// rclone asks for the type of a key itself. It can be told neither a proxy nor where a name leads,
// so here the address takes the name's place.
func TestRcloneWithTheProgramsKnownHosts(t *testing.T) {
	w := newWorld(t)
	w.apply(aBox())
	command := w.rclone("sftp")
	host, port, _ := strings.Cut(w.at(sshPort), ":")
	at := func(text string) string {
		return strings.ReplaceAll(text, fmt.Sprintf("[%s]:23", boxName), fmt.Sprintf("[%s]:%s", host, port))
	}
	w.write("known_hosts", at(pinned(t, w.server)), 0o600)
	w.must("", "a film", append(command, "rcat", "media:film.mkv")...)
	assert.FileExists(t, w.inBox(home, "film.mkv"))
	w.write("known_hosts", at(boxkeys.KnownHosts(boxName)), 0o600)
	said, err := w.run("", "", append(command, "cat", "media:film.mkv")...)
	require.Error(t, err)
	assert.Contains(t, said, "knownhosts: key mismatch")
}

// A folder keeps its keys, and they have the types that the program pins.
func TestHostKeysStay(t *testing.T) {
	folder := filepath.Join(t.TempDir(), "keys")
	first, err := HostKeys(folder)
	require.NoError(t, err)
	again, err := HostKeys(folder)
	require.NoError(t, err)
	require.Len(t, first, len(boxkeys.Published()))
	for i, published := range boxkeys.Published() {
		assert.Equal(t, published.Type, first[i].PublicKey().Type())
		assert.Equal(t, first[i].PublicKey().Marshal(), again[i].PublicKey().Marshal())
		info, err := os.Stat(filepath.Join(folder, hostKeyMakers[i].name))
		require.NoError(t, err)
		assert.Equal(t, os.FileMode(0o600), info.Mode().Perm())
		out, err := exec.Command("ssh-keygen", "-l", "-f", filepath.Join(folder, hostKeyMakers[i].name)).CombinedOutput()
		require.NoError(t, err, "%s", out)
	}
	require.NoError(t, os.WriteFile(filepath.Join(folder, "rsa"), []byte("x"), 0o600))
	_, err = HostKeys(folder)
	require.ErrorContains(t, err, "making the host key rsa of the storage boxes")
}
