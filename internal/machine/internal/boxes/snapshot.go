package boxes

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"sync"
	"time"
)

// Snapshot is one that a box has.
type Snapshot struct {
	// Name is its time in UTC, and the name of its folder in .zfs/snapshot.
	Name string
	// Automatic is set if the plan took it, and may delete it.
	Automatic bool
}

// snapshotTime is how Hetzner names snapshots.
const snapshotTime = "2006-01-02T15-04-05"

// automatic holds a file for each snapshot that the plan took.
func (b *box) automatic() string { return filepath.Join(b.dir, "automatic") }

// Snapshot takes one by hand. It stays until somebody deletes it.
func (s *Server) Snapshot(id string) (string, error) {
	b, err := s.box(id)
	if err != nil {
		return "", err
	}
	return b.snapshot(false, 0)
}

// Snapshots lists them, the oldest first.
func (s *Server) Snapshots(id string) ([]Snapshot, error) {
	b, err := s.box(id)
	if err != nil {
		return nil, err
	}
	b.freeze.RLock()
	defer b.freeze.RUnlock()
	names, err := b.snapshotNames()
	if err != nil {
		return nil, err
	}
	out := []Snapshot{}
	for _, name := range names {
		out = append(out, Snapshot{Name: name, Automatic: exists(filepath.Join(b.automatic(), name))})
	}
	return out, nil
}

// DeleteSnapshot deletes one.
func (s *Server) DeleteSnapshot(id, name string) error {
	b, err := s.box(id)
	if err != nil {
		return err
	}
	b.freeze.Lock()
	defer b.freeze.Unlock()
	if err := b.known(name); err != nil {
		return err
	}
	return b.deleteSnapshot(name)
}

// Rollback makes the box what it was when a snapshot was taken, as the button in Hetzner's console
// does: what is newer goes, newer snapshots included. Everybody is disconnected.
func (s *Server) Rollback(id, name string) error {
	b, err := s.box(id)
	if err != nil {
		return err
	}
	b.cutOff()
	b.freeze.Lock()
	defer b.freeze.Unlock()
	if err := b.known(name); err != nil {
		return err
	}
	// Who came between the two is cut off, too.
	b.cutOff()
	defer b.space.changed()
	fresh, old := filepath.Join(b.dir, "restored"), filepath.Join(b.dir, "replaced")
	for _, dir := range []string{fresh, old} {
		if err := removeAll(dir); err != nil {
			return err
		}
	}
	if err := copyTree(filepath.Join(b.snapshots(), name), fresh); err != nil {
		return err
	}
	if exists(filepath.Join(b.data(), zfsFolder)) {
		if err := os.MkdirAll(filepath.Join(fresh, zfsSnapshots), 0o755); err != nil {
			return err
		}
	}
	if err := os.Rename(b.data(), old); err != nil {
		return err
	}
	if err := os.Rename(fresh, b.data()); err != nil {
		return err
	}
	names, err := b.snapshotNames()
	if err != nil {
		return err
	}
	for _, newer := range names[slices.Index(names, name)+1:] {
		if err := b.deleteSnapshot(newer); err != nil {
			return err
		}
	}
	return removeAll(old)
}

// snapshot copies the box as it is at one moment. keep is how many automatic ones there may be.
func (b *box) snapshot(automatic bool, keep int) (string, error) {
	b.freeze.Lock()
	defer b.freeze.Unlock()
	// Programs of clients stand still, too: a snapshot of ZFS is of one moment.
	b.jobs.pause()
	defer b.jobs.resume()
	b.mu.Lock()
	slots := b.slots
	b.mu.Unlock()
	names, err := b.snapshotNames()
	if err != nil {
		return "", err
	}
	if automatic {
		if names, err = b.makeRoom(names, keep); err != nil {
			return "", err
		}
	}
	if len(names) >= slots {
		return "", fmt.Errorf("storage box %s has all of its %d snapshots", filepath.Base(b.dir), slots)
	}
	name := b.server.options.Now().UTC().Format(snapshotTime)
	if slices.Contains(names, name) {
		return "", fmt.Errorf("storage box %s has a snapshot %s already", filepath.Base(b.dir), name)
	}
	unfinished := filepath.Join(b.dir, "unfinished")
	if err := removeAll(unfinished); err != nil {
		return "", err
	}
	if err := copyTree(b.data(), unfinished); err != nil {
		return "", err
	}
	if err := removeAll(filepath.Join(unfinished, zfsFolder)); err != nil {
		return "", err
	}
	if automatic {
		if err := os.WriteFile(filepath.Join(b.automatic(), name), nil, 0o600); err != nil {
			return "", err
		}
	}
	return name, os.Rename(unfinished, filepath.Join(b.snapshots(), name))
}

