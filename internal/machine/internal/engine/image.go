package engine

import (
	"bufio"
	"compress/gzip"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/moby/moby/api/types/image"
	"github.com/moby/moby/client"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"homelab/internal/rehearsal"
)

// createImage has an image on the engine: it is there already, or there is a substitute, or it is
// pulled. An update does the same.
func createImage(s *session) (rehearsal.DockerResult, error) {
	in, err := inputs[imageInputs](s.call)
	if err != nil {
		return rehearsal.DockerResult{}, err
	}
	found, err := s.findImage(in.Name, in.Platform)
	if err != nil {
		return rehearsal.DockerResult{}, said("Unable to read Docker image into resource: %w", err)
	}
	return imageResult(in.Name, found), nil
}

func imageResult(name string, found image.InspectResponse) rehearsal.DockerResult {
	return rehearsal.DockerResult{ID: found.ID + name, Outputs: map[string]any{"imageId": found.ID, "repoDigest": repoDigest(name, found), "name": name}}
}

func readImage(s *session) (rehearsal.DockerResult, error) {
	in, err := inputs[imageInputs](s.call)
	if err != nil {
		return rehearsal.DockerResult{}, err
	}
	found, err := s.localImage(in.Name)
	if gone(err) {
		return rehearsal.DockerResult{Gone: true}, nil
	}
	if err != nil {
		return rehearsal.DockerResult{}, err
	}
	return imageResult(in.Name, found), nil
}

func removeImage(s *session) (rehearsal.DockerResult, error) {
	in, err := inputs[imageInputs](s.call)
	if err != nil || in.KeepLocally {
		return rehearsal.DockerResult{}, err
	}
	found, err := s.localImage(in.Name)
	if gone(err) {
		return rehearsal.DockerResult{}, nil
	}
	if err == nil {
		_, err = s.api.ImageRemove(s.ctx, s.localName(in.Name, found), client.ImageRemoveOptions{Force: in.ForceRemove, PruneChildren: true})
	}
	if err != nil {
		return rehearsal.DockerResult{}, fmt.Errorf("unable to remove Docker image: %w", err)
	}
	return rehearsal.DockerResult{}, nil
}

// findImage finds an image on the engine, and else brings it there.
func (s *session) findImage(name, platform string) (image.InspectResponse, error) {
	found, err := s.localImage(name)
	if err == nil || !gone(err) {
		return found, err
	}
	loaded, err := s.substitute(name)
	if err != nil {
		return found, err
	}
	if !loaded {
		if err := s.pull(name, platform); err != nil {
			return found, fmt.Errorf("unable to pull image %s: %w", name, err)
		}
	}
	found, err = s.localImage(name)
	if gone(err) {
		return found, fmt.Errorf("unable to find or pull image %s", name)
	}
	return found, err
}

// localImage finds an image on the engine by name or ID; a substitute by the name that it has there.
func (s *session) localImage(name string) (image.InspectResponse, error) {
	found, err := s.api.ImageInspect(s.ctx, name)
	if gone(err) {
		if tag, pinned := substituteTag(name); pinned {
			found, err = s.api.ImageInspect(s.ctx, tag)
		}
	}
	return found.InspectResponse, err
}

// localName is a name by which the engine knows an image.
func (s *session) localName(name string, found image.InspectResponse) string {
	if tag, pinned := substituteTag(name); pinned {
		for _, t := range found.RepoTags {
			if t == tag {
				return tag
			}
		}
	}
	return name
}

// substitutes is the repository of substitutes on an engine. Docker keeps no digest of what it
// loads, so the tag says which digest it stands for.
const substitutes = "homelab.invalid/substitute"

// substituteTag is the name that a substitute has on the engine.
func substituteTag(name string) (string, bool) {
	_, digest, pinned := strings.Cut(name, "@sha256:")
	return substitutes + ":" + digest, pinned
}

// substitute loads the substitute of an image, if there is one.
func (s *session) substitute(name string) (bool, error) {
	if s.options.Images == nil || strings.HasPrefix(name, "sha256:") {
		return false, nil
	}
	archive, err := s.options.Images(name)
	if none(err) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("reading the substitute of image %s: %w", name, err)
	}
	defer func() { _ = archive.Close() }() // it was only read
	id, err := s.bring(name, archive)
	if err != nil {
		return false, fmt.Errorf("loading the substitute of image %s: %w", name, err)
	}
	tag, pinned := substituteTag(name)
	if !pinned {
		tag = name
	}
	if _, err := s.api.ImageTag(s.ctx, client.ImageTagOptions{Source: id, Target: tag}); err != nil {
		return false, err
	}
	// The name in the archive is nobody's here, and would keep the image when the other one goes.
	if !strings.HasPrefix(id, "sha256:") && id != tag {
		_, err = s.api.ImageRemove(s.ctx, id, client.ImageRemoveOptions{})
	}
	return err == nil, err
}

