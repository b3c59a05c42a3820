package images

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// The stand-in for docker is this test's own program under that name. It takes what docker run and
// docker build take, as their documentation says
// (https://docs.docker.com/reference/cli/docker/container/run/), and refuses more than they do: an
// image without a digest that it has not built, a file that a program is told to read and nothing
// mounts, and every flag that weakens the container.
const (
	standinName = "docker"
	// standinFolder is the variable that says where the stand-in notes what it was asked.
	standinFolder = "HOMELAB_STANDIN_FOLDER"
	// exitRefused is what docker ends with when it refuses its own arguments.
	exitRefused = 125
)

func TestMain(m *testing.M) {
	if filepath.Base(os.Args[0]) != standinName {
		os.Exit(m.Run())
	}
	if err := standin(os.Getenv(standinFolder), os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "docker:", err)
		os.Exit(exitRefused)
	}
}

// asked is what a program was asked to check.
type asked struct {
	Image      string
	Program    string
	Arguments  []string
	Mounts     map[string]string // source by target; empty for memory
	Flags      map[string][]string
	Read       []string // paths among the arguments that are files of a mount
	Unreadable []string // paths among the arguments below a mount that are no files
}

func standin(folder string, arguments []string) error {
	if len(arguments) == 0 {
		return errors.New("no command")
	}
	switch arguments[0] {
	case "build":
		return standinBuild(folder, arguments[1:])
	case "run":
		return standinRun(folder, arguments[1:])
	}
	return fmt.Errorf("'%s' is not a docker command", arguments[0])
}

// flags of the two commands, as far as anything here has a use for them; true takes a value.
var (
	buildFlags = map[string]bool{"quiet": false, "tag": true, "file": true, "platform": true}
	runFlags   = map[string]bool{
		"rm": false, "read-only": false, "network": true, "user": true, "cap-add": true, "cap-drop": true, "security-opt": true, "env": true,
		"mount": true, "entrypoint": true, "memory": true, "platform": true,
	}
)

// parse reads flags until the first word that is none.
func parse(arguments []string, known map[string]bool) (values map[string][]string, rest []string, err error) {
	values = map[string][]string{}
	for len(arguments) > 0 && strings.HasPrefix(arguments[0], "-") {
		name, value, inline := strings.Cut(strings.TrimPrefix(arguments[0], "--"), "=")
		takes, ok := known[name]
		if !ok || !strings.HasPrefix(arguments[0], "--") {
			return nil, nil, fmt.Errorf("unknown flag: %s", arguments[0])
		}
		arguments = arguments[1:]
		if !takes {
			if inline {
				return nil, nil, fmt.Errorf("--%s takes no value here", name)
			}
			values[name] = append(values[name], "true")
			continue
		}
		if !inline {
			if len(arguments) == 0 {
				return nil, nil, fmt.Errorf("flag needs an argument: --%s", name)
			}
			value, arguments = arguments[0], arguments[1:]
		}
		values[name] = append(values[name], value)
	}
	return values, arguments, nil
}

