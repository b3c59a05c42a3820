//go:build host

package host

import (
	"bytes"
	"context"
	"crypto/sha1"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"mime/multipart"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"homelab/tests/internal/netns"
)

// The file that components/media/internal/torrent renders, as its own tests compare it; only that
// component may call it. The login and names are those of its sample.
const (
	torrentGolden   = "../../components/media/internal/torrent/testdata/qBittorrent.conf.golden"
	torrentFolder   = "/downloads"
	torrentUser     = "admin"
	torrentPassword = "correct-horse-battery"
	torrentHostname = "qbittorrent.example.ts.net"
	torrentPort     = "8080"
)

// qbittorrent is the real program in a network namespace, with the rendered configuration.
type qbittorrent struct {
	t     *testing.T
	dir   string
	space *netns.Namespace
}

func startQBittorrent(t *testing.T, space *netns.Namespace) *qbittorrent {
	t.Helper()
	q := &qbittorrent{t: t, dir: t.TempDir(), space: space}
	golden, err := os.ReadFile(torrentGolden)
	require.NoError(t, err)
	require.Contains(t, string(golden), "="+torrentFolder+"/complete\n")
	// In the image the file is /config/qBittorrent/qBittorrent.conf.
	profile := filepath.Join(q.dir, "profile", "qBittorrent", "config")
	require.NoError(t, os.MkdirAll(profile, 0o700))
	conf := strings.ReplaceAll(string(golden), "="+torrentFolder+"/", "="+q.dir+"/")
	require.NoError(t, os.WriteFile(filepath.Join(profile, "qBittorrent.conf"), []byte(conf), 0o600))
	// Gluetun makes its own resolver the container's. Here nothing answers there.
	resolver := filepath.Join(q.dir, "resolv.conf")
	require.NoError(t, os.WriteFile(resolver, []byte("nameserver 127.0.0.1\n"), 0o600))
	program := exec.Command("unshare", "--mount", "sh", "-ec", `mount --bind "$1" /etc/resolv.conf; exec qbittorrent-nox --profile="$2"`,
		"sh", resolver, filepath.Join(q.dir, "profile"))
	program.Env = append(os.Environ(), "HOME="+q.dir, "LC_ALL=C.UTF-8")
	require.NoError(t, space.Start(program))
	ended := make(chan error, 1)
	go func() { ended <- program.Wait() }()
	t.Cleanup(func() {
		_ = program.Process.Signal(syscall.SIGTERM)
		select {
		case <-ended:
		case <-time.After(20 * time.Second):
			_ = program.Process.Kill()
			<-ended
		}
	})
	require.Eventually(t, func() bool {
		response, err := q.inside().Get("http://127.0.0.1:" + torrentPort + "/api/v2/app/version")
		if err != nil {
			return false
		}
		_ = response.Body.Close()
		return response.StatusCode == http.StatusOK
	}, 30*time.Second, 100*time.Millisecond, "qBittorrent does not answer")
	return q
}

// inside is who shares the loopback with qBittorrent, as Gluetun does.
func (q *qbittorrent) inside() *http.Client { return from(q.space) }

// from returns a client in a namespace, which keeps no connection.
func from(space *netns.Namespace) *http.Client {
	return &http.Client{Timeout: 5 * time.Second, Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
			return space.DialContext(ctx, network, address)
		},
	}}
}

// post sends a form from inside.
func (q *qbittorrent) post(method string, form url.Values) (status int, answer string) {
	q.t.Helper()
	return sent(q.t, q.inside(), "http://127.0.0.1:"+torrentPort, "", method, form)
}

// sent sends a form to the API by a name of the host, and returns the answer.
func sent(t *testing.T, client *http.Client, at, host, method string, form url.Values) (status int, answer string) {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, at+"/api/v2/"+method, strings.NewReader(form.Encode()))
	require.NoError(t, err)
	request.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	if host != "" {
		request.Host = host
	}
	response, err := client.Do(request)
	require.NoError(t, err)
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	require.NoError(t, err)
	return response.StatusCode, string(body)
}

// get asks from inside and reads the answer into value.
func (q *qbittorrent) get(method string, value any) {
	q.t.Helper()
	response, err := q.inside().Get("http://127.0.0.1:" + torrentPort + "/api/v2/" + method)
	require.NoError(q.t, err)
	defer response.Body.Close()
	require.Equal(q.t, http.StatusOK, response.StatusCode, method)
	require.NoError(q.t, json.NewDecoder(response.Body).Decode(value))
}

// forwarded says what Gluetun's program says when the tunnel has gone or come back.
func (q *qbittorrent) forwarded(port int, name string) {
	q.t.Helper()
	status, answer := q.post("app/setPreferences", url.Values{"json": {
		fmt.Sprintf(`{"listen_port":%d,"random_port":false,"current_network_interface":"%s"}`, port, name),
	}})
	require.Less(q.t, status, 300, answer)
}

// torrentState is what the API says of a torrent.
type torrentState struct {
	Hash     string  `json:"hash"`
	State    string  `json:"state"`
	Category string  `json:"category"`
	SavePath string  `json:"save_path"`
	Progress float64 `json:"progress"`
	Auto     bool    `json:"auto_tmm"`
}

func (q *qbittorrent) torrent(hash string) torrentState {
	q.t.Helper()
	var all []torrentState
	q.get("torrents/info?hashes="+hash, &all)
	if len(all) != 1 {
		return torrentState{}
	}
	return all[0]
}

// until waits for a state of a torrent.
func (q *qbittorrent) until(hash, what string, is func(torrentState) bool) torrentState {
	q.t.Helper()
	var last torrentState
	if !waitFor(60*time.Second, func() bool { last = q.torrent(hash); return is(last) }) {
		require.Fail(q.t, "the torrent is not "+what, "%+v", last)
	}
	return last
}

func waitFor(patience time.Duration, is func() bool) bool {
	for end := time.Now().Add(patience); time.Now().Before(end); time.Sleep(100 * time.Millisecond) {
		if is() {
			return true
		}
	}
	return false
}

// makeTorrent returns a torrent of one file without a tracker, and its hash.
func makeTorrent(name string, content []byte) (torrent []byte, hash string) {
	const piece = 16 << 10
	var pieces bytes.Buffer
	for rest := content; len(rest) > 0; rest = rest[min(piece, len(rest)):] {
		sum := sha1.Sum(rest[:min(piece, len(rest))])
		pieces.Write(sum[:])
	}
	info := fmt.Sprintf("d6:lengthi%de4:name%d:%s12:piece lengthi%de6:pieces%d:%se", len(content), len(name), name, piece, pieces.Len(), pieces.String())
	sum := sha1.Sum([]byte(info))
	return []byte("d4:info" + info + "e"), hex.EncodeToString(sum[:])
}

// seed adds a torrent whose file is in the folder.
func (q *qbittorrent) seed(torrent []byte, folder string) {
	q.t.Helper()
	var body bytes.Buffer
	form := multipart.NewWriter(&body)
	part, err := form.CreateFormFile("torrents", "sample.torrent")
	require.NoError(q.t, err)
	_, err = part.Write(torrent)
	require.NoError(q.t, err)
	for name, value := range map[string]string{"savepath": folder, "autoTMM": "false"} {
		require.NoError(q.t, form.WriteField(name, value))
	}
	require.NoError(q.t, form.Close())
	response, err := q.inside().Post("http://127.0.0.1:"+torrentPort+"/api/v2/torrents/add", form.FormDataContentType(), &body)
	require.NoError(q.t, err)
	defer response.Body.Close()
	require.Equal(q.t, http.StatusOK, response.StatusCode)
}
