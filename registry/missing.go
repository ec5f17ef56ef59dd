package registry

import (
	"context"
	"errors"
	"io/fs"
	"sync"
	"sync/atomic"

	"github.com/opencontainers/go-digest"

	"gatehouse/registry/index"
	"gatehouse/registry/store"
)

// missing remembers digests whose bytes turned out to be gone or damaged when somebody asked for them. To who is about to push
// they are not there: so the client sends them again, which mends what the disk has lost. Distribution looks at the disk for
// each HEAD; here that is only done when it was found wanting.
type missing struct {
	any     atomic.Bool // there is one: nobody else takes the lock
	mu      sync.Mutex
	digests map[digest.Digest]bool // guarded by mu
}

// maxMissingKept bounds how many are remembered: a disk that lost more is lost.
const maxMissingKept = 10000

func (m *missing) has(d digest.Digest) bool {
	if !m.any.Load() {
		return false
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.digests[d]
}

// found takes note of what came of reading the bytes of a digest that clients know as others, and returns err.
func (m *missing) found(err error, digests ...digest.Digest) error {
	gone := errors.Is(err, fs.ErrNotExist) || errors.Is(err, store.ErrDamaged)
	if !gone && (err != nil || !m.any.Load()) {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, d := range digests {
		switch {
		case !gone:
			delete(m.digests, d)
		case len(m.digests) < maxMissingKept:
			if m.digests == nil {
				m.digests = make(map[digest.Digest]bool)
			}
			m.digests[d] = true
		}
	}
	m.any.Store(len(m.digests) > 0)
	return err
}

// Lost takes note that the store has no bytes of a digest that the index knows: clients that ask for it before they push are told
// so, and send it.
func (g *Registry) Lost(d digest.Digest) {
	_ = g.missing.found(fs.ErrNotExist, d) // its own argument
}

// complete returns an *index.MissingError when the repository lacks something that a manifest needs, or its bytes.
func (g *Registry) complete(ctx context.Context, repo string, m index.Manifest) error {
	if err := g.Index.Complete(ctx, repo, m); err != nil {
		return err
	}
	var lost []digest.Digest
	for _, d := range m.Blobs {
		if g.missing.has(d) {
			lost = append(lost, d)
		}
	}
	if len(lost) > 0 {
		return &index.MissingError{Digests: lost}
	}
	return nil
}
