package programs

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"

	"golang.org/x/mod/semver"

	"homelab/components/images"
	"homelab/internal/toolchain"
)

// AutheliaVariable names the environment variable with the path of a real Authelia, or with
// FromImage.
const AutheliaVariable = "HOMELAB_AUTHELIA"

// FromImage stands for the image that the deployment runs. Docker has to be there.
const FromImage = "image"

// authelia439 is the oldest Authelia that reads our configuration.
const authelia439 = "v4.39.0"

var versionInOutput = regexp.MustCompile(`v\d+\.\d+\.\d+`)

// findAuthelia prefers the real program. One that is named and unusable is an error: whoever names
// it wants it tested.
func (s *Set) findAuthelia(ctx context.Context, folder string, progress io.Writer) (err error) {
	s.Authelia = os.Getenv(AutheliaVariable)
	switch s.Authelia {
	case FromImage:
		s.Authelia, s.AutheliaRoot = "/app/authelia", filepath.Join(folder, "authelia-image")
		if err := export(ctx, images.Authelia.Reference(), s.AutheliaRoot, progress); err != nil {
			return err
		}
	case "":
		s.Authelia, err = exec.LookPath("authelia")
		if errors.Is(err, exec.ErrNotFound) {
			s.AutheliaIs = "the stand-in of tests/chain/standin (no authelia on PATH, " + AutheliaVariable + " is not set)"
			s.Authelia, err = toolchain.Build(ctx, standin, progress)
			return err
		}
		if err != nil {
			return err
		}
	}
	if s.Authelia, err = filepath.Abs(s.Authelia); err != nil {
		return err
	}
	ask := exec.CommandContext(ctx, s.Authelia, "--version")
	ask.SysProcAttr = &syscall.SysProcAttr{Chroot: s.AutheliaRoot}
	if s.AutheliaRoot != "" {
		ask.Dir = "/"
	}
	out, err := ask.Output()
	if err != nil {
		return fmt.Errorf("asking %s for its version: %w", s.Authelia, err)
	}
	version := versionInOutput.FindString(string(out))
	if version == "" || semver.Compare(version, authelia439) < 0 {
		return fmt.Errorf("%s is %q: the chain needs %s or newer", s.Authelia, out, authelia439)
	}
	s.AutheliaIs = "Authelia " + version + " at " + s.Authelia
	if s.AutheliaRoot != "" {
		s.AutheliaIs += " of " + images.Authelia.Reference()
	}
	return nil
}

// export fills the folder with the files of an image.
func export(ctx context.Context, reference, folder string, progress io.Writer) (err error) {
	create := exec.CommandContext(ctx, "docker", "create", reference)
	create.Stderr = progress
	out, err := create.Output()
	if err != nil {
		return fmt.Errorf("making a container of %s: %w", reference, err)
	}
	container := strings.TrimSpace(string(out))
	defer func() { err = errors.Join(err, exec.Command("docker", "rm", container).Run()) }()
	if err := os.Mkdir(folder, 0o755); err != nil {
		return err
	}
	files, archive, err := os.Pipe()
	if err != nil {
		return err
	}
	save := exec.CommandContext(ctx, "docker", "export", container)
	unpack := exec.CommandContext(ctx, "tar", "--extract", "--directory", folder)
	save.Stdout, unpack.Stdin = archive, files
	save.Stderr, unpack.Stderr = progress, progress
	err = errors.Join(save.Start(), unpack.Start(), archive.Close(), files.Close())
	if err != nil {
		return fmt.Errorf("exporting %s: %w", reference, err)
	}
	if err := errors.Join(save.Wait(), unpack.Wait()); err != nil {
		return fmt.Errorf("exporting %s: %w", reference, err)
	}
	return nil
}
