package workspace

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/pulumi/pulumi/sdk/v3/go/common/apitype"
	"github.com/pulumi/pulumi/sdk/v3/go/common/tokens"
	sdkworkspace "github.com/pulumi/pulumi/sdk/v3/go/common/workspace"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"
	"gopkg.in/yaml.v3"

	"homelab/internal/filelock"
	"homelab/internal/simcloud"
)

// Secret is a configuration value that a simulation makes up when the stack's configuration has
// none it can read.
type Secret struct {
	// Key is the full configuration key, for example "hcloud:token", or a path below one, as of
	// SetConfig.
	Key string
	// Generate makes a value of the form the key's reader accepts, out of the randomness given.
	Generate func(random io.Reader) (string, error)
	// Needs is a configuration key, or KEY.FIELD: while that has no value, an empty one or false,
	// the secret is not made up. Empty means none.
	Needs string
}

// Options say what to simulate.
type Options struct {
	// Project is the folder with Pulumi.yaml and Pulumi.<stack>.yaml. Required; nothing is written
	// there.
	Project string
	// Stack is the stack's name, with or without organization and project. Default prod.
	Stack string
	// State is the folder that keeps the simulation: stack state, generated secrets, simulated
	// clouds. It is made when absent, must otherwise be empty or come from an earlier simulation,
	// and holds one simulation at a time. Default: a temporary folder that Close removes.
	State string
	// World is the simulated clouds. Default: those kept in State, or new ones with the zone of the
	// stack's configuration. With a World of the caller's, State keeps no clouds.
	World *simcloud.World
	// Machines starts real machines behind the simulated clouds, once their folder is there and
	// locked; nil simulates them too. It is not called with a World of the caller's.
	Machines func(ctx context.Context, place Place) (simcloud.Machines, error)
	// Program is what the engine runs, given the folder with the Pulumi.yaml that it reads.
	// Required.
	Program func(root string) pulumi.RunFunc
	// CLI is the Pulumi CLI's path, see toolchain.Pulumi. Required.
	CLI string
	// Secrets are the values to make up when missing. Encrypted values of the project's own file
	// are never read: they count as missing.
	Secrets []Secret
	// Config changes the stack's configuration, see SetConfig.
	Config map[string]any
	// Env adds variables to the CLI's environment, which otherwise has only what a program needs to
	// run.
	Env map[string]string
	// Stdout and Stderr receive the engine's output as it happens. Default none.
	Stdout, Stderr io.Writer
}

// Place is where a simulation has its machines.
type Place struct {
	// State is the simulation's folder. It is removed with a temporary simulation.
	State string
	// Tailnet is the tailnet's name, and Operator the login of the first of its admins. Empty where
	// the configuration has none.
	Tailnet, Operator string
}

// Simulation is a Workspace on simulated clouds, in a folder and with an environment of its own.
type Simulation struct {
	*Workspace

	temporary bool
	project   string
	lock      *filelock.Lock
	world     *simcloud.World
	key       []byte // seals the clouds' file; nil when there is none to keep
	server    *simcloud.Server
	sealer    *sealer
	notes     []string
}

// interruptGrace is how long an interrupted simulation may go on. Nothing real is half made when it
// is cut off.
const interruptGrace = 30 * time.Second

// Files of a simulation's folder.
const (
	markerFile     = "simulation"
	lockFile       = "lock"
	passphraseFile = "passphrase"
	cloudsFile     = "clouds"
	cloudsKeyFile  = "clouds.key"
	backendDir     = "backend"
	homeDir        = "home"
	pulumiHome     = ".pulumi" // in homeDir
	imagesDir      = "images"
)

