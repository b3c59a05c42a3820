package settings

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"homelab/components/internal/access"
	"homelab/components/internal/imageref"
)

func TestCustomServices(t *testing.T) {
	c := minimal()
	c.set("homelab:customServices", object{
		"photos": photos(),
		// The least that must be said.
		"notes": object{
			"image": "nginx:1.29@sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef",
			"port":  8080, "user": "2003:2003", "memoryMiB": 64, "health": object{"command": list{"/app", "check"}}, "uses": list{"photos"},
			"command": list{"serve", "--all"},
		},
	})
	got, err := run(t, c)
	require.NoError(t, err)
	require.Len(t, got.CustomServices, 2)
	const digest = "sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
	assert.Equal(t, CustomService{
		Service: Service{
			Name: "notes", Hostname: "notes.example.com", Visibility: access.Tailnet, MemoryMiB: 64,
			Access: access.Access{Policy: access.TwoFactor, Groups: []string{"admins"}},
		},
		Image: imageref.Reference{Repository: "docker.io/library/nginx", Tag: "1.29", Digest: digest},
		Port:  8080, User: "2003:2003", HealthCommand: []string{"/app", "check"}, Command: []string{"serve", "--all"}, Uses: []string{"photos"}, Slot: got.CustomServices[0].Slot,
	}, got.CustomServices[0])
	assert.Equal(t, CustomService{
		Service: Service{
			Name: "photos", Hostname: "photos.example.com", Visibility: access.Public, MemoryMiB: 512,
			Access: access.Access{Policy: access.TwoFactor, Groups: []string{"users"}},
		},
		Image: imageref.Reference{Repository: "ghcr.io/example/photos", Tag: "v3", Digest: digest},
		Port:  2342, User: "2002:2002", HealthPath: "/api/v1/status", Environment: map[string]string{"PHOTOS_PORT": "2342"},
		Folders: []CustomFolder{{Path: "/photos/storage", Databases: []string{"index.db"}}, {Path: "/cache", Disposable: "made again"}},
		Scratch: []string{"/tmp"}, Library: "/media", Uses: []string{"jellyfin"}, Internet: true, Slot: got.CustomServices[1].Slot,
	}, got.CustomServices[1])
	assert.Equal(t, []string{
		"auth.example.com", "jellyfin.example.com", "requests.example.com", "notes.example.com", "photos.example.com",
	}, got.Hostnames())
}

// A service keeps its number, and with it its address, whatever comes and goes beside it.
func TestSlotsOfCustomServicesStay(t *testing.T) {
	slot := func(names ...string) map[string]int {
		own := object{}
		for _, name := range names {
			service := photos()
			service["hostname"], service["memoryMiB"] = name, 64
			own[name] = service
		}
		got, err := run(t, minimal().set("homelab:customServices", own))
		require.NoError(t, err)
		out := map[string]int{}
		for _, service := range got.CustomServices {
			assert.GreaterOrEqual(t, service.Slot, firstCustomSlot)
			assert.Less(t, service.Slot, 255)
			out[service.Name] = service.Slot
		}
		return out
	}
	all := slot("books", "notes", "photos", "wiki")
	for name, number := range all {
		assert.Equal(t, number, slot(name)[name], name)
	}
}

func TestServicesOff(t *testing.T) {
	c := minimal().set("homelab:services.jellyseerr.enabled", false)
	got, err := run(t, c)
	require.NoError(t, err)
	assert.Equal(t, []string{"auth.example.com", "jellyfin.example.com"}, got.Hostnames())
	c.set("homelab:services.radarr.enabled", true)
	got, err = run(t, c)
	require.NoError(t, err)
	assert.Equal(t, []string{"auth.example.com", "jellyfin.example.com", "radarr.example.com"}, got.Hostnames())
}

func TestBadCustomServices(t *testing.T) { runBad(t, badCustom) }

