package simcloud

import (
	"crypto/rand"
	"encoding/base64"
	"encoding/hex"
	"math/big"
	"strings"

	"github.com/pulumi/pulumi/sdk/v3/go/common/resource"
	pulumirpc "github.com/pulumi/pulumi/sdk/v3/proto/go"
	"golang.org/x/crypto/bcrypt"
)

const (
	typePassword = "random:index/randomPassword:RandomPassword"
	typeRandomID = "random:index/randomId:RandomId"
	typeBytes    = "random:index/randomBytes:RandomBytes"
	typeString   = "random:index/randomString:RandomString"
	typePet      = "random:index/randomPet:RandomPet"
	typeUUID     = "random:index/randomUuid:RandomUuid"
)

const (
	lowerCase = "abcdefghijklmnopqrstuvwxyz"
	upperCase = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
	digits    = "0123456789"
	specials  = "!@#$%&*()-_=+[]{}<>:?"
)

// randomKind is a value that any change of an input replaces.
func randomKind(token string, check, ask func(*checking), create func(*task) (string, error)) struct{} {
	return register(token, &kind{deprecated: []string{"number"}, extraDiff: bothNames, unfit: twoNames, replaces: []string{"*"}, framework: true, stateless: true, defaults: randomDefaults[token], check: check, ask: ask, create: create})
}

// randomDefaults are what the provider writes into the state for an input that is left out.
var randomDefaults = map[string]map[string]any{
	typePassword: characterDefaults, typeString: characterDefaults,
	typePet: {"length": 2.0, "separator": "-"},
}

var characterDefaults = map[string]any{
	"lower": true, "minLower": 0.0, "minNumeric": 0.0, "minSpecial": 0.0, "minUpper": 0.0, "number": true, "numeric": true, "special": true, "upper": true,
}

// bothNames: number is the old name of numeric, and the plugin changes both.
func bothNames(state, news resource.PropertyMap) []change {
	var out []change
	for one, other := range map[resource.PropertyKey]resource.PropertyKey{"number": "numeric", "numeric": "number"} {
		if v := news[one]; v.IsBool() && news[other].IsNull() && v.BoolValue() != (state[one].IsNull() || state[one].IsBool() && state[one].BoolValue()) {
			out = append(out, change{string(other), string(other), pulumirpc.PropertyDiff_UPDATE, string(other)})
		}
	}
	return out
}

func twoNames(_, news resource.PropertyMap) error {
	if a, b := news["number"], news["numeric"]; a.IsBool() && b.IsBool() && a.BoolValue() != b.BoolValue() {
		return fail("Number and numeric are both configured with different values - Number is deprecated, use numeric instead")
	}
	return nil
}

func atLeast(property string, least float64) func(*checking) {
	return func(c *checking) {
		if v := c.news[keyOf(property)]; v.IsNumber() && v.NumberValue() < least {
			c.refuse(property, "attribute %s value must be at least %.0f, got: %.0f", property, least, v.NumberValue())
		}
	}
}

var (
	_ = randomKind(typePassword, checkCharacters, nil, func(t *task) (string, error) {
		s, err := randomText(t.in)
		if err != nil {
			return "", err
		}
		cut := []byte(s)
		if len(cut) > 72 {
			cut = cut[:72] // bcrypt reads no further
		}
		// The plugin's own hash has bcrypt.DefaultCost: 64 times the work, for a password that
		// protects nothing here.
		hashed, err := bcrypt.GenerateFromPassword(cut, bcrypt.MinCost)
		if err != nil {
			return "", fail("hash generation error: %v", err)
		}
		t.out["result"], t.out["bcryptHash"] = s, string(hashed)
		return "none", nil
	})
	_ = randomKind(typeString, checkCharacters, nil, func(t *task) (string, error) {
		s, err := randomText(t.in)
		t.out["result"] = s
		return s, err
	})
	_ = randomKind(typeRandomID, nil, atLeast("byteLength", 1), createRandomID)
	_ = randomKind(typeBytes, atLeast("length", 1), nil, func(t *task) (string, error) {
		b, err := randomBytes(int(number(t.in, "length")))
		t.out["base64"], t.out["hex"] = base64.StdEncoding.EncodeToString(b), hex.EncodeToString(b)
		return "none", err
	})
	_ = randomKind(typePet, nil, atLeast("length", 1), createPet)
	_ = randomKind(typeUUID, nil, nil, func(t *task) (string, error) {
		b, err := randomBytes(16)
		if err != nil {
			return "", err
		}
		b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80
		h := hex.EncodeToString(b)
		id := strings.Join([]string{h[:8], h[8:12], h[12:16], h[16:20], h[20:]}, "-")
		t.out["result"] = id
		return id, nil
	})
)

