package index

import (
	"context"
	"errors"
	"slices"

	"github.com/opencontainers/go-digest"

	"gatehouse/registry/index/kv"
	"gatehouse/registry/planted"
)

// Manifest returns a manifest of the repository by digest. ErrManifestUnknown, or ErrNameUnknown where the repository has no
// manifest at all. The manifest is shared and must not be modified.
func (x *Index) Manifest(ctx context.Context, repo string, dgst digest.Digest) (m Manifest, err error) {
	err = x.db.View(ctx, func(r kv.Reader) error {
		m, err = x.manifest(r, repo, dgst)
		return err
	})
	return m, err
}

// Tagged is Manifest for what a tag of the repository points to.
func (x *Index) Tagged(ctx context.Context, repo, tag string) (m Manifest, err error) {
	err = x.db.View(ctx, func(r kv.Reader) error {
		t, err := recall(r, x.tags, key(kindTag, repo, tag))
		if err != nil {
			return nameUnknown(r, repo, unknown(err, ErrManifestUnknown))
		}
		m, err = x.manifest(r, repo, t.Digest)
		return err
	})
	return m, err
}

// PutManifest takes a manifest, whose bytes must be durable before, into the repository and points the tags to it, in one
// transaction: all that the manifest needs must be in the repository then, else *MissingError. m.PushedAt is set here. The
// ticket is for the manifest's bytes, as LinkBlob's is for a blob's.
func (x *Index) PutManifest(ctx context.Context, ticket Ticket, repo string, m Manifest, tags ...string) error {
	m.Digest = ticket.Digest
	return x.update(ctx, func(t *tx) error {
		t.reason = "pushed without a tag"
		if err := t.complete(repo, m); err != nil {
			return err
		}
		if err := t.addManifest(ticket, repo, m); err != nil {
			return err
		}
		for _, tag := range tags {
			if err := t.move(repo, tag, m.Digest, m.PushedBy); err != nil {
				return err
			}
		}
		return t.settleAround(repo, m)
	})
}

// Complete returns a *MissingError when the repository lacks something that m needs: a first look, before bytes are
// written. PutManifest looks again.
func (x *Index) Complete(ctx context.Context, repo string, m Manifest) error {
	return x.db.View(ctx, func(r kv.Reader) error { return complete(r, repo, m) })
}

// DeleteManifest takes a manifest and the tags that point to it away from the repository, for by. A manifest that an index
// of the repository needs stays: *ReferencedError.
func (x *Index) DeleteManifest(ctx context.Context, repo string, dgst digest.Digest, by string) error {
	return x.update(ctx, func(t *tx) error {
		t.reason = "manifest " + string(dgst) + " was deleted"
		m, err := manifest(t.w, repo, dgst)
		if err != nil {
			return err
		}
		if err := t.unreferenced(repo, dgst); err != nil {
			return err
		}
		tagged := key(kindTagged, repo, string(dgst), "")
		for p, err := range t.w.Scan(tagged, kv.End(tagged)) {
			if err != nil {
				return err
			}
			if err := t.move(repo, lastPart(p.Key), "", by); err != nil {
				return err
			}
		}
		return t.removeManifest(repo, m)
	})
}

// manifest is Manifest in a transaction under way.
func (x *Index) manifest(r kv.Reader, repo string, dgst digest.Digest) (Manifest, error) {
	m, err := recall(r, x.manifests, key(kindManifest, repo, string(dgst)))
	m.Digest = dgst
	return m, nameUnknown(r, repo, unknown(err, ErrManifestUnknown))
}

// manifest is the same for those who write; what they get is their own.
func manifest(r kv.Reader, repo string, dgst digest.Digest) (Manifest, error) {
	m, err := get[Manifest](r, key(kindManifest, repo, string(dgst)))
	m.Digest = dgst
	return m, nameUnknown(r, repo, unknown(err, ErrManifestUnknown))
}

