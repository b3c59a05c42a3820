package main

import (
	"crypto/sha512"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"unicode/utf16"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// arrFile is config.xml as the deployment writes it (components/media: renderArr).
func arrFile(name, key string, port int) string {
	return fmt.Sprintf(`<Config>
  <BindAddress>*</BindAddress>
  <Port>%d</Port>
  <ApiKey>%s</ApiKey>
  <AuthenticationMethod>Forms</AuthenticationMethod>
  <AuthenticationRequired>Enabled</AuthenticationRequired>
  <AnalyticsEnabled>False</AnalyticsEnabled>
  <UpdateMechanism>Docker</UpdateMechanism>
  <InstanceName>%s</InstanceName>
</Config>
`, port, key, name)
}

// named is the environment of an image of home-operations'.
func named(name string) map[string]string { return map[string]string{variable: name} }

const entrypoint = "/entrypoint.sh"

func TestArrs(t *testing.T) {
	for name, c := range map[string]struct {
		api  string
		port int
	}{"radarr": {"v3", 7878}, "sonarr": {"v3", 8989}, "prowlarr": {"v1", 9696}} {
		t.Run(name, func(t *testing.T) {
			m := newMachine(t)
			m.write("/config/config.xml", arrFile(name, "the-key", c.port))
			status := "/api/" + c.api + "/system/status"
			host := "/api/" + c.api + "/config/host"
			var changed string
			for round := range 2 {
				r := m.start(named(name), entrypoint)
				r.answers(200, "GET", "/ping", "")
				r.answers(302, "GET", "/", "")
				r.answers(404, "GET", "/nothing", "")
				r.answers(405, "POST", status, "{}")
				r.answers(401, "GET", status, "")
				r.answers(401, "GET", status, "", "X-Api-Key", "wrong")
				assert.Equal(t, name, strings.ToLower(field(t, r.answers(200, "GET", status, "", "X-Api-Key", "the-key"), "appName")))
				said := r.answers(200, "GET", host, "", "X-Api-Key", "the-key")
				assert.Equal(t, "forms", field(t, said, "authenticationMethod"))
				if round == 0 {
					changed = strings.Replace(said, `"backupInterval":7`, `"backupInterval":8`, 1)
					changed = strings.Replace(changed, `"username":""`, `"username":"admin"`, 1)
					changed = strings.NewReplacer(`"password":""`, `"password":"secret"`, `"passwordConfirmation":""`, `"passwordConfirmation":"secret"`).Replace(changed)
					r.answers(202, "PUT", host+"/1", changed, "X-Api-Key", "the-key")
				} else {
					assert.Equal(t, "admin", field(t, said, "username"), "a restart loses nothing")
					assert.Contains(t, said, `"backupInterval":8`)
				}
				r.stop()
				assert.NotContains(t, r.out.String(), "secret")
			}
			isDatabase(m, "/config/"+name+".db")
			content, err := os.ReadFile(filepath.Join(m.root, "/config/config.xml"))
			require.NoError(t, err)
			assert.Contains(t, string(content), "<LogLevel>info</LogLevel>", "the real ones write the file again, too")
			assert.Contains(t, string(content), "<ApiKey>the-key</ApiKey>")
		})
	}
}

func TestArrsRefuse(t *testing.T) {
	m := newMachine(t)
	assert.Contains(t, m.refused(named("radarr"), entrypoint), "no such file")
	for problem, change := range map[string][2]string{
		"has a login":      {"Forms", "External"},
		"knows no SslPort": {"<Port>", "<SslPort>1</SslPort><Port>"},
		"cannot update":    {"Docker", "BuiltIn"},
		"must be a key":    {"the-key", ""},
		"XML syntax error": {"<Config>", "<"},
	} {
		m.write("/config/config.xml", strings.Replace(arrFile("Radarr", "the-key", 7878), change[0], change[1], 1))
		assert.Contains(t, m.refused(named("radarr"), entrypoint), problem)
	}
}

// jackettFile is ServerConfig.json as the deployment writes it (components/media: renderJackett).
func jackettFile(key, password string) string {
	var text []byte
	for _, unit := range utf16.Encode([]rune(password + key)) {
		text = binary.LittleEndian.AppendUint16(text, unit)
	}
	sum := sha512.Sum512(text)
	return fmt.Sprintf(`{"Port":9117,"AllowExternal":true,"APIKey":%q,"AdminPassword":%q,"UpdateDisabled":true}`, key, hex.EncodeToString(sum[:]))
}

func TestJackett(t *testing.T) {
	m := newMachine(t)
	m.write("/config/Jackett/ServerConfig.json", jackettFile("the-key", "secret"))
	for round := range 2 {
		r := m.start(named("jackett"), entrypoint)
		r.answers(200, "GET", "/health", "")
		r.answers(404, "GET", "/nothing", "")
		r.answers(302, "GET", "/api/v2.0/indexers", "")
		const search = "/api/v2.0/indexers/all/results/torznab?t=indexers&configured=true&apikey="
		r.answers(401, "GET", search+"wrong", "")
		found := r.answers(200, "GET", search+"the-key", "")
		assert.Equal(t, round == 1, strings.Contains(found, "eztv"), "a restart loses nothing")

		login := func(password string) []*http.Cookie {
			response, err := (&http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}).
				PostForm(r.url+"/UI/Dashboard", map[string][]string{"password": {password}})
			require.NoError(t, err)
			require.NoError(t, response.Body.Close())
			return response.Cookies()
		}
		assert.Empty(t, login("wrong"))
		cookies := login("secret")
		require.Len(t, cookies, 1)
		const configuration = "/api/v2.0/indexers/eztv/Config"
		cookie := cookies[0].Name + "=" + cookies[0].Value
		r.answers(204, "POST", configuration, r.answers(200, "GET", configuration, "", "Cookie", cookie), "Cookie", cookie)
		r.stop()
	}
	m.write("/config/Jackett/ServerConfig.json", `{"Port":9117,"Extra":1}`)
	assert.Contains(t, m.refused(named("jackett"), entrypoint), `unknown field "Extra"`)
}

