package workspace

import (
	"bufio"
	"cmp"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/pulumi/pulumi/sdk/v3/go/common/apitype"
)

// opMark shows an operation in one character, as the engine's own output does.
func opMark(each Resource) string {
	if each.Failed {
		return "!"
	}
	switch apitype.OpType(each.Op) {
	case apitype.OpCreate, apitype.OpImport:
		return "+"
	case apitype.OpUpdate:
		return "~"
	case apitype.OpReplace:
		return "±"
	case apitype.OpDelete:
		return "-"
	case apitype.OpRead:
		return "<"
	default:
		return " "
	}
}

// shortType leaves out a type token's module file, as the engine's own output does:
// hcloud:index/server:Server is hcloud:index:Server.
func shortType(token string) string {
	parts := strings.Split(token, ":")
	if len(parts) == 3 {
		parts[1], _, _ = strings.Cut(parts[1], "/")
	}
	return strings.Join(parts, ":")
}

// WriteTree prints every resource under its parent, siblings sorted by type and name, with the
// operation in front and behind. A resource whose parent is not among them stands at the top.
func (s *Summary) WriteTree(out io.Writer) error {
	children := map[string][]Resource{}
	known := map[string]bool{}
	for _, each := range s.Resources {
		known[each.URN] = true
	}
	for _, each := range s.Resources {
		parent := each.Parent
		if !known[parent] {
			parent = ""
		}
		children[parent] = append(children[parent], each)
	}
	for _, list := range children {
		slices.SortFunc(list, func(a, b Resource) int {
			return cmp.Or(cmp.Compare(a.Type, b.Type), cmp.Compare(a.Name, b.Name), cmp.Compare(a.URN, b.URN))
		})
	}
	buffered := bufio.NewWriter(out)
	writeBranch(buffered, children, "", "", "")
	return buffered.Flush()
}

func writeBranch(out *bufio.Writer, children map[string][]Resource, parent, lead, under string) {
	list := children[parent]
	for i, each := range list {
		branch, below := "├─ ", "│  "
		if i == len(list)-1 {
			branch, below = "└─ ", "   "
		}
		if under == "" {
			branch, below = "", ""
		}
		op := each.Op
		if each.Failed {
			op += " failed"
		}
		fmt.Fprintf(out, "%s %s%s%s %s  (%s)\n", opMark(each), lead, branch, shortType(each.Type), each.Name, op)
		writeBranch(out, children, each.URN, lead+below, each.URN)
	}
}
