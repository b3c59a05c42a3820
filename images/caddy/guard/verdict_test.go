package guard

import (
	"net/http"
	"testing"

	"github.com/stretchr/testify/assert"
)

// Whatever is not AppSec's consent keeps a request out.
func TestOnlyConsentPasses(t *testing.T) {
	const allow, ban = `{"action":"allow","http_status":200}`, `{"action":"ban","http_status":403}`
	for name, c := range map[string]struct {
		status int
		text   string
		want   int // 0 passes, -1 is no verdict
	}{
		"consent":                         {200, allow, 0},
		"a block":                         {403, ban, 403},
		"a block with another status":     {403, `{"action":"captcha","http_status":401}`, 401},
		"a block without a status":        {403, `{"action":"ban"}`, 403},
		"a block that looks like consent": {403, `{"action":"ban","http_status":200}`, 403},
		"403 that allows":                 {403, allow, -1},
		"200 that bans":                   {200, ban, -1},
		"200 without an action":           {200, `{}`, -1},
		"200 without a verdict":           {200, ``, -1},
		"200 with a page":                 {200, `<html>`, -1},
		"204":                             {204, ``, -1},
		"302":                             {302, ``, -1},
		"404":                             {404, `404 page not found`, -1},
		"404 that allows":                 {404, allow, -1},
		"417":                             {417, ``, -1},
		"401":                             {401, ``, -1},
		"500":                             {500, ``, -1},
	} {
		t.Run(name, func(t *testing.T) {
			status, outcome := outcome(t.Context(), verdict(c.status, []byte(c.text)))
			switch c.want {
			case 0:
				assert.Zero(t, status)
				assert.Equal(t, "pass", outcome)
			case -1:
				assert.Equal(t, http.StatusServiceUnavailable, status)
				assert.Equal(t, "none", outcome)
			default:
				assert.Equal(t, c.want, status)
				assert.Equal(t, "block", outcome)
			}
		})
	}
}
