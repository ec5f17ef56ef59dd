package certs

import (
	"context"
	"errors"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/caddyserver/certmagic"
)

func slogDiscard() *slog.Logger { return slog.New(slog.DiscardHandler) }

// storage is all that certmagic may ask for.
var _ interface {
	certmagic.Storage
	certmagic.TryLocker
} = (*storage)(nil)

func TestStorage(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "acme")
	s := newStorage(dir)
	for _, value := range []string{"one", "", "three"} {
		if err := s.Store(t.Context(), "a/b/c", []byte(value)); err != nil {
			t.Fatal(err)
		}
		got, err := s.Load(t.Context(), "a/b/c")
		if err != nil || string(got) != value {
			t.Errorf("loaded %q, %v", got, err)
		}
	}
	for path, want := range map[string]fs.FileMode{"a": fs.ModeDir | 0o700, "a/b/c": 0o600} {
		if info, err := os.Stat(filepath.Join(dir, path)); err != nil || info.Mode() != want {
			t.Errorf("%s: mode %v, %v", path, info.Mode(), err)
		}
	}
	if err := s.setAside("a/b"); err != nil || s.Exists(t.Context(), "a/b") || !s.Exists(t.Context(), "a/b.damaged/c") {
		t.Errorf("not set aside: %v", err)
	}
	if err := s.setAside("a/b"); err != nil { // gone already: nothing to do
		t.Error(err)
	}
}

func TestStorageLocks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStorage(t.TempDir())
		var users sync.WaitGroup
		holders, most := 0, 0
		for range 10 {
			users.Go(func() {
				for range 100 {
					if err := s.Lock(t.Context(), "l"); err != nil {
						t.Error(err)
					}
					holders++ // the race detector sees when two of us are here
					most = max(most, holders)
					holders--
					if err := s.Unlock(t.Context(), "l"); err != nil {
						t.Error(err)
					}
				}
			})
		}
		users.Wait()
		if most != 1 {
			t.Errorf("%d held the lock at once", most)
		}

		if ok, err := s.TryLock(t.Context(), "l"); !ok || err != nil {
			t.Errorf("TryLock: %v, %v", ok, err)
		}
		if ok, err := s.TryLock(t.Context(), "l"); ok || err != nil {
			t.Errorf("TryLock of what is held: %v, %v", ok, err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		waiter := make(chan error, 1)
		go func() { waiter <- s.Lock(ctx, "l") }()
		synctest.Wait()
		cancel()
		if err := <-waiter; !errors.Is(err, context.Canceled) {
			t.Errorf("cancelled Lock: %v", err)
		}

		// close refuses, wait waits.
		s.close()
		if err := s.Lock(t.Context(), "other"); !errors.Is(err, errStopped) {
			t.Errorf("Lock after close: %v", err)
		}
		if err := s.Store(t.Context(), "k", nil); !errors.Is(err, errStopped) {
			t.Errorf("Store after close: %v", err)
		}
		done := make(chan struct{})
		go func() { s.wait(); close(done) }()
		synctest.Wait()
		select {
		case <-done:
			t.Error("wait returned while a lock is held")
		default:
		}
		if err := s.Unlock(t.Context(), "l"); err != nil {
			t.Error(err)
		}
		<-done
		if err := s.Unlock(t.Context(), "l"); err == nil {
			t.Error("a lock was released twice")
		}
	})
}
