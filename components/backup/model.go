package backup

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"

	"gopkg.in/yaml.v3"

	"homelab/components/host"
	"homelab/components/storage"
)

// Places on the machine. The program homelab-backup knows them too, and a test holds the two
// together.
const (
	// StateFolder is where homelab-backup keeps how its jobs went.
	StateFolder = home + "/state"

	home       = host.Root + "/backup"
	configFile = home + "/config/borgmatic.yaml"
	factsFile  = home + "/config/backup.json"
	knownHosts = home + "/config/known_hosts"
	sshConfig  = home + "/config/ssh_config"
	identity   = home + "/secrets/ssh_key"
	passphrase = home + "/secrets/passphrase"
	program    = home + "/bin/homelab-backup"
	drill      = home + "/bin/homelab-restore-drill"
	state      = StateFolder
	scratch    = home + "/scratch"
	replaced   = home + "/replaced"
	secrets    = home + "/secrets"
	// liveDatabases lists what the copies of databases stand in for.
	liveDatabases = state + "/live-databases.exclude"
)

const (
	// repository is relative to the sub-account's home.
	repository = "homelab"
	// borgOnBox is the version of BorgBackup that Debian 13 has, by the name that Hetzner gives it.
	borgOnBox = "borg-1.4"
	// archivePrefix does not hold the machine's name, as borgmatic's default does: a rebuilt
	// machine has another, and its archives would be kept beside the old ones, which nobody would
	// prune.
	archivePrefix = "homelab-"
)

// model is all that the files depend on.
type model struct {
	Server, Username string // of the box's sub-account
	PublicKey        string // the server's, in authorized_keys format
	PruneKey         string // the operator's, in authorized_keys format
	Folders          []host.Data
}

func (m model) repository() string {
	return fmt.Sprintf("ssh://%s@%s:%d/./%s", m.Username, m.Server, storage.SSHPort, repository)
}

// sshCommand leaves everything to the one file that sftp reads too.
const sshCommand = "ssh -F " + sshConfig

const passphraseCommand = "cat " + passphrase

// borgmatic's file, in sections: borgmatic 1.7 knows nothing else, and every later one up to 2.1
// still reads them. The same goes for hooks: before_backup is the one name that all of them know.
type (
	borgmaticConfig struct {
		Location    locationSection    `yaml:"location"`
		Storage     storageSection     `yaml:"storage"`
		Consistency consistencySection `yaml:"consistency"`
		Hooks       hooksSection       `yaml:"hooks"`
	}
	locationSection struct {
		SourceDirectories []string `yaml:"source_directories"`
		Repositories      []string `yaml:"repositories"`
		RemotePath        string   `yaml:"remote_path"`
		ExcludePatterns   []string `yaml:"exclude_patterns"`
		ExcludeFrom       []string `yaml:"exclude_from"`
	}
	storageSection struct {
		EncryptionPasscommand string `yaml:"encryption_passcommand"`
		Compression           string `yaml:"compression"`
		SSHCommand            string `yaml:"ssh_command"`
		BorgBaseDirectory     string `yaml:"borg_base_directory"`
		LockWait              int    `yaml:"lock_wait"` // seconds
		Retries               int    `yaml:"retries"`
		RetryWait             int    `yaml:"retry_wait"` // seconds
		ArchiveNameFormat     string `yaml:"archive_name_format"`
		RelocatedRepoOK       bool   `yaml:"relocated_repo_access_is_ok"`
	}
	consistencySection struct {
		Checks []check `yaml:"checks"`
		Prefix string  `yaml:"prefix"`
	}
	check struct {
		Name      string `yaml:"name"`
		Frequency string `yaml:"frequency"`
	}
	hooksSection struct {
		BeforeBackup []string `yaml:"before_backup"`
	}
)

