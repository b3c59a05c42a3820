// Package standins says which container images of the deployment a stand-in runs for when it is
// rehearsed without a registry: a program of this repository that speaks as much of the real one's
// protocols as the deployment asks for.
package standins

// ProgramPath is where an image has its program.
const ProgramPath = "/usr/local/bin/standin"

// Directory is the content of a folder in Image.Files. It is empty and belongs to the image's user.
const Directory = "directory"

// Image is one stand-in for the images of a repository. Every image also has the certificates of
// the public authorities, the time zones, /etc/passwd with root and nobody, and /tmp.
type Image struct {
	// Repository is what the deployment names the image, without tag and digest, as
	// components/images writes it: ghcr.io/home-operations/radarr. Required.
	Repository string
	// Package is the folder of the main package to build, seen from the top of the checkout:
	// ./internal/standins/program. It may be in a module of its own. It is compiled without cgo.
	// Required.
	Package string
	// Entrypoint and Cmd are those of the image's configuration: as the real image has them, where
	// the deployment leaves them to it.
	Entrypoint, Cmd []string
	// Env are the variables of the image's configuration. nil means PATH alone; PATH is added where
	// it is missing.
	Env map[string]string
	// User is who runs it, as a Dockerfile's USER says it. Empty means root.
	User string
	// Bare images have no busybox, as the real one has no shell. All others have it at /bin/busybox,
	// with links for its applets in /bin: sh, wget, grep.
	Bare bool
	// Debian names the programs of Debian that the image has in /usr/bin besides: bash, curl. What
	// they need comes along.
	Debian []string
	// Files are what else the image has, by absolute path: the absolute path that a symbolic link
	// leads to (/usr/bin/loki to ProgramPath), or Directory.
	Files map[string]string
	// Instead says what runs in the place of what, in a few words for whoever rehearses: "a stand-in
	// for Radarr, which knows the calls of the first-run wiring". Required.
	Instead string
}
