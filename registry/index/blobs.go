package index

import (
	"cmp"
	"context"
	"errors"
	"strings"

	"github.com/opencontainers/go-digest"

	"gatehouse/registry/index/kv"
)

// Blob returns the size of a blob that the repository may serve, or ErrBlobUnknown.
func (x *Index) Blob(ctx context.Context, repo string, dgst digest.Digest) (size int64, err error) {
	_, size, err = x.Locate(ctx, repo, dgst)
	return size, err
}

// Locate is Blob with the digest under which the store has the bytes: dgst itself, but for what distribution stored under
// another one.
func (x *Index) Locate(ctx context.Context, repo string, dgst digest.Digest) (stored digest.Digest, size int64, err error) {
	err = x.db.View(ctx, func(r kv.Reader) error {
		link, err := get[linkRecord](r, key(kindLink, repo, string(dgst)))
		stored, size = cmp.Or(link.Stored, dgst), link.Size
		return unknown(err, ErrBlobUnknown)
	})
	return stored, size, err
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
		return t.linkAt(repo, dgst, source)
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

// Users returns at most n repositories with a manifest that needs a digest.
func (x *Index) Users(ctx context.Context, dgst digest.Digest, n int) (repos []string, err error) {
	err = x.db.View(ctx, func(r kv.Reader) error {
		prefix := key(kindReference, string(dgst), "")
		for from := prefix; len(repos) < n; {
			k, err := anyIn(r, from, kv.End(prefix))
			if err != nil || k == nil {
				return err
			}
			repo, _, _ := strings.Cut(string(k[len(prefix):]), "\x00")
			repos = append(repos, repo)
			from = kv.End(key(kindReference, string(dgst), repo, "")) // one look-up a repository, however many manifests
		}
		return nil
	})
	return repos, err
}

// store records that the store holds a digest.
func (t *tx) store(dgst digest.Digest, size int64) error {
	k := key(kindBlob, string(dgst))
	if found, err := has(t.w, k); err != nil || found {
		return err
	}
	return t.put(k, blobRecord{Size: size, Since: t.at})
}

// link lets the repository serve a digest, whose bytes are the digest's own.
func (t *tx) link(repo string, dgst digest.Digest, size int64) error {
	return t.linkAt(repo, dgst, linkRecord{Size: size})
}

// linkAt lets the repository serve a digest as l says. A link that is there stays; but one to bytes under another digest
// gives way to one to bytes of its own. Of those under another digest the repository has that link too: distribution follows it.
func (t *tx) linkAt(repo string, dgst digest.Digest, l linkRecord) error {
	k := key(kindLink, repo, string(dgst))
	old, err := get[linkRecord](t.w, k)
	if err != nil && !errors.Is(err, kv.ErrNotFound) {
		return err
	}
	if err == nil && (old.Stored == "" || l.Stored != "") {
		return nil
	}
	if l.Stored != "" && !t.quiet {
		if err := t.link(repo, l.Stored, l.Size); err != nil {
			return err
		}
	}
	l.Since = t.at
	if err := t.put(k, l); err != nil {
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
