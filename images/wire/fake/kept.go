package fake

import (
	"bytes"
	"encoding/json"
	"fmt"
	"reflect"
)

// keeps are the fields of a fake that outlive a restart, by name: pointers to them.
type keeps map[string]any

// State returns what outlives a restart, as JSON.
func (a *App) State() ([]byte, error) {
	a.server.mutex.Lock()
	defer a.server.mutex.Unlock()
	state, err := json.Marshal(a.keeps)
	if err != nil {
		return nil, fmt.Errorf("keeping the state: %w", err)
	}
	return state, nil
}

// Restore makes the app what it was when State returned this. It is called before the app answers
// anybody. A state with other fields is refused: it is of another version.
func (a *App) Restore(state []byte) error {
	a.server.mutex.Lock()
	defer a.server.mutex.Unlock()
	var fields map[string]json.RawMessage
	if err := json.Unmarshal(state, &fields); err != nil {
		return fmt.Errorf("restoring the state: %w", err)
	}
	if len(fields) != len(a.keeps) {
		return fmt.Errorf("restoring the state: it has %d fields, not %d", len(fields), len(a.keeps))
	}
	for name, into := range a.keeps {
		raw, there := fields[name]
		if !there {
			return fmt.Errorf("restoring the state: there is no %s", name)
		}
		field := reflect.ValueOf(into).Elem()
		fresh := reflect.New(field.Type()) // a map would keep what it has
		decoder := json.NewDecoder(bytes.NewReader(raw))
		decoder.DisallowUnknownFields()
		if err := decoder.Decode(fresh.Interface()); err != nil {
			return fmt.Errorf("restoring the state: %s: %w", name, err)
		}
		field.Set(fresh.Elem())
	}
	return nil
}

func (p *providers) keeps(name string, into keeps) {
	into[name], into[name+" made"] = &p.items, &p.nextID
}

func (s *Servarr) keeps() keeps {
	all := keeps{"configs": &s.configs, "password": &s.stored, "roots": &s.roots, "profiles": &s.profiles,
		"media": &s.media, "imported": &s.imported}
	s.clients.keeps("clients", all)
	s.indexers.keeps("indexers", all)
	s.connects.keeps("notifications", all)
	return all
}

func (p *Prowlarr) keeps() keeps {
	all := keeps{"configs": &p.configs, "password": &p.stored}
	p.applications.keeps("applications", all)
	p.indexers.keeps("indexers", all)
	return all
}

func (j *Jackett) keeps() keeps { return keeps{"configured": &j.configured} }

func (j *Jellyfin) keeps() keeps {
	return keeps{"name": &j.name, "password": &j.password, "completed": &j.completed, "sessions": &j.sessions, "logins": &j.logins,
		"keys": &j.keys, "made": &j.made, "libraries": &j.libraries, "items": &j.items}
}

func (s *Jellyseerr) keeps() keeps {
	return keeps{"users": &s.users, "sessions": &s.sessions, "initialized": &s.initialized, "main": &s.main, "jellyfin": &s.jellyfin,
		"libraries": &s.libraries, "servers": &s.servers, "requests": &s.requests, "inner": &s.inner}
}
