package toolchain

// The programs of images that the deployment builds itself, those of CrowdSec's image, and what its
// entry point edits files with.
var (
	CaddyTool    = Tool{Name: "caddy", Dir: "images/caddy", Package: ".", LDFlags: []string{"-s", "-w"}}
	HomeTool     = Tool{Name: "home", Dir: "images/home", Package: ".", LDFlags: []string{"-s", "-w"}}
	WireTool     = Tool{Name: "wire", Dir: "images/wire", Package: ".", LDFlags: []string{"-s", "-w"}}
	CrowdSecTool = crowdsecTool("crowdsec", "github.com/crowdsecurity/crowdsec/cmd/crowdsec")
	YqTool       = Tool{Name: "yq", Dir: "internal/toolchain/tools/yq", Package: "github.com/mikefarah/yq/v4", LDFlags: []string{"-s", "-w"}}
	CscliTool    = crowdsecTool("crowdsec-cli", "github.com/crowdsecurity/crowdsec/cmd/crowdsec-cli")
)

// crowdsecTool builds one of CrowdSec's programs. The tag takes an SQLite that needs no C compiler.
func crowdsecTool(name, pkg string) Tool {
	return Tool{Name: name, Dir: "internal/toolchain/tools/crowdsec", Package: pkg, LDFlags: []string{"-s", "-w"}, Tags: []string{"sqlite_modernc"}}
}
