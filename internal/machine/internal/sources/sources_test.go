package sources_test

import (
	"crypto/sha256"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"homelab/internal/machine/internal/sources"
)

func get(handler http.Handler, url string) (int, string) {
	answer := httptest.NewRecorder()
	handler.ServeHTTP(answer, httptest.NewRequest(http.MethodGet, url, nil))
	return answer.Code, answer.Body.String()
}

func TestDebianIsFetchedOnce(t *testing.T) {
	var asked atomic.Int64
	mirror := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		n := asked.Add(1)
		if r.URL.Path == "/debian/missing" {
			http.NotFound(w, r)
			return
		}
		fmt.Fprintf(w, "%s, answer %d", r.URL.Path, n)
	}))
	debian := &sources.Debian{Folder: t.TempDir(), Mirror: mirror.URL}

	for range 2 {
		code, body := get(debian, "http://deb.debian.org/debian/pool/main/a/a_1_all.deb")
		assert.Equal(t, http.StatusOK, code)
		assert.Equal(t, "/debian/pool/main/a/a_1_all.deb, answer 1", body)
	}
	_, body := get(debian, "http://deb.debian.org/debian-security/dists/x/InRelease")
	assert.Equal(t, "/debian-security/dists/x/InRelease, answer 2", body)
	_, body = get(debian, "http://deb.debian.org/debian-security/dists/x/InRelease")
	assert.Equal(t, "/debian-security/dists/x/InRelease, answer 3", body, "an old list names packages that are gone")
	code, _ := get(debian, "http://deb.debian.org/debian/missing")
	assert.Equal(t, http.StatusNotFound, code)

	before := asked.Load()
	for _, path := range []string{"/", "/debian", "/other/x", "/debian/../../etc/passwd", "/debian/%2e%2e/%2e%2e/etc/passwd"} {
		code, _ := get(debian, "http://deb.debian.org"+path)
		assert.NotEqual(t, http.StatusOK, code, path)
	}
	assert.LessOrEqual(t, asked.Load(), before+1, "what is not Debian's is not asked for")

	mirror.Close()
	code, _ = get(debian, "http://deb.debian.org/debian-security/dists/x/InRelease")
	assert.Equal(t, http.StatusBadGateway, code)
	debian.Offline = true
	code, body = get(debian, "http://deb.debian.org/debian-security/dists/x/InRelease")
	assert.Equal(t, http.StatusOK, code)
	assert.Equal(t, "/debian-security/dists/x/InRelease, answer 3", body)
	code, _ = get(debian, "http://deb.debian.org/debian/pool/main/b/b_1_all.deb")
	assert.Equal(t, http.StatusNotFound, code)
}

// client makes what the package of Tailscale is made of.
func client(t *testing.T) sources.Tailscale {
	t.Helper()
	dir := t.TempDir()
	for _, name := range []string{
		"tailscale", "tailscaled", "module/cmd/tailscaled/tailscaled.service", "module/cmd/tailscaled/tailscaled.defaults",
		"module/release/deb/debian.postinst.sh", "module/release/deb/debian.prerm.sh", "module/release/deb/debian.postrm.sh",
	} {
		path := filepath.Join(dir, name)
		require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o755))
		require.NoError(t, os.WriteFile(path, []byte("#!/bin/sh\n# "+name+"\n"), 0o755))
	}
	return sources.Tailscale{
		Version: "1.2.3", Client: filepath.Join(dir, "tailscale"), Daemon: filepath.Join(dir, "tailscaled"), Module: filepath.Join(dir, "module"),
	}
}

func TestVendors(t *testing.T) {
	folder := t.TempDir()
	keys, err := sources.OpenKeys(folder)
	require.NoError(t, err)
	again, err := sources.OpenKeys(folder)
	require.NoError(t, err)
	assert.Equal(t, keys.Fingerprints(), again.Fingerprints(), "base disks know the keys")
	assert.Len(t, keys.Fingerprints(), 2)
	docker := []string{filepath.Join(folder, "docker-ce.deb"), filepath.Join(folder, "docker-ce-cli.deb")}
	for _, file := range docker {
		sources.WriteDeb(t, file, strings.TrimSuffix(filepath.Base(file), ".deb"), "5:1.0")
	}
	vendors, err := sources.New(keys, client(t), docker)
	require.NoError(t, err)

	code, list := get(vendors, "https://pkgs.tailscale.com/stable/debian/dists/trixie/main/binary-amd64/Packages")
	assert.Equal(t, http.StatusOK, code)
	assert.Contains(t, list, "Package: tailscale\nVersion: 1.2.3\n")
	code, signed := get(vendors, "https://download.docker.com/linux/debian/dists/trixie/InRelease")
	assert.Equal(t, http.StatusOK, code)
	assert.Contains(t, signed, "Origin: Docker\nLabel: Docker CE\n")
	code, list = get(vendors, "https://download.docker.com/linux/debian/dists/trixie/stable/binary-amd64/Packages")
	assert.Equal(t, http.StatusOK, code)
	assert.Contains(t, list, "Package: docker-ce-cli\nVersion: 5:1.0\n")
	file := regexp.MustCompile(`Filename: (\S+docker-ce_\S+)\nSize: (\d+)\nSHA256: (\w+)\n`).FindStringSubmatch(list)
	require.NotNil(t, file, list)
	code, content := get(vendors, "https://download.docker.com/linux/debian/"+file[1])
	assert.Equal(t, http.StatusOK, code)
	assert.Equal(t, file[2], strconv.Itoa(len(content)))
	assert.Equal(t, file[3], fmt.Sprintf("%x", sha256.Sum256([]byte(content))))
	code, key := get(vendors, "https://download.docker.com/linux/debian/gpg")
	assert.Equal(t, http.StatusOK, code)
	assert.Contains(t, key, "BEGIN PGP PUBLIC KEY BLOCK")

	code, _ = get(vendors, "https://download.docker.com/stable/debian/dists/trixie/InRelease")
	assert.Equal(t, http.StatusNotFound, code, "each vendor has what is its own")
	code, _ = get(vendors, "https://example.com/linux/debian/gpg")
	assert.Equal(t, http.StatusMisdirectedRequest, code)

	_, err = sources.New(keys, client(t), docker[:1])
	assert.ErrorContains(t, err, "2 packages of Docker instead of 3")
	broken := client(t)
	broken.Daemon += "-missing"
	_, err = sources.New(keys, broken, docker)
	assert.ErrorContains(t, err, "tailscaled-missing")
	require.NoError(t, os.WriteFile(docker[0], []byte("!<arch>\n"), 0o600))
	_, err = sources.New(keys, client(t), docker)
	assert.ErrorContains(t, err, "no control.tar.gz")
}