func randomBytes(n int) ([]byte, error) {
	b := make([]byte, n)
	if _, err := rand.Read(b); err != nil {
		return nil, fail("reading random bytes: %v", err)
	}
	return b, nil
}

func createRandomID(t *task) (string, error) {
	b, err := randomBytes(int(number(t.in, "byteLength")))
	if err != nil {
		return "", err
	}
	prefix := text(t.in, "prefix")
	id := base64.RawURLEncoding.EncodeToString(b)
	t.out["b64Url"], t.out["b64Std"] = prefix+id, prefix+base64.StdEncoding.EncodeToString(b)
	t.out["hex"], t.out["dec"] = prefix+hex.EncodeToString(b), prefix+new(big.Int).SetBytes(b).String()
	return id, nil
}

// classes reads which characters are wanted, and how many of each at least.
type class struct {
	name, chars string
	on          bool
	least       int
}

func classes(in map[string]any) []class {
	on := func(name string) bool {
		v, given := in[name].(bool)
		return v || !given
	}
	numeric := on("numeric") && on("number")
	special := specials
	if s := text(in, "overrideSpecial"); s != "" {
		special = s
	}
	return []class{
		{"lower", lowerCase, on("lower"), int(number(in, "minLower"))},
		{"upper", upperCase, on("upper"), int(number(in, "minUpper"))},
		{"numeric", digits, numeric, int(number(in, "minNumeric"))},
		{"special", special, on("special"), int(number(in, "minSpecial"))},
	}
}

func checkCharacters(c *checking) {
	atLeast("length", 1)(c)
	if c.news.ContainsUnknowns() || len(c.problems) > 0 {
		return
	}
	in := toGoValues(c.news)
	need, any := 0, false
	for _, cl := range classes(in) {
		need += cl.least
		any = any || cl.on
	}
	if need > int(number(in, "length")) {
		c.refuse("length", "attribute length value must be at least sum of min_upper + min_lower + min_numeric + min_special, got: %.0f", number(in, "length"))
	}
	if !any {
		c.refuse("special", "at least one attribute out of [special,upper,lower,numeric] must be specified as true")
	}
}

// randomText makes a text that has every class often enough, in random order.
func randomText(in map[string]any) (string, error) {
	var all string
	var out []byte
	for _, cl := range classes(in) {
		if cl.on {
			all += cl.chars
		}
		if err := pick(&out, cl.chars, cl.least); err != nil {
			return "", err
		}
	}
	if err := pick(&out, all, int(number(in, "length"))-len(out)); err != nil {
		return "", err
	}
	for i := len(out) - 1; i > 0; i-- {
		j, err := below(i + 1)
		if err != nil {
			return "", err
		}
		out[i], out[j] = out[j], out[i]
	}
	return string(out), nil
}

func pick(out *[]byte, from string, n int) error {
	for range n {
		i, err := below(len(from))
		if err != nil {
			return err
		}
		*out = append(*out, from[i])
	}
	return nil
}

func below(n int) (int, error) {
	v, err := rand.Int(rand.Reader, big.NewInt(int64(n)))
	if err != nil {
		return 0, fail("reading random bytes: %v", err)
	}
	return int(v.Int64()), nil
}

// petWords are enough for names that do not collide in one world.
var petWords = [][]string{
	{"boldly", "calmly", "gladly", "kindly", "mildly", "neatly", "openly", "quickly", "rarely", "softly", "wisely"},
	{"amber", "brave", "clever", "daring", "eager", "gentle", "honest", "lively", "merry", "proud", "quiet", "steady"},
	{"badger", "crane", "dolphin", "falcon", "gecko", "heron", "ibex", "lynx", "marten", "otter", "puffin", "raven"},
}

func createPet(t *task) (string, error) {
	n := int(number(t.in, "length"))
	if n == 0 {
		n = 2
	}
	separator, given := t.in["separator"].(string)
	if !given {
		separator = "-"
	}
	var parts []string
	if p := text(t.in, "prefix"); p != "" {
		parts = append(parts, p)
	}
	for i := range n {
		words := petWords[0]
		switch {
		case i == n-1:
			words = petWords[2]
		case i == n-2:
			words = petWords[1]
		}
		j, err := below(len(words))
		if err != nil {
			return "", err
		}
		parts = append(parts, words[j])
	}
	return strings.Join(parts, separator), nil
}
