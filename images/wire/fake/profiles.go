package fake

import (
	"errors"
	"net/http"
)

// profileSpec is what a quality profile can have.
var profileSpec = spec{"id": "int", "name": "string!", "upgradeAllowed": "bool!", "cutoff": "int!", "items": "array!", "minFormatScore": "int!",
	"cutoffFormatScore": "int!", "minUpgradeFormatScore": "int!", "formatItems": "array!", "language": "object"}

// newProfile returns what a new quality profile starts from.
func newProfile(name string, id float64) object {
	return object{"id": id, "name": name, "upgradeAllowed": false, "cutoff": 3.0, "minFormatScore": 0.0, "cutoffFormatScore": 0.0,
		"minUpgradeFormatScore": 1.0, "formatItems": []any{},
		"items": []any{object{"quality": object{"id": 3.0, "name": "WEBDL-1080p"}, "items": []any{}, "allowed": true}}}
}

// routeProfiles adds the quality profiles, of which there are two from the beginning.
func (s *Servarr) routeProfiles() {
	s.profiles = []object{newProfile("Any", 1), newProfile("HD-1080p", 4)}
	s.route("GET /qualityprofile", func(w http.ResponseWriter, _ *http.Request) {
		s.mutex.Lock()
		defer s.mutex.Unlock()
		answer(w, http.StatusOK, copyOf(s.profiles))
	})
	s.route("GET /qualityprofile/schema", func(w http.ResponseWriter, _ *http.Request) {
		schema := newProfile("", 0)
		delete(schema, "id")
		answer(w, http.StatusOK, schema)
	})
	s.route("POST /qualityprofile", s.addProfile)
}

// profile returns the quality profile of a number, nil if there is none.
func (s *Servarr) profile(id any) object {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	for _, profile := range s.profiles {
		if profile["id"] == id {
			return profile
		}
	}
	return nil
}

func (s *Servarr) addProfile(w http.ResponseWriter, r *http.Request) {
	var profile object
	if err := readBody(r, &profile); err != nil {
		refuse(w, "", err, nil)
		return
	}
	if err := profileSpec.check(profile); err != nil {
		refuse(w, "", err, profile)
		return
	}
	s.mutex.Lock()
	defer s.mutex.Unlock()
	items, _ := profile["items"].([]any)
	if profile["name"] == "" || len(items) == 0 {
		refuse(w, "Name", errors.New("must not be empty"), profile)
		return
	}
	last := 0.0
	for _, other := range s.profiles {
		if other["name"] == profile["name"] {
			refuse(w, "Name", errors.New("Must be unique"), profile["name"])
			return
		}
		if id, ok := other["id"].(float64); ok {
			last = max(last, id)
		}
	}
	profile["id"] = last + 1
	s.profiles = append(s.profiles, profile)
	s.wrote(r)
	answer(w, http.StatusCreated, profile)
}
