package workload

import (
	"testing"

	"github.com/stretchr/testify/assert"
)

func TestDefaultsOfAHealthCheck(t *testing.T) {
	assert.Equal(t, 3, orDefault(0, 3))
	assert.Equal(t, 2, orDefault(2, 3))
}

func TestMetricsLabel(t *testing.T) {
	assert.Equal(t, "9180/metrics", Scrape(9180, "/metrics").label())
	assert.Equal(t, "none: why", NoMetrics("why").label())
}
