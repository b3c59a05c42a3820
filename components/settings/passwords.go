package settings

import (
	"fmt"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"gopkg.in/yaml.v3"
)

// passwordsKey is the key of the passwords that the operator chose: an object, by user name. It is
// a key of its own so that the list of users stays readable: a list with a secret in it would be a
// secret as a whole.
const (
	passwordsName = "userPasswords"
	passwordsKey  = namespace + passwordsName
)

// The lengths of a chosen password, in characters, of OWASP's ASVS 4.0.3: at least 12 (2.1.1), at
// most 128 (2.1.2). Neither Authelia nor argon2 asks for more or allows less than that.
const (
	shortestPassword = 12
	longestPassword  = 128
)

// passwords are the chosen passwords by user name, as far as they could be read.
type passwords map[string]string

// givenPasswords reads them without judging them: whatever text is among them must not be shown,
// whatever else is wrong with it.
func givenPasswords(src source) (given object, texts []string, ok bool) {
	text, _ := src.GetConfig(passwordsKey)
	if text == "" {
		return nil, nil, true
	}
	value, err := decodeJSON(text)
	if err != nil {
		return nil, []string{text}, false // the decoder's own words could quote the value
	}
	given, ok = value.(object)
	return given, allTexts(value), ok
}

// allTexts are the texts and numbers anywhere in a value.
func allTexts(value any) []string {
	switch value := value.(type) {
	case object:
		var out []string
		for _, key := range sortedKeys(value) {
			out = append(out, allTexts(value[key])...)
		}
		return out
	case list:
		var out []string
		for _, v := range value {
			out = append(out, allTexts(v)...)
		}
		return out
	case nil, bool:
		return nil
	default:
		return []string{fmt.Sprint(value)}
	}
}

// setPassword is the command that sets the password of a user.
func setPassword(name string) string {
	step := "." + name
	if printable(name) != name {
		step = fmt.Sprintf("[%q]", name)
	}
	return "pulumi config set --secret --path '" + passwordsKey + step + "'"
}

// removePassword is the command that takes it away again.
func removePassword(name string) string {
	return strings.Replace(setPassword(name), "set --secret", "rm", 1)
}

// readPasswords reads the chosen passwords; plain are the names whose password stands in the
// stack's file as it is. No password is ever shown.
func readPasswords(c *collector, src source, plain []string) passwords {
	given, _, ok := givenPasswords(src)
	if !ok {
		c.reject(passwordsKey, "must be an object, a password by user name", "remove it: pulumi config rm "+passwordsKey+"; then set each: "+setPassword("NAME"))
		return nil
	}
	if len(given) > 0 && !src.IsConfigSecret(passwordsKey) {
		plain = sortedKeys(given)
	}
	out, holder := passwords{}, map[string]string{}
	for _, name := range sortedKeys(given) {
		at := passwordsKey + "." + printable(name)
		password, isText := given[name].(string)
		switch what := passwordProblem(password); {
		case slices.Contains(plain, name):
			c.add(at, "is in plain text", "choose another password, this one may have been seen, and set it: "+setPassword(name))
		case !isText:
			c.add(at, "must be text", "set it: "+setPassword(name))
		case what != "":
			c.add(at, what, "set another: "+setPassword(name))
		case holder[password] != "":
			c.add(at, "is the password of "+holder[password]+" too: each could log in as the other", "set another: "+setPassword(name))
		default:
			holder[password] = name
		}
		out[name] = password
	}
	return out
}

// passwordProblem says what is wrong with a chosen password, or nothing.
func passwordProblem(password string) string {
	length := utf8.RuneCountInString(password)
	switch {
	case !utf8.ValidString(password) || strings.ContainsFunc(password, unicode.IsControl):
		return "holds what nobody can type: a line end, or another control character"
	case strings.TrimSpace(password) != password:
		return "begins or ends with white space"
	case length < shortestPassword:
		return fmt.Sprintf("is shorter than %d characters", shortestPassword)
	case length > longestPassword:
		return fmt.Sprintf("is longer than %d characters", longestPassword)
	default:
		return ""
	}
}

// passwordsHaveUsers reports passwords of nobody, and gives the others to their users.
func (k *checker) passwordsHaveUsers(users []User) {
	if !k.wasRead(namespace + "users") {
		return
	}
	var names []string
	for _, u := range users {
		names = append(names, u.Name)
	}
	for _, name := range sortedKeys(k.passwords) {
		i := slices.Index(names, name)
		if i >= 0 {
			users[i].Password = secretOf(k.passwords[name])
			continue
		}
		remedy := "remove it: " + removePassword(name)
		if near := nearest(name, names); near != "" {
			remedy = "did you mean " + passwordsKey + "." + printable(near) + "? If so, set that, and " + remedy
		}
		k.add(passwordsKey+"."+printable(name), "is the password of nobody: no user has this name", remedy)
	}
}

// plainPasswords returns the names of the users whose password the stack's file holds as it is. The
// engine calls an object secret as soon as one value in it is: a password in plain text beside it
// would pass for one. Where there is no such file, nothing is known.
func plainPasswords(root, stack string) ([]string, error) {
	config, err := stackFile(root, stack)
	if err != nil {
		return nil, err
	}
	var out []string
	for _, key := range []string{passwordsKey, passwordsName} {
		var values map[string]yaml.Node
		if node := config[key]; node.Decode(&values) != nil {
			continue // not an object: what was read of it says so
		}
		for _, name := range sortedKeys(values) {
			if node := values[name]; node.Kind == yaml.ScalarNode && name != "secure" {
				out = append(out, name)
			}
		}
	}
	return out, nil
}
