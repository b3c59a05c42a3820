package simcloud

import (
	"encoding/base64"
	"fmt"
	"net/netip"
	"regexp"
	"strings"
	"time"

	"github.com/pulumi/pulumi/sdk/v3/go/common/resource"
)

var containerName = regexp.MustCompile(`^/?[a-zA-Z0-9][a-zA-Z0-9_.-]+$`)

// askContainer is what only the daemon refuses, or the plugin when it makes the container.
func askContainer(c *checking) {
	if s, ok := c.text("name"); ok && !containerName.MatchString(s) {
		c.refuse("name", "invalid container name (%s), only [a-zA-Z0-9][a-zA-Z0-9_.-] are allowed", s)
	}
	for name, check := range map[string]func(map[string]any) error{"mounts": checkMount, "ports": checkPort, "volumes": checkVolumeMount, "uploads": checkUpload} {
		v := c.news[resource.PropertyKey(name)]
		if !v.IsArray() {
			continue
		}
		for i, e := range v.ArrayValue() {
			if !e.IsObject() || e.ContainsUnknowns() {
				continue
			}
			if err := check(toGoValues(e.ObjectValue())); err != nil {
				c.refuse(fmt.Sprintf("%s[%d]", name, i), "%v", err)
			}
		}
	}
	if v := c.news["envs"]; v.IsArray() {
		for i, e := range v.ArrayValue() {
			if e.IsString() && !strings.Contains(e.StringValue(), "=") {
				c.refuse(fmt.Sprintf("envs[%d]", i), "an environment variable has the form NAME=value")
			}
		}
	}
}

var (
	cpuList     = regexp.MustCompile(`^\d+([,-]\d+)*$`)
	permissions = regexp.MustCompile(`^0[0-7]{3}$`)
)

// checkContainer is what the plugin refuses in a preview.
func checkContainer(c *checking) {
	if s, ok := c.text("restart"); ok && s != "no" && s != "always" && s != "unless-stopped" && s != "on-failure" {
		c.refuse("restart", "expected restart to be one of [no on-failure always unless-stopped], got %s", s)
	}
	if s, ok := c.text("cpuSet"); ok && !cpuList.MatchString(s) {
		c.refuse("cpuSet", "'%s' doesn't match the pattern '%s'", s, cpuList)
	}
	c.each("mounts", func(at string, m resource.PropertyMap) {
		if typ := m["type"]; typ.IsString() && !contains([]string{"bind", "volume", "tmpfs"}, typ.StringValue()) {
			c.refuse(at, "'%s' doesn't match the pattern '^(bind|volume|tmpfs)$'", typ.StringValue())
		}
	})
	c.each("volumes", func(at string, m resource.PropertyMap) {
		if s := m["hostPath"]; s.IsString() && s.StringValue() != "" && !strings.HasPrefix(s.StringValue(), "/") {
			c.refuse(at, "host_path must be an absolute path, got %q", s.StringValue())
		}
	})
	c.each("uploads", func(at string, m resource.PropertyMap) {
		if s := m["permissions"]; s.IsString() && s.StringValue() != "" && !permissions.MatchString(s.StringValue()) {
			c.refuse(at, "'%s' doesn't match the pattern '%s'", s.StringValue(), permissions)
		}
		if s := m["contentBase64"]; s.IsString() {
			if _, err := base64.StdEncoding.DecodeString(s.StringValue()); err != nil {
				c.refuse(at, "'%s' is not base64 decodeable", s.StringValue())
			}
		}
	})
	if v := c.news["healthcheck"]; v.IsObject() {
		if tests := v.ObjectValue()["tests"]; tests.IsNull() {
			c.refuse("healthcheck.tests", "missing required argument. The argument \"healthcheck.0.test\" is required, but no definition was found.")
		}
		for _, name := range []string{"interval", "timeout", "startPeriod", "startInterval"} {
			if s := v.ObjectValue()[resource.PropertyKey(name)]; s.IsString() {
				if _, err := time.ParseDuration(s.StringValue()); err != nil {
					c.refuse("healthcheck."+name, "%q is not a duration", s.StringValue())
				}
			}
		}
	}
	if v := c.news["memory"]; v.IsNumber() && v.NumberValue() < 0 {
		c.refuse("memory", "expected memory to be at least (0), got %.0f", v.NumberValue())
	}
}

func checkMount(m map[string]any) error {
	source, typ := text(m, "source"), text(m, "type")
	switch typ {
	case "bind":
		if !strings.HasPrefix(source, "/") {
			return fail("invalid mount config for type \"bind\": invalid mount path: '%s' mount path must be absolute", source)
		}
	case "volume":
	case "tmpfs":
		if source != "" {
			return fail("invalid mount config for type \"tmpfs\": source must not be given")
		}
	}
	if !strings.HasPrefix(text(m, "target"), "/") {
		return fail("invalid mount target %q: must be an absolute path", text(m, "target"))
	}
	if p := text(section(m, "bindOptions"), "propagation"); p != "" && !contains([]string{"private", "rprivate", "shared", "rshared", "slave", "rslave"}, p) {
		return fail("unknown propagation %q", p)
	}
	return nil
}

func checkPort(m map[string]any) error {
	if p := text(m, "protocol"); p != "" && p != "tcp" && p != "udp" && p != "sctp" {
		return fail("expected protocol to be one of [tcp udp sctp], got %s", p)
	}
	for _, n := range []string{"internal", "external"} {
		if v, given := m[n].(float64); given && (v < 0 || v > 65535) {
			return fail("%s port %.0f is out of range", n, v)
		}
	}
	if ip := text(m, "ip"); ip != "" {
		if _, err := netip.ParseAddr(ip); err != nil {
			return fail("invalid host IP address: %s", ip)
		}
	}
	return nil
}

func checkVolumeMount(m map[string]any) error {
	if p := text(m, "containerPath"); p != "" && !strings.HasPrefix(p, "/") {
		return fail("container_path must be an absolute path, got %q", p)
	}
	if text(m, "volumeName") == "" && text(m, "hostPath") == "" && text(m, "fromContainer") == "" && text(m, "containerPath") == "" {
		return fail("volume entry without container path or source container")
	}
	return nil
}

func checkUpload(m map[string]any) error {
	n := 0
	for _, s := range []string{"content", "contentBase64", "source"} {
		if text(m, s) != "" {
			n++
		}
	}
	if n > 1 {
		return fail("error with upload content: only one of 'content', 'content_base64', or 'source' can be set")
	}
	return nil
}
