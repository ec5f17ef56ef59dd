package index

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/opencontainers/go-digest"

	"gatehouse/registry/index/kv"
)

// ErrNotCondemned is why bytes cannot be brought back from quarantine: they are not in it.
var ErrNotCondemned = errors.New("not in quarantine")

// ErrNoWayBack is why bytes in quarantine cannot be brought back.
var ErrNoWayBack = errors.New("it cannot be brought back")

// Restore brings condemned bytes back to where they were held last, in one transaction: a blob as the link that it had, a
// manifest with all that it names, as far as that is in quarantine too or still there. It is needed by nothing then, so unless
// somebody tags it the grace time begins anew. It returns what lives again. What cannot be brought back whole is not brought
// back.
func (x *Index) Restore(ctx context.Context, dgst digest.Digest) (restored []digest.Digest, err error) {
	err = x.update(ctx, func(t *tx) error {
		t.reason = "restored from quarantine"
		restored = nil
		return t.restore(dgst, &restored)
	})
	return restored, err
}

func (t *tx) restore(dgst digest.Digest, restored *[]digest.Digest) error {
	b, err := get[blobRecord](t.w, key(kindBlob, string(dgst)))
	switch {
	case errors.Is(err, kv.ErrNotFound), err == nil && b.State == StateGone:
		return fmt.Errorf("%s: %w: the registry does not have it", dgst, ErrNotCondemned)
	case err != nil:
		return err
	case b.State == StateDeleting:
		return fmt.Errorf("%s: %w: it is being deleted", dgst, ErrNotCondemned)
	case b.State == StateLive:
		return fmt.Errorf("%s: %w: a repository has it; gatehouse gc explain says which", dgst, ErrNotCondemned)
	case b.Former.Repository == "":
		return fmt.Errorf("%s: %w: no repository ever had it; push it", dgst, ErrNoWayBack)
	}
	if err := t.store(Ticket{Digest: dgst}, b.Size); err != nil {
		return err
	}
	*restored = append(*restored, dgst)
	if m := b.Former.Manifest; m != nil {
		m.Digest = dgst
		return t.restoreManifest(b.Former.Repository, *m, restored)
	}
	link := linkRecord{Size: b.Size}
	if b.Former.Link != dgst {
		link.Stored = dgst
	}
	return t.linkAt(b.Former.Repository, cmp.Or(b.Former.Link, dgst), link)
}

// restoreManifest puts back a manifest, and what it names before it.
func (t *tx) restoreManifest(repo string, m Manifest, restored *[]digest.Digest) error {
	for i, d := range slices.Concat(m.Blobs, m.Foreign) {
		b, err := get[blobRecord](t.w, key(kindBlob, string(d)))
		if errors.Is(err, kv.ErrNotFound) || err == nil && b.State != StateLive && b.State != StateCondemned {
			continue // complete says so, if it is needed; or another digest has its bytes
		}
		if err != nil {
			return err
		}
		if i >= len(m.Blobs) && b.Former.Repository != repo {
			continue // nobody checked that the repository had what a foreign layer names
		}
		if b.State == StateCondemned {
			*restored = append(*restored, d)
		}
		if err := t.store(Ticket{Digest: d}, b.Size); err != nil {
			return err
		}
		if err := t.link(repo, d, b.Size); err != nil {
			return err
		}
	}
	for _, d := range m.Manifests {
		found, err := has(t.w, key(kindManifest, repo, string(d)))
		if err != nil {
			return err
		}
		if !found {
			if err := t.restore(d, restored); err != nil {
				return err
			}
		}
	}
	if err := t.complete(repo, m); err != nil {
		return fmt.Errorf("%s: %w: %w", m.Digest, ErrNoWayBack, err)
	}
	if err := t.addManifest(Ticket{Digest: m.Digest}, repo, m); err != nil {
		return err
	}
	return t.settleAround(repo, m)
}
