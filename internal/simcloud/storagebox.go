package simcloud

import (
	"fmt"
	"strings"
)

var _ = register(typeStorageBox, &kind{
	replaces: []string{"location", "sshKeys"}, autoname: true, framework: true,
	defaults: map[string]any{
		"deleteProtection": false, "labels": map[string]any{}, "sshKeys": []any{}, "accessSettings": map[string]any{}, "accessSettings.reachableExternally": false, "accessSettings.sambaEnabled": false,
		"accessSettings.sshEnabled": false, "accessSettings.webdavEnabled": false, "accessSettings.zfsEnabled": false,
	},
	check: checkLabels, ask: askStorageBox, create: createStorageBox, update: updateStorageBox, remove: removeStorageBox,
	also: &acts{create: sendBox, update: sendBox, remove: deleteBox},
})

var _ = register(typeSubaccount, &kind{
	replaces: []string{"storageBoxId"}, autoname: true, framework: true,
	defaults: map[string]any{
		"accessSettings.reachableExternally": false, "accessSettings.readonly": false, "accessSettings.sambaEnabled": false,
		"accessSettings.sshEnabled": false, "accessSettings.webdavEnabled": false,
	},
	check: checkLabels, ask: askSubaccount, create: createSubaccount, update: updateSubaccount,
	also: &acts{create: sendBoxOf, update: sendBoxOf, removed: sendBoxOf},
})

// storageBoxType is a type of the price list: size in bytes, snapshots.
type storageBoxType struct {
	id, size             float64
	snapshots, automatic float64
	subaccounts          float64
}

var storageBoxTypes = map[string]storageBoxType{
	"bx11": {1333, 1 << 40, 10, 10, 100},
	"bx21": {1334, 5 << 40, 20, 20, 100},
	"bx31": {1335, 10 << 40, 30, 30, 100},
	"bx41": {1336, 20 << 40, 40, 40, 100},
}

// boxLocations sell storage boxes.
var boxLocations = []string{"fsn1", "hel1"}

// Characters of a storage box password: one of the first is needed, the others
// are allowed beside letters and digits.
const (
	passwordSpecials = "!$%/()=?+#-."
	passwordAllowed  = "^°§,;:~*@{}_&"
)

// checkPassword applies the password policy of storage boxes, at the same moment
// as the API: when the box is made, not in a preview. No error shows the password.
func checkPassword(password string) error {
	var lower, upper, digit, special bool
	for _, r := range password {
		switch {
		case r >= 'a' && r <= 'z':
			lower = true
		case r >= 'A' && r <= 'Z':
			upper = true
		case r >= '0' && r <= '9':
			digit = true
		case strings.ContainsRune(passwordSpecials, r):
			special = true
		case !strings.ContainsRune(passwordAllowed, r):
			return fail("invalid input in field 'password' (invalid_input): the password has a character that is not allowed")
		}
	}
	if n := len([]rune(password)); n < 12 || n > 128 || !lower || !upper || !digit || !special {
		return fail("invalid input in field 'password' (invalid_input): the password needs 12 to 128 characters with a lower and an upper case letter, a digit and one of %s", passwordSpecials)
	}
	return nil
}

func askStorageBox(c *checking) {
	plan := c.news["snapshotPlan"]
	if !plan.IsObject() {
		return
	}
	limits := map[string][2]float64{"hour": {0, 23}, "minute": {0, 59}, "dayOfWeek": {1, 7}, "dayOfMonth": {1, 31}, "maxSnapshots": {1, 40}}
	for key, v := range plan.ObjectValue() {
		if limit, ok := limits[string(key)]; ok && v.IsNumber() && (v.NumberValue() < limit[0] || v.NumberValue() > limit[1]) {
			c.refuse("snapshotPlan."+string(key), "expected %s between %.0f and %.0f, got %v", string(key), limit[0], limit[1], v.NumberValue())
		}
	}
}

