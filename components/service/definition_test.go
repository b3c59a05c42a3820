package service

import (
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"homelab/components/host"
	"homelab/components/images"
	"homelab/components/internal/access"
	"homelab/components/internal/imageref"
	"homelab/components/workload"
)

func first() Definition {
	return Definition{
		Name: "first", Type: "homelab:test:First", Image: images.Jellyseerr, Port: 8080, Slot: 40, Health: Health{Path: "/health"},
		Metrics: workload.NoMetrics("none"), Default: Default{Hostname: "first", Visibility: access.Tailnet, MemoryMiB: 64},
	}
}

func second() Definition {
	d := first()
	d.Name, d.Uses = "second", []Use{On(first)}
	return d
}

func TestValidateReportsEverything(t *testing.T) {
	require.NoError(t, first().Validate())
	require.NoError(t, second().Validate())
	bad := Definition{
		Name: "Bad_", Type: "bad", Port: 80, Health: Health{Path: "/x", Command: []string{"x"}}, Library: WriteLibrary("media"), BehindTunnel: true,
		Folders: []Folder{{Base: "a"}, {Base: "a"}}, Secrets: []string{"k", "k"}, Files: []File{{Target: "etc/x"}, {Target: "/x"}}, Login: &Login{},
		Uses: []Use{On(first)}, Seeds: []File{{Target: "b/x"}}, Administrator: &FirstLogin{Name: "a", Secret: "none"}, Downloads: "/downloads",
	}
	err := bad.Validate()
	require.Error(t, err)
	slotless, low := first(), first()
	slotless.Slot, low.Slot = 0, 5
	require.ErrorContains(t, slotless.Validate(), "a service has a slot, and one behind a tunnel has none")
	require.ErrorContains(t, low.Validate(), "slot 5 is not one of a service: they begin at 32")
	for _, problem := range []string{
		"must be a DNS label", `type "bad" is not homelab:MODULE:NAME`, "is not pinned", "port 80 is not between", "either a path or a command",
		`place "media" is not an absolute path`, "only a service that runs as host.MediaOwner", `two folders are called "a"`,
		`two secrets are called "k"`, `file "etc/x" is not in a folder`, `file "/x" is not in a folder`, "file /x has no content", "names no path to come back to",
		"so it uses no other service", `seed "b/x" is not in one of its folders`, "seeds need a program", "its administrator needs a name", "can use the downloads",
	} {
		assert.ErrorContains(t, err, problem)
	}
}

func TestEachComesAfterWhatItUses(t *testing.T) {
	third := first()
	third.Name, third.Uses = "a-third", []Use{On(second)}
	ordered, err := inOrder([]Deployment{{Definition: third}, {Definition: second()}, {Definition: first()}})
	require.NoError(t, err)
	var names []string
	for _, d := range ordered {
		names = append(names, d.Definition.Name)
	}
	assert.Equal(t, []string{"first", "second", "a-third"}, names)

	one := first()
	one.Uses = []Use{On(second)}
	_, err = inOrder([]Deployment{{Definition: one}})
	require.NoError(t, err, "Validate says that second does not run")
	_, err = inOrder([]Deployment{{Definition: one}, {Definition: second()}})
	require.ErrorContains(t, err, "services use each other in a circle: first uses second uses first")
}

func TestOffer(t *testing.T) {
	o := second().Offer()
	assert.Equal(t, "second", o.Name)
	assert.Equal(t, []string{"first"}, o.Uses)
	may := first()
	may.Uses = []Use{OnIfThere(second)}
	assert.Empty(t, may.Offer().Uses, "it works without")
	assert.Len(t, Offers([]Definition{first(), second()}), 2)
}

func TestHealth(t *testing.T) {
	assert.Equal(t, []string{"wget", "--quiet", "--output-document=/dev/null", "http://127.0.0.1:8080/health"}, Health{Path: "/health"}.check(8080).Command)
	assert.Equal(t, []string{"check"}, Health{Command: []string{"check"}}.check(8080).Command)
}

func TestAddressOfWhatIsNotUsed(t *testing.T) {
	_, err := Given{}.Address(first)
	require.EqualError(t, err, "first is not among the services that this one uses")
}

