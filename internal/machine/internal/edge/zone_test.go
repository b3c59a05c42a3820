package edge

import (
	"context"
	"crypto/tls"
	"net"
	"net/http"
	"net/netip"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"homelab/internal/rehearsal"
)

func TestWhatIsNotEnforcedIsSaid(t *testing.T) {
	s := newStage(t, nil)
	s.zone.Rulesets = append(s.zone.Rulesets, rehearsal.Ruleset{Phase: "http_request_transform", Rules: []rehearsal.ZoneRule{{Ref: "t", Enabled: true}, {Ref: "off"}}})
	s.zone.Records = append(s.zone.Records, rehearsal.Record{Name: "example.com", Type: "TXT", Content: "x"},
		rehearsal.Record{Name: "alias.example.com", Type: "CNAME", Content: host, Proxied: true}, rehearsal.Record{Name: "*.example.com", Type: "A", Content: "192.0.2.1"})
	require.NoError(t, s.edge.SetZone(s.zone))
	got := s.edge.Edge(rehearsal.EdgeIPv4, rehearsal.EdgeIPv6)
	assert.Equal(t, []string{
		"managed rules homelab-free-managed: Cloudflare alone knows them",
		"record *.example.com: names that match a wildcard are not found",
		"record alias.example.com: one of type CNAME is not proxied",
		"record example.com: nobody is told one of type TXT",
		"rule t of the phase http_request_transform",
		"setting browser_check = on",
	}, got.NotEnforced)
	assert.Equal(t, "example.com", got.Zone)
	assert.Equal(t, string(s.authority.PEM()), got.Authority)
	assert.Equal(t, []rehearsal.EdgeHost{
		{Name: "*.example.com", Addresses: []netip.Addr{netip.MustParseAddr("192.0.2.1")}},
		{Name: "radarr.example.com", Addresses: []netip.Addr{netip.MustParseAddr("100.64.0.2")}},
		{Name: host, Addresses: []netip.Addr{rehearsal.EdgeIPv4, rehearsal.EdgeIPv6}, Proxied: true},
	}, got.Hosts)
}

func TestAZoneThatWouldBeBelievedIsRefused(t *testing.T) {
	for want, change := range map[string]func(*rehearsal.Zone){
		"zone example.com: rule user-x: the field cf.threat_score is not part of a rehearsal; leave the rule out": func(z *rehearsal.Zone) {
			z.Rulesets[0].Rules[0].Ref, z.Rulesets[0].Rules[0].Expression = "user-x", "cf.threat_score gt 10"
		},
		"the action skip is not part of a rehearsal":            func(z *rehearsal.Zone) { z.Rulesets[0].Rules[0].Action = "skip" },
		"only set_cache_settings with cache":                    func(z *rehearsal.Zone) { z.Rulesets[3].Rules[0].Parameters = map[string]any{"edgeTtl": 1.0} },
		"counting by ip.src.country is not part of a rehearsal": func(z *rehearsal.Zone) { z.Rulesets[2].Rules[0].RateLimit.Characteristics[0] = "ip.src.country" },
		"an expression for what is counted":                     func(z *rehearsal.Zone) { z.Rulesets[2].Rules[0].RateLimit.Counting = "true" },
		"it has no limit":                                       func(z *rehearsal.Zone) { z.Rulesets[2].Rules[0].RateLimit = nil },
		"the action managed_challenge is not part":              func(z *rehearsal.Zone) { z.Rulesets[2].Rules[0].Action = "managed_challenge" },
		"the setting ssl = flexible is not part of a rehearsal": func(z *rehearsal.Zone) { z.Settings["ssl"] = "flexible" },
		"the setting min_tls_version = 9 is not":                func(z *rehearsal.Zone) { z.Settings["min_tls_version"] = "9" },
		"the setting min_tls_version = map[] is not":            func(z *rehearsal.Zone) { z.Settings["min_tls_version"] = map[string]any{} },
		"has no max_age": func(z *rehearsal.Zone) {
			z.Settings["security_header"] = map[string]any{"strict_transport_security": map[string]any{"enabled": true}}
		},
		"has no strict_transport_security": func(z *rehearsal.Zone) { z.Settings["security_header"] = "on" },
		`URL normalization "x" is not`:     func(z *rehearsal.Zone) { z.Normalization.Type = "x" },
		`a rehearsal knows no plan "x"`:    func(z *rehearsal.Zone) { z.Plan = "x" },
		"the client certificate 1":         func(z *rehearsal.Zone) { z.Certificates[0].PrivateKey = "x" },
		"record requests.example.com":      func(z *rehearsal.Zone) { z.Records[0].Content = "x" },
	} {
		s := newStage(t, nil)
		changed, _ := declared(t)
		change(&changed)
		require.ErrorContains(t, s.edge.SetZone(changed), want)
		assert.Equal(t, 200, s.get("https://"+host+"/").StatusCode, "what was in force is so still: %s", want)
	}
}

func TestHandshakesFollowTheZone(t *testing.T) {
	s := newStage(t, nil)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	go func() { _ = s.edge.Serve(listener, true) }()
	shake := func(name string, highest uint16) (tls.ConnectionState, error) {
		conn, err := tls.Dial("tcp", listener.Addr().String(), &tls.Config{
			ServerName: name, RootCAs: s.authority.Pool(), MinVersion: tls.VersionTLS10, MaxVersion: highest, NextProtos: []string{"h2"},
		})
		if err != nil {
			return tls.ConnectionState{}, err
		}
		return conn.ConnectionState(), conn.Close()
	}
	state, err := shake(host, tls.VersionTLS13)
	require.NoError(t, err)
	assert.Equal(t, uint16(tls.VersionTLS13), state.Version)
	assert.Equal(t, "h2", state.NegotiatedProtocol)
	_, err = shake(host, tls.VersionTLS12)
	require.NoError(t, err)
	_, err = shake(host, tls.VersionTLS11)
	require.ErrorContains(t, err, "protocol version")
	_, err = shake("example.org", tls.VersionTLS13)
	require.Error(t, err, "a name of another zone")
	s.zone.Settings["min_tls_version"] = "1.3"
	require.NoError(t, s.edge.SetZone(s.zone))
	_, err = shake(host, tls.VersionTLS12)
	require.ErrorContains(t, err, "protocol version")
	s.zone.Settings["min_tls_version"], s.zone.Settings["tls_1_3"] = "1.2", "off"
	require.NoError(t, s.edge.SetZone(s.zone))
	state, err = shake(host, tls.VersionTLS13)
	require.NoError(t, err)
	assert.Equal(t, uint16(tls.VersionTLS12), state.Version)

	transport := &http.Transport{
		TLSClientConfig: &tls.Config{RootCAs: s.authority.Pool()}, ForceAttemptHTTP2: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			var d net.Dialer
			return d.DialContext(ctx, "tcp", listener.Addr().String())
		},
	}
	t.Cleanup(transport.CloseIdleConnections)
	answer, err := (&http.Client{Transport: transport}).Get("https://" + host + "/")
	require.NoError(t, err)
	require.NoError(t, answer.Body.Close())
	assert.Equal(t, http.StatusOK, answer.StatusCode)
	assert.Equal(t, "HTTP/2.0", answer.Proto)
	assert.Equal(t, "127.0.0.1", s.seen[0].Header.Get("Cf-Connecting-Ip"), "the visitor is whoever connects")
	_, port, err := net.SplitHostPort(listener.Addr().String())
	require.NoError(t, err)
	assert.Equal(t, rehearsal.EdgeOriginIPv4.String()+" 198.51.100.1:"+port, s.dialled[0], "the origin's port is the visitor's")
}