func (t *task) boxLimits() error {
	typ, ok := storageBoxTypes[text(t.in, "storageBoxType")]
	if !ok {
		return fail("storage box type %s not found (invalid_input)", text(t.in, "storageBoxType"))
	}
	if plan := section(t.in, "snapshotPlan"); plan != nil && number(plan, "maxSnapshots") > typ.automatic {
		return fail("max_snapshots exceeds the limit of %.0f of storage box type %s (invalid_input)", typ.automatic, text(t.in, "storageBoxType"))
	}
	return checkPassword(text(t.in, "password"))
}

func createStorageBox(t *task) (string, error) {
	if err := t.uniqueName("", "storage box"); err != nil {
		return "", err
	}
	if err := t.boxLimits(); err != nil {
		return "", err
	}
	if !contains(boxLocations, text(t.in, "location")) {
		return "", fail("location %s not found or without storage boxes (invalid_input)", text(t.in, "location"))
	}
	for _, k := range texts(t.in, "sshKeys") {
		if err := authorizedKey(k); err != nil {
			return "", err
		}
	}
	id := t.w.numericID()
	user := fmt.Sprintf("u%s", id[len(id)-6:])
	t.out["username"] = user
	t.out["server"] = user + ".your-storagebox.de"
	t.out["system"] = strings.ToUpper(text(t.in, "location")) + "-BX" + id[len(id)-3:]
	return id, nil
}

func updateStorageBox(t *task, o *object) error {
	if err := t.uniqueName(o.ID, "storage box"); err != nil {
		return err
	}
	return t.boxLimits()
}

// removeStorageBox needs no protection check: the provider lifts its own lock.
// A box takes its subaccounts with it.
func removeStorageBox(t *task, o *object) error {
	for _, s := range t.w.all(typeSubaccount) {
		if idText(s.Inputs["storageBoxId"]) == o.ID {
			t.w.drop(s)
		}
	}
	return nil
}

func askSubaccount(c *checking) {
	dir, ok := c.text("homeDirectory")
	if !ok {
		return
	}
	if dir == "" || strings.HasPrefix(dir, "/") || strings.Contains("/"+dir+"/", "/../") {
		c.refuse("homeDirectory", "home_directory must be a path inside the storage box without leading slash, got %q", dir)
	}
}

func createSubaccount(t *task) (string, error) {
	boxID := idText(t.in["storageBoxId"])
	box := t.w.get(typeStorageBox, "", boxID)
	if box == nil {
		return "", fail("storage box with ID '%s' not found (not_found)", boxID)
	}
	if err := checkPassword(text(t.in, "password")); err != nil {
		return "", err
	}
	n := 0
	for _, s := range t.w.all(typeSubaccount) {
		if idText(s.Inputs["storageBoxId"]) != boxID {
			continue
		}
		n++
		if text(s.Inputs, "name") == text(t.in, "name") {
			return "", fail("subaccount name is already used (uniqueness_error)")
		}
	}
	if typ := storageBoxTypes[text(box.live(), "storageBoxType")]; float64(n) >= typ.subaccounts {
		return "", fail("the storage box has reached its limit of %.0f subaccounts (resource_limit_exceeded)", typ.subaccounts)
	}
	id := t.w.numericID()
	user := fmt.Sprintf("%s-sub%d", text(box.Outputs, "username"), t.w.serial())
	t.out["username"] = user
	t.out["server"] = user + ".your-storagebox.de"
	return id, nil
}

func updateSubaccount(t *task, _ *object) error { return checkPassword(text(t.in, "password")) }

func init() {
	functions["hcloud:index/getStorageBoxType:getStorageBoxType"] = func(t *task) (map[string]any, error) {
		for name, b := range storageBoxTypes {
			if name == text(t.in, "name") || idText(t.in["id"]) == idText(b.id) {
				return map[string]any{
					"id": b.id, "name": name, "description": strings.ToUpper(name), "size": b.size,
					"snapshotLimit": b.snapshots, "automaticSnapshotLimit": b.automatic, "subaccountsLimit": b.subaccounts,
					"isDeprecated": false, "deprecationAnnounced": "", "unavailableAfter": "",
				}, nil
			}
		}
		return nil, fail("storage box type %q not found", text(t.in, "name")+idText(t.in["id"]))
	}
}
