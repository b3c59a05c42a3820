package view

import (
	"fmt"
	"strings"
	"time"
)

// clock writes times as seen from a moment, in a time zone.
type clock struct {
	now      time.Time
	location *time.Location
}

// ago says how long ago a moment is, in its largest unit.
func (c clock) ago(t time.Time) string {
	d := c.now.Sub(t)
	switch {
	case d < 5*time.Second:
		return "just now"
	case d < time.Minute:
		return count(int(d/time.Second), "second") + " ago"
	case d < time.Hour:
		return count(int(d/time.Minute), "minute") + " ago"
	case d < 48*time.Hour:
		return count(int(d/time.Hour), "hour") + " ago"
	}
	return count(int(d/(24*time.Hour)), "day") + " ago"
}

// date writes a moment as a date with its time.
func (c clock) date(t time.Time) string { return t.In(c.location).Format("Mon 2 Jan, 15:04") }

// count writes a number of things.
func count(n int, thing string) string {
	if n == 1 {
		return "1 " + thing
	}
	return fmt.Sprintf("%d %ss", n, thing)
}

// size writes a number of bytes in the units of disks' makers.
func size(bytes float64) string {
	for _, unit := range []string{"B", "kB", "MB", "GB"} {
		if bytes < 999.5 {
			return number(bytes) + " " + unit
		}
		bytes /= 1000
	}
	return number(bytes) + " TB"
}

func number(v float64) string {
	if v < 9.95 {
		return strings.TrimSuffix(fmt.Sprintf("%.1f", v), ".0")
	}
	return fmt.Sprintf("%.0f", v)
}
