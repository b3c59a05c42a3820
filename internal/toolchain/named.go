package toolchain

import (
	"fmt"
	"strings"
)

// StaticcheckTool builds the linter that `make lint` runs.
var StaticcheckTool = Tool{
	Name:    "staticcheck",
	Dir:     "internal/toolchain/tools/staticcheck",
	Package: "honnef.co/go/tools/cmd/staticcheck",
	LDFlags: []string{"-s", "-w"},
}

// ActionlintTool builds the checker of the GitHub workflows that `make lint` runs.
var ActionlintTool = Tool{
	Name:    "actionlint",
	Dir:     "internal/toolchain/tools/actionlint",
	Package: "github.com/rhysd/actionlint/cmd/actionlint",
	LDFlags: []string{"-s", "-w"},
}

// GovulncheckTool builds the program that looks for known vulnerabilities in what ours can reach.
var GovulncheckTool = Tool{
	Name:    "govulncheck",
	Dir:     "internal/toolchain/tools/govulncheck",
	Package: "golang.org/x/vuln/cmd/govulncheck",
	LDFlags: []string{"-s", "-w"},
}

// tools are those a developer can run by name.
var tools = []Tool{PulumiTool, StaticcheckTool, ActionlintTool, GovulncheckTool, PrometheusTool}

// Named returns the tool of that name, or an error that lists those there are.
func Named(name string) (Tool, error) {
	names := make([]string, 0, len(tools))
	for _, tool := range tools {
		if tool.Name == name {
			return tool, nil
		}
		names = append(names, tool.Name)
	}
	return Tool{}, fmt.Errorf("there is no tool %q: there is %s", name, strings.Join(names, ", "))
}
