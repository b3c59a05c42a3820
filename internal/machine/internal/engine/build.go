package engine

import (
	"archive/tar"
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/moby/moby/api/types/build"
	"github.com/moby/moby/client"
	"github.com/moby/patternmatcher"
	"github.com/moby/patternmatcher/ignorefile"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"homelab/internal/rehearsal"
)

// buildImage builds an image from the context of the call, or loads its substitute.
func buildImage(s *session) (rehearsal.DockerResult, error) {
	in, err := inputs[buildInputs](s.call)
	if err != nil {
		return rehearsal.DockerResult{}, err
	}
	if !in.SkipPush {
		return rehearsal.DockerResult{}, fmt.Errorf("pushing %s is not part of a rehearsal on machines: set skipPush", in.ImageName)
	}
	loaded, err := s.substitute(in.ImageName)
	if err != nil {
		return rehearsal.DockerResult{}, err
	}
	if !loaded {
		if err := s.build(in); err != nil {
			return rehearsal.DockerResult{}, fmt.Errorf("building image %s: %w", in.ImageName, err)
		}
	}
	found, err := s.api.ImageInspect(s.ctx, in.ImageName)
	if err != nil {
		return rehearsal.DockerResult{}, fmt.Errorf("building image %s: %w", in.ImageName, err)
	}
	return rehearsal.DockerResult{ID: in.ImageName, Outputs: map[string]any{"imageId": found.ID}}, nil
}

func (s *session) build(in buildInputs) error {
	context, err := withoutIgnored(s.call.Context, s.call.Dockerfile)
	if err != nil {
		return err
	}
	options := client.ImageBuildOptions{
		Tags: []string{in.ImageName}, Dockerfile: s.call.Dockerfile, Version: build.BuilderBuildKit, Target: in.Build.Target, Remove: true,
		BuildArgs: map[string]*string{},
	}
	if in.Build.BuilderVersion == "BuilderV1" {
		options.Version = build.BuilderV1
	}
	for name, value := range in.Build.Args {
		options.BuildArgs[name] = &value
	}
	if system, architecture, ok := strings.Cut(in.Build.Platform, "/"); ok {
		options.Platforms = []ocispec.Platform{{OS: system, Architecture: architecture}}
	}
	built, err := s.api.ImageBuild(s.ctx, bytes.NewReader(context), options)
	if err != nil {
		return err
	}
	defer func() { _ = built.Body.Close() }() // read to its end
	var log strings.Builder
	if err := messages(built.Body, func(line string) { log.WriteString(line) }); err != nil {
		return fmt.Errorf("%w\n%s", err, log.String())
	}
	return nil
}

// withoutIgnored leaves out of a build context what its .dockerignore names. The Dockerfile
// is never left out: the engine needs it.
func withoutIgnored(context []byte, dockerfile string) ([]byte, error) {
	patterns, err := ignored(context)
	if err != nil || len(patterns) == 0 {
		return context, err
	}
	matcher, err := patternmatcher.New(append(patterns, "!"+dockerfile))
	if err != nil {
		return nil, fmt.Errorf("reading .dockerignore: %w", err)
	}
	var out bytes.Buffer
	w := tar.NewWriter(&out)
	err = eachFile(context, func(header *tar.Header, r io.Reader) error {
		left, err := matcher.MatchesOrParentMatches(header.Name)
		if err != nil || left {
			return err
		}
		if err := w.WriteHeader(header); err != nil {
			return err
		}
		_, err = io.Copy(w, r)
		return err
	})
	if err != nil {
		return nil, err
	}
	if err := w.Close(); err != nil {
		return nil, err
	}
	return out.Bytes(), nil
}

// ignored are the patterns of a context's .dockerignore.
func ignored(context []byte) (patterns []string, err error) {
	err = eachFile(context, func(header *tar.Header, r io.Reader) error {
		if header.Name != ".dockerignore" {
			return nil
		}
		patterns, err = ignorefile.ReadAll(r)
		return err
	})
	return patterns, err
}

func eachFile(archive []byte, visit func(header *tar.Header, r io.Reader) error) error {
	for r := tar.NewReader(bytes.NewReader(archive)); ; {
		header, err := r.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("reading the build context: %w", err)
		}
		if err := visit(header, r); err != nil {
			return err
		}
	}
}