// Simulated opens a stack on simulated clouds, in a folder and with an environment of its own.
// Close it after use. Errors that match ErrConfig are about the options.
func Simulated(ctx context.Context, opts Options) (_ *Simulation, err error) {
	project, ref, err := checkProject(opts.Project, opts.Stack)
	if err != nil {
		return nil, err
	}
	stackName := ref.name // the simulation has a backend of its own, without organizations
	if opts.Program == nil || opts.CLI == "" {
		return nil, configErrorf("simulating stack %s: program or CLI is missing", stackName)
	}
	sim := &Simulation{project: project, Workspace: &Workspace{
		stackName: stackName, simulated: true, stdout: orDiscard(opts.Stdout), stderr: orDiscard(opts.Stderr),
	}}
	sim.keep = sim.keepClouds
	defer func() {
		if err != nil {
			err = errors.Join(fmt.Errorf("simulating stack %s: %w", stackName, err), sim.Close())
		}
	}()
	if err := sim.openFolder(ctx, opts.State, sim.stderr); err != nil {
		return nil, err
	}
	if err := sim.linkProject(); err != nil {
		return nil, err
	}
	if sim.sealer, err = openSealer(sim.dir, sim.temporary); err != nil {
		return nil, err
	}
	if err := sim.writeConfig(ctx, opts); err != nil {
		return nil, err
	}
	if err := sim.serveClouds(ctx, opts); err != nil {
		return nil, err
	}
	return sim, sim.openStack(ctx, opts)
}

// openFolder makes or takes over the simulation's folder and locks it.
func (s *Simulation) openFolder(ctx context.Context, state string, progress io.Writer) (err error) {
	if state == "" {
		s.temporary = true
		s.dir, err = os.MkdirTemp("", "homelab-simulation-")
		return err
	}
	if s.dir, err = filepath.Abs(state); err != nil {
		return configError{err}
	}
	entries, err := os.ReadDir(s.dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return configErrorf("state folder: %w", err)
	}
	marker := filepath.Join(s.dir, markerFile)
	if _, err := os.Stat(marker); err != nil && len(entries) > 0 {
		return configErrorf("state folder %s is not empty and is not from an earlier simulation: name another folder", s.dir)
	}
	if err := os.MkdirAll(s.dir, 0o700); err != nil {
		return configErrorf("state folder: %w", err)
	}
	if err := os.WriteFile(marker, []byte("The state of a homelab simulation. It is safe to delete.\n"), 0o600); err != nil {
		return configErrorf("state folder: %w", err)
	}
	s.lock, err = filelock.Acquire(ctx, filepath.Join(s.dir, lockFile), func() {
		fmt.Fprintf(progress, "waiting for another operation on %s\n", s.dir)
	})
	return err
}

// linkProject gives the folder the project's Pulumi.yaml and images.
func (s *Simulation) linkProject() error {
	data, err := os.ReadFile(filepath.Join(s.project, projectFile))
	if err != nil {
		return configError{err}
	}
	if err := os.WriteFile(filepath.Join(s.dir, projectFile), data, 0o600); err != nil {
		return err
	}
	for _, dir := range []string{backendDir, homeDir} {
		if err := os.MkdirAll(filepath.Join(s.dir, dir), 0o700); err != nil {
			return err
		}
	}
	link, target := filepath.Join(s.dir, imagesDir), filepath.Join(s.project, imagesDir)
	if _, err := os.Stat(target); err != nil {
		return nil // a project without images needs no link
	}
	if old, err := os.Readlink(link); err == nil && old == target {
		return nil
	}
	if err := os.Remove(link); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return os.Symlink(target, link)
}

