package settings

import (
	"reflect"
	"strings"
)

// suggest says what to do about the unknown key of the object at parent: use the nearest known key,
// or the one of the same name elsewhere, or choose from the list.
func suggest(parent, key string) string {
	for _, secret := range secretNames() {
		if parent != "" && strings.EqualFold(secret, namespace+parent+key) {
			return "remove it, and set it as a secret: pulumi config set --secret " + secret
		}
	}
	siblings := childrenOf(parent)
	if parent == "" {
		siblings = topLevelKeys()
	}
	if near := nearest(key, siblings); near != "" {
		if parent != "" {
			near = parent + "." + near
		}
		return "did you mean " + namespace + near + "?"
	}
	elsewhere := ""
	for _, path := range allPaths("", reflect.TypeFor[raw]()) {
		if path == key || !strings.HasSuffix(path, "."+key) {
			continue
		}
		if elsewhere != "" {
			elsewhere = ""
			break
		}
		elsewhere = path
	}
	if elsewhere != "" && !strings.Contains(elsewhere, "."+anyName+".") {
		return "did you mean " + namespace + elsewhere + "?"
	}
	return "remove it; the keys here are " + strings.Join(siblings, ", ")
}

// nearest returns the candidate fewest edits away from key, the first of several, or nothing if all
// are too far to be meant: a third of the key's length, at least two edits.
func nearest(key string, candidates []string) string {
	best, limit := "", max(2, len(key)/3)
	for _, candidate := range candidates {
		d := distance(strings.ToLower(key), strings.ToLower(candidate))
		if d <= limit && d < len(candidate) {
			best, limit = candidate, d-1
		}
	}
	return best
}

// distance is the Levenshtein distance of two texts: the fewest insertions, deletions and
// substitutions of a character that turn one into the other.
func distance(a, b string) int {
	from, to := []rune(a), []rune(b)
	row := make([]int, len(to)+1)
	for j := range row {
		row[j] = j
	}
	for i, r := range from {
		diagonal := row[0]
		row[0] = i + 1
		for j, s := range to {
			substitute := diagonal
			if r != s {
				substitute++
			}
			diagonal = row[j+1]
			row[j+1] = min(substitute, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(to)]
}
