package substitute

import (
	"encoding/json"
	"fmt"
	"path"
	"strings"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// certificates is where the images of this repository have the certificates of the authorities.
const certificates = "/etc/ssl/certs/ca-certificates.crt"

// recipe is what the last stage of a Dockerfile makes: a program, and perhaps the certificates of
// the authorities, on nothing else.
type recipe struct {
	config       ocispec.ImageConfig
	program      string // its path in the image
	certificates bool
}

// readDockerfile reads the last stage of one of this repository's Dockerfiles. What it does not
// know is an error: the image would not be the deployment's.
func readDockerfile(text string) (recipe, error) {
	var r recipe
	last := false
	for _, line := range instructions(text) {
		word, rest, _ := strings.Cut(line, " ")
		if word == "FROM" {
			last = rest == "scratch"
			continue
		}
		if !last {
			continue
		}
		if err := r.instruction(word, strings.TrimSpace(rest)); err != nil {
			return recipe{}, fmt.Errorf("%q: %w", line, err)
		}
	}
	if r.program == "" || len(r.config.Entrypoint) == 0 {
		return recipe{}, fmt.Errorf("no last stage FROM scratch with a program and an entry point")
	}
	return r, nil
}

// instructions are the lines without comments, joined where one goes on.
func instructions(text string) (out []string) {
	text = strings.ReplaceAll(text, "\\\n", " ")
	for line := range strings.Lines(text) {
		if line = strings.TrimSpace(line); line != "" && !strings.HasPrefix(line, "#") {
			out = append(out, line)
		}
	}
	return out
}

func (r *recipe) instruction(word, rest string) error {
	switch word {
	case "COPY":
		return r.copied(rest)
	case "ENV":
		for _, pair := range strings.Fields(rest) {
			if !strings.Contains(pair, "=") {
				return fmt.Errorf("a variable without a value")
			}
			r.config.Env = append(r.config.Env, pair)
		}
	case "USER":
		r.config.User = rest
	case "HEALTHCHECK": // each container of the deployment has its own
	case "ENTRYPOINT":
		return json.Unmarshal([]byte(rest), &r.config.Entrypoint)
	case "CMD":
		return json.Unmarshal([]byte(rest), &r.config.Cmd)
	default:
		return fmt.Errorf("an instruction that is not known here")
	}
	return nil
}

func (r *recipe) copied(rest string) error {
	words := strings.Fields(rest)
	if len(words) != 3 || words[0] != "--from=build" || !path.IsAbs(words[2]) {
		return fmt.Errorf("not --from=build FROM TO")
	}
	switch {
	case words[1] == certificates && words[2] == certificates:
		r.certificates = true
	case path.Dir(words[1]) == "/out" && r.program == "":
		r.program = words[2]
	default:
		return fmt.Errorf("neither the program nor the certificates")
	}
	return nil
}
