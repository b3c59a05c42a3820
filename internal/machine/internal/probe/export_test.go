package probe

// made is how many passes somebody has made.
func (r *record) made(where string) int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.of(where).Passes
}

// tried reports whether somebody has tried to make one.
func (r *record) tried(where string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.of(where).Passes+r.of(where).missed > 0
}
