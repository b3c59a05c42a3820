package gateway

import (
	"os"
	"sync"
	"testing"

	"github.com/pulumi/pulumi/sdk/v3/go/common/resource"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"gopkg.in/yaml.v3"

	"homelab/components/gateway/internal/authelia"
)

// drawn answers like the providers of random values and keys, with what follows from the resource's
// name, and notes what was asked for.
type drawn struct {
	mu   sync.Mutex
	seen []string
}

// NewResource gives every salt and password of its own.
func (d *drawn) NewResource(args pulumi.MockResourceArgs) (string, resource.PropertyMap, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.seen = append(d.seen, args.Name)
	outputs := args.Inputs.Copy()
	if args.TypeToken == "tls:index/privateKey:PrivateKey" {
		key, err := os.ReadFile("internal/authelia/testdata/openid-issuer.pem")
		if err != nil {
			return "", nil, err
		}
		outputs["privateKeyPemPkcs8"] = resource.MakeSecret(resource.NewProperty(string(key)))
	}
	outputs["result"] = resource.MakeSecret(resource.NewProperty("generated for " + args.Name))
	return args.Name, outputs, nil
}

// Call is not used here.
func (d *drawn) Call(args pulumi.MockCallArgs) (resource.PropertyMap, error) { return args.Args, nil }

func salt(name string) []byte { return []byte("generated for " + name) }

// usersOf renders the users' database with the engine in mocks.
func usersOf(t *testing.T, people []User) (file string, asked, generated []string) {
	t.Helper()
	d, done := &drawn{}, make(chan string, 1)
	err := pulumi.RunErr(func(ctx *pulumi.Context) error {
		i := &Identity{passwords: pulumi.StringMap{}, hashes: map[string]pulumi.StringOutput{}}
		if err := ctx.RegisterComponentResource(IdentityType, "authelia", i); err != nil {
			return err
		}
		rendered, err := i.usersDatabase(ctx, people)
		if err != nil {
			return err
		}
		rendered.ApplyT(func(text string) string { done <- text; return text })
		for _, name := range []string{"admin", "family"} {
			if password, ok := i.passwords[name]; ok {
				generated = append(generated, name)
				assert.True(t, pulumi.IsSecret(password.(pulumi.StringOutput)), "%s's password is no secret", name)
			}
		}
		file = <-done
		if !pulumi.IsSecret(rendered) {
			t.Error("the file with the hashes is no secret")
		}
		return nil
	}, pulumi.WithMocks("homelab", "prod", d))
	require.NoError(t, err)
	return file, d.seen, generated
}

func TestAChosenPasswordIsHashedAndNothingElse(t *testing.T) {
	// The type does not say that the value is a secret, so what is made of it must be one even if
	// it comes in clear.
	chosen := pulumi.String("correct horse battery staple")
	people := []User{
		{Name: "family", DisplayName: "Family", Email: "family@example.com", Groups: []string{"users"}, Password: chosen},
		{Name: "admin", DisplayName: "Admin", Email: "admin@example.com", Groups: []string{"admins"}},
	}
	file, asked, generated := usersOf(t, people)
	assert.Equal(t, []string{"admin"}, generated)
	assert.Contains(t, asked, "user-admin-password")
	assert.Contains(t, asked, "user-family-salt")
	assert.NotContains(t, asked, "user-family-password", "a password is generated that nobody uses")
	assert.NotContains(t, file, "horse")

	var read struct {
		Users map[string]struct {
			Password string `yaml:"password"`
		} `yaml:"users"`
	}
	require.NoError(t, yaml.Unmarshal([]byte(file), &read))
	assert.Equal(t, authelia.HashPassword(string(chosen), salt("user-family-salt")), read.Users["family"].Password)
	assert.Equal(t, authelia.HashPassword("generated for user-admin-password", salt("user-admin-salt")), read.Users["admin"].Password)

	again, _, _ := usersOf(t, people)
	assert.Equal(t, file, again, "the same passwords must give the same file")

	// Beside a generated password everything is a secret; by itself the chosen one must be, too.
	_, _, generated = usersOf(t, people[:1])
	assert.Empty(t, generated)
}
