package simcloud

import (
	"fmt"
	"regexp"
	"strings"
)

const typeCommand = "command:remote:Command"

var _ = register(typeCommand, &kind{
	native: true,
	// The SDK asks for a replacement when a trigger changes; the plugin itself only when there were
	// none, or are none any more.
	replaces: []string{"triggers"}, inPlace: []string{"triggers[]"},
	defaults: map[string]any{"connection.port": 22.0, "connection.user": "root", "connection.perDialTimeout": 15.0, "connection.dialErrorLimit": 10.0},
	create: func(t *task) (string, error) {
		if script, ok := t.in["create"].(string); ok {
			if err := t.run(OpCreate, script, t.in); err != nil {
				return "", err
			}
		}
		t.result()
		return t.name + hexID(8), nil
	},
	// An update runs `update`, and `create` again where there is none.
	update: func(t *task, _ *object) error {
		script, ok := t.in["update"].(string)
		if !ok {
			script, ok = t.in["create"].(string)
		}
		if ok {
			if err := t.run(OpUpdate, script, t.in); err != nil {
				return err
			}
		}
		t.result()
		return nil
	},
	// A delete runs with the inputs of the last create or update.
	remove: func(t *task, o *object) error {
		if script, ok := o.Inputs["delete"].(string); ok {
			return t.run(OpDelete, script, o.Inputs)
		}
		return nil
	},
	instead: &acts{create: createCommand, update: updateCommand, remove: deleteCommand},
})

func (t *task) result() { t.out["stdout"], t.out["stderr"] = "", "" }

// run connects as the real provider does and records the command.
func (t *task) run(phase Kind, script string, in map[string]any) error {
	connection := section(in, "connection")
	if proxy := section(connection, "proxy"); proxy != nil {
		if _, err := t.dial(proxy); err != nil {
			return fmt.Errorf("proxy: %w", err)
		}
	}
	m, err := t.dial(connection)
	if err != nil {
		return err
	}
	if err := t.waitUntilHealthy(m, script, text(in, "stdin")); err != nil {
		return err
	}
	user := text(connection, "user")
	if user == "" {
		user = "root"
	}
	environ := map[string]string{}
	for k, v := range section(in, "environment") {
		environ[k], _ = v.(string)
	}
	m.Commands = append(m.Commands, Command{
		Sequence: t.w.serial(), Machine: m.Name, Address: text(connection, "host"), User: user, Resource: t.name,
		Phase: phase, Script: script, Stdin: text(in, "stdin"), Environ: environ,
	})
	return nil
}

var waiting = regexp.MustCompile(`^sh -s -- ([a-zA-Z0-9_.-]+) [0-9]+$`)

// waitUntilHealthy does on the machine what the deployment's script for it does: it fails while a
// container is not healthy, after it has started it again. A restart helps when what was in the
// container's way is gone: no fault hits it any more.
func (t *task) waitUntilHealthy(m *machine, script, stdin string) error {
	found := waiting.FindStringSubmatch(script)
	if found == nil || !strings.Contains(stdin, "docker inspect") {
		return nil
	}
	for _, c := range t.w.on(m.ID, typeContainer) {
		if text(c.live(), "name") != found[1] {
			continue
		}
		if c.Failed != "" && !c.Stopped && !t.w.ails(c) {
			c.Failed = ""
		}
		if c.Failed != "" || c.Stopped {
			return fail("Process exited with status 1: container %s is not healthy (%s): docker logs %s says more", found[1], c.Failed, found[1])
		}
		return nil
	}
	return fail("Process exited with status 1: Error: No such container: %s", found[1])
}

// dial finds the machine and compares its host key with the pinned one.
func (t *task) dial(connection map[string]any) (*machine, error) {
	port := int(number(connection, "port"))
	if port == 0 {
		port = 22
	}
	host := text(connection, "host")
	if key := text(connection, "privateKey"); key != "" {
		if err := readable(key, text(connection, "privateKeyPassword")); err != nil {
			return nil, err
		}
	}
	m, err := t.w.reach(host, port)
	if err != nil {
		return nil, fmt.Errorf("after 10 failed attempts: %w", err)
	}
	pinned := text(connection, "hostKey")
	if pinned == "" {
		return m, nil // the real one does not check either
	}
	want := normalKey(pinned)
	if want == "" {
		return nil, fail("failed to parse host key: ssh: no key found")
	}
	if want != m.HostKey {
		return nil, fail("after 10 failed attempts: ssh: handshake failed: ssh: host key mismatch")
	}
	return m, nil
}

func readable(key, password string) error {
	_, err := signerOf(key, password)
	return err
}
