package simcloud

// Some deletes are no-ops in the real clouds: the value stays live. These
// helpers remember such values, so that Residue can list what a destroy leaves.

// own records a setting that a resource now manages.
func (t *task) own(id string, value any) {
	before := t.w.state.Settings[id]
	t.undo = func() {
		if t.w.state.Settings[id] = before; before == nil {
			delete(t.w.state.Settings, id)
		}
	}
	t.w.state.Settings[id] = &residual{Type: t.token, ID: id, Name: t.name, Value: value, Owned: true}
}

// disown records that the resource is gone and the value is not.
func (t *task) disown(id string) {
	if r := t.w.state.Settings[id]; r != nil {
		r.Owned = false
	}
}
