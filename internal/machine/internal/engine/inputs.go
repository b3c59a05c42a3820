package engine

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	"homelab/internal/rehearsal"
)

// containerInputs are the inputs of a container that a rehearsal knows, by the names of Pulumi's
// schema, with the provider's defaults.
type containerInputs struct {
	Name                                    string             `json:"name"`
	Image                                   string             `json:"image"`
	Capabilities                            *capabilities      `json:"capabilities"`
	CgroupParent                            string             `json:"cgroupParent"`
	CgroupnsMode                            string             `json:"cgroupnsMode"`
	Command                                 []string           `json:"command"`
	ContainerReadRefreshTimeoutMilliseconds int                `json:"containerReadRefreshTimeoutMilliseconds"`
	CPUPeriod                               int64              `json:"cpuPeriod"`
	CPUQuota                                int64              `json:"cpuQuota"`
	CPUSet                                  string             `json:"cpuSet"`
	CPUShares                               int64              `json:"cpuShares"`
	DestroyGraceSeconds                     int                `json:"destroyGraceSeconds"`
	Devices                                 []deviceInput      `json:"devices"`
	DNS                                     []string           `json:"dns"`
	DNSOpts                                 []string           `json:"dnsOpts"`
	DNSSearches                             []string           `json:"dnsSearches"`
	Domainname                              string             `json:"domainname"`
	Entrypoints                             []string           `json:"entrypoints"`
	Envs                                    []string           `json:"envs"`
	GroupAdds                               []string           `json:"groupAdds"`
	Healthcheck                             *healthInput       `json:"healthcheck"`
	Hostname                                string             `json:"hostname"`
	Hosts                                   []hostInput        `json:"hosts"`
	Init                                    bool               `json:"init"`
	IpcMode                                 string             `json:"ipcMode"`
	Labels                                  []label            `json:"labels"`
	LogDriver                               string             `json:"logDriver"`
	LogOpts                                 map[string]string  `json:"logOpts"`
	MaxRetryCount                           int                `json:"maxRetryCount"`
	Memory                                  int64              `json:"memory"`
	MemoryReservation                       int64              `json:"memoryReservation"`
	MemorySwap                              int64              `json:"memorySwap"`
	Mounts                                  []mountInput       `json:"mounts"`
	MustRun                                 *bool              `json:"mustRun"`
	NetworkMode                             string             `json:"networkMode"`
	NetworksAdvanced                        []networkJoinInput `json:"networksAdvanced"`
	PidMode                                 string             `json:"pidMode"`
	Ports                                   []portInput        `json:"ports"`
	Privileged                              bool               `json:"privileged"`
	PublishAllPorts                         bool               `json:"publishAllPorts"`
	ReadOnly                                bool               `json:"readOnly"`
	RemoveVolumes                           *bool              `json:"removeVolumes"`
	Restart                                 string             `json:"restart"`
	Rm                                      bool               `json:"rm"`
	Runtime                                 string             `json:"runtime"`
	SecurityOpts                            []string           `json:"securityOpts"`
	ShmSize                                 int64              `json:"shmSize"`
	Start                                   *bool              `json:"start"`
	StopSignal                              string             `json:"stopSignal"`
	StopTimeout                             *int               `json:"stopTimeout"`
	Sysctls                                 map[string]string  `json:"sysctls"`
	Tmpfs                                   map[string]string  `json:"tmpfs"`
	Ulimits                                 []ulimitInput      `json:"ulimits"`
	User                                    string             `json:"user"`
	UsernsMode                              string             `json:"usernsMode"`
	Volumes                                 []volumeInput      `json:"volumes"`
	Wait                                    bool               `json:"wait"`
	WaitTimeout                             *int               `json:"waitTimeout"`
	WorkingDir                              string             `json:"workingDir"`
}

type capabilities struct {
	Adds  []string `json:"adds,omitempty"`
	Drops []string `json:"drops,omitempty"`
}

type deviceInput struct {
	HostPath      string `json:"hostPath"`
	ContainerPath string `json:"containerPath"`
	Permissions   string `json:"permissions"`
}

type healthInput struct {
	Tests         []string `json:"tests"`
	Interval      string   `json:"interval"`
	Timeout       string   `json:"timeout"`
	StartPeriod   string   `json:"startPeriod"`
	StartInterval string   `json:"startInterval"`
	Retries       int      `json:"retries"`
}

type hostInput struct {
	Host string `json:"host"`
	IP   string `json:"ip"`
}

type label struct {
	Label string `json:"label"`
	Value string `json:"value"`
}

type mountInput struct {
	Type          string         `json:"type"`
	Source        string         `json:"source,omitempty"`
	Target        string         `json:"target"`
	ReadOnly      bool           `json:"readOnly"`
	BindOptions   *bindOptions   `json:"bindOptions,omitempty"`
	TmpfsOptions  *tmpfsOptions  `json:"tmpfsOptions,omitempty"`
	VolumeOptions *volumeOptions `json:"volumeOptions,omitempty"`
}

