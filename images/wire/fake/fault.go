package fake

import "net/http"

// fault is an answer in the place of the app's own.
type fault struct {
	status int
	body   string
}

// SetHanging makes the fake take requests and not answer them, or answer again.
func (s *Server) SetHanging(hanging bool) {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	s.hanging = hanging
}

// Break makes the fake answer a path with a status and a body, or again with its own answer if the
// status is 0. The path "" is all paths without one of their own.
func (s *Server) Break(path string, status int, body string) {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	if status == 0 {
		delete(s.faults, path)
		return
	}
	s.faults[path] = fault{status, body}
}

// fails answers a request in the place of the app, or reports that there is nothing wrong.
func (s *Server) fails(w http.ResponseWriter, r *http.Request) bool {
	s.mutex.Lock()
	hanging := s.hanging
	broken, found := s.faults[r.URL.Path]
	if !found {
		broken, found = s.faults[""]
	}
	s.mutex.Unlock()
	if hanging {
		<-r.Context().Done() // until the client has had enough
		return true
	}
	if found {
		w.WriteHeader(broken.status)
		_, _ = w.Write([]byte(broken.body))
	}
	return found
}