// writeConfig makes the stack's file of the simulation from the project's.
func (w *Simulation) writeConfig(ctx context.Context, opts Options) error {
	sim := w
	path := filepath.Join(sim.project, filepath.Base(w.stackFilePath()))
	file, err := readStackFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return configErrorf("there is no %s: make it, or name another stack", path)
	}
	if err != nil {
		return configError{err}
	}
	if file.Environment.Kind != 0 {
		sim.notes = append(sim.notes, "left out the environments that the stack imports: a simulation reads files only")
	}
	file = &stackFile{Config: file.Config, EncryptionSalt: sim.sealer.salt}
	config := file.config()
	dropped := config.dropSecure()
	for path, value := range opts.Config {
		if err := config.set(path, value); err != nil {
			return configError{err}
		}
	}
	kept, err := readStackFileIfAny(w.stackFilePath())
	if err != nil {
		return err
	}
	filled, err := sim.fillSecrets(ctx, config, kept.config(), opts.Secrets)
	if err != nil {
		return err
	}
	if len(filled) > 0 {
		sim.notes = append(sim.notes, fmt.Sprintf("filled %d missing secrets with generated values for the simulation: %s",
			len(filled), strings.Join(filled, ", ")))
	}
	lost := slices.DeleteFunc(dropped, func(path string) bool { return slices.Contains(filled, path) || config.has(path) })
	if len(lost) > 0 {
		sim.notes = append(sim.notes, "left out encrypted values that a simulation cannot read: "+strings.Join(lost, ", "))
	}
	return w.writeStackFile(file)
}

func (w *Simulation) writeStackFile(file *stackFile) error {
	data, err := file.marshal()
	if err != nil {
		return err
	}
	return os.WriteFile(w.stackFilePath(), data, 0o600)
}

// needs reports whether the configuration has what the secret is for.
func (c stackConfig) needs(secret Secret) bool {
	if secret.Needs == "" {
		return true
	}
	key, field, _ := strings.Cut(secret.Needs, ".")
	node := lookup(c.root, key)
	if field != "" {
		node = lookup(node, field)
	}
	return node != nil && node.Tag != "!!null" && node.Value != "false" && (node.Kind == yaml.ScalarNode || len(node.Content) > 0)
}

// fillSecrets gives every secret without a value the one kept from before, or a new one, and
// returns their keys, sorted.
func (s *Simulation) fillSecrets(ctx context.Context, config, kept stackConfig, secrets []Secret) ([]string, error) {
	var filled []string
	for _, secret := range secrets {
		present, _, err := config.find(secret.Key)
		if err != nil {
			return nil, err
		}
		if present != nil || !config.needs(secret) {
			continue
		}
		before, _, err := kept.find(secret.Key)
		if err != nil {
			return nil, err
		}
		ciphertext, found := isSecure(before)
		if !found {
			value, err := secret.Generate(rand.Reader)
			if err != nil {
				return nil, fmt.Errorf("generating %s: %w", secret.Key, err)
			}
			if ciphertext, err = s.sealer.seal(ctx, value); err != nil {
				return nil, fmt.Errorf("encrypting %s: %w", secret.Key, err)
			}
		}
		if err := config.put(secret.Key, secureNode(ciphertext)); err != nil {
			return nil, err
		}
		filled = append(filled, secret.Key)
	}
	slices.Sort(filled)
	return filled, nil
}

// openStack opens the stack, and makes it when the folder is new.
func (w *Simulation) openStack(ctx context.Context, opts Options) (err error) {
	sim := w
	extra := map[string]string{
		"PULUMI_BACKEND_URL":                            "file://" + filepath.ToSlash(filepath.Join(sim.dir, backendDir)),
		passphraseFileVariable:                          filepath.Join(sim.dir, passphraseFile),
		"PULUMI_SKIP_UPDATE_CHECK":                      "true",
		"PULUMI_DISABLE_AUTOMATIC_PLUGIN_ACQUISITION":   "true",
		"PULUMI_DIY_BACKEND_DISABLE_CHECKPOINT_BACKUPS": "true",
		"PULUMI_DEBUG_PROVIDERS":                        sim.server.DebugProviders(),
	}
	if sim.temporary {
		if err := sim.spareEngine(extra); err != nil {
			return err
		}
	}
	for name, value := range opts.Env {
		extra[name] = value
	}
	cli := &command{
		path: opts.CLI, grace: interruptGrace,
		env: isolatedEnv(os.Environ(), filepath.Join(sim.dir, homeDir), extra),
	}
	if w.stack, err = newStack(ctx, sim.dir, w.stackName, w.watched(opts.Program(sim.dir)), cli); err != nil {
		return err
	}
	w.cli = cli
	checkpoint, err := w.checkpointPath()
	if err != nil {
		return err
	}
	if _, err := os.Stat(checkpoint); err == nil {
		return nil
	}
	return w.createStack(checkpoint)
}