// nameUnknown makes ErrManifestUnknown an ErrNameUnknown where the repository itself is not there.
func nameUnknown(r kv.Reader, repo string, err error) error {
	if !errors.Is(err, ErrManifestUnknown) {
		return err
	}
	if e := must(r, key(kindRepository, repo), ErrNameUnknown); e != nil {
		return e
	}
	return err
}

func (t *tx) complete(repo string, m Manifest) error { return complete(t.w, repo, m) }

func complete(r kv.Reader, repo string, m Manifest) error {
	if planted.On(planted.Incomplete) {
		return nil
	}
	var missing []digest.Digest
	seen := make(map[digest.Digest]bool)
	for _, d := range m.Optional {
		seen[d] = true
	}
	look := func(kind byte, digests []digest.Digest) error {
		for _, d := range digests {
			found, err := has(r, key(kind, repo, string(d)))
			if err != nil {
				return err
			}
			if !found && !seen[d] {
				seen[d] = true
				missing = append(missing, d)
			}
		}
		return nil
	}
	if err := errors.Join(look(kindLink, m.Blobs), look(kindManifest, m.Manifests)); err != nil {
		return err
	}
	if len(missing) > 0 {
		return &MissingError{Digests: missing}
	}
	return nil
}

// addManifest writes the records of a manifest, unless the repository has it. What it names is to be settled afterwards.
func (t *tx) addManifest(ticket Ticket, repo string, m Manifest) error {
	k := key(kindManifest, repo, string(m.Digest))
	if found, err := has(t.w, k); err != nil {
		return err
	} else if found {
		return t.promise(repo, m.Digest)
	}
	if !t.quiet || m.PushedAt.IsZero() {
		m.PushedAt = t.at
	}
	if err := t.store(ticket, m.Size); err != nil {
		return err
	}
	if err := t.hold(m.Digest, repo, asManifest); err != nil {
		return err
	}
	if err := t.put(k, m); err != nil {
		return err
	}
	for _, backward := range m.backward(repo) {
		if err := t.w.Put(backward, nil); err != nil {
			return err
		}
	}
	name := key(kindRepository, repo)
	found, err := has(t.w, name)
	if err == nil && !found {
		err = t.put(name, repositoryRecord{Since: t.at})
	}
	if err != nil {
		return err
	}
	return t.event(Event{Kind: ManifestChanged, Repository: repo, Digest: m.Digest})
}

// removeManifest removes the records of a manifest, and the repository's with its last one. The event comes first, as in
// removeLink.
func (t *tx) removeManifest(repo string, m Manifest) error {
	if err := t.event(Event{Kind: ManifestChanged, Repository: repo, Digest: m.Digest}); err != nil {
		return err
	}
	gone := append(m.backward(repo), key(kindManifest, repo, string(m.Digest)), key(kindPromise, repo, string(m.Digest)))
	for _, k := range gone {
		if err := t.w.Delete(k); err != nil {
			return err
		}
	}
	if err := t.outOfQueue(repo, m.Digest); err != nil {
		return err
	}
	if err := t.release(m.Digest, repo, asManifest, Former{Repository: repo, Manifest: &m, Reason: t.reason}); err != nil {
		return err
	}
	if err := t.settleAround(repo, m); err != nil {
		return err
	}
	other, err := anyBelow(t.w, key(kindManifest, repo, ""))
	if err != nil {
		return err
	}
	if other == nil {
		return t.w.Delete(key(kindRepository, repo))
	}
	return nil
}

// backward returns the keys that lead from what the manifest names back to it.
func (m Manifest) backward(repo string) [][]byte {
	var keys [][]byte
	for _, d := range slices.Concat(m.Blobs, m.Foreign, m.Manifests) {
		keys = append(keys, key(kindReference, string(d), repo, string(m.Digest)))
	}
	if m.Subject != "" {
		keys = append(keys, key(kindReferrer, repo, string(m.Subject), string(m.Digest)))
	}
	return keys
}
