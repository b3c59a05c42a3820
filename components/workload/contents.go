package workload

import (
	"homelab/components/host"
	"homelab/components/internal/containerrules"
	"homelab/components/internal/validate"
)

// Contents says what a container writes into a folder of the machine, made by Databases, Files or
// Disposable. The backup is made from what all containers say; the zero value is refused wherever a
// container can write.
type Contents struct {
	said       bool
	databases  []string
	disposable string
}

// Databases says that the folder holds SQLite databases at these paths, relative to it; a * stands
// for any part of a file's name. SQLite itself makes the backup's copies of them. Whatever else is
// in the folder is copied as files.
func Databases(paths ...string) Contents { return Contents{said: true, databases: paths} }

// Files says that the folder holds files, which can be copied as they are.
func Files() Contents { return Contents{said: true} }

// Disposable says why nobody would miss the folder: it is not backed up.
func Disposable(reason string) Contents { return Contents{said: reason != "", disposable: reason} }

func (c Contents) validate(p *validate.Problems, m Mount) {
	if m.Folder == nil && m.Downloads == nil || m.ReadOnly {
		p.Require(!c.said, "mount %s: the container does not write to a folder of the machine there, so it cannot say what it keeps", m.Target)
		return
	}
	p.Require(c.said, "mount %s: the backup must know what the container keeps: use workload.Databases, workload.Files or workload.Disposable", m.Target)
	p.Require(m.Downloads == nil || !c.said || c.disposable != "",
		"mount %s: the downloads are not backed up: use workload.Disposable with the reason", m.Target)
	for _, database := range c.databases {
		p.Require(containerrules.DatabasePath(database), "mount %s: %q is not a relative path of a database", m.Target, database)
	}
}

// declare tells the machine's inventory what the container keeps.
func (s *Spec) declare() error {
	for _, m := range s.Mounts {
		if m.Folder == nil || m.ReadOnly {
			continue
		}
		err := s.Host.Declare(host.Data{Folder: m.Folder.Path(), Databases: m.Keeps.databases, Disposable: m.Keeps.disposable})
		if err != nil {
			return err
		}
	}
	return nil
}
