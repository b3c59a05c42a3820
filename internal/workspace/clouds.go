package workspace

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"homelab/internal/simcloud"
)

// worldOptions are the clouds as the stack's configuration expects to find them, with the folder in
// which the engine runs providers. What is absent or makes no sense keeps its default: it is the
// program's task to refuse it.
func worldOptions(settings stackConfig, dir string) simcloud.Options {
	return simcloud.Options{
		ProjectDir: dir,

		ZoneID:   settings.text("homelab:cloudflare.zoneId"),
		ZoneName: settings.text("homelab:domain"),
		ZonePlan: settings.text("homelab:cloudflare.plan"),
		Tailnet:  settings.text("homelab:tailscale.tailnet"),
	}
}

// serveClouds starts the simulated clouds: the caller's, those kept in the folder, or new ones.
func (w *Simulation) serveClouds(ctx context.Context, opts Options) (err error) {
	sim := w
	sim.world = opts.World
	if sim.world == nil {
		file, err := readStackFile(w.stackFilePath())
		if err != nil {
			return err
		}
		settings := file.config()
		world := worldOptions(settings, sim.dir)
		if opts.Machines != nil {
			place := Place{State: sim.dir, Tailnet: world.Tailnet, Operator: settings.text("homelab:tailscale.admins[0]")}
			if world.Machines, err = opts.Machines(ctx, place); err != nil {
				return err
			}
		}
		if err := sim.openWorld(world); err != nil {
			return err
		}
	}
	// An interrupted engine still finishes what it began, so the clouds must outlive ctx: Close
	// ends them.
	if sim.server, err = sim.world.Serve(context.WithoutCancel(ctx)); err != nil {
		return fmt.Errorf("serving the simulated clouds: %w", err)
	}
	return nil
}

// openWorld loads the clouds kept in the folder, or makes new ones.
func (s *Simulation) openWorld(options simcloud.Options) (err error) {
	if s.temporary {
		s.world = simcloud.New(options)
		return nil
	}
	if s.key, err = cloudsKey(filepath.Join(s.dir, cloudsKeyFile)); err != nil {
		return err
	}
	s.world, err = simcloud.Load(filepath.Join(s.dir, cloudsFile), s.key, options)
	if errors.Is(err, fs.ErrNotExist) {
		s.world, err = simcloud.New(options), nil
	}
	return mixed(err, options.Machines != nil)
}

// mixed says what to do about a simulation that was made with other machines.
func mixed(err error, machines bool) error {
	switch {
	case !errors.Is(err, simcloud.ErrMachines):
		return err
	case machines:
		return configErrorf("the machines of this simulation are simulated: leave out --machine, or name another folder with --state")
	}
	return configErrorf("the machines of this simulation are real: add --machine")
}

// Kept reads the clouds that a simulation with real machines keeps in its folder. The error wraps
// fs.ErrNotExist where nothing is kept yet.
func Kept(state string, machines simcloud.Machines) (*simcloud.World, error) {
	key, err := os.ReadFile(filepath.Join(state, cloudsKeyFile))
	if err != nil {
		return nil, err
	}
	world, err := simcloud.Load(filepath.Join(state, cloudsFile), key, simcloud.Options{Machines: machines})
	return world, mixed(err, machines != nil)
}

// cloudsKey reads the key that seals the clouds' file, and makes it the first time.
func cloudsKey(path string) ([]byte, error) {
	key, err := os.ReadFile(path)
	if err == nil {
		return key, nil
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	key = make([]byte, simcloud.KeySize)
	if _, err := rand.Read(key); err != nil {
		return nil, err
	}
	return key, os.WriteFile(path, key, 0o600)
}

// keepEvery is how often the clouds are saved while an operation changes them.
const keepEvery = 2 * time.Second

// keepClouds saves the simulated clouds again and again until done is called, and then once more,
// unless they are the caller's or of a temporary folder: what was made before this program was
// killed is there afterwards, as with real clouds, but for the last moment. Only the last error
// counts, since each save is a whole one.
func (s *Simulation) keepClouds() (done func() error) {
	if s.key == nil {
		return func() error { return nil }
	}
	save := func() error { return s.world.Save(filepath.Join(s.dir, cloudsFile), s.key) }
	over, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		for every := time.NewTicker(keepEvery); ; {
			select {
			case <-over:
				every.Stop()
				return
			case <-every.C:
				_ = save() // as above
			}
		}
	}()
	return func() error {
		close(over)
		<-ended
		return save()
	}
}
