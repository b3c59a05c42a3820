package rules

import (
	"path"
	"regexp"
	"slices"
	"strings"

	"gopkg.in/yaml.v3"
)

func eachOf(token, what string, judge func(*Resource, *report)) func(*Graph, *report) {
	return func(g *Graph, out *report) {
		out.absent(what)
		for _, r := range g.Of(token) {
			out.look()
			judge(r, out)
		}
	}
}

// protected fails unless Pulumi and the provider both refuse to delete.
func protected(flags ...string) func(*Resource, *report) {
	return func(r *Resource, out *report) {
		out.require(r.Protect, r, "%s is not protected: a wrong up could delete it", r.Name())
		for _, flag := range flags {
			if r.At(flag).Hidden() {
				out.undecided(r, "%s of %s is not known", flag, r.Name())
				continue
			}
			out.require(r.At(flag).True(), r, "%s of %s is off: the console deletes it with one click", flag, r.Name())
		}
	}
}

// Folders of the machine on which other file systems are mounted: the library, which is a Storage Box,
// and what comes in.
const libraryFolder = "/mnt"

var downloadsFolder = regexp.MustCompile(`^/var/lib/homelab[a-z-]*/downloads(?:/|$)`)

// importers are the programs that file in the library what comes in.
var importers = []string{"radarr", "sonarr"}

// writers are the containers that may write to the library.
func (g *Graph) writers() []*Resource {
	return slices.DeleteFunc(g.Of(typeContainer), func(c *Resource) bool {
		return !slices.ContainsFunc(writable(c), func(folder string) bool { return within(folder, libraryFolder) })
	})
}

