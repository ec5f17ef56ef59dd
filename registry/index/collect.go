package index

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/opencontainers/go-digest"

	"gatehouse/registry/index/kv"
	"gatehouse/registry/planted"
)

// Policy is how long the collector waits.
type Policy struct {
	Grace      time.Duration // for what nothing needs, and since a client was last promised it
	Quarantine time.Duration // for bytes that nothing holds, before they are deleted
	Untagged   time.Duration // for manifests without a tag, Grace at least; KeepUntagged: they stay
}

// KeepUntagged is the Policy.Untagged under which manifests without a tag stay: somebody may pull them by digest.
const KeepUntagged time.Duration = -1

// delay returns how long a class waits.
func (p Policy) delay(c Class) time.Duration {
	switch c {
	case Untagged:
		return max(p.Grace, p.Untagged)
	case Condemned:
		return p.Quarantine
	case Deleting:
		return 0
	case Gone:
		return settling
	}
	return p.Grace
}

// kept reports whether a class is never due.
func (p Policy) kept(c Class) bool { return c == Untagged && p.Untagged < 0 }

// atOnce reports whether a class waits for nothing, also not for a place in the queue that an earlier, patient policy gave it.
func (p Policy) atOnce(c Class) bool { return p.Grace == 0 && p.Quarantine == 0 && p.delay(c) == 0 }

// Due returns when a review is due under a policy, the zero time for at once; false when never.
func (p Policy) Due(v Review) (time.Time, bool) {
	if p.atOnce(v.Class) {
		return time.Time{}, true
	}
	return v.At.Add(p.delay(v.Class)), !p.kept(v.Class)
}

// endOfTime is the last time that has a place in the queue.
func endOfTime() time.Time { return time.Unix(0, 1<<63-1) }

// Due returns at most n reviews that are due now, in the order in which one may lead to the next. Those of Deleting are
// always due: whoever deletes them looks to that.
func (x *Index) Due(ctx context.Context, p Policy, n int) (due []Review, err error) {
	err = x.db.View(ctx, func(r kv.Reader) error {
		due = nil
		for _, class := range classes {
			if p.kept(class) {
				continue
			}
			now := x.now()
			until := now.Add(-p.delay(class) - x.late(p, class, now))
			if p.atOnce(class) {
				until = endOfTime()
			}
			list, err := first(r, class, until, n-len(due))
			if err != nil {
				return err
			}
			due = append(due, list...)
		}
		return nil
	})
	return due, err
}

// Verdict is what came of a review.
type Verdict string

// The verdicts.
const (
	Dropped   Verdict = "dropped"   // it was not in the queue any more, or is needed
	Postponed Verdict = "postponed" // it is not due any more: a client was told of it
	Waiting   Verdict = "waiting"   // the tree still leads to the bytes
	Removed   Verdict = "removed"   // the link or the manifest is gone
	Marked    Verdict = "marked"    // the bytes are to be deleted now
	Forgotten Verdict = "forgotten" // of the bytes nothing is remembered any more
)

// Outcome is a review with what came of it.
type Outcome struct {
	Review
	Verdict   Verdict
	Size      int64        // of the bytes, where they are Marked
	Since     time.Time    // when they were condemned, where they are Marked
	Condemned []StoredBlob // bytes that nothing holds since
}

// Collect carries out reviews, all in one transaction: it looks again at each, removes what nothing needs and nobody was
// promised, and marks bytes that are to be deleted. On an error nothing was done.
func (x *Index) Collect(ctx context.Context, p Policy, reviews []Review) (outcomes []Outcome, err error) {
	err = x.update(ctx, func(t *tx) error {
		outcomes = nil
		t.policy = &p
		for _, v := range reviews {
			o, err := t.collect(v, x.late(p, v.Class, t.at))
			if err != nil {
				return fmt.Errorf("review %s %s %s: %w", v.Class, v.Repository, v.Digest, err)
			}
			outcomes = append(outcomes, o)
		}
		return nil
	})
	return outcomes, err
}

