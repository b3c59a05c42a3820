package boxes

import (
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"golang.org/x/net/webdav"
)

// box is one Storage Box that is served.
type box struct {
	server *Server
	dir    string
	space  *space
	jobs   *jobs
	// freeze is held for reading by whoever changes a file, and for writing while a snapshot is
	// taken or restored: a snapshot shows one moment.
	freeze sync.RWMutex
	plan   *schedule

	mu        sync.Mutex
	accounts  map[string]*account
	listeners map[netip.AddrPort]*listening
	locks     map[string]webdav.LockSystem // WebDAV's locks, by home directory
	external  bool
	slots     int
}

// The folders of a box on the laptop's disk.
func (b *box) data() string      { return filepath.Join(b.dir, "data") }
func (b *box) snapshots() string { return filepath.Join(b.dir, "snapshots") }

// open finds the contents of a box, or makes an empty one.
func (s *Server) open(declared Box) (*box, error) {
	b := &box{
		server: s, dir: filepath.Join(s.options.Dir, declared.ID), jobs: newJobs(), accounts: map[string]*account{},
		listeners: map[netip.AddrPort]*listening{}, locks: map[string]webdav.LockSystem{},
	}
	_, err := os.Stat(b.data())
	fresh := errors.Is(err, fs.ErrNotExist)
	for _, dir := range []string{b.snapshots(), b.automatic(), b.data()} {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return nil, err
		}
	}
	if fresh && len(declared.SSHKeys) > 0 {
		if err := os.Mkdir(filepath.Join(b.data(), ".ssh"), 0o700); err != nil {
			return nil, err
		}
		keys := strings.Join(declared.SSHKeys, "\n") + "\n"
		if err := os.WriteFile(filepath.Join(b.data(), authorizedKeys), []byte(keys), 0o600); err != nil {
			return nil, err
		}
	}
	b.space = &space{box: b, size: declared.Size, stale: true}
	b.plan = newSchedule(b)
	return b, nil
}

// apply changes a box to what is declared.
func (b *box) apply(declared Box) error {
	b.space.resize(declared.Size)
	if err := b.makeFolders(declared); err != nil {
		return err
	}
	b.mu.Lock()
	b.external, b.slots = declared.Access.ReachableExternally, declared.SnapshotSlots
	stopped := map[string]*account{}
	for name, a := range b.accounts {
		stopped[name] = a
	}
	accounts := map[string]*account{}
	for _, l := range declared.accounts() {
		if was := b.accounts[l.username]; was != nil && was.login == l {
			accounts[l.username] = was
			delete(stopped, l.username)
			continue
		}
		accounts[l.username] = newAccount(l, b)
	}
	b.accounts = accounts
	b.mu.Unlock()
	for _, a := range stopped {
		a.cutOff()
	}
	b.plan.set(declared.Plan)
	return b.listen(declared.Addresses)
}

// makeFolders makes the accounts' homes, and the place where the snapshots appear.
func (b *box) makeFolders(declared Box) error {
	root, err := os.OpenRoot(b.data())
	if err != nil {
		return err
	}
	defer root.Close()
	for _, l := range declared.accounts() {
		if l.home == "." {
			continue
		}
		if err := root.MkdirAll(l.home, 0o755); err != nil {
			return fmt.Errorf("making the home directory of %s: %w", l.username, err)
		}
	}
	if declared.Access.ZFS {
		return root.MkdirAll(zfsSnapshots, 0o755)
	}
	for _, dir := range []string{zfsSnapshots, zfsFolder} {
		_ = root.Remove(dir) // it is not there, or holds what somebody put there
	}
	return nil
}

// listen opens the ports of new addresses and closes those of old ones.
func (b *box) listen(addresses []netip.Addr) error {
	want := map[netip.AddrPort]func(*listening){}
	for _, a := range addresses {
		want[netip.AddrPortFrom(a, sftpPort)] = b.serveSSH
		want[netip.AddrPortFrom(a, sshPort)] = b.serveSSH
		want[netip.AddrPortFrom(a, webdavPort)] = b.serveWebDAV
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	for at, l := range b.listeners {
		if want[at] == nil {
			l.close()
			delete(b.listeners, at)
		}
	}
	for at, serve := range want {
		if b.listeners[at] != nil {
			continue
		}
		inner, err := b.server.options.Listen(at)
		if err != nil {
			return fmt.Errorf("listening on %s: %w", at, err)
		}
		l := newListening(inner, at.Port())
		b.listeners[at] = l
		l.work.Go(func() { serve(l) })
	}
	return nil
}

// account finds who logs in, whoever it may be.
func (b *box) account(name string) *account {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.accounts[name]
}

// homes are the home directories of the sub-accounts, which nobody may remove
// (docs.hetzner.com/storage/storage-box/general, additional users).
func (b *box) homes() []string {
	b.mu.Lock()
	defer b.mu.Unlock()
	var out []string
	for _, a := range b.accounts {
		if a.home != "." {
			out = append(out, a.home)
		}
	}
	slices.Sort(out)
	return out
}

// lockSystem is shared by all who have the same home.
func (b *box) lockSystem(home string) webdav.LockSystem {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.locks[home] == nil {
		b.locks[home] = webdav.NewMemLS()
	}
	return b.locks[home]
}

// cutOff ends all connections and the programs behind them; those who still have an account may
// come back at once.
func (b *box) cutOff() {
	b.mu.Lock()
	stopped := b.accounts
	b.accounts = map[string]*account{}
	for name, a := range stopped {
		b.accounts[name] = newAccount(a.login, b)
	}
	b.mu.Unlock()
	for _, a := range stopped {
		a.cutOff()
	}
	b.jobs.end()
}

func (b *box) close() {
	b.plan.stop()
	b.mu.Lock()
	accounts, listeners := b.accounts, b.listeners
	b.accounts, b.listeners = map[string]*account{}, map[netip.AddrPort]*listening{}
	b.mu.Unlock()
	for _, l := range listeners {
		l.close()
	}
	for _, a := range accounts {
		a.cutOff()
	}
	for _, l := range listeners {
		l.work.Wait()
	}
}

// removeAll removes a folder in which some folders may not be written to.
func removeAll(dir string) error {
	err := filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if err == nil && entry.IsDir() {
			err = os.Chmod(path, 0o700)
		}
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		return err
	})
	if err != nil {
		return err
	}
	return os.RemoveAll(dir)
}

// exists reports whether a path is there, whatever it is.
func exists(path string) bool {
	_, err := os.Lstat(path)
	return err == nil
}