var dataRules = []Rule{
	{
		ID: "library-writers", Title: "Nothing writes to the library but what imports", Severity: High, Layer: LayerData,
		Remedy: "bind the library for reading: service.ReadLibrary", Unknown: unknownNone,
		check: eachContainer(func(g *Graph, c *Resource, out *report) {
			imports := slices.ContainsFunc(importers, func(program string) bool { return slices.Contains(g.running(program), c) })
			out.require(imports || !slices.Contains(g.writers(), c), c, "%s can change and delete the library", c.Name())
		}),
	},
	{
		ID: "library-portal", Title: "What writes to the library is behind the portal", Severity: Medium, Layer: LayerData,
		Remedy: "set the service's access to two-factor", Unknown: unknownOpen,
		check: eachSite(func(g *Graph, s site, out *report) {
			writes := slices.ContainsFunc(g.answering(s.upstream), func(c *Resource) bool { return slices.Contains(g.writers(), c) })
			out.require(s.guarded() || !writes, s.file, "whoever passes the login of %s itself can delete the library", s.hostname)
		}),
	},
	{
		ID: "data-gates", Title: "What uses the library or the downloads starts only while they are mounted", Severity: High, Layer: LayerData,
		Remedy: "bind the gate of the mount, which exists only while the mount keeps what is written to it", Unknown: unknownNone,
		check: func(g *Graph, out *report) {
			out.absent("container that uses the library or the downloads")
			for _, c := range g.Of(typeContainer) {
				sources := bindSources(c)
				for _, folder := range sources {
					gate := ""
					switch {
					case within(folder, libraryFolder):
						gate = gatesFolder + "media"
					case downloadsFolder.MatchString(folder):
						gate = gatesFolder + "downloads"
					default:
						continue
					}
					out.require(slices.Contains(sources, gate), c, "%s may start on the empty folder below %s", c.Name(), folder)
				}
			}
		},
	},
	{
		ID: "data-server", Title: "The server is protected", Severity: High, Layer: LayerData,
		Remedy: "set homelab:protect to true", Unknown: unknownOpen,
		check: eachOf(typeServer, "server", protected("deleteProtection", "rebuildProtection")),
	},
	{
		ID: "data-addresses", Title: "The server's addresses are protected", Severity: Medium, Layer: LayerData,
		Remedy: "set homelab:protect to true", Unknown: unknownOpen,
		check: eachOf(typePrimaryIP, "primary IP", protected("deleteProtection")),
	},
	{
		ID: "data-boxes", Title: "The Storage Boxes are protected", Severity: High, Layer: LayerData,
		Remedy: "set homelab:protect to true", Unknown: unknownOpen,
		check: eachOf(typeBox, "Storage Box", protected("deleteProtection")),
	},
	{
		ID: "data-snapshots", Title: "Every Storage Box has a plan of snapshots", Severity: High, Layer: LayerData,
		Remedy: "give the box a snapshotPlan: without one, whoever owns the server can delete everything at once", Unknown: unknownOpen,
		check: eachOf(typeBox, "Storage Box", func(r *Resource, out *report) {
			if r.At("snapshotPlan").Hidden() {
				out.undecided(r, "the plan of snapshots of %s is not known", r.Name())
				return
			}
			out.require(r.At("snapshotPlan", "maxSnapshots").Number() >= 1, r, "%s has no snapshots", r.Name())
		}),
	},
	{
		ID: "data-protocols", Title: "A Storage Box speaks one protocol, and not Samba", Severity: Medium, Layer: LayerData,
		Remedy: "switch off in accessSettings what nobody uses", Unknown: unknownOpen,
		check: func(g *Graph, out *report) {
			judge := func(r *Resource, out *report) {
				access := r.At("accessSettings")
				if access.Hidden() {
					out.undecided(r, "the protocols of %s are not known", r.Name())
					return
				}
				out.require(!access.At("sambaEnabled").True(), r, "%s speaks Samba", r.Name())
				both := access.At("sshEnabled").True() && access.At("webdavEnabled").True()
				out.require(!both, r, "%s speaks SSH and WebDAV", r.Name())
			}
			eachOf(typeBox, "Storage Box", judge)(g, out)
			eachOf(typeBoxAccount, "Storage Box", judge)(g, out)
		},
	},
	{
		ID: "backup-exists", Title: "Whatever keeps data is backed up to a box of its own, encrypted and by a timer", Severity: High, Layer: LayerData,
		Remedy: "configure a backup, and start its timer", Unknown: unknownOpen,
		check: judgeBackup,
	},
	{
		ID: "backup-covers", Title: "The backup covers what every container keeps", Severity: High, Layer: LayerData,
		Remedy: "add the folder to the backup's source_directories, or leave out no more than what can be made again", Unknown: unknownOpen,
		check: judgeCoverage,
	},
	{
		ID: "backup-append-only", Title: "The server's key can add backups and delete none", Severity: High, Layer: LayerData,
		Remedy: "install the server's key with borg serve --append-only", Unknown: unknownOpen,
		check: func(g *Graph, out *report) {
			out.absent("backup")
			for _, c := range g.Of(typeCommand) {
				if !strings.Contains(c.Text("create"), "install-key") {
					continue
				}
				if c.At("triggers").Hidden() {
					out.undecided(c, "what the keys may do is not known")
					continue
				}
				first := ""
				for _, text := range c.At("triggers").Texts() {
					if strings.Contains(text, "borg") && strings.Contains(text, "serve") {
						first, _, _ = strings.Cut(text, "\n")
					}
				}
				out.require(strings.Contains(first, "--append-only"), c, "whoever owns the server can delete its backups")
			}
		},
	},
	{
		ID: "backup-drill", Title: "A restore is tried by a timer", Severity: Medium, Layer: LayerData,
		Remedy: "start a timer that restores an archive for trial", Unknown: unknownNone,
		check: func(g *Graph, out *report) {
			out.absent("backup")
			if _, file := g.backup(); file != nil {
				out.require(g.startsTimer(drillTimer), file, "no timer tries a restore")
			}
		},
	},
}

var (
	backupTimer = regexp.MustCompile(`\bstart\b.*\b[a-z-]*backup\.timer$|\bstart \S*backup\.timer\b`)
	drillTimer  = regexp.MustCompile(`\bstart\b.*restore[a-z-]*\.timer\b`)
)

// startsTimer reports whether a command starts such a timer.
func (g *Graph) startsTimer(pattern *regexp.Regexp) bool {
	return slices.ContainsFunc(g.Of(typeCommand), func(c *Resource) bool { return pattern.MatchString(c.Text("create")) })
}

// borgmatic is what the rules read of borgmatic's configuration, in the layout with sections and in
// the one without (borgmatic 1.8 and later).
type borgmatic struct {
	borgmaticValues `yaml:",inline"`
	Location        borgmaticValues `yaml:"location"`
	Storage         borgmaticValues `yaml:"storage"`
}