var (
	pinnedImage = regexp.MustCompile(`^[a-z0-9.-]+(/[a-z0-9._-]+)+(:[A-Za-z0-9._-]+)?@sha256:[0-9a-f]{64}$`)
	localTag    = regexp.MustCompile(`^[a-z0-9-]+/[a-z0-9-]+$`)
	fromLine    = regexp.MustCompile(`(?m)^FROM +(?:--platform=\S+ +)?(\S+)`)
	ids         = regexp.MustCompile(`^[0-9]+:[0-9]+$`)
	capability  = regexp.MustCompile(`^(ALL|CAP_[A-Z_]+)$`)
	variable    = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*=`)
	somePath    = regexp.MustCompile(`/[A-Za-z0-9._/-]+`)
)

func standinBuild(folder string, arguments []string) error {
	values, rest, err := parse(arguments, buildFlags)
	if err != nil {
		return err
	}
	if len(rest) != 1 || len(values["tag"]) != 1 || !localTag.MatchString(values["tag"][0]) {
		return fmt.Errorf("\"docker build\" requires exactly 1 argument and a tag: %q", arguments)
	}
	text, err := os.ReadFile(filepath.Join(rest[0], "Dockerfile"))
	if err != nil {
		return err
	}
	for _, from := range fromLine.FindAllStringSubmatch(string(text), -1) {
		if from[1] != "scratch" && !pinnedImage.MatchString(from[1]) {
			return fmt.Errorf("the base image %s is not pinned by its digest", from[1])
		}
	}
	return os.WriteFile(filepath.Join(folder, "built-"+strings.ReplaceAll(values["tag"][0], "/", "-")), nil, 0o600)
}

func standinRun(folder string, arguments []string) error {
	values, rest, err := parse(arguments, runFlags)
	if err != nil {
		return err
	}
	if len(rest) == 0 {
		return errors.New("\"docker run\" requires at least 1 argument")
	}
	a := asked{Image: rest[0], Arguments: rest[1:], Flags: values, Mounts: map[string]string{}}
	if _, err := os.Stat(filepath.Join(folder, "built-"+strings.ReplaceAll(a.Image, "/", "-"))); err != nil && !pinnedImage.MatchString(a.Image) {
		return fmt.Errorf("%s was not built here, and is not pinned by its digest", a.Image)
	}
	for name, form := range map[string]*regexp.Regexp{
		"user": ids, "cap-add": capability, "cap-drop": capability, "env": variable, "network": regexp.MustCompile(`^none$`),
		"security-opt": regexp.MustCompile(`^no-new-privileges$`), "entrypoint": regexp.MustCompile(`^\S+$`),
	} {
		for _, value := range values[name] {
			if !form.MatchString(value) {
				return fmt.Errorf("invalid argument %q for --%s", value, name)
			}
		}
	}
	for _, once := range []string{"user", "entrypoint"} {
		if len(values[once]) != 1 {
			return fmt.Errorf("--%s is there %d times", once, len(values[once]))
		}
	}
	a.Program = values["entrypoint"][0]
	if !slices.Contains(values["cap-drop"], "ALL") {
		return errors.New("it keeps capabilities")
	}
	for _, option := range values["mount"] {
		target, source, err := parseMount(option)
		if err != nil {
			return fmt.Errorf("invalid argument %q for --mount: %w", option, err)
		}
		if _, twice := a.Mounts[target]; twice {
			return fmt.Errorf("duplicate mount point: %s", target)
		}
		a.Mounts[target] = source
	}
	a.look()
	return a.note(folder)
}

// parseMount reads an option as https://docs.docker.com/reference/cli/docker/container/run/#mount
// describes it.
func parseMount(option string) (target, source string, err error) {
	fields, readonly := map[string]string{}, false
	for _, field := range strings.Split(option, ",") {
		key, value, found := strings.Cut(field, "=")
		switch {
		case field == "readonly":
			readonly = true
		case !found || value == "" || !slices.Contains([]string{"type", "source", "target", "tmpfs-mode", "tmpfs-size"}, key):
			return "", "", fmt.Errorf("unexpected field %q", field)
		default:
			fields[key] = value
		}
	}
	target, source = fields["target"], fields["source"]
	if !filepath.IsAbs(target) {
		return "", "", fmt.Errorf("target %q is not absolute", target)
	}
	switch fields["type"] {
	case "tmpfs":
		if source != "" || readonly {
			return "", "", errors.New("memory has no source, and is not read-only")
		}
		return target, "", nil
	case "bind":
		if _, err := os.Stat(source); err != nil || !filepath.IsAbs(source) {
			return "", "", fmt.Errorf("bind source path does not exist: %s", source)
		}
		if fields["tmpfs-mode"] != "" || fields["tmpfs-size"] != "" {
			return "", "", errors.New("cannot mix 'tmpfs-*' options with mount type 'bind'")
		}
		return target, source, nil
	}
	return "", "", fmt.Errorf("mount type %q", fields["type"])
}

// look sorts the paths among the arguments: the files of mounts, and what a mount should have but
// has not. What lies below no mount is the image's.
func (a *asked) look() {
	for _, path := range somePath.FindAllString(strings.Join(a.Arguments, " "), -1) {
		source, below := a.inside(path)
		if !below || source == "" {
			continue
		}
		if info, err := os.Stat(source); err != nil {
			a.Unreadable = append(a.Unreadable, path)
		} else if info.Mode().IsRegular() && info.Size() > 0 {
			a.Read = append(a.Read, path)
		}
	}
}

// inside is where a path of the container really is: below the mount that is nearest to it. Empty
// is memory.
func (a *asked) inside(path string) (source string, below bool) {
	nearest := ""
	for target := range a.Mounts {
		if (path == target || strings.HasPrefix(path, target+"/")) && len(target) > len(nearest) {
			nearest = target
		}
	}
	if nearest == "" || a.Mounts[nearest] == "" {
		return "", nearest != ""
	}
	return filepath.Join(a.Mounts[nearest], strings.TrimPrefix(path, nearest)), true
}

func (a *asked) note(folder string) error {
	text, err := json.Marshal(a)
	if err != nil {
		return err
	}
	file, err := os.OpenFile(filepath.Join(folder, "asked"), os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	_, err = file.Write(append(text, '\n'))
	return errors.Join(err, file.Close())
}
