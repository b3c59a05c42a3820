package probe

// tried reports whether somebody has tried to make one.
func (r *record) tried(where string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.of(where).Passes+r.of(where).missed > 0
}
