package monitoring

import (
	"fmt"
	"path"
	"slices"

	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"

	"homelab/components/images"
	"homelab/components/internal/access"
	"homelab/components/monitoring/internal/grafana"
	"homelab/components/monitoring/internal/homepage"
	"homelab/components/service"
	"homelab/components/workload"
)

// secretKey is the name of the secret with which Grafana encrypts what its database keeps.
const secretKey = "secret-key"

// loginSecret is where Grafana finds what it proves itself with at the portal.
const loginSecret = "/run/secrets/grafana-login-secret"

// Grafana draws what was measured and logged. It knows its users from the portal, and has no login
// of its own.
func Grafana() service.Definition {
	d := program(grafana.Subject, "Grafana", "Grafana", grafana.Port, grafanaSlot, 512)
	d.Internal = false
	d.TwoFactorOnly = true // it shows all there is to know of the server
	d.Summary = "Dashboards and logs"
	d.Image = images.Grafana
	d.Health = service.Health{Command: []string{"curl", "--fail", "--silent", "--output", "/dev/null", fmt.Sprintf("http://127.0.0.1:%d/api/health", grafana.Port)}}
	d.Folders = []service.Folder{{Base: "data", Target: grafana.DataFolder, Keeps: workload.Databases("grafana.db")}}
	d.Scratch = map[string]int{"/tmp": 64}
	d.Secrets = []string{secretKey}
	d.Files = []service.File{
		{Target: grafana.SecretKeyFile, Content: func(given service.Given) (pulumi.StringInput, error) { return given.Secrets[secretKey], nil }},
		{Target: loginSecret, Content: func(given service.Given) (pulumi.StringInput, error) { return given.Login.ClientSecret, nil }},
	}
	d.Derived = grafanaFiles
	d.Uses = []service.Use{service.On(Alertmanager), service.On(Loki), service.On(Prometheus)}
	d.Login = &service.Login{RedirectPaths: []string{grafana.RedirectPath}, Scopes: []string{"email", "groups", "profile"}}
	d.Default = service.Default{
		Hostname: grafana.Subject, Visibility: access.Tailnet, MemoryMiB: 512,
		Access: access.Access{Policy: access.TwoFactor, Groups: []string{homepage.Admins}},
	}
	return d
}

func grafanaFiles(given service.Given) ([]service.File, error) {
	own, _ := given.Watch.Subject(grafana.Subject)
	files, err := grafana.Files(given.Watch, grafana.Login{
		ClientID: given.Login.ClientID, AuthorizationURL: given.Login.Authorization, TokenURL: given.Login.Token, UserInfoURL: given.Login.UserInfo,
		SecretFile: loginSecret, AdminGroup: homepage.Admins,
		ViewerGroups: slices.DeleteFunc(slices.Clone(own.Groups), func(g string) bool { return g == homepage.Admins }),
	})
	if err != nil {
		return nil, err
	}
	var out []service.File
	for _, f := range files {
		file := service.Text(f.Path, f.Content)
		file.Reread = path.Ext(f.Path) == ".json" // dashboards
		out = append(out, file)
	}
	return out, nil
}
