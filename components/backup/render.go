package backup

import (
	"bytes"
	"embed"
	"fmt"
	"text/template"

	"homelab/components/host"
)

//go:embed files templates
var embedded embed.FS

var templates = template.Must(template.New("").Option("missingkey=error").ParseFS(embedded, "templates/*.tmpl"))

func render(name string, data any) (string, error) {
	var out bytes.Buffer
	if err := templates.ExecuteTemplate(&out, name, data); err != nil {
		return "", fmt.Errorf("rendering %s: %w", name, err)
	}
	return out.String(), nil
}

func script(name string) (string, error) {
	body, err := embedded.ReadFile("files/" + name)
	if err != nil {
		return "", fmt.Errorf("reading the embedded %s: %w", name, err)
	}
	return string(body), nil
}

func renderSSHConfig() (string, error) {
	return render("ssh_config.tmpl", struct{ Identity, KnownHosts string }{identity, knownHosts})
}

// job is a service with its timer.
type job struct {
	Name, Description, Command, Program, Root string
	// Recorded is set for a job that says how it went in a file, which somebody else must do for it
	// if it is killed.
	Recorded bool
	// TimeoutHours is when a run that does not end counts as failed.
	TimeoutHours int
	// When is in systemd's calendar format, in the machine's time zone.
	When string
	// JitterMinutes spreads the start.
	JitterMinutes int
}

func jobs(s Schedule) []job {
	// The drill comes well after the backup of its day, so that it finds a new archive and does not
	// wait for the lock.
	const drillAfterHours = 4
	return []job{
		{
			Name: "homelab-backup", Description: "Backup of " + host.Root + " to the Storage Box", Command: program + " run", Program: program, Root: host.Root,
			Recorded: true, TimeoutHours: 12, When: fmt.Sprintf("*-*-* %02d:%02d:00", s.Hour, s.Minute), JitterMinutes: s.JitterMinutes,
		},
		{
			Name: "homelab-restore-drill", Description: "Restore of the newest backup to a scratch folder, to see that it can be done", Command: drill,
			Program: program, Root: host.Root, Recorded: true, TimeoutHours: 12,
			When: fmt.Sprintf("*-*-%02d %02d:%02d:00", s.DrillDay, (s.Hour+drillAfterHours)%24, s.Minute), JitterMinutes: s.JitterMinutes,
		},
		{
			Name: "homelab-backup-watch", Description: "Look whether there is a backup of the last 36 hours", Command: program + " overdue",
			Program: program, Root: host.Root, TimeoutHours: 1, When: "*-*-* 00/6:50:00", JitterMinutes: 5,
		},
	}
}
