package host

import (
	"fmt"
	"slices"
	"strings"
	"sync"
)

// Data is what a program keeps in a folder of the machine, as far as a backup must know.
type Data struct {
	// Folder is the absolute path.
	Folder string
	// Databases are the SQLite databases in it, as patterns relative to it: a copy of one that is
	// in use must be made by SQLite.
	Databases []string
	// Disposable says why the folder can be lost; empty means that it is backed up.
	Disposable string
}

// inventory collects what every program on the machine keeps, so that no list of it has to be kept
// up by hand.
type inventory struct {
	mu     sync.Mutex
	taken  bool
	folder map[string]Data
}

// Declare adds what a program keeps in a folder. Two programs may share one: its databases are
// those of both, and it is disposable only if both say so. Once the inventory was taken nothing can
// be added: the backup would miss it.
func (h *Host) Declare(d Data) error {
	i := &h.inventory
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.taken {
		return fmt.Errorf("declaring %s: the backup was made before; make it last", d.Folder)
	}
	if i.folder == nil {
		i.folder = map[string]Data{}
	}
	d.Databases = slices.Clone(d.Databases)
	if before, ok := i.folder[d.Folder]; ok {
		if before.Disposable == "" || d.Disposable == "" {
			d.Disposable = ""
		}
		d.Databases = append(d.Databases, before.Databases...)
	}
	slices.Sort(d.Databases)
	d.Databases = slices.Compact(d.Databases)
	i.folder[d.Folder] = d
	return nil
}

// Inventory is what was declared, sorted by folder. It can be asked for once everything that keeps
// data exists; after that nothing may be added.
func (h *Host) Inventory() []Data {
	i := &h.inventory
	i.mu.Lock()
	defer i.mu.Unlock()
	i.taken = true
	out := make([]Data, 0, len(i.folder))
	for _, d := range i.folder {
		out = append(out, d)
	}
	slices.SortFunc(out, func(a, b Data) int { return strings.Compare(a.Folder, b.Folder) })
	return out
}
