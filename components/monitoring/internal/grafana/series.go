package grafana

import (
	"fmt"
	"strconv"
	"strings"
)

// window is what a rate looks back at: several scrapes, so that one that fails leaves no gap.
const window = "5m"

// answers is the histogram of our proxy's module of how long sites take to begin an answer, by site
// and by the first digit of the status. Caddy's own can be told by site too, but then it takes the
// name of the site from the request.
const answers = "homelab_guard_response_duration_seconds"

// visitors selects the proxy's listeners for people; its others answer health checks and
// Prometheus.
func visitors(labels ...string) []string { return append(labels, "server", "~public|tailnet") }

// series is a selector: a metric's name, then pairs of a label and its value, which is a regular
// expression after "~", and one that must not match after "!~".
func series(metric string, labels ...string) string {
	var parts []string
	for i := 0; i+1 < len(labels); i += 2 {
		operator, value := "=", labels[i+1]
		for _, other := range []string{"!~", "~"} {
			if pattern, ok := strings.CutPrefix(value, other); ok {
				operator, value = map[string]string{"!~": "!~", "~": "=~"}[other], pattern
				break
			}
		}
		parts = append(parts, labels[i]+operator+strconv.Quote(value))
	}
	if parts == nil {
		return metric
	}
	return metric + "{" + strings.Join(parts, ",") + "}"
}

// rate is how fast a counter grows, per second.
func rate(selector string) string { return fmt.Sprintf("rate(%s[%s])", selector, window) }

// increase is by how much a counter grew, over a duration as Prometheus writes it.
func increase(selector, over string) string { return fmt.Sprintf("increase(%s[%s])", selector, over) }

// sum adds up what has the same labels.
func sum(expr string, by ...string) string {
	if len(by) == 0 {
		return "sum(" + expr + ")"
	}
	return "sum by (" + strings.Join(by, ", ") + ") (" + expr + ")"
}

// orZero makes of no series the number nought.
func orZero(expr string) string { return expr + " or vector(0)" }

// since is for how many seconds something is over.
func since(timestamp string) string { return "time() - " + timestamp }

// until is in how many seconds something is.
func until(timestamp string) string { return timestamp + " - time()" }

// quantile is the time within which a part of the observations of a histogram lay.
func quantile(part float64, buckets string, by ...string) string {
	return fmt.Sprintf("histogram_quantile(%g, %s)", part, sum(rate(buckets), append([]string{"le"}, by...)...))
}
