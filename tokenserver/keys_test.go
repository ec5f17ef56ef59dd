package tokenserver

import (
	"log/slog"
	"testing"
	"time"

	"gatehouse/tokenserver/keyring"
)

// openKeys returns the keys in a folder, as the program opens them.
func openKeys(t testing.TB, dir string) Keys {
	t.Helper()
	ring, err := keyring.Open(keyring.Options{Dir: dir, Retire: time.Hour, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	return ring
}
