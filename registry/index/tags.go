package index

import (
	"context"
	"errors"

	"github.com/opencontainers/go-digest"

	"gatehouse/registry/index/kv"
	"gatehouse/registry/planted"
)

// Tags returns at most n tags of the repository that sort after last, in byte order, and whether there are more. It costs
// the page, not the repository. ErrNameUnknown when the repository has no manifest.
func (x *Index) Tags(ctx context.Context, repo, last string, n int) (tags []string, more bool, err error) {
	err = x.db.View(ctx, func(r kv.Reader) error {
		if err := must(r, key(kindRepository, repo), ErrNameUnknown); err != nil {
			return err
		}
		tags, more, err = page(r, key(kindTag, repo, ""), last, n)
		return err
	})
	return tags, more, err
}

// Repositories returns at most n names of repositories that sort after last, in byte order, and whether there are more.
func (x *Index) Repositories(ctx context.Context, last string, n int) (names []string, more bool, err error) {
	err = x.db.View(ctx, func(r kv.Reader) error {
		names, more, err = page(r, key(kindRepository, ""), last, n)
		return err
	})
	return names, more, err
}

// page returns the last parts of at most n keys that begin with prefix and go on with more than last.
func page(r kv.Reader, prefix []byte, last string, n int) (parts []string, more bool, err error) {
	parts = []string{}
	for p, err := range r.Scan(behind(prefix, last), kv.End(prefix)) {
		if err != nil {
			return nil, false, err
		}
		if len(parts) == n {
			return parts, true, nil
		}
		parts = append(parts, lastPart(p.Key))
	}
	return parts, false, nil
}

// behind returns where the keys begin that go on with more than last after prefix; all of them for "".
func behind(prefix []byte, last string) []byte {
	if last == "" {
		return prefix
	}
	return append(append(append([]byte{}, prefix...), last...), 0)
}

// DeleteTag takes a tag away, for by; its manifest stays. ErrManifestUnknown when the repository has no such tag.
func (x *Index) DeleteTag(ctx context.Context, repo, tag, by string) error {
	return x.update(ctx, func(t *tx) error {
		if err := must(t.w, key(kindTag, repo, tag), ErrManifestUnknown); err != nil {
			return nameUnknown(t.w, repo, err)
		}
		if planted.On(planted.DeleteIgnored) {
			return nil
		}
		t.reason = "tag " + tag + " was deleted"
		return t.move(repo, tag, "", by)
	})
}

// History returns every target that a tag of the repository ever had, oldest first; none where it never was.
func (x *Index) History(ctx context.Context, repo, tag string) (moves []Moved, err error) {
	err = x.db.View(ctx, func(r kv.Reader) error {
		moves, err = history(r, repo, tag)
		return err
	})
	return moves, err
}

func history(r kv.Reader, repo, tag string) (moves []Moved, err error) {
	prefix := key(kindHistory, repo, tag, "")
	for p, err := range r.Scan(prefix, kv.End(prefix)) {
		if err != nil {
			return nil, err
		}
		var m Moved
		if err := decode(p.Key, p.Value, &m); err != nil {
			return nil, err
		}
		moves = append(moves, m)
	}
	return moves, nil
}

// move points a tag to a digest, or with "" to nothing, and writes that into its history.
func (t *tx) move(repo, tag string, to digest.Digest, by string) error {
	k := key(kindTag, repo, tag)
	old, err := get[tagRecord](t.w, k)
	if err != nil && !errors.Is(err, kv.ErrNotFound) {
		return err
	}
	if old.Digest == to {
		return nil
	}
	if old.Digest != "" {
		if err := t.w.Delete(key(kindTagged, repo, string(old.Digest), tag)); err != nil {
			return err
		}
	}
	if to == "" {
		err = t.w.Delete(k)
	} else if err = t.put(k, tagRecord{Digest: to, At: t.at, By: by}); err == nil {
		err = t.w.Put(key(kindTagged, repo, string(to), tag), nil)
	}
	if err != nil {
		return err
	}
	if err := t.remember(repo, tag, Moved{To: to, From: old.Digest, At: t.at, By: by}); err != nil {
		return err
	}
	reason := t.reason
	if to != "" {
		t.reason = "tag " + tag + " was moved"
	}
	if err := t.settleManifest(repo, old.Digest); err != nil {
		return err
	}
	t.reason = reason
	if err := t.settleManifest(repo, to); err != nil {
		return err
	}
	return t.event(Event{Kind: TagChanged, Repository: repo, Tag: tag, Digest: to})
}

// remember writes an entry of a tag's history.
func (t *tx) remember(repo, tag string, m Moved) error {
	sequence, err := t.next()
	if err != nil {
		return err
	}
	return t.put(key(kindHistory, repo, tag, sequence), m)
}