type bindOptions struct {
	Propagation string `json:"propagation,omitempty"`
}

type tmpfsOptions struct {
	SizeBytes int64  `json:"sizeBytes,omitempty"`
	Mode      uint32 `json:"mode,omitempty"`
}

type volumeOptions struct {
	NoCopy bool    `json:"noCopy,omitempty"`
	Labels []label `json:"labels,omitempty"`
}

type networkJoinInput struct {
	Name        string   `json:"name"`
	Aliases     []string `json:"aliases"`
	IPv4Address string   `json:"ipv4Address"`
	IPv6Address string   `json:"ipv6Address"`
}

type portInput struct {
	Internal int    `json:"internal"`
	External *int   `json:"external"`
	IP       string `json:"ip"`
	Protocol string `json:"protocol"`
}

type ulimitInput struct {
	Name string `json:"name"`
	Soft int64  `json:"soft"`
	Hard int64  `json:"hard"`
}

type volumeInput struct {
	ContainerPath string `json:"containerPath"`
	FromContainer string `json:"fromContainer"`
	HostPath      string `json:"hostPath"`
	ReadOnly      bool   `json:"readOnly"`
	VolumeName    string `json:"volumeName"`
}

type networkInputs struct {
	Name           string            `json:"name"`
	Attachable     bool              `json:"attachable"`
	CheckDuplicate bool              `json:"checkDuplicate"` // the provider ignores it
	Driver         string            `json:"driver"`
	Ingress        bool              `json:"ingress"`
	Internal       bool              `json:"internal"`
	IPAMConfigs    []ipamInput       `json:"ipamConfigs"`
	IPAMDriver     string            `json:"ipamDriver"`
	IPAMOptions    map[string]string `json:"ipamOptions"`
	IPv6           bool              `json:"ipv6"`
	Labels         []label           `json:"labels"`
	Options        map[string]string `json:"options"`
}

type ipamInput struct {
	Subnet     string            `json:"subnet,omitempty"`
	IPRange    string            `json:"ipRange,omitempty"`
	Gateway    string            `json:"gateway,omitempty"`
	AuxAddress map[string]string `json:"auxAddress,omitempty"`
}

type volumeInputs struct {
	Name       string            `json:"name"`
	Driver     string            `json:"driver"`
	DriverOpts map[string]string `json:"driverOpts"`
	Labels     []label           `json:"labels"`
}

type imageInputs struct {
	Name         string            `json:"name"`
	ForceRemove  bool              `json:"forceRemove"`
	KeepLocally  bool              `json:"keepLocally"`
	Platform     string            `json:"platform"`
	PullTriggers []string          `json:"pullTriggers"`
	Triggers     map[string]string `json:"triggers"`
}

type buildInputs struct {
	ImageName      string         `json:"imageName"`
	Build          buildArguments `json:"build"`
	BuildOnPreview bool           `json:"buildOnPreview"`
	SkipPush       bool           `json:"skipPush"`
}

type buildArguments struct {
	Args           map[string]string `json:"args"`
	BuilderVersion string            `json:"builderVersion"`
	Context        string            `json:"context"`       // the caller has packed it
	ContextDigest  string            `json:"contextDigest"` // the plugin's own
	Dockerfile     string            `json:"dockerfile"`
	Platform       string            `json:"platform"`
	Target         string            `json:"target"`
}

// inputs reads the inputs of a call. One that is not known here is an error: it would be believed to
// be in force.
func inputs[T any](call rehearsal.DockerCall) (T, error) {
	var out T
	var raw map[string]json.RawMessage
	if err := json.Unmarshal(call.Inputs, &raw); err != nil {
		return out, fmt.Errorf("reading the inputs of %s: %w", call.Type, err)
	}
	maps.DeleteFunc(raw, func(name string, _ json.RawMessage) bool { return strings.HasPrefix(name, "__") }) // the bridge's own
	text, err := json.Marshal(raw)
	if err != nil {
		return out, err
	}
	d := json.NewDecoder(bytes.NewReader(text))
	d.DisallowUnknownFields()
	if err := d.Decode(&out); err != nil {
		return out, fmt.Errorf("an input of %s that is not part of a rehearsal on machines: %w", call.Type, err)
	}
	return out, nil
}

func labelMap(in []label) map[string]string {
	out := map[string]string{}
	for _, l := range in {
		out[l.Label] = l.Value
	}
	return out
}

func labelList(in map[string]string) []label {
	out := make([]label, 0, len(in))
	for _, name := range slices.Sorted(maps.Keys(in)) {
		out = append(out, label{name, in[name]})
	}
	return out
}

// or returns what a pointer points to, or the default.
func or[T any](p *T, fallback T) T {
	if p == nil {
		return fallback
	}
	return *p
}
