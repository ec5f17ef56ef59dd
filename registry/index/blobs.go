package index

import (
	"context"

	"github.com/opencontainers/go-digest"

	"gatehouse/registry/index/kv"
)

// Blob returns the size of a blob that the repository may serve, or ErrBlobUnknown.
func (x *Index) Blob(ctx context.Context, repo string, dgst digest.Digest) (size int64, err error) {
	err = x.db.View(ctx, func(r kv.Reader) error {
		link, err := get[linkRecord](r, key(kindLink, repo, string(dgst)))
		size = link.Size
		return unknown(err, ErrBlobUnknown)
	})
	return size, err
}

// Stored reports whether the store holds the bytes of a digest, for whichever repository: then they need not be written again.
// It says nothing about who may read them.
func (x *Index) Stored(ctx context.Context, dgst digest.Digest) (stored bool, err error) {
	err = x.db.View(ctx, func(r kv.Reader) error {
		stored, err = has(r, key(kindBlob, string(dgst)))
		return err
	})
	return stored, err
}

// LinkBlob records that the store holds a blob and that the repository may serve it. The bytes must be durable before.
func (x *Index) LinkBlob(ctx context.Context, repo string, dgst digest.Digest, size int64) error {
	return x.update(ctx, func(t *tx) error {
		if err := t.store(dgst, size); err != nil {
			return err
		}
		return t.link(repo, dgst, size)
	})
}

// Mount lets repo serve a blob that from may serve; ErrBlobUnknown when from does not have it.
func (x *Index) Mount(ctx context.Context, repo, from string, dgst digest.Digest) error {
	return x.update(ctx, func(t *tx) error {
		source, err := get[linkRecord](t.w, key(kindLink, from, string(dgst)))
		if err != nil {
			return unknown(err, ErrBlobUnknown)
		}
		return t.link(repo, dgst, source.Size)
	})
}

// UnlinkBlob takes a blob away from the repository. The bytes stay: only the collector removes those. A blob that a
// manifest of the repository needs stays too: *ReferencedError.
func (x *Index) UnlinkBlob(ctx context.Context, repo string, dgst digest.Digest) error {
	return x.update(ctx, func(t *tx) error {
		link := key(kindLink, repo, string(dgst))
		if err := must(t.w, link, ErrBlobUnknown); err != nil {
			return err
		}
		if err := t.unreferenced(repo, dgst); err != nil {
			return err
		}
		if err := t.w.Delete(link); err != nil {
			return err
		}
		return t.event(Event{Kind: LinkChanged, Repository: repo, Digest: dgst})
	})
}

// store records that the store holds a digest.
func (t *tx) store(dgst digest.Digest, size int64) error {
	k := key(kindBlob, string(dgst))
	if found, err := has(t.w, k); err != nil || found {
		return err
	}
	return t.put(k, blobRecord{Size: size, Since: t.at})
}

// link lets the repository serve a digest.
func (t *tx) link(repo string, dgst digest.Digest, size int64) error {
	k := key(kindLink, repo, string(dgst))
	if found, err := has(t.w, k); err != nil || found {
		return err
	}
	if err := t.put(k, linkRecord{Size: size, Since: t.at}); err != nil {
		return err
	}
	return t.event(Event{Kind: LinkChanged, Repository: repo, Digest: dgst})
}

// unreferenced returns a *ReferencedError when a manifest of the repository needs the digest.
func (t *tx) unreferenced(repo string, dgst digest.Digest) error {
	by, err := anyBelow(t.w, key(kindReference, string(dgst), repo, ""))
	if err != nil || by == nil {
		return err
	}
	return &ReferencedError{Digest: dgst, By: digest.Digest(lastPart(by))}
}