// bring loads an archive, by the fastest way that there is, and returns the image's name or ID.
func (s *session) bring(name string, archive io.Reader) (string, error) {
	if s.options.Load != nil {
		said, loaded, err := s.options.Load(s.ctx, s.call.Host, name)
		if err != nil {
			return "", err
		}
		if loaded {
			return loadedName(strings.Split(said, "\n"))
		}
	}
	sent := compressed(archive)
	defer func() { _ = sent.Close() }() // what was not asked for is not read
	return s.load(sent)
}

// compressed compresses a stream while it is read. An emulated machine decrypts what it gets twice,
// for the tailnet and for SSH, and is slower at that than at decompressing.
func compressed(from io.Reader) *io.PipeReader {
	out, in := io.Pipe()
	go func() {
		w, err := gzip.NewWriterLevel(in, gzip.BestSpeed)
		if err == nil {
			_, err = io.Copy(w, from)
			err = errors.Join(err, w.Close())
		}
		_ = in.CloseWithError(err) // never fails; nil is the end
	}()
	return out
}

// load loads an archive of one image, and returns its name or ID.
func (s *session) load(archive io.Reader) (string, error) {
	loaded, err := s.api.ImageLoad(s.ctx, archive)
	if err != nil {
		return "", err
	}
	defer func() { _ = loaded.Close() }() // read to its end
	var lines []string
	if err := messages(loaded, func(line string) { lines = append(lines, line) }); err != nil {
		return "", err
	}
	return loadedName(lines)
}

// loadedName is the name or ID of the image that an engine says it has loaded.
func loadedName(said []string) (string, error) {
	var found string
	for _, line := range said {
		for _, prefix := range []string{"Loaded image ID: ", "Loaded image: "} {
			if rest, ok := strings.CutPrefix(line, prefix); ok {
				found = strings.TrimSpace(rest)
			}
		}
	}
	if found == "" {
		return "", errors.New("the archive has no image")
	}
	return found, nil
}

// pull pulls an image from its registry.
func (s *session) pull(name, platform string) error {
	if s.options.Offline {
		return fmt.Errorf("the rehearsal is offline and has no substitute for it")
	}
	options := client.ImagePullOptions{}
	if platform != "" {
		system, architecture, _ := strings.Cut(platform, "/")
		options.Platforms = []ocispec.Platform{{OS: system, Architecture: architecture}}
	}
	pulled, err := s.api.ImagePull(s.ctx, name, options)
	if err != nil {
		return fmt.Errorf("error pulling image %s: %w", name, err)
	}
	defer func() { _ = pulled.Close() }() // read to its end
	if err := messages(pulled, func(string) {}); err != nil {
		return fmt.Errorf("error pulling image %s: %w", name, err)
	}
	return nil
}

// messages reads what an engine says while it works; the error is the first that it reports.
func messages(r io.Reader, say func(line string)) error {
	scanner := bufio.NewScanner(r)
	scanner.Buffer(nil, 16<<20)
	for scanner.Scan() {
		var m struct {
			Stream string `json:"stream"`
			Error  string `json:"error"`
		}
		if err := json.Unmarshal(scanner.Bytes(), &m); err != nil {
			return fmt.Errorf("problem decoding message from docker daemon: %w", err)
		}
		if m.Error != "" {
			return errors.New(m.Error)
		}
		say(m.Stream)
	}
	return scanner.Err()
}

// repoDigest is what a registry calls the image: the pinned digest where the program has one.
func repoDigest(name string, found image.InspectResponse) string {
	repository, digest, pinned := strings.Cut(name, "@")
	if slash := strings.LastIndex(repository, "/"); strings.Contains(repository[slash+1:], ":") {
		repository = repository[:slash+1+strings.Index(repository[slash+1:], ":")]
	}
	if pinned {
		return repository + "@" + digest
	}
	for _, d := range found.RepoDigests {
		if strings.HasPrefix(d, repository+"@") {
			return d
		}
	}
	if len(found.RepoDigests) > 0 {
		return found.RepoDigests[0]
	}
	return ""
}
