package rehearsal

import "encoding/json"

// Operation is what DockerCall asks for.
type Operation string

// The operations on a resource of Docker.
const (
	// Create makes it.
	Create Operation = "create"
	// Read reads it as it is now.
	Read Operation = "read"
	// Update changes it in place.
	Update Operation = "update"
	// Remove deletes it.
	Remove Operation = "delete"
)

// DockerCall is one operation on one resource of Docker's provider.
type DockerCall struct {
	// Host is the provider's host, ssh://user@address:port.
	Host string `json:"host"`
	// HostKeys are the pinned SSH host keys, as lines of authorized_keys; empty means no check.
	HostKeys []string `json:"hostKeys"`
	// Type is the type token of the resource.
	Type string `json:"type"`
	// Operation is what to do.
	Operation Operation `json:"operation"`
	// ID is the resource's; empty for a create.
	ID string `json:"id,omitempty"`
	// Inputs are the program's inputs: the new ones, and the last ones for a read and a delete.
	Inputs json.RawMessage `json:"inputs"`
	// State is what the provider last said of the resource; for a read and an update.
	State json.RawMessage `json:"state,omitempty"`
	// Context is the build context of an image as a tar archive, and Dockerfile the path in it.
	Context    []byte `json:"context,omitempty"`
	Dockerfile string `json:"dockerfile,omitempty"` // see Context
}

// DockerResult is what the provider reports.
type DockerResult struct {
	// ID is the resource's.
	ID string `json:"id,omitempty"`
	// Outputs are its properties, inputs included, by the names of Pulumi's schema. Numbers are
	// JSON numbers.
	Outputs map[string]any `json:"outputs,omitempty"`
	// Gone reports that a read found nothing.
	Gone bool `json:"gone,omitempty"`
	// NotReady is why a resource that was created did not become ready.
	NotReady string `json:"notReady,omitempty"`
}
