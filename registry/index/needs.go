package index

import (
	"slices"
	"time"

	"github.com/opencontainers/go-digest"

	"gatehouse/registry/index/kv"
	"gatehouse/registry/planted"
)

// What needs what, one step up: a link is needed by a manifest of its repository; a manifest by a tag, by an index above it
// or, when it refers to a subject, by that; bytes by whatever holds them. A digest is a hash of what it needs, so there are no
// circles, and counting one step is enough: what is taken away lets go of what it needed in the same transaction.
//
// The functions that begin with settle are called for everything that a change may have touched. They look at how things
// are, not at what changed, so that calling one too often does no harm.

// asManifest is what holds bytes for a manifest. For a link it is the link's digest.
const asManifest = "manifest"

// hold enters that something of a repository needs bytes.
func (t *tx) hold(bytes digest.Digest, repo, by string) error {
	return t.w.Put(key(kindHolder, string(bytes), repo, by), nil)
}

// release enters that it does no more. Bytes that nothing holds are condemned; former is what let go of them.
func (t *tx) release(bytes digest.Digest, repo, by string, former Former) error {
	if err := t.w.Delete(key(kindHolder, string(bytes), repo, by)); err != nil {
		return err
	}
	other, err := anyBelow(t.w, key(kindHolder, string(bytes), ""))
	if err != nil || other != nil {
		return err
	}
	return t.condemn(bytes, former)
}

// linkNeeded reports whether a manifest of the repository names the digest, or bytes that another link lends are its own; or
// whether nobody knows what needs it.
func linkNeeded(r kv.Reader, repo string, dgst digest.Digest) (bool, error) {
	by, err := anyBelow(r, key(kindReference, string(dgst), repo, ""))
	if err != nil || by != nil {
		return by != nil, err
	}
	prefix := key(kindHolder, string(dgst), repo, "")
	for p, err := range r.Scan(prefix, kv.End(prefix)) {
		if err != nil {
			return false, err
		}
		if by := lastPart(p.Key); by != string(dgst) && by != asManifest && by != asUnread {
			return true, nil
		}
	}
	return hasUnread(r, repo)
}

// manifestNeeded reports whether a tag, an index or a subject of the repository needs a manifest of it, or nobody knows.
func manifestNeeded(r kv.Reader, repo string, m Manifest) (bool, error) {
	for _, prefix := range [][]byte{
		key(kindTagged, repo, string(m.Digest), ""),
		key(kindReference, string(m.Digest), repo, ""),
	} {
		if by, err := anyBelow(r, prefix); err != nil || by != nil {
			return by != nil, err
		}
	}
	if m.Subject != "" && !planted.On(planted.ReferrersLeft) {
		if found, err := has(r, key(kindManifest, repo, string(m.Subject))); err != nil || found {
			return found, err
		}
	}
	return hasUnread(r, repo)
}

// settleLink sees to it that a link is in the queue exactly when nothing needs it.
func (t *tx) settleLink(repo string, dgst digest.Digest) error {
	needed, err := linkNeeded(t.w, repo, dgst)
	if err != nil {
		return err
	}
	if !needed {
		found, err := has(t.w, key(kindLink, repo, string(dgst)))
		if err != nil || !found { // what is removed leaves the queue itself
			return err
		}
	}
	return t.settle(Unreferenced, repo, dgst, needed)
}

// settleManifest is settleLink for a manifest.
func (t *tx) settleManifest(repo string, dgst digest.Digest) error {
	m, err := get[Manifest](t.w, key(kindManifest, repo, string(dgst)))
	if err != nil {
		return unless(err, kv.ErrNotFound) // what is removed leaves the queue itself
	}
	m.Digest = dgst
	needed, err := manifestNeeded(t.w, repo, m)
	if err != nil {
		return err
	}
	if needed {
		if planted.On(planted.NeededManifest) {
			return nil
		}
		return t.outOfQueue(repo, dgst)
	}
	return t.settle(Untagged, repo, dgst, false)
}

// outOfQueue takes a manifest out of both queues that it may be in.
func (t *tx) outOfQueue(repo string, dgst digest.Digest) error {
	if err := t.unqueue(Untagged, repo, dgst); err != nil {
		return err
	}
	return t.unqueue(Orphaned, repo, dgst)
}

// settle puts what is not needed into the queue, unless it is there, and takes out what is.
func (t *tx) settle(class Class, repo string, dgst digest.Digest, needed bool) error {
	if needed {
		if planted.On(planted.NeededLink) {
			return nil
		}
		return t.unqueue(class, repo, dgst)
	}
	_, found, err := queued(t.w, class, repo, dgst)
	if err != nil || found || planted.On(planted.LeftBehind) {
		return err
	}
	return t.queue(Review{Class: class, Repository: repo, Digest: dgst, At: t.since(class), Reason: t.reason})
}

// since is the place in the queue of what something let go of: now, so that it waits as long as its class does. What the
// collector took away has waited already; then what it needed stays readable as long as the quarantine, for who has just
// read a manifest and comes back for its layers.
func (t *tx) since(class Class) time.Time {
	switch {
	case planted.On(planted.GraceOver), planted.On(planted.ReadersForgotten) && t.policy != nil:
		return time.Unix(0, 0)
	case t.policy == nil:
		return t.at
	}
	return t.at.Add(t.policy.Quarantine - t.policy.delay(class))
}

// settleAround settles what a manifest that came or went names, itself, and what refers to it.
func (t *tx) settleAround(repo string, m Manifest) error {
	for _, d := range slices.Concat(m.Blobs, m.Foreign, m.Manifests) {
		if err := t.settleLink(repo, d); err != nil {
			return err
		}
		if err := t.settleManifest(repo, d); err != nil {
			return err
		}
	}
	if err := t.settleManifest(repo, m.Digest); err != nil {
		return err
	}
	gone, err := has(t.w, key(kindManifest, repo, string(m.Digest)))
	if gone = !gone; err != nil {
		return err
	}
	prefix := key(kindReferrer, repo, string(m.Digest), "")
	for p, err := range t.w.Scan(prefix, kv.End(prefix)) {
		if err != nil {
			return err
		}
		if err := t.settleReferrer(repo, digest.Digest(lastPart(p.Key)), gone); err != nil {
			return err
		}
	}
	return nil
}

// settleReferrer settles a manifest whose subject came or went. Signatures and the like live and die with their subject, also
// where other manifests without a tag are kept.
func (t *tx) settleReferrer(repo string, dgst digest.Digest, gone bool) error {
	if err := t.settleManifest(repo, dgst); err != nil || !gone {
		return err
	}
	_, unneeded, err := queued(t.w, Untagged, repo, dgst)
	if err != nil || !unneeded {
		return err
	}
	return t.settle(Orphaned, repo, dgst, false)
}
