package index

import (
	"context"
	"errors"
	"time"

	"github.com/opencontainers/go-digest"

	"gatehouse/registry/index/kv"
	"gatehouse/registry/planted"
)

// promiseRecord is when a client was last told that the repository has a digest. From then on it stays for the grace time, so
// that a manifest which relies on it can be pushed. What was linked or pushed carries that time itself.
type promiseRecord struct {
	At time.Time `json:"at"`
}

// SetGrace says how long the collector spares what a client was told of. 0, as at first, makes no promises.
func (x *Index) SetGrace(grace time.Duration) { x.grace.Store(int64(grace)) }

// Promise is Blob for a client that will rely on the answer: the blob stays in the repository for half the grace time at
// least, whatever becomes of what needs it. It writes only when less than that is left, at most once in half the grace time.
func (x *Index) Promise(ctx context.Context, repo string, dgst digest.Digest) (size int64, err error) {
	var stale bool
	look := func(r kv.Reader) error {
		link, err := get[linkRecord](r, key(kindLink, repo, string(dgst)))
		if err != nil {
			return unknown(err, ErrBlobUnknown)
		}
		size = link.Size
		stale, err = x.stale(r, repo, dgst, link.Since)
		return err
	}
	if err := x.db.View(ctx, look); err != nil || !stale || planted.On(planted.NoPromise) {
		return size, err
	}
	return size, x.promise(ctx, repo, dgst, look)
}

// PromiseManifest is Manifest with the same promise.
func (x *Index) PromiseManifest(ctx context.Context, repo string, dgst digest.Digest) (m Manifest, err error) {
	var stale bool
	look := func(r kv.Reader) error {
		if m, err = manifest(r, repo, dgst); err != nil {
			return err
		}
		stale, err = x.stale(r, repo, dgst, m.PushedAt)
		return err
	}
	if err := x.db.View(ctx, look); err != nil || !stale || planted.On(planted.NoManifestPromise) {
		return m, err
	}
	return m, x.promise(ctx, repo, dgst, look)
}

// promise renews a promise, where look still finds what it is about.
func (x *Index) promise(ctx context.Context, repo string, dgst digest.Digest, look func(kv.Reader) error) error {
	return x.db.Update(ctx, func(w kv.Writer) error {
		if err := look(w); err != nil {
			return err
		}
		return x.begin(w).promise(repo, dgst)
	})
}

// stale reports whether less than half of the promise is left that was made last, or at since.
func (x *Index) stale(r kv.Reader, repo string, dgst digest.Digest, since time.Time) (bool, error) {
	grace := time.Duration(x.grace.Load())
	if grace <= 0 {
		return false, nil
	}
	last, err := promised(r, repo, dgst, since)
	return err == nil && x.now().Sub(last) > grace/2, err
}

// promised returns when the last promise was made, since or later.
func promised(r kv.Reader, repo string, dgst digest.Digest, since time.Time) (time.Time, error) {
	p, err := get[promiseRecord](r, key(kindPromise, repo, string(dgst)))
	if errors.Is(err, kv.ErrNotFound) || err == nil && p.At.Before(since) {
		return since, nil
	}
	return p.At, err
}

func (t *tx) promise(repo string, dgst digest.Digest) error {
	return t.put(key(kindPromise, repo, string(dgst)), promiseRecord{At: t.at})
}