type borgmaticValues struct {
	Sources      []string `yaml:"source_directories"`
	Repositories []any    `yaml:"repositories"`
	Exclude      []string `yaml:"exclude_patterns"`
	Passcommand  string   `yaml:"encryption_passcommand"`
}

// backup returns the backup's configuration and the command that writes it, or nil.
func (g *Graph) backup() (borgmatic, *Resource) {
	for _, name := range g.layers.paths {
		file := g.layers.files[name]
		if !strings.Contains(path.Base(name), "borgmatic") || !strings.HasSuffix(name, ".yaml") {
			continue
		}
		var b borgmatic
		if yaml.Unmarshal([]byte(file.Text("stdin")), &b) != nil {
			return borgmatic{}, file
		}
		b.Sources = append(b.Sources, b.Location.Sources...)
		b.Repositories = append(b.Repositories, b.Location.Repositories...)
		b.Exclude = append(b.Exclude, b.Location.Exclude...)
		if b.Passcommand == "" {
			b.Passcommand = b.Storage.Passcommand
		}
		return b, file
	}
	return borgmatic{}, nil
}

// writable are the folders of the machine in which a container keeps things.
func writable(c *Resource) []string {
	var out []string
	for _, m := range c.At("mounts").List() {
		if m.text("type") == "bind" && !m.At("readOnly").True() {
			out = append(out, m.text("source"))
		}
	}
	return out
}

func judgeBackup(g *Graph, out *report) {
	out.absent("container that keeps data")
	keeps := false
	for _, c := range g.Of(typeContainer) {
		keeps = keeps || len(writable(c)) > 0
	}
	if !keeps {
		return
	}
	b, file := g.backup()
	switch {
	case file == nil:
		out.fail(nil, "containers keep data, and nothing backs it up")
		return
	case file.At("stdin").Hidden():
		out.undecided(file, "the backup's configuration is not known")
		return
	}
	out.require(len(b.Repositories) > 0, file, "the backup has no repository")
	out.require(b.Passcommand != "", file, "the backup is not encrypted by a passphrase from a file")
	boxes := 0
	for _, box := range append(g.Of(typeBox), g.Of(typeBoxAccount)...) {
		if g.Needs(file, box) && box.At("accessSettings", "sshEnabled").True() {
			boxes++
		}
	}
	out.require(boxes > 0, file, "the backup goes to no box of the stack")
	out.require(g.startsTimer(backupTimer), file, "no timer starts the backup")
}

func judgeCoverage(g *Graph, out *report) {
	out.absent("backup")
	b, file := g.backup()
	if file == nil || file.At("stdin").Hidden() {
		return
	}
	out.look()
	for _, c := range g.Of(typeContainer) {
		kept := 0
		for _, folder := range writable(c) {
			if !slices.ContainsFunc(b.Sources, func(s string) bool { return within(folder, s) }) {
				elsewhere := within(folder, libraryFolder) || downloadsFolder.MatchString(folder)
				out.require(elsewhere, file, "%s of %s is in no source directory", folder, c.Name())
				continue
			}
			left := slices.ContainsFunc(b.Exclude, func(p string) bool { return within(folder, strings.TrimPrefix(p, "pp:")) })
			out.require(!left || disposable(path.Base(folder)) || isCache(g, c), file, "%s of %s is left out", folder, c.Name())
			if !left {
				kept++
			}
		}
		out.require(kept > 0 || len(writable(c)) == 0 || isCache(g, c), file, "nothing of what %s keeps is backed up", c.Name())
	}
}

func within(folder, of string) bool { return folder == of || strings.HasPrefix(folder, of+"/") }

// disposable reports whether a folder's name says that what is in it can be made again.
func disposable(name string) bool {
	return slices.Contains([]string{"cache", "logs", "log", "scratch", "transcodes", "tmp"}, name)
}

// isCache reports whether a container keeps only what can be made again, or what was measured and
// logged on a machine, which is no part of another: by its image.
func isCache(g *Graph, c *Resource) bool {
	return slices.Contains([]string{"valkey", "redis", "memcached", prometheus, loki, alertmanager, alloy, promtail}, g.program(c))
}
