package disk

// Name is the folder of the base disk in the cache, for that release of Debian.
func (o Options) Name(release string) (string, error) {
	if o.Mirror == "" {
		o.Mirror = defaultMirror
	}
	recipe, err := o.recipe()
	return recipe + "-" + release, err
}
