package rehearsal

// The hosts that take what a deployment on simulated clouds sends out. Nobody is there on the real
// internet: their names are reserved (RFC 2606). A simulation makes its secrets up with them, and a
// rehearsal on machines answers there.
const (
	// AlertsHost takes alerts: messages as ntfy does, and Alertmanager's own.
	AlertsHost = "ntfy.example.com"
	// DeadMansSwitchHost is told that all is well.
	DeadMansSwitchHost = "hc-ping.example.com"
)

// ReceivedFile is the name of the file in the state folder that has what was sent there, a line of
// JSON each; see Received.
const ReceivedFile = "received.jsonl"

// Received is one message.
type Received struct {
	// Host is AlertsHost or DeadMansSwitchHost.
	Host string `json:"host"`
	// Title is ntfy's title; empty where there is none.
	Title string `json:"title,omitempty"`
	// Body is the message, at most 64 KiB of it.
	Body string `json:"body,omitempty"`
}