// with returns photos with other values.
func with(change object) object {
	service := photos()
	for key, v := range change {
		service[key] = v
	}
	return service
}

var badCustom = []badCase{
	{"service-unknown", func(c *stackConfig) {
		c.set("homelab:services.jelyfin", object{}).set("homelab:services.nextcloud", object{"enabled": true})
		c.set("homelab:services.A b", object{})
	}},
	{"service-off-but-used", func(c *stackConfig) { c.set("homelab:services.jellyfin.enabled", false) }},
	{"custom-empty", func(c *stackConfig) { c.set("homelab:customServices", object{"photos": object{}}) }},
	{"custom-names", func(c *stackConfig) {
		c.set("homelab:customServices", object{"jellyfin": photos(), "Photos": photos(), "9": photos(), "-": photos(), "a b": photos()})
	}},
	{"custom-shapes", func(c *stackConfig) {
		c.set("homelab:customServices", object{"photos": with(object{"port": "2342", "imagee": "x", "folders": object{}}), "notes": list{}})
	}},
	{"custom-privileges", func(c *stackConfig) {
		c.set("homelab:customServices", object{"photos": with(object{
			"privileged": true, "ports": list{"0.0.0.0:80:80"}, "network": "host", "devices": list{"/dev/sda"}, "volumes": list{"/:/host"},
			"capabilities": list{"CAP_SYS_ADMIN"},
		})})
	}},
	{"custom-values", func(c *stackConfig) {
		c.set("homelab:customServices", object{"photos": with(object{
			"image": "ghcr.io/example/photos:latest", "port": 80, "user": "root", "memoryMiB": 1, "health": object{},
			"uses": list{"photos", "jellyfin", "jellyfin", "radarr", "nothing"}, "reaches": "tailnet", "library": "read-write", "slot": 5,
			"environment": list{object{"name": "DB_PASSWORD", "value": "x"}, object{"name": "A=B"}, object{"name": "A"}, object{"name": "A"}},
			"folders": list{
				object{}, object{"path": "data"}, object{"path": "/"}, object{"path": "/media/x"}, object{"path": "/a"}, object{"path": "/a/b"},
				object{"path": "/c", "databases": list{"../x.db", "/x.db", "ok.db"}, "disposable": "x"}, object{"path": "/d:/e"},
			},
			"scratch": list{"/a", "tmp"}, "access": object{"policy": "two-factor", "groups": list{"guests"}}, "hostname": "requests",
		})})
	}},
	{"custom-root", func(c *stackConfig) {
		c.set("homelab:customServices", object{"photos": with(object{"user": "0:0", "health": object{"path": "health", "command": list{"x"}}})})
	}},
	{"custom-health", func(c *stackConfig) {
		c.set("homelab:customServices", object{
			"notes":  with(object{"health": object{"path": "/a b"}, "hostname": "notes"}),
			"photos": with(object{"health": object{"command": list{" "}}}),
		})
	}},
	{"custom-slots", func(c *stackConfig) {
		c.set("homelab:customServices", object{
			"notes": with(object{"hostname": "notes", "slot": 70}), "photos": with(object{"slot": 70}),
			"wiki": with(object{"hostname": "wiki", "slot": 255}),
		})
	}},
	{"custom-circle", func(c *stackConfig) {
		own := object{}
		for name, uses := range map[string]list{"a": {"b"}, "b": {"c", "jellyfin"}, "c": {"a"}, "d": {"a"}} {
			own[name] = with(object{"hostname": name, "memoryMiB": 64, "uses": uses})
		}
		c.set("homelab:customServices", own)
	}},
	{"custom-native-public", func(c *stackConfig) {
		c.set("homelab:customServices", object{"photos": with(object{"access": object{"policy": "native"}})})
	}},
	{"custom-memory", func(c *stackConfig) {
		c.set("homelab:customServices", object{"photos": with(object{"memoryMiB": 12288})})
	}},
}
