package lab

import (
	"context"
	"net"
	"net/http"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"homelab/internal/rehearsal"
)

func TestABoxIsAway(t *testing.T) {
	l := open(t, t.TempDir(), t.TempDir())
	require.NoError(t, l.SetBox(t.Context(), media))
	account := media.Subaccounts[0]
	code, _, err := get(t, l, http.MethodPut, account, "a film")
	require.NoError(t, err)
	assert.Equal(t, http.StatusCreated, code)
	require.NoError(t, l.SetAway(t.Context(), rehearsal.BoxParty(media.ID), true))
	_, _, err = get(t, l, http.MethodGet, account, "")
	require.Error(t, err)
	require.NoError(t, l.SetAway(t.Context(), rehearsal.BoxParty(media.ID), false))
	_, text, err := get(t, l, http.MethodGet, account, "")
	require.NoError(t, err)
	assert.Equal(t, "a film", text, "nothing of it was lost")
}

func TestNobodyElseIsAway(t *testing.T) {
	l := open(t, t.TempDir(), t.TempDir())
	require.ErrorContains(t, l.SetAway(t.Context(), "moon", true), `nobody in the rehearsal is called "moon"`)
	require.ErrorContains(t, l.SetAway(t.Context(), rehearsal.BoxParty("7"), true), `no storage box "7"`)
}

// A cut ends what is open, also what is being opened, and keeps the rest from beginning.
func TestThisComputerIsCutOff(t *testing.T) {
	var l lines
	there := make(chan net.Conn, 4)
	dial := func(context.Context) (net.Conn, error) {
		here, other := net.Pipe()
		there <- other
		return here, nil
	}
	conn, err := l.dial(t.Context(), dial)
	require.NoError(t, err)
	closed, err := l.dial(t.Context(), dial)
	require.NoError(t, err)
	require.NoError(t, closed.Close())
	require.NoError(t, l.setCut(true))
	_, err = conn.Write([]byte("x"))
	require.Error(t, err)
	_, err = (<-there).Read(make([]byte, 1))
	require.Error(t, err, "the other end is told")
	_, err = l.dial(t.Context(), dial)
	require.ErrorIs(t, err, errCut)

	require.NoError(t, l.setCut(false))
	_, err = l.dial(t.Context(), func(ctx context.Context) (net.Conn, error) {
		require.NoError(t, l.setCut(true))
		return dial(ctx)
	})
	require.ErrorIs(t, err, errCut, "it was cut while it was dialled")
	require.NoError(t, l.setCut(false))
	_, err = l.dial(t.Context(), dial)
	require.NoError(t, err)
}
