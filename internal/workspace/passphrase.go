package workspace

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/pulumi/pulumi/sdk/v3/go/common/resource/config"
)

// The variables in which the CLI looks for the passphrase of a stack's secrets.
const (
	passphraseVariable     = "PULUMI_CONFIG_PASSPHRASE"
	passphraseFileVariable = "PULUMI_CONFIG_PASSPHRASE_FILE"
)

// passphraseTries is how often a person may mistype the passphrase.
const passphraseTries = 3

// findPassphrase makes sure that the CLI can decrypt the stack's secrets, before it is started. The
// CLI runs without a terminal, so it could not ask by itself. Where the secrets are encrypted with
// a passphrase that no variable holds, it asks, and returns a file with the answer for the CLI.
// Nobody else can open that file: it has no name. It returns nil where the CLI needs nothing more.
func findPassphrase(file *stackFile, stack string, ask func(prompt string) (string, error)) (*os.File, error) {
	if file.EncryptionSalt == "" {
		return nil, nil // secrets are encrypted in another way, or there are none
	}
	check, err := saltOf(file.EncryptionSalt)
	if err != nil {
		return nil, configErrorf("the configuration of stack %s: %w", stack, err)
	}
	if given, source, err := givenPassphrase(); err != nil {
		return nil, err
	} else if source != "" {
		if !check.fits(given) {
			return nil, configErrorf("%s is not the passphrase of stack %s: correct it, or unset it to be asked", source, stack)
		}
		return nil, nil
	}
	if ask == nil {
		return nil, configErrorf("the secrets of stack %s are encrypted with a passphrase, and nobody can be asked for it here: "+
			"set %s to a file that holds it, or %s to the passphrase itself", stack, passphraseFileVariable, passphraseVariable)
	}
	for range passphraseTries {
		answer, err := ask(fmt.Sprintf("Passphrase of stack %s (%s can name a file that holds it): ", stack, passphraseFileVariable))
		if err != nil {
			return nil, configErrorf("reading the passphrase of stack %s: %w", stack, err)
		}
		if check.fits(answer) {
			return namelessFile(answer)
		}
	}
	return nil, configErrorf("none of %d answers was the passphrase of stack %s", passphraseTries, stack)
}

// givenPassphrase returns the passphrase in the CLI's variables, and the variable it comes from.
// Like the CLI it takes an empty variable for an empty passphrase, and an empty file name for none.
func givenPassphrase() (passphrase, source string, err error) {
	if text, set := os.LookupEnv(passphraseVariable); set {
		return text, "the value of " + passphraseVariable, nil
	}
	path := os.Getenv(passphraseFileVariable)
	if path == "" {
		return "", "", nil
	}
	data, err := os.ReadFile(path)
	if err != nil {
		return "", "", configErrorf("reading the file that %s names: %w", passphraseFileVariable, err)
	}
	return strings.TrimSpace(string(data)), "the content of " + path + ", which " + passphraseFileVariable + " names,", nil
}

// salt is what a stack's file says about its passphrase: the salt, and a text encrypted with both.
type salt struct {
	bytes []byte
	check string
}

// saltOf reads an encryptionsalt: v1:<salt>:<ciphertext of saltCheck>.
func saltOf(text string) (salt, error) {
	version, rest, _ := strings.Cut(text, ":")
	encoded, check, found := strings.Cut(rest, ":")
	if version != "v1" || !found {
		return salt{}, errors.New("encryptionsalt is not of version v1: restore it from where you keep the stack's file")
	}
	bytes, err := base64.StdEncoding.DecodeString(encoded)
	if err != nil {
		return salt{}, fmt.Errorf("encryptionsalt: %w", err)
	}
	return salt{bytes: bytes, check: check}, nil
}

// fits reports whether the passphrase is the one that the salt's check was encrypted with.
func (s salt) fits(passphrase string) bool {
	crypter := config.NewSymmetricCrypterFromPassphrase(passphrase, s.bytes)
	text, err := crypter.DecryptValue(context.Background(), s.check)
	return err == nil && text == saltCheck
}

// namelessFile returns an open file with this content that is in no folder any more, so that it
// ends with the processes that hold it open.
func namelessFile(content string) (_ *os.File, err error) {
	file, err := os.CreateTemp("", "homelab-") // mode 0600
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, file.Close())
		}
	}()
	if err := os.Remove(file.Name()); err != nil {
		return nil, err
	}
	if _, err := io.WriteString(file, content); err != nil {
		return nil, err
	}
	return file, nil
}
