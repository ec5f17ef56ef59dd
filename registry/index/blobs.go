package index

import (
	"cmp"
	"context"
	"errors"

	"github.com/opencontainers/go-digest"

	"gatehouse/registry/index/kv"
	"gatehouse/registry/planted"
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
		link, err := recall(r, x.links, key(kindLink, repo, string(dgst)))
		stored, size = cmp.Or(link.Stored, dgst), link.Size
		return unknown(err, ErrBlobUnknown)
	})
	return stored, size, err
}

// LinkBlob records that the store holds the blob of a ticket and that the repository may serve it. The bytes must be durable
// before, and written after the ticket was had: else ErrCollected may be the answer, and nothing is recorded.
func (x *Index) LinkBlob(ctx context.Context, ticket Ticket, repo string, size int64) error {
	return x.update(ctx, func(t *tx) error {
		t.reason = "pushed, and no manifest has named it"
		if err := t.store(ticket, size); err != nil {
			return err
		}
		return t.link(repo, ticket.Digest, size)
	})
}

// Mount lets repo serve a blob that from may serve; ErrBlobUnknown when from does not have it.
func (x *Index) Mount(ctx context.Context, repo, from string, dgst digest.Digest) error {
	return x.update(ctx, func(t *tx) error {
		t.reason = "mounted, and no manifest has named it"
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
	return x.update(ctx, func(t *tx) error { return t.unlink(repo, dgst) })
}

// unlink is UnlinkBlob in a transaction under way.
func (t *tx) unlink(repo string, dgst digest.Digest) error {
	link, err := get[linkRecord](t.w, key(kindLink, repo, string(dgst)))
	if err != nil {
		return unknown(err, ErrBlobUnknown)
	}
	if err := t.unreferenced(repo, dgst); err != nil {
		return err
	}
	t.reason = "the blob was deleted"
	return t.removeLink(repo, dgst, link)
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
		if planted.On(planted.NoPromiseAgain) {
			return nil
		}
		return t.promise(repo, dgst)
	}
	if l.Stored != "" && !t.quiet {
		if err := t.link(repo, l.Stored, l.Size); err != nil {
			return err
		}
	}
	if err := t.event(Event{Kind: LinkChanged, Repository: repo, Digest: dgst}); err != nil { // before release, as in removeLink
		return err
	}
	l.Since = t.at
	if err := t.put(k, l); err != nil {
		return err
	}
	if err := t.hold(cmp.Or(l.Stored, dgst), repo, string(dgst)); err != nil {
		return err
	}
	if old.Stored != "" {
		if err := t.release(old.Stored, repo, string(dgst), Former{Repository: repo, Link: dgst}); err != nil {
			return err
		}
	}
	for _, d := range []digest.Digest{old.Stored, l.Stored, dgst} {
		if err := t.settleLink(repo, d); err != nil {
			return err
		}
	}
	return nil
}

// removeLink takes a link away. Its event comes before it lets go of its bytes: mark waits for events that are older than that.
func (t *tx) removeLink(repo string, dgst digest.Digest, l linkRecord) error {
	if err := t.event(Event{Kind: LinkChanged, Repository: repo, Digest: dgst}); err != nil {
		return err
	}
	for _, k := range [][]byte{key(kindLink, repo, string(dgst)), key(kindPromise, repo, string(dgst))} {
		if err := t.w.Delete(k); err != nil {
			return err
		}
	}
	if err := t.unqueue(Unreferenced, repo, dgst); err != nil {
		return err
	}
	former := Former{Repository: repo, Link: dgst, Reason: t.reason}
	if err := t.release(cmp.Or(l.Stored, dgst), repo, string(dgst), former); err != nil {
		return err
	}
	return t.settleLink(repo, l.Stored)
}

// unreferenced returns a *ReferencedError when a manifest of the repository needs the digest.
func (t *tx) unreferenced(repo string, dgst digest.Digest) error {
	by, err := anyBelow(t.w, key(kindReference, string(dgst), repo, ""))
	if err != nil || by == nil {
		return err
	}
	return &ReferencedError{Digest: dgst, By: digest.Digest(lastPart(by))}
}