// borgmatic renders borgmatic's configuration.
func (m model) borgmatic() ([]byte, error) {
	excluded := []string{"pp:" + replaced, "pp:" + scratch, "pp:" + secrets, "pp:" + state}
	for _, d := range m.Folders {
		if d.Disposable != "" {
			excluded = append(excluded, "pp:"+d.Folder)
		}
	}
	return marshalYAML(borgmaticConfig{
		Location: locationSection{
			SourceDirectories: []string{host.Root},
			Repositories:      []string{m.repository()},
			RemotePath:        borgOnBox,
			ExcludePatterns:   excluded,
			ExcludeFrom:       []string{liveDatabases},
		},
		Storage: storageSection{
			EncryptionPasscommand: passphraseCommand,
			Compression:           "auto,zstd,6",
			SSHCommand:            sshCommand,
			BorgBaseDirectory:     state,
			LockWait:              1800,
			Retries:               2,
			RetryWait:             10,
			ArchiveNameFormat:     archivePrefix + "{now:%Y-%m-%dT%H:%M:%S}",
			// The box's name belongs to its sub-account; a new sub-account on the same box holds
			// the same repository.
			RelocatedRepoOK: true,
		},
		Consistency: consistencySection{
			Checks: []check{{"repository", "2 weeks"}, {"archives", "4 weeks"}, {"extract", "4 weeks"}},
			Prefix: archivePrefix,
		},
		Hooks: hooksSection{BeforeBackup: []string{program + " databases"}},
	})
}

func marshalYAML(v any) ([]byte, error) {
	var out bytes.Buffer
	encoder := yaml.NewEncoder(&out)
	encoder.SetIndent(2)
	if err := encoder.Encode(v); err != nil {
		return nil, fmt.Errorf("rendering borgmatic's configuration: %w", err)
	}
	return out.Bytes(), nil
}

// facts is what homelab-backup knows of the deployment.
type facts struct {
	Server            string        `json:"server"`
	Port              int           `json:"port"`
	Username          string        `json:"username"`
	AuthorizedKeys    []string      `json:"authorizedKeys"`
	Repository        string        `json:"repository"`
	RemotePath        string        `json:"remotePath"`
	SSHCommand        string        `json:"sshCommand"`
	PassphraseCommand string        `json:"passphraseCommand"`
	Archives          string        `json:"archives"` // a shell pattern
	Folders           []folderFacts `json:"folders"`
}

type folderFacts struct {
	Path       string   `json:"path"`
	Databases  []string `json:"databases,omitempty"`
	Disposable string   `json:"disposable,omitempty"`
}

func (m model) facts() ([]byte, error) {
	f := facts{
		Server: m.Server, Port: storage.SSHPort, Username: m.Username, AuthorizedKeys: m.authorizedKeys(), Repository: m.repository(), RemotePath: borgOnBox,
		SSHCommand: sshCommand, PassphraseCommand: passphraseCommand, Archives: archivePrefix + "*", Folders: []folderFacts{},
	}
	for _, d := range m.Folders {
		f.Folders = append(f.Folders, folderFacts{Path: d.Folder, Databases: d.Databases, Disposable: d.Disposable})
	}
	out, err := json.MarshalIndent(f, "", "  ")
	if err != nil {
		return nil, fmt.Errorf("rendering %s: %w", factsFile, err)
	}
	return append(out, '\n'), nil
}

// authorizedKeys lets two keys serve this one repository and do nothing else on the box: no shell,
// no file transfer, no forwarding. The server's only appends: what it deletes stays in the
// repository until somebody compacts it, which only the operator's key, which is not on the server,
// can.
func (m model) authorizedKeys() []string {
	serve := func(option, key string) string {
		return fmt.Sprintf(`command="%s serve%s --restrict-to-path %s",restrict %s`, borgOnBox, option, repository, key)
	}
	return []string{serve(" --append-only", m.PublicKey), serve("", m.PruneKey)}
}

// pruneOptions are the options of borg prune that keep what is to be kept.
func (r Retention) pruneOptions() string {
	var out []string
	for _, keep := range []struct {
		option string
		count  int
	}{{"daily", r.Daily}, {"weekly", r.Weekly}, {"monthly", r.Monthly}, {"yearly", r.Yearly}} {
		if keep.count > 0 {
			out = append(out, fmt.Sprintf("--keep-%s=%d", keep.option, keep.count))
		}
	}
	return strings.Join(out, " ")
}
