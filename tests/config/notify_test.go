//go:build chain

package config

import (
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"homelab/internal/toolchain"
)

// engine stands in for docker exec into Alertmanager's container, with the image's programs: it
// runs them here, and knows no other container and no other program.
const engine = `#!/bin/sh
[ "$1 $2" = "exec alertmanager" ] || { echo "docker: unexpected: $*" >&2; exit 125; }
shift 2
program=$1
shift
for argument; do
  set -- "$@" "$(printf %s "$argument" | sed "s/127.0.0.1:9093/ADDRESS/")"
  shift
done
case $program in
wget) exec busybox wget "$@" ;;
amtool) exec AMTOOL "$@" ;;
esac
echo "docker: exec: $program: executable file not found" >&2
exit 127
`

// The message that a deployment sends arrives, or the deployment fails and says why.
func TestTheTestMessage(t *testing.T) {
	for name, c := range map[string]struct {
		status int
		want   string
	}{
		"taken":     {http.StatusOK, ""},
		"refused":   {http.StatusBadRequest, "the test message by webhook was not taken (clientError); check homelab:alerts"},
		"try again": {http.StatusServiceUnavailable, "no message went out by webhook within 4 s, each attempt refused; check homelab:alerts"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			var operator mailbox
			receiver := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				operator.ServeHTTP(w, r)
				w.WriteHeader(c.status)
			})
			address := fmt.Sprintf("127.0.0.1:%d", freePort(t))
			write(t, filepath.Join(dir, "secrets/webhook"), serve(t, receiver)+"/homelab-secret-topic")
			write(t, filepath.Join(dir, "secrets/dead-mans-switch"), serve(t, &mailbox{}))
			write(t, filepath.Join(dir, "alertmanager.yml"), replaced(t, monitoringGolden(t, "alertmanager", "webhook-and-switch"), "/etc/alertmanager/", dir+"/"))
			start(t, built(t, toolchain.AlertmanagerTool), "--config.file="+filepath.Join(dir, "alertmanager.yml"),
				"--storage.path="+filepath.Join(dir, "data"), "--cluster.listen-address=", "--web.listen-address="+address)
			ready(t, "http://"+address)

			docker := strings.NewReplacer("ADDRESS", address, "AMTOOL", built(t, toolchain.AmtoolTool)).Replace(engine)
			write(t, filepath.Join(dir, "bin/docker"), docker)
			require.NoError(t, os.Chmod(filepath.Join(dir, "bin/docker"), 0o755))
			program, err := os.ReadFile("../../components/monitoring/files/homelab-notify")
			require.NoError(t, err)
			write(t, filepath.Join(dir, "homelab-notify"), replaced(t, string(program), "PATIENCE = 90", "PATIENCE = 4"))
			command := exec.Command("python3", filepath.Join(dir, "homelab-notify"), "alertmanager", "HomelabTestNotification", "webhook")
			command.Env = append(os.Environ(), "PATH="+filepath.Join(dir, "bin")+":"+os.Getenv("PATH"))
			said, err := command.CombinedOutput()
			assert.NotContains(t, string(said), "secret-topic")
			if c.want != "" {
				require.Error(t, err)
				assert.Contains(t, string(said), c.want)
				return
			}
			require.NoError(t, err, "%s", said)
			assert.True(t, slices.Contains(operator.about("firing"), "HomelabTestNotification of alertmanager"), "%v", operator.got)
		})
	}
}

// What ends without a word, such as a program that the kernel kills for its memory, is told by how
// it ended.
func TestAProgramOfTheTestMessageThatSaysNothing(t *testing.T) {
	dir := t.TempDir()
	write(t, filepath.Join(dir, "docker"), "#!/bin/sh\n[ \"$3\" = wget ] || exit 137\n")
	require.NoError(t, os.Chmod(filepath.Join(dir, "docker"), 0o755))
	notify := "../../components/monitoring/files/homelab-notify"
	command := exec.Command("python3", notify, "alertmanager", "HomelabTestNotification", "webhook")
	command.Env = append(os.Environ(), "PATH="+dir+":"+os.Getenv("PATH"))
	said, err := command.CombinedOutput()
	require.Error(t, err)
	want := "homelab-notify: docker exec alertmanager amtool ended with 137: it says nothing\n"
	assert.Equal(t, want, string(said))
}
