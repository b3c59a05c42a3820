package settings

import (
	"fmt"
	"math"
	"regexp"
	"strconv"
	"strings"
	"time"
)

const day = 24 * time.Hour

// days is the part of a duration that Go does not read: a day is 24 hours.
var days = regexp.MustCompile(`^(\d{1,5})d(.*)$`)

// parseDuration reads a duration as people write it: 90m, 12h, 30d, 1d12h.
func parseDuration(text string) (time.Duration, error) {
	m := days.FindStringSubmatch(text)
	if m == nil {
		return time.ParseDuration(text)
	}
	n, err := strconv.Atoi(m[1])
	if err != nil {
		return 0, err
	}
	var rest time.Duration
	if m[2] != "" {
		if strings.HasPrefix(m[2], "-") || strings.HasPrefix(m[2], "+") {
			return 0, fmt.Errorf("a sign inside the duration %q", text)
		}
		if rest, err = time.ParseDuration(m[2]); err != nil {
			return 0, err
		}
	}
	if rest > math.MaxInt64-time.Duration(n)*day {
		return 0, fmt.Errorf("the duration %q is too long", text)
	}
	return time.Duration(n)*day + rest, nil
}

// showDuration writes a whole number of seconds as people do: 30d, 12h, 1h30m.
func showDuration(d time.Duration) string {
	if d >= 2*day && d%day == 0 {
		return fmt.Sprintf("%dd", d/day)
	}
	text := d.String()
	for _, zero := range []string{"m0s", "h0m"} {
		if strings.HasSuffix(text, zero) {
			text = text[:len(text)-2]
		}
	}
	return text
}
