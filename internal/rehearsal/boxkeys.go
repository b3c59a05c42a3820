package rehearsal

import (
	"fmt"
	"slices"
	"strings"

	"homelab/internal/boxkeys"
)

// PinsBoxes reports whether a text that goes to a machine has a key which Hetzner publishes for its
// storage boxes.
func PinsBoxes(text string) bool {
	return slices.ContainsFunc(boxkeys.Published(), func(k boxkeys.Key) bool { return strings.Contains(text, k.String()) })
}

// PinBoxes puts the host keys of a rehearsal's boxes in the place of those that Hetzner publishes,
// each in that of the same type: a rehearsal cannot have the private halves of Hetzner's. Everything
// else stays byte for byte, host names, ports and every other key too, so a key that is not
// Hetzner's is refused as it would be there. The keys are those of BoxKeys. It is an error if none
// of them has the type of a key that the text pins.
func PinBoxes(text string, keys []string) (string, error) {
	own := map[string]boxkeys.Key{}
	for _, line := range keys {
		key, err := boxkeys.Parse(line)
		if err != nil {
			return "", fmt.Errorf("reading the host keys of the storage boxes: %w", err)
		}
		own[key.Type] = key
	}
	var out strings.Builder
	for line := range strings.Lines(text) {
		for _, published := range boxkeys.Published() {
			if !names(line, published) {
				continue
			}
			key, ok := own[published.Type]
			if !ok {
				return "", fmt.Errorf("the rehearsal's storage boxes have no host key of type %s", published.Type)
			}
			line = strings.Replace(line, published.String(), key.String(), 1)
		}
		out.WriteString(line)
	}
	return out.String(), nil
}

// names reports whether a line of known_hosts has the key: as whole words, and not in a comment.
func names(line string, key boxkeys.Key) bool {
	words := strings.Fields(line)
	return len(words) >= 3 && !strings.HasPrefix(words[0], "#") && strings.Join(words[1:3], " ") == key.String() && strings.Contains(line, key.String())
}
