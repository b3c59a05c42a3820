package boxes

import (
	"errors"
	"fmt"
	"net/netip"
	"path/filepath"
	"regexp"
	"time"
)

// Box is a Storage Box as its owner declares it.
type Box struct {
	// ID is Hetzner's number; the box's folder bears it.
	ID string
	// Location is where the box stands, such as fsn1. It changes nothing here.
	Location string
	// Username is the login of the main account, such as u123456.
	Username string
	// Password is the main account's password.
	Password string
	// Addresses are where the box answers, on the ports 22, 23 and 443. The names of the box and of
	// its sub-accounts all lead there.
	Addresses []netip.Addr
	// Size is the quota in bytes: 1 << 40 for a bx11. Snapshots count.
	Size int64
	// SSHKeys are put into the main account's authorized_keys when the box is made, and never after.
	SSHKeys []string
	// Access is what the main account may use, and the most that any sub-account may.
	Access Access
	// SnapshotSlots is how many snapshots there may be at once: 10 for a bx11.
	SnapshotSlots int
	// Plan takes snapshots; nil takes none.
	Plan *Plan
	// Subaccounts are the further logins.
	Subaccounts []Subaccount
}

// Access is what is switched on for a whole box.
type Access struct {
	// ReachableExternally lets clients in that are outside Hetzner's network.
	ReachableExternally bool
	// SSH is SFTP on port 22, and SFTP, BorgBackup, rsync and a few commands on port 23.
	SSH bool
	// WebDAV is HTTPS on port 443.
	WebDAV bool
	// Samba cannot be rehearsed: Apply refuses it.
	Samba bool
	// ZFS shows the snapshots, read-only, in the folder .zfs/snapshot of the main account.
	ZFS bool
}

// Subaccount is a login to one folder of the box.
type Subaccount struct {
	// Username is the login, such as u123456-sub1.
	Username string
	// Password is the account's password.
	Password string
	// HomeDirectory is the account's folder, relative to the box's. It is made if it is not there.
	HomeDirectory string
	// ReachableExternally, SSH, WebDAV and Samba are as for the box, and need the box's own, too.
	ReachableExternally, SSH, WebDAV, Samba bool
	// Readonly takes away every way to change anything.
	Readonly bool
}

// Plan is when automatic snapshots are taken, in UTC.
type Plan struct {
	// MaxSnapshots is how many automatic snapshots are kept before the oldest goes.
	MaxSnapshots int
	// Hour and Minute are the time of day.
	Hour, Minute int
	// DayOfWeek is 1 (Monday) to 7; 0 is every day.
	DayOfWeek int
	// DayOfMonth is 1 to 31; 0 is every day. A month that is too short has no snapshot.
	DayOfMonth int
}

// next returns the first time after t at which the plan takes a snapshot, or zero if there is none
// within a year and a month.
func (p Plan) next(t time.Time) time.Time {
	t = t.UTC()
	for day := range 400 {
		at := time.Date(t.Year(), t.Month(), t.Day()+day, p.Hour, p.Minute, 0, 0, time.UTC)
		weekday := (int(at.Weekday())+6)%7 + 1
		if at.After(t) && (p.DayOfWeek == 0 || p.DayOfWeek == weekday) && (p.DayOfMonth == 0 || p.DayOfMonth == at.Day()) {
			return at
		}
	}
	return time.Time{}
}

var (
	plainID   = regexp.MustCompile(`^[A-Za-z0-9]+$`)
	plainName = regexp.MustCompile(`^[a-z0-9]+(-[a-z0-9]+)*$`)
)

// Validate reports every problem of the declaration. No error shows a password.
func (b Box) Validate() error {
	var problems []error
	require := func(ok bool, format string, args ...any) {
		if !ok {
			problems = append(problems, fmt.Errorf("storage box %q: "+format, append([]any{b.ID}, args...)...))
		}
	}
	require(plainID.MatchString(b.ID), "the ID must be letters and digits")
	require(plainName.MatchString(b.Username), "%q is no user name", b.Username)
	require(b.Password != "", "no password")
	require(len(b.Addresses) > 0, "no address")
	require(b.Size > 0, "a size of %d bytes holds nothing", b.Size)
	require(!b.Access.Samba, "samba cannot be rehearsed")
	if p := b.Plan; p != nil {
		require(p.MaxSnapshots >= 1 && p.MaxSnapshots <= b.SnapshotSlots, "%d automatic snapshots in %d slots", p.MaxSnapshots, b.SnapshotSlots)
		require(p.Hour >= 0 && p.Hour < 24 && p.Minute >= 0 && p.Minute < 60, "no such time of day: %02d:%02d", p.Hour, p.Minute)
		require(p.DayOfWeek >= 0 && p.DayOfWeek <= 7, "no such day of the week: %d", p.DayOfWeek)
		require(p.DayOfMonth >= 0 && p.DayOfMonth <= 31, "no such day of the month: %d", p.DayOfMonth)
	}
	seen := map[string]bool{b.Username: true}
	for _, s := range b.Subaccounts {
		require(plainName.MatchString(s.Username), "%q is no user name", s.Username)
		require(!seen[s.Username], "the user name %s twice", s.Username)
		require(s.Password != "", "%s has no password", s.Username)
		home := filepath.Clean(s.HomeDirectory)
		require(s.HomeDirectory != "" && home != "." && filepath.IsLocal(home), "%s: the home directory %q must be a path inside the box", s.Username, s.HomeDirectory)
		require(!snapshotFolder(home), "%s: snapshots are no home directory", s.Username)
		require(!s.Samba, "%s: samba cannot be rehearsed", s.Username)
		seen[s.Username] = true
	}
	return errors.Join(problems...)
}

// Hostnames are the names of the box and of its sub-accounts, which all lead to its addresses.
func (b Box) Hostnames() []string {
	var out []string
	for _, l := range b.accounts() {
		out = append(out, l.username+".your-storagebox.de")
	}
	return out
}

// accounts are the logins of the box with all that decides what they may do.
func (b Box) accounts() []login {
	out := []login{{
		username: b.Username, password: b.Password, home: ".", ssh: b.Access.SSH, webdav: b.Access.WebDAV, external: b.Access.ReachableExternally, zfs: b.Access.ZFS,
	}}
	for _, s := range b.Subaccounts {
		out = append(out, login{
			username: s.Username, password: s.Password, home: filepath.Clean(s.HomeDirectory), readonly: s.Readonly, ssh: s.SSH && b.Access.SSH,
			webdav: s.WebDAV && b.Access.WebDAV, external: s.ReachableExternally && b.Access.ReachableExternally,
		})
	}
	return out
}

// login is one account. Two that are equal may keep their connections when a box changes.
type login struct {
	username, password string
	home               string // relative to the box; "." for the main account
	readonly           bool
	ssh, webdav        bool
	external           bool
	zfs                bool // sees the snapshots
}
