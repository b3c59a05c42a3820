package media

import (
	"crypto/sha512"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"unicode/utf16"

	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"

	"homelab/components/images"
	"homelab/components/internal/access"
	"homelab/components/service"
	"homelab/components/workload"
)

// Jackett translates indexers that Prowlarr does not know.
func Jackett() service.Definition {
	const port = 9117
	return service.Definition{
		Name:    "jackett",
		Type:    "homelab:media:Jackett",
		Summary: "Indexers that Prowlarr does not know",
		Image:   images.Jackett,
		Port:    port,
		Program: []string{entrypoint},
		// Its runtime would make files of its own in /tmp.
		Environment: map[string]string{"DOTNET_EnableDiagnostics": "0"},
		Health:      service.Health{Path: "/health"},
		Metrics:     workload.NoMetrics(measuredByWiring),
		Folders:     []service.Folder{{Base: "config", Target: "/config", Keeps: workload.Files()}},
		Scratch:     map[string]int{"/tmp": 64},
		Secrets:     []string{apiKey, password},
		Seeds: []service.File{{Target: "/config/Jackett/ServerConfig.json", Content: func(given service.Given) (pulumi.StringInput, error) {
			return pulumi.All(given.Secrets[apiKey], given.Secrets[password]).ApplyT(func(v []any) (string, error) {
				return renderJackett(v[0].(string), v[1].(string), port)
			}).(pulumi.StringOutput), nil
		}}},
		Administrator: &service.FirstLogin{Name: administrator, Secret: password},
		Wired:         true,
		Slot:          37,
		WayOut:        workload.Internet, // the indexers
		Default: service.Default{
			Hostname:   "jackett",
			Visibility: access.Tailnet,
			Access:     access.Access{Policy: access.TwoFactor, Groups: []string{"admins"}},
			MemoryMiB:  384,
		},
	}
}

// renderJackett writes ServerConfig.json. Jackett keeps a password as the SHA-512, in hexadecimal,
// of the password and the API key in UTF-16LE (its SecurityService.cs).
func renderJackett(key, password string, port int) (string, error) {
	var text []byte
	for _, unit := range utf16.Encode([]rune(password + key)) {
		text = binary.LittleEndian.AppendUint16(text, unit)
	}
	sum := sha512.Sum512(text)
	body, err := json.MarshalIndent(struct {
		Port           int
		AllowExternal  bool
		APIKey         string
		AdminPassword  string
		UpdateDisabled bool
	}{port, true, key, hex.EncodeToString(sum[:]), true}, "", "  ")
	if err != nil {
		return "", fmt.Errorf("rendering ServerConfig.json: %w", err)
	}
	return string(body) + "\n", nil
}
