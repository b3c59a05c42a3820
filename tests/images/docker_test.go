package images

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// docker runs the checks.
type docker struct {
	// program is the command line of Docker.
	program string
	// env is what it has beside the environment of the tests.
	env []string
}

// patience is how long a check may take, with the pull of its image.
const patience = 10 * time.Minute

// judge runs the check of a container's image on its files.
func (d docker) judge(ctx context.Context, of deployment, c container, k check) error {
	image := c.Image
	if c.folder != "" {
		image = "homelab-test/" + c.Name
		if out, err := d.run(ctx, "build", "--quiet", "--tag", image, filepath.Join(checkout, c.folder)); err != nil {
			return fmt.Errorf("building the image of %s: %w\n%s", c.Name, err, out)
		}
	}
	arguments, err := runArguments(of, c, k, image)
	if err != nil {
		return err
	}
	out, err := d.run(ctx, arguments...)
	var ended *exec.ExitError
	switch {
	case errors.As(err, &ended) && slices.Contains(k.codes, ended.ExitCode()):
	case err != nil:
		return fmt.Errorf("docker %s: %w\n%s", strings.Join(arguments, " "), err, out)
	}
	if k.refused != nil && k.refused.MatchString(out) {
		return fmt.Errorf("%s says %q\n%s", c.Name, k.refused.FindString(out), out)
	}
	return nil
}

func (d docker) run(ctx context.Context, arguments ...string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	var out bytes.Buffer
	cmd := exec.CommandContext(ctx, d.program, arguments...)
	cmd.Env = append(os.Environ(), d.env...)
	cmd.Stdout, cmd.Stderr = &out, &out
	cmd.WaitDelay = 10 * time.Second
	err := cmd.Run()
	if ctx.Err() != nil {
		err = errors.Join(errors.New("it did not end in time"), err)
	}
	return out.String(), err
}

// runArguments are the arguments of docker for a check: the container as it is deployed, without its
// network, and with its program replaced.
func runArguments(of deployment, c container, k check, image string) ([]string, error) {
	out := []string{"run", "--rm"}
	if !k.network {
		out = append(out, "--network", "none")
	}
	out = append(out, "--user", c.User)
	if c.ReadOnly {
		out = append(out, "--read-only")
	}
	for _, option := range c.SecurityOpts {
		out = append(out, "--security-opt", option)
	}
	for _, capability := range c.Capabilities.Drops {
		out = append(out, "--cap-drop", capability)
	}
	for _, capability := range c.Capabilities.Adds {
		out = append(out, "--cap-add", capability)
	}
	for _, variable := range c.Envs {
		out = append(out, "--env", variable)
	}
	for _, m := range c.Mounts {
		option, err := mountOption(of, m)
		if err != nil {
			return nil, fmt.Errorf("mounting %s of %s: %w", m.Target, c.Name, err)
		}
		out = append(out, "--mount", option)
	}
	arguments, err := k.arguments(c)
	if err != nil {
		return nil, fmt.Errorf("the check of %s: %w", c.Name, err)
	}
	return append(append(out, "--entrypoint", k.program, image), arguments...), nil
}

// mountOption mounts what the container reads from the folder of the test, and gives it memory for
// what it writes: its files would belong to somebody else than who runs the tests.
func mountOption(of deployment, m mount) (string, error) {
	memory := "type=tmpfs,target=" + m.Target + ",tmpfs-mode=1777"
	if m.Type == "tmpfs" {
		return memory, nil
	}
	source := of.path(m.Source)
	info, err := os.Stat(source)
	if errors.Is(err, os.ErrNotExist) {
		// A gate, a disk, a part of the machine: it is there, and empty.
		err = os.MkdirAll(source, 0o755)
	}
	if err != nil {
		return "", err
	}
	if !m.ReadOnly && (info == nil || info.IsDir()) {
		entries, err := os.ReadDir(source)
		if err != nil {
			return "", err
		}
		if !slices.ContainsFunc(entries, hasContent) {
			return memory, nil
		}
	}
	option := "type=bind,source=" + source + ",target=" + m.Target
	if m.ReadOnly {
		option += ",readonly"
	}
	return option, nil
}

// hasContent reports whether an entry is more than an empty file: a log that exists before anybody
// writes to it.
func hasContent(entry os.DirEntry) bool {
	info, err := entry.Info()
	return err != nil || entry.IsDir() || info.Size() > 0
}
