package audit

import (
	"fmt"
	"io"
	"strings"
	"text/tabwriter"

	"homelab/policy/rules"
)

// WriteText writes the report for a terminal: what is wrong first, then the inventory.
func (r *Report) WriteText(to io.Writer) error {
	var out strings.Builder
	fmt.Fprintf(&out, "%d rules passed, %d failed, %d undecided, %d not applicable; %d resources\n",
		r.Count(rules.Passed), r.Count(rules.Failed), r.Count(rules.Undecided), r.Count(rules.NotApplicable), r.Resources)
	for _, urn := range r.Pending {
		fmt.Fprintf(&out, "\npending: an operation on %s began and did not end; run pulumi refresh\n", urn)
	}
	for _, o := range r.open() {
		fmt.Fprintf(&out, "\n%s: %s (%s, %s)\n", o.Status, o.Title, o.ID, o.Severity)
		for _, f := range o.Findings {
			fmt.Fprintf(&out, "  - %s\n", f.Message)
		}
		fmt.Fprintf(&out, "  remedy: %s\n", o.Remedy)
	}
	for _, o := range r.Rules {
		if o.Status == rules.NotApplicable {
			fmt.Fprintf(&out, "\nnot applicable: %s (%s): %s\n", o.Title, o.ID, o.Reason)
		}
	}
	if r.Changes != nil {
		fmt.Fprintf(&out, "\nChanged since the baseline:\n")
		for _, c := range r.Changes {
			fmt.Fprintf(&out, "  - %s\n", c)
		}
		if len(r.Changes) == 0 {
			fmt.Fprintf(&out, "  nothing in exposure\n")
		}
	}
	r.writeInventory(&out)
	_, err := io.WriteString(to, out.String())
	return err
}

func (r *Report) writeInventory(to io.Writer) {
	table := func(title, header string, rows func(row func(...any))) {
		fmt.Fprintf(to, "\n%s\n", title)
		w := tabwriter.NewWriter(to, 2, 4, 2, ' ', 0)
		fmt.Fprintln(w, "  "+header)
		rows(func(cells ...any) {
			fmt.Fprint(w, "  ")
			for i, c := range cells {
				if i > 0 {
					fmt.Fprint(w, "\t")
				}
				fmt.Fprint(w, c)
			}
			fmt.Fprintln(w)
		})
		_ = w.Flush() // a strings.Builder takes everything
	}
	table("Hostnames", "NAME\tLEADS TO\tWHO MAY ENTER\tCHAIN", func(row func(...any)) {
		for _, h := range r.Inventory.Hostnames {
			row(h.Name, h.Container, reach(h), chain(h))
		}
	})
	table("Containers", "NAME\tIMAGE\tUSER\tMEMORY\tINTERNET\tHAS OF THE MACHINE", func(row func(...any)) {
		for _, c := range r.Inventory.Containers {
			row(c.Name, c.Image, c.User, fmt.Sprintf("%d MiB", c.MemoryMiB), r.Inventory.WayOut(c), ofMachine(c))
		}
	})
	table("Open ports", "WHERE\tPROTOCOL\tPORT\tFOR\tRANGES", func(row func(...any)) {
		for _, p := range r.Inventory.Ports {
			sources := fmt.Sprint(p.Sources)
			if p.Anywhere {
				sources = "anywhere"
			}
			row(p.Where, p.Protocol, p.Port, p.For, sources)
		}
	})
	table("Who may talk to whom", "FROM\tTO\tPORT", func(row func(...any)) {
		for _, e := range r.Inventory.Edges {
			row(e.From, e.To, e.Port)
		}
	})
	table("Who may ask the container engine", "CONTAINER\tBY", func(row func(...any)) {
		for _, a := range r.Inventory.Engine {
			row(a.Container, by(a))
		}
	})
	table("Data", "FOLDER\tCONTAINER\tBACKED UP", func(row func(...any)) {
		for _, d := range r.Inventory.Data {
			row(d.Path, d.Container, yes(d.BackedUp))
		}
	})
	table("Secrets", "NAME\tCHANGED", func(row func(...any)) {
		for _, s := range r.Inventory.Secrets {
			row(s.Name, s.Modified)
		}
	})
}

// chain says which layers of a hostname are there.
func chain(h rules.Hostname) string {
	var missing []string
	for _, e := range h.Chain {
		if len(e.Resources) == 0 {
			missing = append(missing, e.Layer)
		}
	}
	if len(missing) == 0 {
		return fmt.Sprintf("complete (%d layers)", len(h.Chain))
	}
	return "without " + strings.Join(missing, ", ")
}

// ofMachine says what a container has of the machine's own.
func ofMachine(c rules.Container) string {
	if len(c.Machine) == 0 {
		return "nothing"
	}
	return strings.Join(c.Machine, ", ")
}

// by says how a container asks the engine.
func by(a rules.Asker) string {
	if a.Through == "" {
		return "its socket"
	}
	return a.Through
}

func yes(b bool) string {
	if b {
		return "yes"
	}
	return "no"
}
