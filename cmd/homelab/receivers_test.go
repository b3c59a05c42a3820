package main

import (
	"crypto/rand"
	"net/url"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"homelab/components/settings"
	"homelab/internal/rehearsal"
)

// The addresses that a simulation makes up are those at which a rehearsal's machines find somebody.
func TestSomebodyAnswersAtMadeUpAddresses(t *testing.T) {
	var hosts []string
	for _, secret := range settings.Secrets() {
		value, err := secret.Generate(rand.Reader)
		require.NoError(t, err)
		if !strings.HasPrefix(value, "https://") {
			continue
		}
		address, err := url.Parse(value)
		require.NoError(t, err)
		hosts = append(hosts, address.Host)
	}
	assert.Equal(t, []string{rehearsal.AlertsHost, rehearsal.DeadMansSwitchHost}, hosts)
}
