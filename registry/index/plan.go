package index

import (
	"context"
	"errors"
	"time"

	"github.com/opencontainers/go-digest"

	"gatehouse/registry/index/kv"
)

// Step is something that the collector is going to do, if nothing changes before.
type Step struct {
	Review
	Due  time.Time // not before then
	Size int64     // bytes that go with it: those of Condemned and Deleting only
}

// Plan calls each with all that the collector would do until a time with what is in the queue now, and with what that leads
// to, in the order of time. It takes the collector's own steps, on a draft of the index. It holds one view of the index as long as
// it thinks, and memory for all steps: for a person who asks.
func (x *Index) Plan(ctx context.Context, p Policy, until time.Time, each func(Step) error) error {
	var steps []Step
	err := x.db.View(ctx, func(r kv.Reader) error {
		steps = nil
		draft := kv.NewDraft(r)
		s := &simulation{t: x.begin(draft), queue: func() kv.Reader { return draft }, until: until}
		s.t.quiet, s.t.policy = true, &p
		return s.run(ctx, func(step Step) { steps = append(steps, step) })
	})
	if err != nil {
		return err
	}
	for _, step := range steps {
		if err := each(step); err != nil {
			return err
		}
	}
	return nil
}

// Freed is what the collector will delete because of a change, and of nothing else.
type Freed struct {
	Blobs     int   `json:"blobs"`
	Manifests int   `json:"manifests"`
	Bytes     int64 `json:"bytes"`
}

// FreedByTags returns what deleting tags of a repository would free. Tags that are not there free nothing.
func (x *Index) FreedByTags(ctx context.Context, p Policy, repo string, tags []string) (Freed, error) {
	return x.freed(ctx, p, repo, func(t *tx) error {
		for _, tag := range tags {
			if err := t.move(repo, tag, "", ""); err != nil {
				return err
			}
		}
		return nil
	})
}

// FreedByRepository returns what removing a repository would free.
func (x *Index) FreedByRepository(ctx context.Context, p Policy, repo string) (Freed, error) {
	return x.freed(ctx, p, repo, func(t *tx) error {
		if err := t.eachBelow(kindTag, repo, func(tag string) error { return t.move(repo, tag, "", "") }); err != nil {
			return err
		}
		err := t.eachBelow(kindManifest, repo, func(d string) error {
			m, err := manifest(t.w, repo, digest.Digest(d))
			if err != nil {
				return err
			}
			return t.removeManifest(repo, m)
		})
		if err != nil {
			return err
		}
		return t.eachBelow(kindLink, repo, func(d string) error {
			l, err := get[linkRecord](t.w, key(kindLink, repo, d))
			if err != nil {
				return unless(err, kv.ErrNotFound) // it went with the one that it lent bytes to
			}
			return t.removeLink(repo, digest.Digest(d), l)
		})
	})
}

// eachBelow calls fn for the last part of each key of a kind in a repository.
func (t *tx) eachBelow(kind byte, repo string, fn func(string) error) error {
	prefix := key(kind, repo, "")
	for p, err := range t.w.Scan(prefix, kv.End(prefix)) {
		if err != nil {
			return err
		}
		if err := fn(lastPart(p.Key)); err != nil {
			return err
		}
	}
	return nil
}

// freed makes a change to a repository on a draft, and takes all steps that it leads to and that are not in the queue without it.
func (x *Index) freed(ctx context.Context, p Policy, repo string, change func(*tx) error) (f Freed, err error) {
	err = x.db.View(ctx, func(r kv.Reader) error {
		f = Freed{}
		draft := kv.NewDraft(r)
		s := &simulation{t: x.begin(draft), queue: draft.Written, until: x.now().Add(1 << 62)}
		s.t.quiet = true
		if err := change(s.t); err != nil {
			return err
		}
		s.t.policy = &p
		if f.Manifests, err = s.removed(r, repo); err != nil {
			return err
		}
		return s.run(ctx, func(step Step) {
			switch step.Class {
			case Condemned:
				f.Blobs++
				f.Bytes += step.Size
			case Untagged, Orphaned:
				f.Manifests++
			}
		})
	})
	return f, err
}

// simulation is the collector at work on a draft, with a clock that goes from one step to the next.
type simulation struct {
	t     *tx
	queue func() kv.Reader // where it looks for what is due
	until time.Time
}

// removed returns how many manifests of a repository the draft has removed from what it is over.
func (s *simulation) removed(base kv.Reader, repo string) (n int, err error) {
	prefix := key(kindManifest, repo, "")
	for p, err := range base.Scan(prefix, kv.End(prefix)) {
		if err != nil {
			return 0, err
		}
		found, err := has(s.t.w, p.Key)
		if err != nil {
			return 0, err
		}
		if !found {
			n++
		}
	}
	return n, nil
}

// run takes all steps until s.until.
func (s *simulation) run(ctx context.Context, each func(Step)) error {
	for {
		if err := ctx.Err(); err != nil {
			return err
		}
		v, due, found, err := s.next()
		if err != nil || !found || due.After(s.until) {
			return err
		}
		if due.After(s.t.at) {
			s.t.at = due
		}
		step := Step{Review: v, Due: s.t.at}
		done, err := s.take(&step)
		if err != nil {
			return err
		}
		if done {
			each(step)
		}
	}
}

// next returns the review that is due first.
func (s *simulation) next() (v Review, due time.Time, found bool, err error) {
	queue := s.queue()
	for _, class := range classes {
		if s.t.policy.kept(class) || class == Gone {
			continue
		}
		list, err := first(queue, class, endOfTime(), 1)
		if err != nil {
			return v, due, false, err
		}
		if len(list) == 0 {
			continue
		}
		if d, _ := s.t.policy.Due(list[0]); !found || d.Before(due) {
			v, due, found = list[0], d, true
		}
	}
	if !found {
		return v, due, false, nil
	}
	v, found, err = queued(s.t.w, v.Class, v.Repository, v.Digest)
	return v, due, found, err
}

// take takes one step, and reports whether something came of it.
func (s *simulation) take(step *Step) (done bool, err error) {
	if step.Class != Deleting {
		o, err := s.t.collect(step.Review, 0)
		if err != nil || o.Verdict != Removed && o.Verdict != Marked {
			return false, err
		}
		if o.Verdict == Removed {
			return true, nil
		}
		step.Size = o.Size
	} else if b, err := get[blobRecord](s.t.w, key(kindBlob, string(step.Digest))); err == nil {
		step.Size = b.Size
	} else if !errors.Is(err, kv.ErrNotFound) {
		return false, err
	}
	if err := s.t.unqueue(Deleting, "", step.Digest); err != nil {
		return false, err
	}
	return true, s.t.w.Delete(key(kindBlob, string(step.Digest)))
}
