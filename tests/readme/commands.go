package readme

import (
	"regexp"
	"strings"
)

var (
	heading = regexp.MustCompile(`(?m)^#+ (?:\d+\. )?(.*)$`)
	spaces  = regexp.MustCompile(`\s+`)
)

// Commands returns the lines of a Markdown text's shell blocks, below the heading and above the
// next one, without their comments. The heading is given without the number in front of it. A
// heading that is not there has none; "" stands for all headings.
func Commands(markdown, below string) []string {
	var list []string
	inside, block := below == "", false
	for line := range strings.Lines(markdown) {
		line = strings.TrimSpace(line) // blocks in lists are indented
		switch {
		case strings.HasPrefix(line, "```"):
			block = !block && strings.HasPrefix(line, "```sh")
		case block && inside:
			if text, _, _ := strings.Cut(" "+line, " #"); strings.TrimSpace(text) != "" {
				list = append(list, spaces.ReplaceAllString(strings.TrimSpace(text), " "))
			}
		case !block && below != "" && heading.MatchString(line):
			inside = heading.FindStringSubmatch(line)[1] == below
		}
	}
	return list
}
