package registry

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/opencontainers/go-digest"

	"gatehouse/registry/index"
	"gatehouse/registry/planted"
	"gatehouse/registry/store"
)

// How bytes and names come together while the collector runs: leave first (a Ticket), then the bytes, then the names in one
// transaction that sees whether the collector deleted that very digest meanwhile.

// Deleting a digest takes milliseconds, or as long as a backend that fails is tried again. A push of the same digest waits for
// it that long, looking so often.
const (
	collectedWait = 10 * time.Second
	collectedPoll = 20 * time.Millisecond
	// After so many looks it asks for the deletion to be finished: who began it may have been stopped.
	collectedPatience = 10
)

// maxAttempts is how often bytes are written again that the collector took away in the wrong moment.
const maxAttempts = 3

// prepare gets leave to write the bytes of a digest.
func (g *Registry) prepare(ctx context.Context, d digest.Digest) (index.Ticket, error) {
	ctx, cancel := context.WithTimeout(ctx, collectedWait)
	defer cancel()
	tick := time.NewTicker(collectedPoll)
	defer tick.Stop()
	for look := 0; ; look++ {
		ticket, err := g.Index.Prepare(ctx, d)
		if !errors.Is(err, index.ErrCollected) {
			return ticket, err
		}
		if look%collectedPatience == collectedPatience-1 && g.Finish != nil {
			if err := g.Finish(ctx, d); err != nil {
				g.Log.WarnContext(ctx, "a digest that is being pushed could not be deleted to the end", "digest", d, "err", err)
			}
			continue
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return ticket, err
		}
	}
}

// keepBlob makes a blob of an upload: durable, then named in the repository.
func (g *Registry) keepBlob(ctx context.Context, repo string, u *store.Upload, d digest.Digest) error {
	defer g.pushing.begin(d)()
	ticket, err := g.prepare(ctx, d)
	if err != nil {
		return err
	}
	size := u.Size()
	if planted.On(planted.IndexFirst) {
		if err := g.Index.LinkBlob(ctx, ticket, repo, size); err != nil {
			return err
		}
	}
	if err := u.Commit(ctx, d); err != nil {
		return err
	}
	_ = g.missing.found(nil, d)
	err = g.Index.LinkBlob(ctx, ticket, repo, size)
	if !errors.Is(err, index.ErrCollected) {
		return err
	}
	// The collector was deleting it, or writing took longer than the ticket lasts. What is there after a new ticket was had
	// stays there; what is not has to be sent again.
	if ticket, err = g.prepare(ctx, d); err != nil {
		return err
	}
	if present, err := g.Store.Has(ctx, d, size); err != nil || !present {
		return errors.Join(err, index.ErrCollected)
	}
	return g.Index.LinkBlob(ctx, ticket, repo, size)
}

// keepManifest makes a manifest durable, then visible.
func (g *Registry) keepManifest(ctx context.Context, repo string, m index.Manifest, body []byte, tags []string) error {
	if err := g.complete(ctx, repo, m); err != nil {
		return err
	}
	defer g.pushing.begin(m.Digest)()
	for range maxAttempts {
		ticket, err := g.prepare(ctx, m.Digest)
		if err != nil {
			return err
		}
		if err := g.missing.found(g.Store.Write(ctx, m.Digest, body, ticket.Stored), m.Digest); err != nil {
			return err
		}
		if err = g.Index.PutManifest(ctx, ticket, repo, m, tags...); !errors.Is(err, index.ErrCollected) {
			return err
		}
	}
	return index.ErrCollected
}

// pushing counts the pushes of digests that are under way: from leave to write the bytes until they have a name.
type pushing struct {
	mu sync.Mutex
	n  map[digest.Digest]int // guarded by mu
}

// begin counts a push until the function that it returns is called.
func (p *pushing) begin(d digest.Digest) (end func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.n == nil {
		p.n = map[digest.Digest]int{}
	}
	p.n[d]++
	return func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		if p.n[d]--; p.n[d] == 0 {
			delete(p.n, d)
		}
	}
}

// Pushing reports whether a push of a digest is under way. The collector lets its bytes wait, so that none has to be sent again
// but where the two meet within a moment.
func (g *Registry) Pushing(d digest.Digest) bool {
	g.pushing.mu.Lock()
	defer g.pushing.mu.Unlock()
	return g.pushing.n[d] > 0
}
