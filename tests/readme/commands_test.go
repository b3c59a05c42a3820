package readme

import (
	"testing"

	"github.com/stretchr/testify/assert"
)

func TestCommands(t *testing.T) {
	const text = "# One\n\n```sh\nmake a   # comment\n\n# nothing\necho '#1'\n```\n\n```yaml\nb: c\n```\n\n## 2. Two\n\n1. So:\n\n   ```sh\n   make  b\n   ```\n"
	assert.Equal(t, []string{"make a", "echo '#1'"}, Commands(text, "One"))
	assert.Equal(t, []string{"make b"}, Commands(text, "Two"))
	assert.Equal(t, []string{"make a", "echo '#1'", "make b"}, Commands(text, ""))
	assert.Empty(t, Commands(text, "Three"))
}
