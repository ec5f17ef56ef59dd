// Package store keeps bytes: content-addressed blobs, which never change, and the uploads that become blobs, over a driver and
// in distribution's tree. It knows nothing of names or rights: whether a repository may serve a blob is the index's to say.
//
// Start at Store for blobs, Upload for how bytes get in.
package store

import (
	"context"
	_ "crypto/sha256" // go-digest computes only what is linked in
	_ "crypto/sha512"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net/http"
	"sync"
	"time"

	"github.com/opencontainers/go-digest"

	"gatehouse/registry/driver"
	"gatehouse/registry/tree"
)

// ErrDamaged is what reading a blob returns when the bytes that the driver has cannot be the blob's.
var ErrDamaged = errors.New("stored bytes are damaged")

// Store keeps blobs and uploads. Its methods may be called at once from many goroutines.
type Store struct {
	driver     driver.Driver
	placer     driver.Placer     // the driver, if it is one
	redirector driver.Redirector // likewise
	eraser     driver.Eraser     // likewise
	remover    driver.Remover    // likewise
	now        func() time.Time
	log        *slog.Logger

	mu       sync.Mutex
	sessions map[string]*session // by upload id; guarded by mu
	swept    time.Time           // guarded by mu
}

// New returns a store over d. now is the clock for the age of uploads.
func New(d driver.Driver, now func() time.Time, log *slog.Logger) *Store {
	s := &Store{driver: d, now: now, log: log, sessions: make(map[string]*session), swept: now()}
	s.placer, _ = d.(driver.Placer)
	s.redirector, _ = d.(driver.Redirector)
	s.eraser, _ = d.(driver.Eraser)
	s.remover, _ = d.(driver.Remover)
	return s
}

// Open opens a blob of the given size for reading. Bytes of another size are ErrDamaged: better no answer than a wrong one.
func (s *Store) Open(ctx context.Context, d digest.Digest, size int64) (driver.File, error) {
	f, err := s.driver.Open(ctx, tree.Blob(d))
	if err != nil {
		return nil, fmt.Errorf("open blob %s: %w", d, err)
	}
	if f.Size() != size {
		f.Close()
		return nil, fmt.Errorf("blob %s has %d bytes, not its %d: %w", d, f.Size(), size, ErrDamaged)
	}
	return f, nil
}

// Redirect returns a URL at which whoever has it gets a blob from the driver's backend for some minutes, with GET and without
// being asked who they are. "" when there is none: then the blob has to be sent from here. Whether it is there is not looked at.
func (s *Store) Redirect(ctx context.Context, d digest.Digest) string {
	if s.redirector == nil {
		return ""
	}
	url, ok, err := s.redirector.Redirect(ctx, tree.Blob(d), http.MethodGet)
	if err != nil {
		s.log.WarnContext(ctx, "a blob is sent from here because no URL for it could be signed", "digest", d, "err", err)
	}
	if err != nil || !ok {
		return ""
	}
	return url
}

// Read returns the bytes of a small blob, checked against its digest.
func (s *Store) Read(ctx context.Context, d digest.Digest, size int64) ([]byte, error) {
	b, err := s.driver.ReadFile(ctx, tree.Blob(d), size)
	if err != nil {
		return nil, fmt.Errorf("read blob %s: %w", d, err)
	}
	if int64(len(b)) != size || d.Algorithm().FromBytes(b) != d {
		return nil, fmt.Errorf("blob %s: %w", d, ErrDamaged)
	}
	return b, nil
}

// Write makes a small blob of b, whose digest d is, durable. Where the caller knows it to be stored and it can be read, that is
// all; else b takes the place of what is there.
func (s *Store) Write(ctx context.Context, d digest.Digest, b []byte, stored bool) error {
	if stored {
		if _, err := s.Read(ctx, d, int64(len(b))); err == nil {
			return nil
		}
	}
	if err := s.driver.WriteFile(ctx, tree.Blob(d), b); err != nil {
		return fmt.Errorf("write blob %s: %w", d, err)
	}
	return nil
}

// Has reports whether the store has a blob of the given size.
func (s *Store) Has(ctx context.Context, d digest.Digest, size int64) (bool, error) {
	info, err := s.driver.Stat(ctx, tree.Blob(d))
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("look for blob %s: %w", d, err)
	}
	return info.Size == size, nil
}

// Delete removes a blob's bytes, for good when it returns nil; missing is fs.ErrNotExist. After another error they may yet go.
// Only the collector does that.
func (s *Store) Delete(ctx context.Context, d digest.Digest) error {
	remove := s.driver.Delete
	if s.eraser != nil {
		remove = s.eraser.Erase
	}
	if err := remove(ctx, tree.BlobFolder(d)); err != nil {
		return fmt.Errorf("delete blob %s: %w", d, err)
	}
	return nil
}

// Remove is Delete, but a power cut soon after may bring the bytes back. Whoever compares the store with what it should have finds
// them then.
func (s *Store) Remove(ctx context.Context, d digest.Digest) error {
	if s.remover == nil {
		return s.Delete(ctx, d)
	}
	if err := s.remover.Remove(ctx, tree.BlobFolder(d)); err != nil {
		return fmt.Errorf("delete blob %s: %w", d, err)
	}
	return nil
}

// Check returns nil when the driver answers: whether the registry can serve.
func (s *Store) Check(ctx context.Context) error {
	_, err := s.driver.Stat(ctx, tree.Root)
	return absent(err)
}

// digestOf reads r to its end and returns what it hashed to.
func digestOf(algorithm digest.Algorithm, r io.Reader) (digest.Digest, error) {
	digester := algorithm.Digester()
	if _, err := io.CopyBuffer(struct{ io.Writer }{digester.Hash()}, struct{ io.Reader }{r}, make([]byte, pieceSize)); err != nil {
		return "", err
	}
	return digester.Digest(), nil
}