// collect carries out one review, if it has been due for so long.
func (t *tx) collect(v Review, late time.Duration) (o Outcome, err error) {
	now, found, err := queued(t.w, v.Class, v.Repository, v.Digest)
	o = Outcome{Review: now}
	if err != nil || !found {
		o.Review, o.Verdict = v, Dropped
		return o, err
	}
	if due, ever := t.policy.Due(now); !ever || due.Add(late).After(t.at) && !due.IsZero() {
		o.Verdict = Postponed
		return o, nil
	}
	t.condemned = nil
	switch v.Class {
	case Unreferenced:
		o.Verdict, err = t.collectLink(now)
	case Untagged, Orphaned:
		o.Verdict, err = t.collectManifest(now)
	case Condemned:
		err = t.mark(&o)
	case Gone:
		o.Verdict, err = Forgotten, t.forget(v.Digest)
	default:
		err = errors.New("this class is not collected")
	}
	o.Condemned = t.condemned
	return o, err
}

// collectLink removes a link that nothing needs.
func (t *tx) collectLink(v Review) (Verdict, error) {
	l, err := get[linkRecord](t.w, key(kindLink, v.Repository, string(v.Digest)))
	if err != nil {
		return "", err
	}
	needed, err := linkNeeded(t.w, v.Repository, v.Digest)
	if err != nil {
		return "", err
	}
	if needed && !planted.On(planted.NeededLink) {
		return Dropped, t.unqueue(v.Class, v.Repository, v.Digest)
	}
	if postponed, err := t.postpone(v, l.Since); postponed || err != nil {
		return Postponed, err
	}
	t.reason = v.Reason
	return Removed, t.removeLink(v.Repository, v.Digest, l)
}

// collectManifest removes a manifest that nothing needs.
func (t *tx) collectManifest(v Review) (Verdict, error) {
	m, err := manifest(t.w, v.Repository, v.Digest)
	if err != nil {
		return "", err
	}
	needed, err := manifestNeeded(t.w, v.Repository, m)
	if err != nil {
		return "", err
	}
	if needed && !planted.On(planted.NeededManifest) {
		return Dropped, t.outOfQueue(v.Repository, v.Digest)
	}
	if postponed, err := t.postpone(v, m.PushedAt); postponed || err != nil {
		return Postponed, err
	}
	t.reason = "manifest " + string(v.Digest) + " was collected: " + v.Reason
	return Removed, t.removeManifest(v.Repository, m)
}

// postpone moves a review to the place that the last promise gives it.
func (t *tx) postpone(v Review, since time.Time) (bool, error) {
	last, err := promised(t.w, v.Repository, v.Digest, since)
	if err != nil || !last.Add(t.policy.Grace).After(t.at) {
		return false, err
	}
	v.At = last
	return true, t.queue(v)
}

// mark begins to delete condemned bytes. Not before all that the index let go of is gone from the tree too: whoever reads
// the tree, if it is distribution after a crash, finds no link to bytes that are not there.
func (t *tx) mark(o *Outcome) error {
	k := key(kindBlob, string(o.Digest))
	b, err := get[blobRecord](t.w, k)
	if err != nil {
		return err
	}
	holder, err := anyBelow(t.w, key(kindHolder, string(o.Digest), ""))
	if err != nil {
		return err
	}
	if (holder != nil || b.State != StateCondemned) && !planted.On(planted.NoRevival) {
		return fmt.Errorf("the index is damaged: %s is %q, and condemned, and held by %q", o.Digest, b.State, holder)
	}
	if waiting, err := t.treeLeads(b.Number); err != nil || waiting && !planted.On(planted.TreeNotWaitedFor) {
		o.Verdict = Waiting
		return err
	}
	o.Verdict, o.Size, o.Since = Marked, b.Size, b.At
	if b.Number, err = t.next(); err != nil {
		return err
	}
	b.State, b.At = StateDeleting, t.at
	if err := t.unqueue(Condemned, "", o.Digest); err != nil {
		return err
	}
	if err := t.queue(Review{Class: Deleting, Digest: o.Digest, At: t.at, Reason: o.Reason}); err != nil {
		return err
	}
	return t.put(k, b)
}

