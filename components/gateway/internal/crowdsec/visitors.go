package crowdsec

import "strconv"

// networkBits is the length of the IPv6 range that counts as one visitor: the smallest that a
// provider gives to a customer, who has every address in it.
const networkBits = 64

type parser struct {
	Name        string   `yaml:"name"`
	Description string   `yaml:"description"`
	Filter      string   `yaml:"filter"`
	Statics     []static `yaml:"statics"`
}

type static struct {
	Meta       string `yaml:"meta"`
	Expression string `yaml:"expression"`
}

// VisitorsParser renders what makes one visitor of all the addresses of an IPv6 range of 64 bits:
// whatever the scenarios count and ban after it is the first address of the range, for which the
// proxy asks too. It comes after the whitelists, which look at the address itself.
func VisitorsParser(m Model) ([]byte, error) {
	return render(m, "the parser of visitors", parser{
		Name:        "homelab/visitors",
		Description: "an IPv6 visitor is his network",
		Filter:      "IsIPV6(evt.Meta.source_ip)",
		Statics: []static{{
			Meta: "source_ip", Expression: "Split(IpToRange(evt.Meta.source_ip, '" + strconv.Itoa(networkBits) + "'), '/')[0]",
		}},
	})
}

type scenario struct {
	Type        string         `yaml:"type"`
	Name        string         `yaml:"name"`
	Description string         `yaml:"description"`
	Filter      string         `yaml:"filter"`
	GroupBy     string         `yaml:"groupby"`
	Capacity    int            `yaml:"capacity"`
	LeakSpeed   string         `yaml:"leakspeed"`
	Labels      map[string]any `yaml:"labels"`
}

// SecondFactor renders the scenario against guessing of codes. It counts by user: one in three
// hundred thousand guesses is right, so whoever has a password and many addresses would get in with
// few from each. The message names the user, and only who showed the right password gets as far as
// a second factor, so strangers cannot have anybody banned. An overflow bans every address that
// took part, and nobody is locked out of his account.
func SecondFactor(m Model) ([]byte, error) {
	return render(m, "the scenario of second factors", scenario{
		Type:        "leaky",
		Name:        "homelab/second-factor",
		Description: "wrong second factors of one user, from any number of addresses",
		Filter: "evt.Meta.service == 'authelia' && " +
			"evt.Unmarshaled.authelia.msg matches '^Unsuccessful (TOTP|WebAuthn) authentication attempt by user '",
		GroupBy: "evt.Unmarshaled.authelia.msg",
		// Five at once, and one more every ten minutes.
		Capacity: 4, LeakSpeed: "10m",
		Labels: map[string]any{"service": "authelia", "type": "bruteforce", "remediation": true},
	})
}
