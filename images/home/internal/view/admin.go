package view

import (
	"cmp"
	"fmt"
	"math"
	"time"

	"homelab/images/home/internal/monitor"
	"homelab/images/home/internal/page"
)

const (
	// backupFresh is how old the last backup may be: the alert has the same limit.
	backupFresh = 36 * time.Hour
	// drillFresh is how old the last drill may be: it is once a month.
	drillFresh = 35 * 24 * time.Hour
	// diskWarn and diskDown are the shares of a disk that should be free, at least.
	diskWarn, diskDown = 0.2, 0.1
	// shownAlerts is how many alerts are listed.
	shownAlerts = 50
)

// Admin is what only administrators see.
type Admin struct {
	// Alerts are those that are open.
	Alerts Alerts `json:"alerts"`
	// Facts are about backup and machine.
	Facts []Fact `json:"facts"`
}

// Alerts are those that are open.
type Alerts struct {
	// Level is the worst of them; up if there is none.
	Level Level `json:"level"`
	// Summary says in a sentence how many there are.
	Summary string `json:"summary"`
	// Note is about those that are not listed; empty for none.
	Note string `json:"note"`
	// Open are those that nobody has silenced: critical ones first, then the newest.
	Open []Alert `json:"open"`
	// Silenced is how many more somebody has silenced.
	Silenced int `json:"silenced"`
}

// Alert is one that is open.
type Alert struct {
	// Name is the name of its rule.
	Name string `json:"name"`
	// Service is the container that it is about, or machine; may be empty.
	Service string `json:"service"`
	// Severity is critical or warning.
	Severity string `json:"severity"`
	// Level is down if it is critical, warn otherwise.
	Level Level `json:"level"`
	// Since is when it began.
	Since time.Time `json:"since"`
	// Began says since when it is open, in words.
	Began string `json:"began"`
	// Summary is one sentence about it; may be empty.
	Summary string `json:"summary"`
}

// Fact is one line about the machine.
type Fact struct {
	// Name is what it is about, such as backup.
	Name string `json:"name"`
	// Title is that for people.
	Title string `json:"title"`
	// Level is how it is.
	Level Level `json:"level"`
	// Text says how it is.
	Text string `json:"text"`
	// Detail says more; may be empty.
	Detail string `json:"detail"`
	// UsedPercent is how full a disk is; absent for what is none.
	UsedPercent *int `json:"usedPercent,omitempty"`
}

func admin(p *page.Page, known monitor.Snapshot, d Data, c clock) *Admin {
	return &Admin{Alerts: alerts(known, c), Facts: facts(p, known.Series, d, c)}
}

func alerts(known monitor.Snapshot, c clock) Alerts {
	a := Alerts{Level: Up, Open: []Alert{}}
	problem := ""
	switch {
	case known.Alerting.Answered.IsZero():
		problem = cmp.Or(known.Alerting.Problem, "Alertmanager was not asked yet")
	case c.now.Sub(known.Alerting.Answered) > answerFresh:
		problem = cmp.Or(known.Alerting.Problem, "Alertmanager was not asked") + "; its last answer came " + c.ago(known.Alerting.Answered)
	}
	if problem != "" {
		a.Level, a.Summary, a.Note = Unknown, "Open alerts are unknown right now.", problem+"."
		return a
	}
	open := 0
	for _, alert := range known.Alerts {
		if alert.Silenced {
			a.Silenced++
			continue
		}
		level := Warn
		if alert.Severity == monitor.Critical {
			level = Down
		}
		if a.Level != Down {
			a.Level = level
		}
		open++
		if open > shownAlerts {
			continue
		}
		a.Open = append(a.Open, Alert{
			Name: alert.Name, Service: alert.Service, Severity: string(alert.Severity), Level: level, Since: alert.Since.UTC(),
			Began: "Since " + c.date(alert.Since) + " (" + c.ago(alert.Since) + ")", Summary: alert.Summary,
		})
	}
	switch open {
	case 0:
		a.Summary = "No alert is open."
	case 1:
		a.Summary = "1 alert is open."
	default:
		a.Summary = fmt.Sprintf("%d alerts are open.", open)
	}
	if more := open - len(a.Open); more > 0 {
		a.Note = count(more, "more alert") + " not listed. "
	}
	if a.Silenced > 0 {
		a.Note += count(a.Silenced, "silenced alert") + " not listed."
	}
	return a
}

// facts are about backup and machine; all are unknown if there is a problem with the data.
func facts(p *page.Page, series monitor.Series, d Data, c clock) []Fact {
	all := []Fact{
		done("backup", "Backup", monitor.BackupSuccess, monitor.BackupFailed, backupFresh, series, c),
		done("drill", "Restore drill", monitor.DrillSuccess, monitor.DrillFailed, drillFresh, series, c),
		disk("disk", "System disk", "/", series),
	}
	if _, ok := series.Value(monitor.FilesystemSize, "mount", "downloads"); ok {
		all = append(all, disk("downloads", "Downloads", "downloads", series))
	}
	if p.Library {
		all = append(all, media(series))
	}
	if p.VPN {
		all = append(all, vpn(series))
	}
	all = append(all, restart(series))
	if d.Problem == "" {
		return all
	}
	for i := range all {
		all[i] = Fact{Name: all[i].Name, Title: all[i].Title, Level: Unknown, Text: "Unknown"}
	}
	return all
}

