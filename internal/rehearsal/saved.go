package rehearsal

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
)

// StateFile is the name of the file in the state folder that says what there is: machines with
// their user data, and boxes with their passwords.
const StateFile = "lab.json"

// SavedServer is a machine as the state folder keeps it.
type SavedServer struct {
	// Server is what it was ordered as.
	Server Server `json:"server"`
	// Running: it is switched on with the program, because it was on when that ended.
	Running bool `json:"running"`
}

// Saved lists the machines that a state folder keeps, by ID, whether or not a homelab-machine serves
// it. The error wraps fs.ErrNotExist where the folder never had one.
func Saved(state string) ([]SavedServer, error) {
	kept, err := readSaved(state)
	return kept.Servers, err
}

// SavedBoxes lists the storage boxes that a state folder keeps; see Saved.
func SavedBoxes(state string) ([]Box, error) {
	kept, err := readSaved(state)
	out := []Box{}
	for _, b := range kept.Boxes {
		out = append(out, b.Box)
	}
	return out, err
}

type saved struct {
	Servers []SavedServer `json:"servers"`
	Boxes   []struct {
		Box Box `json:"box"`
	} `json:"boxes"`
}

func readSaved(state string) (saved, error) {
	var out saved
	text, err := os.ReadFile(filepath.Join(state, StateFile))
	if err == nil {
		err = json.Unmarshal(text, &out)
	}
	if err != nil {
		return saved{}, fmt.Errorf("reading what machines there are: %w", err)
	}
	return out, nil
}

// MachineDir is the folder of a machine in the state folder.
func MachineDir(state, id string) string { return filepath.Join(state, "machines", id) }

// Disk is the path of a machine's disk: what it has written over the base disk, which all machines
// share.
func Disk(state, id string) string { return filepath.Join(MachineDir(state, id), "disk.qcow2") }
