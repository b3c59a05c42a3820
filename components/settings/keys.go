package settings

import (
	"encoding/json"
	"fmt"
	"maps"

	"homelab/components/internal/access"
	"homelab/components/internal/offer"
	"homelab/components/internal/watch"
)

// namespace is the namespace of the program's own keys: the project's name.
const namespace = "homelab:"

// keyKind is the shape of a key's value.
type keyKind string

// The shapes a key can have, named as in the project file's schema.
const (
	kindString  keyKind = "string"
	kindBoolean keyKind = "boolean"
	kindObject  keyKind = "object"
	kindArray   keyKind = "array"
)

// keys are the keys of the namespace that are not secrets, with the shape of each.
var keys = map[string]keyKind{
	"adminEmail": kindString,
	"alerts":     kindObject,
	"auth":       kindObject,
	"backup":     kindObject,
	"cloudflare": kindObject,

	"customServices": kindObject,
	"domain":         kindString,
	"monitoring":     kindObject,
	"networks":       kindObject,
	"ports":          kindObject,
	"protect":        kindBoolean,
	"server":         kindObject,
	"services":       kindObject,
	"smtp":           kindObject,
	"storage":        kindObject,
	"tailscale":      kindObject,
	"timezone":       kindString,
	"users":          kindArray,
	"vpn":            kindObject,
	"wiring":         kindObject,
}

// defaults are the values of everything that may be left out. Objects merge with what the stack
// gives; lists do not. Pulumi.yaml repeats them because the engine's tools show them from there; a
// test holds the two together.
var defaults = object{
	"timezone": "Etc/UTC",
	"protect":  true,
	"cloudflare": object{
		"plan":             "free",
		"certificates":     list{},
		"blockedCountries": list{},
		"rateLimit":        object{"requests": 10, "periodSeconds": 10, "blockSeconds": 10},
		"rules":            list{},
		"hsts":             object{"includeSubdomains": false, "preload": false},
	},
	"tailscale": object{"members": list{}, "overwritePolicy": false, "extraGrants": list{}, "extraTagOwners": list{}},
	"server":    object{"name": "homelab", "type": "cx43", "location": "fsn1", "image": "debian-13", "generation": 1},
	"ports":     object{"https": 443, "ssh": 22, "tailscale": 41641},
	"storage": object{
		"media": object{
			"type": "bx21", "location": "fsn1", "protocol": "webdav",
			"snapshots": object{"max": 10, "hour": 3, "minute": 45},
		},
		"backup": object{
			"type": "bx11", "location": "hel1",
			"snapshots": object{"max": 10, "hour": 3, "minute": 15},
		},
		"downloads": object{"sizeGB": 40},
	},
	"alerts": object{"webhook": false, "format": string(watch.Ntfy), "mail": false, "nobody": ""},
	"backup": object{
		"hour": 1, "minute": 30, "jitterMinutes": 30, "drillDay": 2,
		"keep": object{"daily": 7, "weekly": 4, "monthly": 6, "yearly": 1},
	},
	"networks": object{
		"caddyProxy":        "172.30.1.0/24",
		"grafanaMonitoring": "172.30.2.0/24",
		"gluetun":           "172.30.3.0/24",
		"autheliaSession":   "172.30.4.0/24",
	},
	"auth": object{
		"hostname":          "auth",
		"sessionDomain":     "",
		"sessionInactivity": "1h",
		"sessionExpiration": "12h",
		"rememberMe":        "30d",
	},
	"vpn": object{
		"provider": "off", "wireguard": object{}, "openvpn": object{},
		"presharedKey": false, "portForwarding": false, "forwardedPort": 0,
	},
	"monitoring": object{
		"enabled": true, "shipper": string(watch.Alloy), "metrics": object{"days": 30, "sizeGB": 5}, "logs": object{"days": 14},
		"deadMansSwitch": false,
	},
	"wiring": object{"enforce": list{}, "jackettIndexers": list{}, "prowlarrIndexers": list{}, "qualityProfiles": object{}},
	// Empty means that nothing is mailed.
	"smtp": object{},
	// The catalogue has the defaults of its services; see serviceDefaults.
	"services":       object{},
	"customServices": object{},
}

// serviceDefaults are the defaults of the services of the catalogue, by name.
func serviceDefaults(offers []offer.Offer) object {
	out := object{}
	for _, o := range offers {
		if o.Internal {
			continue
		}
		out[o.Name] = object{
			"enabled": !o.Off, "hostname": o.Hostname, "visibility": string(o.Visibility), "memoryMiB": o.MemoryMiB,
			"access": accessDefault(o.Access), "bypass": list{}, "uploads": list{},
		}
	}
	return out
}

func accessDefault(a access.Access) object {
	out := object{"policy": string(a.Policy)}
	if len(a.Groups) > 0 {
		groups := list{}
		for _, g := range a.Groups {
			groups = append(groups, g)
		}
		out["groups"] = groups
	}
	if a.Reason != "" {
		out["reason"] = a.Reason
	}
	return out
}

// customDefaults are the defaults of a service of the operator's own: on the tailnet, for those who
// administer the server, and with no way out.
func customDefaults(name string) object {
	return object{
		"hostname": name, "visibility": string(access.Tailnet), "library": libraryNone, "reaches": reachesNone,
		"access": object{"policy": string(access.TwoFactor), "groups": list{AdminsGroup}},
	}
}

// object and list are JSON values.
type (
	object = map[string]any
	list   = []any
)

// overlay returns the defaults with what the stack gives laid over them. An object is merged key by
// key, except a service's access: its fields only make sense together, so giving one replaces all.
func overlay(given object, offers []offer.Offer) (object, error) {
	all := maps.Clone(defaults)
	all["services"] = serviceDefaults(offers)
	if custom, ok := given["customServices"].(object); ok {
		own := object{}
		for name := range custom {
			own[name] = customDefaults(name)
		}
		all["customServices"] = own
	}
	text, err := json.Marshal(all)
	if err != nil {
		return nil, fmt.Errorf("copying the defaults: %w", err)
	}
	base, err := decodeJSON(string(text))
	if err != nil {
		return nil, fmt.Errorf("copying the defaults: %w", err)
	}
	return merge(base.(object), given), nil
}

func merge(base, over object) object {
	for key, v := range over {
		below, isObject := v.(object)
		under, wasObject := base[key].(object)
		if isObject && wasObject && key != "access" {
			base[key] = merge(under, below)
			continue
		}
		base[key] = v
	}
	return base
}
