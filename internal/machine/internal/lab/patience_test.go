package lab

import (
	"context"
	"errors"
	"net"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestAMachineThatBootsIsAskedAgain(t *testing.T) {
	refused := errors.New("connection refused")
	asked, booting := 0, true
	dial := func() (net.Conn, error) {
		if asked++; asked < 2 {
			return nil, refused
		}
		near, far := net.Pipe()
		return near, far.Close()
	}
	conn, err := dialWhile(t.Context(), func() bool { return booting }, dial)
	require.NoError(t, err)
	require.NoError(t, conn.Close())
	assert.Equal(t, 2, asked)

	asked, booting = 0, false
	_, err = dialWhile(t.Context(), func() bool { return booting }, dial)
	require.ErrorIs(t, err, refused, "one that has long been up is asked once")
	assert.Equal(t, 1, asked)

	asked, booting = 0, true
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err = dialWhile(ctx, func() bool { return booting }, dial)
	require.ErrorIs(t, err, refused)
	assert.Equal(t, 1, asked)
}