// done is about something that is done again and again, and whether it is late.
func done(name, title, success, failed string, fresh time.Duration, series monitor.Series, c clock) Fact {
	f := Fact{Name: name, Title: title, Level: Up}
	last, ever := series.Time(success)
	failing, known := series.Is(failed, "", "")
	_, reported := series.Value(success, "", "")
	switch {
	case !known && !reported:
		f.Level, f.Text = Unknown, "Unknown: not reported"
		return f
	case failing:
		f.Level, f.Text = Down, "The last one failed"
	case !ever:
		f.Level, f.Text = Warn, "None yet"
	case c.now.Sub(last) > fresh:
		f.Level, f.Text = Down, "Overdue"
	default:
		f.Text, f.Detail = capital(c.ago(last)), c.date(last)
		return f
	}
	if ever {
		f.Detail = "last good one " + c.ago(last) + ", " + c.date(last)
	}
	return f
}

// disk is about a file system.
func disk(name, title, mount string, series monitor.Series) Fact {
	f := Fact{Name: name, Title: title, Level: Unknown, Text: "Unknown: not reported"}
	total, known := series.Value(monitor.FilesystemSize, "mount", mount)
	free, alsoKnown := series.Value(monitor.FilesystemAvail, "mount", mount)
	if !known || !alsoKnown || total <= 0 || free < 0 || free > total {
		return f
	}
	// Rounded up: what is full never looks as if it were not.
	used := int(math.Ceil(100 * (total - free) / total))
	f.UsedPercent = &used
	f.Text, f.Detail = size(free)+" free", fmt.Sprintf("%d %% of %s used", used, size(total))
	switch {
	case free/total < diskDown:
		f.Level, f.Text = Down, "Nearly full: "+f.Text
	case free/total < diskWarn:
		f.Level, f.Text = Warn, "Filling up: "+f.Text
	default:
		f.Level = Up
	}
	return f
}

// media is about the box with the library.
func media(series monitor.Series) Fact {
	mounted, known := series.Is(monitor.MediaMounted, "", "")
	f := disk("media", "Media box", "media", series)
	switch {
	case !known:
		return Fact{Name: f.Name, Title: f.Title, Level: Unknown, Text: "Unknown: not reported"}
	case !mounted:
		return Fact{Name: f.Name, Title: f.Title, Level: Down, Text: "Not mounted"}
	case f.Level == Unknown:
		return Fact{Name: f.Name, Title: f.Title, Level: Up, Text: "Mounted"}
	}
	return f
}

// vpn is about the tunnel, and the port that its provider forwards.
func vpn(series monitor.Series) Fact {
	f := Fact{Name: "vpn", Title: "VPN", Level: Unknown, Text: "Unknown: not reported"}
	up, known := series.Is(monitor.VPNUp, "", "")
	leaking, _ := series.Is(monitor.VPNLeaking, "", "")
	// The series of the port is missing if none is asked for.
	forwarded, asked := series.Value(monitor.VPNPort, "", "")
	listening, listens := series.Value(monitor.ListeningPort, "", "")
	switch {
	case leaking:
		f.Level, f.Text = Down, "Leaking: the tunnel shows the server's own address"
	case !known:
	case !up:
		f.Level, f.Text = Down, "Not connected"
	case asked && forwarded == 0:
		f.Level, f.Text, f.Detail = Warn, "Connected", "no port is forwarded"
	case asked && listens && forwarded != listening:
		f.Level, f.Text = Warn, "Connected"
		f.Detail = fmt.Sprintf("port %.0f is forwarded, but the torrent client listens at %.0f", forwarded, listening)
	case asked:
		f.Level, f.Text, f.Detail = Up, "Connected", fmt.Sprintf("port %.0f is forwarded", forwarded)
	default:
		f.Level, f.Text = Up, "Connected"
	}
	return f
}

// restart is about updates that wait for one.
func restart(series monitor.Series) Fact {
	f := Fact{Name: "restart", Title: "Restart", Level: Unknown, Text: "Unknown: not reported"}
	required, known := series.Is(monitor.RebootRequired, "", "")
	switch {
	case !known:
	case required:
		f.Level, f.Text = Warn, "Pending: updates wait for it"
	default:
		f.Level, f.Text = Up, "Not needed"
	}
	return f
}

// capital returns a text with its first letter in upper case.
func capital(text string) string {
	if text == "" || text[0] < 'a' || text[0] > 'z' {
		return text
	}
	return string(text[0]-'a'+'A') + text[1:]
}
