package engine

import (
	"fmt"

	"github.com/moby/moby/client"

	"homelab/internal/rehearsal"
)

func createVolume(s *session) (rehearsal.DockerResult, error) {
	in, err := inputs[volumeInputs](s.call)
	if err != nil {
		return rehearsal.DockerResult{}, err
	}
	made, err := s.api.VolumeCreate(s.ctx, client.VolumeCreateOptions{
		Name: in.Name, Driver: in.Driver, DriverOpts: in.DriverOpts, Labels: labelMap(in.Labels),
	})
	if err != nil {
		return rehearsal.DockerResult{}, said("Unable to create volume: %w", err)
	}
	s.call.ID = made.Volume.Name
	result, err := readVolume(s)
	if err != nil {
		return rehearsal.DockerResult{ID: s.call.ID, NotReady: err.Error()}, nil
	}
	return result, nil
}

func readVolume(s *session) (rehearsal.DockerResult, error) {
	found, err := s.api.VolumeInspect(s.ctx, s.call.ID, client.VolumeInspectOptions{})
	if gone(err) {
		return rehearsal.DockerResult{Gone: true}, nil
	}
	if err != nil {
		return rehearsal.DockerResult{}, err
	}
	v := found.Volume
	return rehearsal.DockerResult{ID: v.Name, Outputs: map[string]any{
		"name": v.Name, "driver": v.Driver, "driverOpts": texts(v.Options), "labels": labelList(v.Labels), "mountpoint": v.Mountpoint,
	}}, nil
}

// removeVolume waits for containers that are about to let go of it. A volume that is gone is an
// error: of the provider too.
func removeVolume(s *session) (rehearsal.DockerResult, error) {
	err := s.until(func() error {
		_, err := s.api.VolumeRemove(s.ctx, s.call.ID, client.VolumeRemoveOptions{Force: false})
		return err
	}, "volume is in use")
	if err != nil {
		return rehearsal.DockerResult{}, fmt.Errorf("unable to remove volume '%s': %w", s.call.ID, err)
	}
	return rehearsal.DockerResult{}, nil
}