// treeLeads reports whether the tree has yet to follow something that happened before a number. Links that it merely lacks lead
// to nothing: those events do not count (Postponed).
func (t *tx) treeLeads(number string) (bool, error) {
	if t.quiet { // nothing follows a draft
		return false, nil
	}
	from, to := eventsBehind(t.followed)
	oldest, err := anyIn(t.w, from, to)
	return oldest != nil && lastPart(oldest) <= number, err
}

// Deleted records that the bytes of digests that were marked are gone from the store, confirmed. Should they come back, Stray takes
// them on.
func (x *Index) Deleted(ctx context.Context, digests []digest.Digest) error {
	return x.update(ctx, func(t *tx) error {
		for _, d := range digests {
			k := key(kindBlob, string(d))
			b, err := get[blobRecord](t.w, k)
			if err != nil {
				return err
			}
			if b.State != StateDeleting {
				return fmt.Errorf("the index is damaged: %s was deleted and is %q", d, b.State)
			}
			if err := t.unqueue(Deleting, "", d); err != nil {
				return err
			}
			if planted.On(planted.TombstoneLost) {
				if err := t.w.Delete(k); err != nil {
					return err
				}
				continue
			}
			if err := t.queue(Review{Class: Gone, Digest: d, At: t.at}); err != nil {
				return err
			}
			if err := t.put(k, blobRecord{Since: b.Since, State: StateGone, At: t.at, Number: b.Number}); err != nil {
				return err
			}
		}
		return nil
	})
}

// Stray condemns bytes that the store has and the index knows nothing of, as if they had been let go of when grace is over:
// somebody may be about to enter them. Those that are known are left alone, and so are those that a manifest names whose
// repository has lost its link to them. It returns how many were unknown.
func (x *Index) Stray(ctx context.Context, p Policy, blobs []StoredBlob) (strays int, err error) {
	err = x.update(ctx, func(t *tx) error {
		strays = 0
		for _, blob := range blobs {
			k := key(kindBlob, string(blob.Digest))
			found, err := has(t.w, k)
			if err != nil {
				return err
			}
			by, err := anyBelow(t.w, key(kindReference, string(blob.Digest), ""))
			if err != nil {
				return err
			}
			if found || by != nil {
				continue
			}
			strays++
			if err := t.put(k, blobRecord{Size: blob.Size, Since: t.at}); err != nil {
				return err
			}
			if err := t.condemn(blob.Digest, Former{Reason: "found in the store, and unknown to the index"}); err != nil {
				return err
			}
			v, _, err := queued(t.w, Condemned, "", blob.Digest)
			if err != nil {
				return err
			}
			v.At = t.at.Add(p.Grace)
			if err := t.queue(v); err != nil {
				return err
			}
		}
		return nil
	})
	return strays, err
}

// Marked returns what is being deleted: what a cycle marked and did not, or not yet, record as deleted.
func (x *Index) Marked(ctx context.Context) (list []Outcome, err error) {
	read := func(r kv.Reader, p kv.Pair) (o Outcome, err error) {
		if o.Review, err = parsePlace(p.Key); err != nil {
			return o, err
		}
		if o.Review, _, err = queued(r, Deleting, "", o.Digest); err != nil {
			return o, err
		}
		b, err := get[blobRecord](r, key(kindBlob, string(o.Digest)))
		o.Verdict, o.Size, o.Since = Marked, b.Size, b.At
		return o, err
	}
	err = walk(ctx, x, key(kindPlace, string(Deleting), ""), read, func(o Outcome) error {
		list = append(list, o)
		return nil
	})
	return list, err
}

// BlobsBelow calls each with every blob that the store has and whose digest begins with prefix.
func (x *Index) BlobsBelow(ctx context.Context, prefix string, each func(StoredBlob)) error {
	read := func(_ kv.Reader, p kv.Pair) (b blobOf, err error) {
		b.digest = digest.Digest(lastPart(p.Key))
		return b, decode(p.Key, p.Value, &b.blobRecord)
	}
	return walk(ctx, x, key(kindBlob, prefix), read, func(b blobOf) error {
		if b.State == StateLive || b.State == StateCondemned {
			each(StoredBlob{Digest: b.digest, Size: b.Size})
		}
		return nil
	})
}

// blobOf is a record of bytes with their digest.
type blobOf struct {
	blobRecord
	digest digest.Digest
}
