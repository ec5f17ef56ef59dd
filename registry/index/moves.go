package index

import (
	"context"
	"errors"
	"strings"
	"time"

	"gatehouse/registry/index/kv"
)

// TagState is a tag with its target and how it came to point there.
type TagState struct {
	Name     string
	Manifest Manifest
	At       time.Time // since when it points there
	By       string
}

// TagStates returns at most n tags of the repository that sort after last, in byte order, and whether there are more. Unlike
// Tags it takes a repository that is not there for one without tags.
func (x *Index) TagStates(ctx context.Context, repo, last string, n int) (tags []TagState, more bool, err error) {
	err = x.db.View(ctx, func(r kv.Reader) error {
		tags = nil
		var names []string
		names, more, err = page(r, key(kindTag, repo, ""), last, n)
		for _, name := range names {
			t, err := tagState(r, repo, name)
			if err != nil {
				return err
			}
			tags = append(tags, t)
		}
		return err
	})
	return tags, more, err
}

// TagState returns one tag. Errors are Manifest's.
func (x *Index) TagState(ctx context.Context, repo, tag string) (state TagState, err error) {
	err = x.db.View(ctx, func(r kv.Reader) error {
		state, err = tagState(r, repo, tag)
		return err
	})
	return state, err
}

func tagState(r kv.Reader, repo, tag string) (TagState, error) {
	t, err := get[tagRecord](r, key(kindTag, repo, tag))
	if err != nil {
		return TagState{}, nameUnknown(r, repo, unknown(err, ErrManifestUnknown))
	}
	m, err := manifest(r, repo, t.Digest)
	return TagState{Name: tag, Manifest: m, At: t.At, By: t.By}, err
}

// TagMoved is an entry of the history of one of a repository's tags.
type TagMoved struct {
	Tag string
	Moved
}

// Moves calls each with every entry of the histories of a repository's tags, those that are gone too, in the order of the
// tags' names, oldest first; with a tag other than "" with those of that tag. It costs the histories, and goes on only while
// each returns nil.
func (x *Index) Moves(ctx context.Context, repo, tag string, each func(TagMoved) error) error {
	prefix := key(kindHistory, repo, "")
	if tag != "" {
		prefix = key(kindHistory, repo, tag, "")
	}
	read := func(_ kv.Reader, p kv.Pair) (TagMoved, error) {
		rest, _, _ := strings.Cut(string(p.Key[len(key(kindHistory, repo, "")):]), "\x00")
		m := TagMoved{Tag: rest}
		return m, decode(p.Key, p.Value, &m.Moved)
	}
	return walk(ctx, x, prefix, read, each)
}

// Holds reports whether the index has any blob link, and any manifest, of a repository.
func (x *Index) Holds(ctx context.Context, repo string) (links, manifests bool, err error) {
	err = x.db.View(ctx, func(r kv.Reader) error {
		link, linkErr := anyBelow(r, key(kindLink, repo, ""))
		m, err := anyBelow(r, key(kindManifest, repo, ""))
		links, manifests = link != nil, m != nil
		return errors.Join(linkErr, err)
	})
	return links, manifests, err
}
