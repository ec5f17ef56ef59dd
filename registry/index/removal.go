package index

import (
	"context"
	"errors"
	"slices"

	"github.com/opencontainers/go-digest"

	"gatehouse/registry/index/kv"
)

// Bounds of one transaction of a removal, so that pushes to other repositories need not wait long.
const (
	removeAtOnce = 100  // records
	removeWeight = 1000 // keys that go with manifests; the last manifest may be over it
)

// Removal is what was removed of a repository.
type Removal struct {
	Tags      int
	Manifests int
	Links     int
}

// RemoveRepository takes all tags, manifests and blob links away from a repository, for by. The history of its tags stays, and
// so do the bytes: only the collector removes those.
//
// It takes many transactions; goOn is called before each, with what was removed so far, and an error of its own ends the
// removal. What is there at any moment is whole: first go the tags, then the manifests that no other needs, then the links
// that no manifest needs. A tag that is pushed meanwhile stays, with all that it needs; a push that relies on what is going
// is refused as incomplete. What was interrupted goes on when it is called again.
func (x *Index) RemoveRepository(ctx context.Context, repo, by string, goOn func(Removal) error) (done Removal, err error) {
	r := &removal{index: x, repo: repo, by: by, goOn: goOn}
	err = r.each(ctx, kindTag, r.removeTags)
	if err == nil {
		err = r.each(ctx, kindManifest, r.removeManifests)
	}
	if err == nil {
		err = r.each(ctx, kindLink, r.removeLinks)
	}
	if err == nil {
		err = x.update(ctx, func(t *tx) error {
			if err := t.event(Event{Kind: RepositoryChanged, Repository: repo}); err != nil {
				return err
			}
			return t.removeAllUnread(repo)
		})
	}
	return r.done, err
}

// removal is a RemoveRepository under way.
type removal struct {
	index *Index
	repo  string
	by    string
	goOn  func(Removal) error
	done  Removal
}

// each calls remove with the names of the repository's records of a kind, some at a time. What comes behind those that were
// seen is seen too; what comes before stays: so it ends, whatever is pushed.
func (r *removal) each(ctx context.Context, kind byte, remove func(context.Context, []string) error) error {
	for last := ""; ; {
		names, more, err := r.page(ctx, kind, last)
		if err != nil || len(names) == 0 {
			return err
		}
		if err := remove(ctx, names); err != nil {
			return err
		}
		if !more {
			return nil
		}
		last = names[len(names)-1]
	}
}

func (r *removal) page(ctx context.Context, kind byte, last string) (names []string, more bool, err error) {
	err = r.index.db.View(ctx, func(k kv.Reader) error {
		names, more, err = page(k, key(kind, r.repo, ""), last, removeAtOnce)
		return err
	})
	return names, more, err
}

// update runs a transaction of the removal.
func (r *removal) update(ctx context.Context, fn func(*tx) error) error {
	return r.index.update(ctx, func(t *tx) error {
		t.reason = "repository " + r.repo + " was removed"
		return fn(t)
	})
}

func (r *removal) removeTags(ctx context.Context, tags []string) error {
	if err := r.goOn(r.done); err != nil {
		return err
	}
	n := 0
	err := r.update(ctx, func(t *tx) error {
		n = 0
		for _, tag := range tags {
			found, err := has(t.w, key(kindTag, r.repo, tag))
			if err == nil && found {
				n++
				err = t.move(r.repo, tag, "", r.by)
			}
			if err != nil {
				return err
			}
		}
		return nil
	})
	if err == nil {
		r.done.Tags += n
	}
	return err
}

// removeManifests removes those that are not needed, and with each the children that were needed by it alone: so it does not
// matter which of them is seen first.
func (r *removal) removeManifests(ctx context.Context, digests []string) error {
	for len(digests) > 0 {
		if err := r.goOn(r.done); err != nil {
			return err
		}
		var n int
		var left []string
		err := r.update(ctx, func(t *tx) (err error) {
			n, left, err = t.removeUnneeded(r.repo, digests)
			return err
		})
		if err != nil {
			return err
		}
		r.done.Manifests += n
		digests = left
	}
	return nil
}

// removeUnneeded removes manifests that neither a tag nor another manifest needs. It stops when the transaction is large
// enough; left are those that it did not come to, children among them.
func (t *tx) removeUnneeded(repo string, digests []string) (n int, left []string, err error) {
	left = slices.Clone(digests)
	for weight := 0; len(left) > 0 && weight < removeWeight; {
		d := digest.Digest(left[0])
		left = left[1:]
		weight++
		m, err := get[Manifest](t.w, key(kindManifest, repo, string(d)))
		if errors.Is(err, kv.ErrNotFound) {
			continue
		}
		if err != nil {
			return n, left, err
		}
		m.Digest = d
		needed, err := t.needed(repo, d)
		if err != nil {
			return n, left, err
		}
		if needed {
			continue
		}
		if err := t.removeManifest(repo, m); err != nil {
			return n, left, err
		}
		n++
		weight += len(m.Blobs) + len(m.Manifests)
		for _, child := range m.Manifests {
			left = append(left, string(child))
		}
	}
	return n, left, nil
}

// needed reports whether a tag points to a manifest or another manifest of the repository names it.
func (t *tx) needed(repo string, d digest.Digest) (bool, error) {
	tag, err := anyBelow(t.w, key(kindTagged, repo, string(d), ""))
	if err != nil || tag != nil {
		return tag != nil, err
	}
	err = t.unreferenced(repo, d)
	if errors.As(err, new(*ReferencedError)) {
		return true, nil
	}
	return false, err
}

func (r *removal) removeLinks(ctx context.Context, digests []string) error {
	if err := r.goOn(r.done); err != nil {
		return err
	}
	n := 0
	err := r.update(ctx, func(t *tx) error {
		n = 0
		for _, d := range digests {
			removed, err := t.removeUnneededLink(r.repo, digest.Digest(d))
			if err != nil {
				return err
			}
			if removed {
				n++
			}
		}
		return nil
	})
	if err == nil {
		r.done.Links += n
	}
	return err
}

// removeUnneededLink removes a link that no manifest of the repository needs, if it is there.
func (t *tx) removeUnneededLink(repo string, d digest.Digest) (bool, error) {
	link, err := get[linkRecord](t.w, key(kindLink, repo, string(d)))
	if err != nil {
		return false, unless(err, kv.ErrNotFound)
	}
	err = t.unreferenced(repo, d)
	if errors.As(err, new(*ReferencedError)) {
		return false, nil
	}
	if err == nil {
		err = t.removeLink(repo, d, link)
	}
	return err == nil, err
}
