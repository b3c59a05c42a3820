package unusable_test

import (
	"errors"
	"fmt"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"homelab/internal/unusable"
)

func TestMark(t *testing.T) {
	cause := errors.New("zone 1 is another one")
	marked := unusable.Mark(cause)
	require.ErrorIs(t, marked, cause)
	assert.Contains(t, marked.Error(), cause.Error())
	assert.True(t, unusable.In(fmt.Sprintf("error: update failed: %v", marked)), "the mark survives in the text of others")
	assert.False(t, unusable.In(cause.Error()))
	assert.NoError(t, unusable.Mark(nil))
}
