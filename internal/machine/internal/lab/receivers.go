package lab

import (
	"encoding/json"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"regexp"
	"sync"

	"homelab/internal/machine/internal/link"
	"homelab/internal/rehearsal"
)

// topic is the path of an address that alerts are sent to, or of a dead man's switch: who knows it
// may send there. ntfy takes no other (docs.ntfy.sh/publish).
var topic = regexp.MustCompile(`^/[A-Za-z0-9_-]{1,64}$`)

// maxMessage bounds what is kept of a message, in bytes.
const maxMessage = 64 << 10

// receivers are those whom the deployment tells of alerts, and that all is well. They write what
// they get to a file.
type receivers struct {
	mu   sync.Mutex
	path string
}

// site is where they answer.
func (r *receivers) site(l *Lab) link.Site {
	return link.Site{
		Hosts: []string{rehearsal.AlertsHost, rehearsal.DeadMansSwitchHost}, Addresses: []netip.Addr{receiversAddress}, Authority: l.authority, Handler: r,
	}
}

// ServeHTTP implements http.Handler. A dead man's switch may be told by a plain request as well.
func (r *receivers) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	host := req.Host
	if name, _, err := net.SplitHostPort(host); err == nil {
		host = name
	}
	known := host == rehearsal.AlertsHost || host == rehearsal.DeadMansSwitchHost
	switch {
	case !known || !topic.MatchString(req.URL.Path):
		http.NotFound(w, req)
		return
	case req.Method != http.MethodPost && (host != rehearsal.DeadMansSwitchHost || req.Method != http.MethodGet):
		http.Error(w, http.StatusText(http.StatusMethodNotAllowed), http.StatusMethodNotAllowed)
		return
	}
	body, err := io.ReadAll(io.LimitReader(req.Body, maxMessage))
	if err == nil {
		err = r.keep(rehearsal.Received{Host: host, Title: req.Header.Get("Title"), Body: string(body)})
	}
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
	}
}

func (r *receivers) keep(message rehearsal.Received) error {
	line, err := json.Marshal(message)
	if err != nil {
		return err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	file, err := os.OpenFile(r.path, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return err
	}
	_, err = file.Write(append(line, '\n'))
	if closed := file.Close(); err == nil {
		err = closed
	}
	return err
}
