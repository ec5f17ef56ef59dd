package certs

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"sync"

	"github.com/caddyserver/certmagic"

	"gatehouse/durable"
)

// errStopped is what certmagic gets once Run is about to return.
var errStopped = errors.New("certificate management has stopped")

// storage is where certmagic keeps its things: its own layout of files, written durably, with locks that live in memory,
// since the folder belongs to one process. (certmagic's lock files outlive a killed process by ten seconds, and their
// goroutines outlive the lock.) The locks also tell when all of certmagic's work is over.
type storage struct {
	certmagic.FileStorage

	mu      sync.Mutex
	held    map[string]chan struct{} // closed when the lock is released
	stopped bool
}

// newStorage keeps everything below dir, which is made when something is stored.
func newStorage(dir string) *storage {
	return &storage{FileStorage: certmagic.FileStorage{Path: dir}, held: map[string]chan struct{}{}}
}

// Store replaces the value of key by value, atomically and durably.
func (s *storage) Store(_ context.Context, key string, value []byte) error {
	if s.isStopped() {
		return errStopped
	}
	path := s.Filename(key)
	if err := durable.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return err
	}
	return durable.WriteFile(path, value, 0o600)
}

// Lock waits until nobody holds the lock called name, and holds it.
func (s *storage) Lock(ctx context.Context, name string) error {
	for {
		released, err := s.tryLock(ctx, name)
		if released == nil {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-released:
		}
	}
}

// TryLock holds the lock called name if nobody else does.
func (s *storage) TryLock(ctx context.Context, name string) (bool, error) {
	released, err := s.tryLock(ctx, name)
	return released == nil && err == nil, err
}

// tryLock returns nil and no error for a lock that the caller now holds, or else what will be closed when its holder
// releases it.
func (s *storage) tryLock(ctx context.Context, name string) (released chan struct{}, err error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.stopped {
		return nil, errStopped
	}
	if released, ok := s.held[name]; ok {
		return released, nil
	}
	s.held[name] = make(chan struct{})
	return nil, nil
}

// Unlock releases a lock.
func (s *storage) Unlock(_ context.Context, name string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	released, ok := s.held[name]
	if !ok {
		return errors.New("the lock " + name + " is not held")
	}
	delete(s.held, name)
	close(released)
	return nil
}

// isStopped reports whether close was called.
func (s *storage) isStopped() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.stopped
}

// close refuses new locks and new values from now on.
func (s *storage) close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.stopped = true
}

// wait returns when the last lock is released.
func (s *storage) wait() {
	for {
		s.mu.Lock()
		var released chan struct{}
		for _, released = range s.held {
			break
		}
		s.mu.Unlock()
		if released == nil {
			return
		}
		<-released
	}
}

// setAside moves what is stored below key away, so that it is there to be looked at and no longer in the way. It replaces
// what was set aside before.
func (s *storage) setAside(key string) error {
	path := s.Filename(key)
	if err := os.RemoveAll(path + ".damaged"); err != nil {
		return err
	}
	if err := os.Rename(path, path+".damaged"); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}