// spareEngine keeps the engine from writing what nobody can read once the temporary folder is gone.
// That takes much longer than the deployment itself.
func (s *Simulation) spareEngine(env map[string]string) error {
	// The state is written once, at the end, instead of twice per resource. Only an engine that is
	// killed leaves none.
	env["PULUMI_SKIP_CHECKPOINTS"] = "true"
	// A process of some seconds need not collect garbage as often as one that stays.
	env["GOGC"] = "400"
	// The CLI encrypts a log of everything it does. It has no switch for that, and does without
	// where it cannot make the folder: here a file has its name.
	home := filepath.Join(s.dir, homeDir, pulumiHome)
	if err := os.MkdirAll(home, 0o700); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(home, "logs"), nil, 0o600)
}

// createStack writes what `pulumi stack init` leaves in a file backend: the backend's format and a
// stack without resources. It spares every new simulation a process.
func (w *Simulation) createStack(checkpoint string) error {
	project := filepath.Base(filepath.Dir(checkpoint))
	inner, err := json.Marshal(apitype.CheckpointV3{Stack: tokens.QName("organization/" + project + "/" + w.stackName)})
	if err != nil {
		return err
	}
	outer, err := json.Marshal(apitype.VersionedCheckpoint{Version: 3, Checkpoint: inner})
	if err != nil {
		return err
	}
	meta, err := yaml.Marshal(map[string]int{"version": 1})
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(checkpoint), 0o700); err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(w.dir, backendDir, ".pulumi", "meta.yaml"), meta, 0o600); err != nil {
		return err
	}
	return os.WriteFile(checkpoint, outer, 0o600)
}

// checkpointPath is where the file backend keeps the stack's state.
func (w *Simulation) checkpointPath() (string, error) {
	project, err := sdkworkspace.LoadProject(filepath.Join(w.dir, projectFile))
	if err != nil {
		return "", configError{fmt.Errorf("reading the project: %w", err)}
	}
	return filepath.Join(w.dir, backendDir, ".pulumi", "stacks", string(project.Name), w.stackName+".json"), nil
}

// Close ends the simulated clouds and, when the simulation's folder is temporary, removes it.
// Closing twice is harmless.
func (w *Simulation) Close() error {
	var problems []error
	if w.server != nil {
		problems = append(problems, w.server.Close())
		w.server = nil
	}
	problems = append(problems, w.lock.Release())
	if w.temporary && w.dir != "" {
		problems = append(problems, os.RemoveAll(w.dir))
	}
	return errors.Join(problems...)
}

// World is the simulated clouds.
func (w *Simulation) World() *simcloud.World {
	return w.world
}

// Notes says, a line each, how the simulation's configuration differs from the project's.
func (w *Simulation) Notes() []string {
	return slices.Clone(w.notes)
}

// SetConfig changes the simulation's configuration for the operations after it. A key is a
// configuration key with its namespace, or a path below one, such as "homelab:cloudflare.plan" or
// "homelab:users[0].name"; a value is anything YAML can express, and nil removes the key. The
// project's file stays as it is, and the next Simulated with the same State starts from that again.
func (w *Simulation) SetConfig(values map[string]any) error {
	file, err := readStackFile(w.stackFilePath())
	if err != nil {
		return err
	}
	config := file.config()
	for path, value := range values {
		if err := config.set(path, value); err != nil {
			return configError{err}
		}
	}
	return w.writeStackFile(file)
}

// LiftProtection sets homelab:protect to false and runs Up, after which Destroy can delete
// everything.
func (w *Simulation) LiftProtection(ctx context.Context, opts ...Option) (*Summary, error) {
	if err := w.SetConfig(map[string]any{protectKey: false}); err != nil {
		return nil, err
	}
	return w.Up(ctx, opts...)
}
