package index

import (
	"bytes"
	"cmp"
	"errors"

	"github.com/opencontainers/go-digest"

	"gatehouse/registry/index/kv"
)

// What Verify holds of the collector's records: bytes live exactly as long as something holds them, and exactly what nothing
// needs is in the queue.

// stateClass is the queue that bytes of a state are in.
var stateClass = map[State]Class{StateCondemned: Condemned, StateDeleting: Deleting, StateGone: Gone}

func (v *verifier) blob(dgst string) error {
	b, ok := value[blobRecord](v)
	if !ok {
		return nil
	}
	holder, err := anyBelow(v.r, key(kindHolder, dgst, ""))
	if err != nil {
		return err
	}
	if holder == nil && b.State == StateLive {
		v.complain("no repository holds it, and it is not condemned")
	}
	if holder != nil && b.State != StateLive {
		v.complain("it is %s, and %q holds it", b.State, bytes.ReplaceAll(holder, []byte{0}, []byte{' '}))
	}
	for _, class := range []Class{Condemned, Deleting, Gone} {
		if err := v.queued(class, "", dgst, stateClass[b.State] == class); err != nil {
			return err
		}
	}
	return nil
}

// queued complains when an item is in a queue and should not be, or the other way round.
func (v *verifier) queued(class Class, repo, dgst string, want bool) error {
	_, found, err := queued(v.r, class, repo, digest.Digest(dgst))
	switch {
	case err != nil:
		v.complain("its review cannot be read: %v", err)
	case found && !want:
		v.complain("it is in the queue of %s items, and should not be", class)
	case !found && want:
		v.complain("it is not in the queue of %s items", class)
	}
	return nil
}

// linkUse checks that a link holds its bytes, and is in the queue exactly when nothing needs it.
func (v *verifier) linkUse(repo, dgst string, l linkRecord) error {
	if err := v.need("it does not hold its bytes", kindHolder, cmp.Or(string(l.Stored), dgst), repo, dgst); err != nil {
		return err
	}
	needed, err := linkNeeded(v.r, repo, digest.Digest(dgst))
	if err != nil {
		return err
	}
	return v.queued(Unreferenced, repo, dgst, !needed)
}

// manifestUse is linkUse for a manifest.
func (v *verifier) manifestUse(repo string, m Manifest) error {
	if err := v.need("it does not hold its bytes", kindHolder, string(m.Digest), repo, asManifest); err != nil {
		return err
	}
	needed, err := manifestNeeded(v.r, repo, m)
	if err != nil {
		return err
	}
	if err := v.queued(Untagged, repo, string(m.Digest), !needed); err != nil || !needed {
		return err
	}
	return v.queued(Orphaned, repo, string(m.Digest), false)
}

// holder checks that what holds bytes is there and means them.
func (v *verifier) holder(held, repo, by string) error {
	if by == asManifest {
		return v.need("the manifest is not there", kindManifest, repo, held)
	}
	if by == asUnread {
		return v.need("the manifest that could not be read is not there", kindUnread, repo, held)
	}
	l, err := get[linkRecord](v.r, key(kindLink, repo, by))
	switch {
	case errors.Is(err, kv.ErrNotFound):
		v.complain("the link is not there")
	case err == nil && cmp.Or(string(l.Stored), by) != held:
		v.complain("the link has other bytes")
	}
	return nil // a link that cannot be read is complained of as itself
}

// promised checks that a promise is of something that is there.
func (v *verifier) promised(repo, dgst string) error {
	link, err := has(v.r, key(kindLink, repo, dgst))
	if err != nil || link {
		return err
	}
	return v.need("it promises what is not there", kindManifest, repo, dgst)
}

// review checks that a review has its place in the queue, and is of something that is there.
func (v *verifier) review(class Class, repo, dgst string) error {
	review, ok := value[Review](v)
	if !ok {
		return nil
	}
	review.Class, review.Repository, review.Digest = class, repo, digest.Digest(dgst)
	if found, err := has(v.r, review.placeKey()); err != nil {
		return err
	} else if !found {
		v.complain("it has no place in the queue")
	}
	switch class {
	case Unreferenced:
		return v.need("the link is not there", kindLink, repo, dgst)
	case Untagged, Orphaned:
		return v.need("the manifest is not there", kindManifest, repo, dgst)
	}
	return v.need("there is no record of the bytes", kindBlob, dgst)
}

// place checks that a place in the queue is that of a review.
func (v *verifier) place() error {
	at, err := parsePlace(v.record.Key)
	if err != nil {
		v.complain("%v", err)
		return nil
	}
	review, found, err := queued(v.r, at.Class, at.Repository, at.Digest)
	if err == nil && (!found || !bytes.Equal(review.placeKey(), v.record.Key)) {
		v.complain("there is no review at this place")
	}
	return nil // a review that cannot be read is complained of as itself
}