func TestRecyclarr(t *testing.T) {
	m := newMachine(t)
	content, err := os.ReadFile("../../../components/media/testdata/recyclarr.yml.golden")
	require.NoError(t, err)
	file := string(content)
	env := map[string]string{"RECYCLARR_CONFIG_DIR": "/config", "RECYCLARR_DATA_DIR": "/cache"}
	m.write("/config/config.xml", arrFile("Radarr", "the-key", 7878))
	radarr := m.start(named("radarr"), entrypoint)
	other := newMachine(t)
	other.write("/config/config.xml", arrFile("Sonarr", "the-key", 8989))
	sonarr := other.start(named("sonarr"), entrypoint)
	file = strings.NewReplacer("http://radarr:7878", radarr.url, "http://sonarr:8989", sonarr.url).Replace(file)
	m.write("/etc/recyclarr/recyclarr.yml", file)
	m.write("/run/secrets/radarr-api-key", "the-key")
	m.write("/run/secrets/sonarr-api-key", "the-key")
	m.write("/cache/x", "")
	command := []string{"recyclarr", "sync", "--config", "/etc/recyclarr/recyclarr.yml", "--log"}
	for range 2 {
		run, p, _ := m.process(env, command...)
		require.NoError(t, run(t.Context(), p))
	}
	have := radarr.answers(200, "GET", "/api/v3/qualityprofile", "", "X-Api-Key", "the-key")
	assert.Equal(t, 1, strings.Count(have, "UHD Bluray + WEB"))
	assert.Contains(t, sonarr.answers(200, "GET", "/api/v3/qualityprofile", "", "X-Api-Key", "the-key"), "WEB-1080p")

	m.write("/run/secrets/sonarr-api-key", "wrong")
	assert.Contains(t, m.refused(env, command...), "sonarr: GET /qualityprofile: 401")
	m.write("/etc/recyclarr/recyclarr.yml", strings.Replace(file, "base_url", "base_uri", 1))
	assert.Contains(t, m.refused(env, command...), "base_uri not found")
	assert.Contains(t, m.refused(env, "recyclarr", "list"), "the stand-in knows sync")
}
