package boxes

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	"golang.org/x/crypto/ssh"
	"mvdan.cc/sh/v3/shell"
)

// What a box says to what it does not know, and its exit status (seen on real boxes in public bug
// reports).
const (
	notFound       = "Command not found. Use 'help' to get a list of available commands.\n"
	notFoundStatus = 8
)

// fileCommands are the commands for files, with the program behind each
// (docs.hetzner.com/storage/storage-box/access/access-ssh-rsync-borg).
var fileCommands = map[string][]string{
	"ls": {"ls"}, "ll": {"ls", "-l"}, "tree": {"tree"}, "mkdir": {"mkdir"}, "rmdir": {"rmdir"}, "du": {"du"}, "dd": {"dd"}, "cat": {"cat"}, "touch": {"touch"},
	"cp": {"cp"}, "rm": {"rm"}, "mv": {"mv"}, "chmod": {"chmod"}, "md5": {"md5sum"}, "md5sum": {"md5sum"}, "sha1": {"sha1sum"}, "sha1sum": {"sha1sum"},
	"sha256": {"sha256sum"}, "sha256sum": {"sha256sum"}, "sha512": {"sha512sum"}, "sha512sum": {"sha512sum"},
}

// servers are the programs that are there for the client's counterpart, with the arguments that
// must come first. All names of borg are the one that is installed here.
var servers = map[string]struct{ program, first []string }{
	"borg": {[]string{"borg"}, []string{"serve"}}, "borg-1.1": {[]string{"borg"}, []string{"serve"}}, "borg-1.2": {[]string{"borg"}, []string{"serve"}},
	"borg-1.4": {[]string{"borg"}, []string{"serve"}}, "rsync": {[]string{"rsync"}, []string{"--server"}}, "scp": {[]string{"scp"}, []string{"-t", "-f", "-r", "-p", "-d", "-v"}},
}

// command runs a line as the restricted shell of a box does, without variables, pipes or
// redirections. original is what the client asked for when the line is the key's own.
func (s *session) command(ctx context.Context, line, original string) int {
	words, err := shell.Fields(line, func(name string) string {
		if name == "HOME" {
			return "/home" // what ~ is
		}
		return ""
	})
	if err != nil || len(words) == 0 {
		return s.say(notFoundStatus, notFound)
	}
	name, rest := words[0], words[1:]
	switch name {
	case "help":
		return s.say(0, help())
	case "pwd":
		return s.say(0, "/home\n")
	case "cd":
		return 0
	case "df":
		return s.diskFree()
	case "install-ssh-key":
		return s.installKeys()
	case "sftp-server", "internal-sftp":
		return s.sftp("/home")
	}
	var args []string
	if server, ok := servers[name]; ok && len(rest) > 0 && slices.Contains(server.first, rest[0]) {
		args = append(slices.Clone(server.program), rest...)
	} else if program, ok := fileCommands[name]; ok {
		args = append(slices.Clone(program), rest...)
	}
	if len(args) == 0 || !installed(args[0]) {
		return s.say(notFoundStatus, notFound)
	}
	environment := map[string]string{}
	if original != "" {
		environment["SSH_ORIGINAL_COMMAND"] = original // borg takes its harmless options from it
	}
	status, err := s.account.run(ctx, program{args: args, environment: environment, stdin: s.channel, stdout: s.channel, stderr: s.channel.Stderr()})
	if err != nil {
		s.account.box.server.options.Log.Error("a command on a storage box", "account", s.account.username, "command", name, "error", err)
		_, _ = fmt.Fprintf(s.channel.Stderr(), "%s: it could not be run\n", name)
		return 1
	}
	return status
}

// say answers, to whoever still listens.
func (s *session) say(status int, text string) int {
	_, _ = io.WriteString(s.channel, text)
	return status
}

func help() string {
	return "The following commands are available:\n  cd df help install-ssh-key pwd " + strings.Join(sortedKeys(fileCommands), " ") +
		"\nAvailable as server side backend:\n  " + strings.Join(sortedKeys(servers), " ") + " sftp\n"
}

// diskFree shows the box, not the laptop's disk.
func (s *session) diskFree() int {
	b := s.account.box
	free, err := b.space.free()
	if err != nil {
		return s.say(1, "df: it could not be run\n")
	}
	b.space.mu.Lock()
	size := b.space.size
	b.space.mu.Unlock()
	free = max(free, 0)
	return s.say(0, fmt.Sprintf("Filesystem 1K-blocks Used Available Use%% Mounted on\n%s %d %d %d %d%% /home\n",
		s.account.username, size>>10, (size-free)>>10, free>>10, (size-free)*100/size))
}

// installKeys adds the keys of the standard input, for both ports.
func (s *session) installKeys() int {
	sent, err := io.ReadAll(io.LimitReader(s.channel, maxKeyFile))
	if err == nil {
		err = s.account.addKeys(sent)
	}
	if err != nil {
		return s.say(1, "install-ssh-key: the keys could not be installed\n")
	}
	return 0
}

// addKeys puts keys into the account's list, in the formats of both ports.
func (a *account) addKeys(sent []byte) error {
	var lines strings.Builder
	for len(sent) > 0 {
		key, comment, _, rest, err := ssh.ParseAuthorizedKey(sent)
		if err != nil {
			break
		}
		sent = rest
		plain := strings.TrimSpace(string(ssh.MarshalAuthorizedKey(key)))
		fmt.Fprintf(&lines, "%s %s\n---- BEGIN SSH2 PUBLIC KEY ----\n", plain, comment)
		for encoded := strings.Fields(plain)[1]; encoded != ""; {
			n := min(len(encoded), 70)
			fmt.Fprintln(&lines, encoded[:n])
			encoded = encoded[n:]
		}
		lines.WriteString("---- END SSH2 PUBLIC KEY ----\n")
	}
	if lines.Len() == 0 {
		return errors.New("no key")
	}
	t, err := a.open()
	if err != nil {
		return err
	}
	defer t.close()
	if _, err := t.stat(".ssh"); err != nil {
		if err := t.mkdir(".ssh", 0o700); err != nil {
			return err
		}
	}
	f, err := t.openFile(authorizedKeys, createOrWrite, 0o600)
	if err != nil {
		return err
	}
	f.append = true
	_, err = f.WriteAt([]byte(lines.String()), 0)
	return errors.Join(err, f.Close())
}

// sortedKeys are the keys of a map in order.
func sortedKeys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }
