package probe

import (
	"fmt"
	"slices"
	"strings"
)

// config is the part of Caddy's configuration that says which hosts have routes.
type config struct {
	Apps struct {
		HTTP struct {
			Servers map[string]struct {
				Routes []route `json:"routes"`
			} `json:"servers"`
		} `json:"http"`
	} `json:"apps"`
}

type route struct {
	Match []struct {
		Host []string `json:"host"`
	} `json:"match"`
	Handle []struct {
		Routes []route `json:"routes"`
	} `json:"handle"`
}

// missing returns, sorted, those of hosts that no route names. A route for every host, or for a
// wildcard, counts for none: it is what answers when the hostname's own route is absent.
func (c config) missing(server string, hosts []string) ([]string, error) {
	loaded := map[string]bool{}
	found := server == ""
	for name, s := range c.Apps.HTTP.Servers {
		if server != "" && name != server {
			continue
		}
		found = true
		collect(s.Routes, loaded)
	}
	if !found {
		return nil, fmt.Errorf("no server %q is loaded", server)
	}
	var missing []string
	for _, h := range hosts {
		if !loaded[strings.ToLower(h)] {
			missing = append(missing, h)
		}
	}
	slices.Sort(missing)
	return slices.Compact(missing), nil
}

// collect adds the hosts that routes with handlers name, looking inside the routes that name none.
func collect(routes []route, into map[string]bool) {
	for _, r := range routes {
		named := false
		for _, m := range r.Match {
			for _, h := range m.Host {
				named = true
				if len(r.Handle) > 0 {
					into[strings.ToLower(h)] = true
				}
			}
		}
		if named {
			continue
		}
		for _, h := range r.Handle {
			collect(h.Routes, into)
		}
	}
}

func join(hosts []string) string { return strings.Join(hosts, ", ") }