func TestCustom(t *testing.T) {
	d := Custom(CustomArgs{
		Name:  "photos",
		Image: imageref.Reference{Repository: "ghcr.io/example/photos", Tag: "v3", Digest: "sha256:" + strings.Repeat("0123456789abcdef", 4)},
		Port:  2342, Slot: 64, User: "2002:2002", Health: Health{Path: "/status"}, Uses: []Use{On(first)}, Scratch: []string{"/tmp"}, Library: "/media",
		Folders: []CustomFolder{{Path: "/a/b", Databases: []string{"x.db"}}, {Path: "/c"}, {Path: "/d", Disposable: "made again"}},
	})
	require.NoError(t, d.Validate())
	assert.Equal(t, "custom-photos", d.Name)
	assert.Equal(t, []Folder{
		{Base: "a-b", Target: "/a/b", Keeps: workload.Databases("x.db")},
		{Base: "c", Target: "/c", Keeps: workload.Files()},
		{Base: "d", Target: "/d", Keeps: workload.Disposable("made again")},
	}, d.Folders)
	assert.Equal(t, ReadLibrary("/media"), d.Library)
	assert.Equal(t, map[string]int{"/tmp": 64}, d.Scratch)
	assert.Equal(t, "http://127.0.0.1:2342/status", d.Health.Command[3], "the address is an argument, not a part of the script")
}

// Writing to the library takes the library's owner, and visitors whom the portal knows.
func TestWhoWritesToTheLibrary(t *testing.T) {
	d := first()
	d.Library, d.User = WriteLibrary("/media"), host.MediaOwner
	require.NoError(t, d.Validate())
	args := &Args{Timezone: "Etc/UTC", Deployments: []Deployment{{Definition: d, MemoryMiB: 64, Access: access.Access{Policy: access.Native}}}}
	require.ErrorContains(t, args.Validate(), "visitors reach it without the portal")
	args.Deployments[0].Access = access.Access{Policy: access.TwoFactor, Groups: []string{"admins"}}
	assert.NotContains(t, args.Validate().Error(), "visitors reach it without the portal")
}

func TestRunRefusesBeforeItRegisters(t *testing.T) {
	_, err := Run(nil, &Args{})
	require.ErrorContains(t, err, "no host")
	require.ErrorContains(t, (&Service{}).Ready(), "no service")
}

// A seed is put in place when it is missing or has changed, and what the service made of it stays.
func TestSeeds(t *testing.T) {
	d := first()
	d.Folders, d.Program = []Folder{{Base: "config", Target: "/config", Keeps: workload.Files()}}, []string{"/run"}
	content := func(Given) (pulumi.StringInput, error) { return pulumi.String("x"), nil }
	d.Seeds = []File{{Target: "/config/sub/app.conf", Content: content}}
	require.NoError(t, d.Validate())
	folder, err := seeds(d, Given{})
	require.NoError(t, err)
	require.Len(t, folder.Files, 2)
	script := string(folder.Files[1].Content.(pulumi.String))
	dir := t.TempDir()
	require.NoError(t, os.MkdirAll(dir+"/seed", 0o700))
	script = strings.NewReplacer("/etc/homelab", dir+"/seed", "/config", dir+"/config").Replace(script)
	file := dir + "/config/sub/app.conf"
	start := func(seed string) string {
		t.Helper()
		require.NoError(t, os.WriteFile(dir+"/seed/app.conf", []byte(seed), 0o600))
		said, err := exec.Command("sh", "-c", script, "start", "echo", "a b").CombinedOutput()
		require.NoError(t, err, "%s", said)
		assert.Equal(t, "a b\n", string(said), "it becomes the program that it is given")
		text, err := os.ReadFile(file)
		require.NoError(t, err)
		return string(text)
	}
	assert.Equal(t, "one", start("one"))
	info, err := os.Stat(file)
	require.NoError(t, err)
	assert.Equal(t, os.FileMode(0o600), info.Mode())
	require.NoError(t, os.WriteFile(file, []byte("one, and more"), 0o600))
	assert.Equal(t, "one, and more", start("one"))
	assert.Equal(t, "two", start("two"))
	require.NoError(t, os.Remove(file))
	assert.Equal(t, "two", start("two"))

	d.Seeds = append(d.Seeds, File{Target: "/config/app.conf", Content: content})
	_, err = seeds(d, Given{})
	require.ErrorContains(t, err, "two seeds of first are called app.conf")
}