// makeRoom deletes the oldest automatic snapshots until another one may be taken.
func (b *box) makeRoom(names []string, keep int) ([]string, error) {
	var automatic []string
	for _, name := range names {
		if exists(filepath.Join(b.automatic(), name)) {
			automatic = append(automatic, name)
		}
	}
	for _, name := range automatic[:max(0, len(automatic)-keep+1)] {
		if err := b.deleteSnapshot(name); err != nil {
			return nil, err
		}
	}
	return b.snapshotNames()
}

func (b *box) deleteSnapshot(name string) error {
	defer b.space.changed()
	if err := removeAll(filepath.Join(b.snapshots(), name)); err != nil {
		return err
	}
	return gone(os.Remove(filepath.Join(b.automatic(), name)))
}

// snapshotNames are in the order of their times.
func (b *box) snapshotNames() ([]string, error) {
	entries, err := os.ReadDir(b.snapshots())
	var out []string
	for _, e := range entries {
		out = append(out, e.Name())
	}
	return out, err
}

// known refuses a name that is no snapshot's.
func (b *box) known(name string) error {
	names, err := b.snapshotNames()
	if err == nil && !slices.Contains(names, name) {
		err = fmt.Errorf("storage box %s has no snapshot %q", filepath.Base(b.dir), name)
	}
	return err
}

// copyTree copies with links, times and modes, and without taking room where the disk can share it.
func copyTree(from, to string) error {
	var said bytes.Buffer
	cmd := exec.Command("cp", "--archive", "--reflink=auto", "--no-target-directory", "--", from, to)
	cmd.Stderr = &said
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("copying a storage box: %w: %s", err, bytes.TrimSpace(said.Bytes()))
	}
	return nil
}

// schedule takes the snapshots of a box's plan.
type schedule struct {
	box *box

	mu      sync.Mutex
	plan    *Plan
	timer   *time.Timer
	running sync.WaitGroup
}

func newSchedule(b *box) *schedule { return &schedule{box: b} }

// set exchanges the plan; the same plan goes on.
func (s *schedule) set(plan *Plan) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.plan != nil && plan != nil && *s.plan == *plan && s.timer != nil {
		return
	}
	s.plan = plan
	s.again(s.box.server.options.Now())
}

// again waits for the next time after one. The caller holds mu.
func (s *schedule) again(after time.Time) {
	if s.timer != nil && s.timer.Stop() {
		s.running.Done()
	}
	s.timer = nil
	if s.plan == nil {
		return
	}
	plan := *s.plan
	at := plan.next(after)
	if at.IsZero() {
		return
	}
	s.running.Add(1)
	var mine *time.Timer
	mine = time.AfterFunc(at.Sub(s.box.server.options.Now()), func() {
		defer s.running.Done()
		name, err := s.box.snapshot(true, plan.MaxSnapshots)
		log := s.box.server.options.Log.With("box", filepath.Base(s.box.dir))
		if err != nil {
			log.Error("no snapshot", "error", err)
		} else {
			log.Info("snapshot", "name", name)
		}
		s.mu.Lock()
		defer s.mu.Unlock()
		if s.timer == mine {
			s.again(at)
		}
	})
	s.timer = mine
}

// stop waits for a snapshot that is being taken.
func (s *schedule) stop() {
	s.set(nil)
	s.running.Wait()
}
