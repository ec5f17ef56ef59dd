package index

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/opencontainers/go-digest"

	"gatehouse/registry/index/kv"
)

// Import is what a tree of distribution's says of one repository. Its bytes and its links are there already.
type Import struct {
	Repository string
	Links      []ImportedLink
	Manifests  []Manifest   // with PushedAt
	Unread     []StoredBlob // manifests that nobody here can read
	Tags       []ImportedTag
	Findings   []Finding
}

// ImportedLink is a blob that the repository may serve.
type ImportedLink struct {
	Digest digest.Digest
	At     digest.Digest // the digest under which the store has the bytes, where it is another one; else ""
	Size   int64
}

// ImportedTag is a tag with the targets that it had before, oldest first, without the current one.
type ImportedTag struct {
	Name    string
	Digest  digest.Digest
	At      time.Time
	Earlier []Moved
}

// importAtOnce is how many records are imported in a transaction, so that pushes to other repositories need not wait long.
const importAtOnce = 500

// Import enters a repository into the index, as part of the adoption under way, and marks it adopted; one that is marked
// is left alone. Each transaction is bounded, the mark is in the last one: what a crash cuts short is imported again. Links
// come before the manifests that need them, and those before their tags.
//
// In the first adoption what the index has is left as it is: a push knew better. When a tree is adopted again, the index
// follows it: tags move, and names that the tree lacks are removed; the history of tags stays and grows.
func (x *Index) Import(ctx context.Context, in Import) error {
	now, err := x.Adoption(ctx)
	if err != nil {
		return err
	}
	again := now.Generation > 1
	steps, after, err := x.unreadSteps(ctx, in, again)
	if err != nil {
		return err
	}
	steps = append(steps, in.steps(again)...)
	if again {
		removals, err := x.surplus(ctx, in)
		if err != nil {
			return err
		}
		steps = append(steps, removals...)
	}
	steps = append(append(steps, after...), func(t *tx) error { return t.adopted(in) })
	return x.inSteps(ctx, steps, func(t *tx) (skip bool, err error) {
		a, err := adoption(t.w)
		if err != nil {
			return false, err
		}
		if a.State != AdoptionRunning || a.Generation != now.Generation {
			return false, fmt.Errorf("import repository %s: the adoption that it was read for has ended", in.Repository)
		}
		return marked(t.w, in.Repository, a.Generation)
	})
}

// Add enters what the index lacks of a repository, and changes nothing that it has: the repair of an index that lost names.
func (x *Index) Add(ctx context.Context, in Import) error {
	before, after, err := x.unreadSteps(ctx, in, false)
	if err != nil {
		return err
	}
	steps := slices.Concat(before, in.steps(false), after)
	return x.inSteps(ctx, steps, func(*tx) (bool, error) { return false, nil })
}

// inSteps carries out steps, many in a transaction, without events. skip is asked in each transaction whether to go on.
func (x *Index) inSteps(ctx context.Context, steps []func(*tx) error, skip func(*tx) (bool, error)) error {
	for chunk := range slices.Chunk(steps, importAtOnce) {
		err := x.db.Update(ctx, func(w kv.Writer) error {
			t := x.begin(w)
			t.quiet, t.reason = true, "read from the tree"
			if skip, err := skip(t); err != nil || skip {
				return err
			}
			for _, step := range chunk {
				if err := step(t); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// steps returns what enters the repository; move says whether tags that are there follow the tree.
func (in Import) steps(move bool) (steps []func(*tx) error) {
	for _, l := range in.Links {
		steps = append(steps, func(t *tx) error {
			if err := t.store(Ticket{Digest: cmp.Or(l.At, l.Digest)}, l.Size); err != nil {
				return err
			}
			return t.linkAt(in.Repository, l.Digest, linkRecord{Size: l.Size, Stored: l.At})
		})
	}
	for _, m := range in.Manifests {
		steps = append(steps, func(t *tx) error {
			if err := t.addManifest(Ticket{Digest: m.Digest}, in.Repository, m); err != nil {
				return err
			}
			return t.settleAround(in.Repository, m)
		})
	}
	for _, tag := range in.Tags {
		steps = append(steps, func(t *tx) error { return t.importTag(in.Repository, tag, move) })
	}
	return steps
}

// importTag enters a tag, unless its manifest is not there. Its history goes on with what the tree says.
func (t *tx) importTag(repo string, tag ImportedTag, move bool) error {
	k := key(kindTag, repo, tag.Name)
	old, err := get[tagRecord](t.w, k)
	if err != nil && !errors.Is(err, kv.ErrNotFound) {
		return err
	}
	if found := err == nil; found && (!move || old.Digest == tag.Digest) {
		return nil
	}
	if err := must(t.w, key(kindManifest, repo, string(tag.Digest)), ErrManifestUnknown); err != nil {
		return unless(err, ErrManifestUnknown)
	}
	if old.Digest != "" {
		if err := t.w.Delete(key(kindTagged, repo, string(old.Digest), tag.Name)); err != nil {
			return err
		}
		if err := t.settleManifest(repo, old.Digest); err != nil {
			return err
		}
	}
	at := cmp.Or(tag.At, t.at)
	if err := t.put(k, tagRecord{Digest: tag.Digest, At: at}); err != nil {
		return err
	}
	if err := t.w.Put(key(kindTagged, repo, string(tag.Digest), tag.Name), nil); err != nil {
		return err
	}
	if err := t.settleManifest(repo, tag.Digest); err != nil {
		return err
	}
	return t.importHistory(repo, tag, at)
}

// importHistory continues the history of a tag with the targets of the tree: all of them where it has none, else the last.
func (t *tx) importHistory(repo string, tag ImportedTag, at time.Time) error {
	moves, err := history(t.w, repo, tag.Name)
	if err != nil {
		return err
	}
	var add []Moved
	var from digest.Digest
	if len(moves) == 0 {
		add = slices.Clone(tag.Earlier)
	} else {
		last := moves[len(moves)-1]
		from = last.To
		if at.Before(last.At) {
			at = t.at
		}
	}
	for _, m := range append(add, Moved{To: tag.Digest, At: at}) {
		if m.To == from {
			continue
		}
		m.From, from = from, m.To
		if err := t.remember(repo, tag.Name, m); err != nil {
			return err
		}
	}
	return nil
}

// surplus returns the steps that remove what the index has of the repository and the tree has not.
func (x *Index) surplus(ctx context.Context, in Import) (steps []func(*tx) error, err error) {
	repo := in.Repository
	tags, manifests, links := map[string]bool{}, map[string]bool{}, map[string]bool{}
	for _, tag := range in.Tags {
		tags[tag.Name] = true
	}
	for _, m := range in.Manifests {
		manifests[string(m.Digest)] = true
	}
	for _, l := range in.Links {
		links[string(l.Digest)] = true
	}
	err = x.db.View(ctx, func(r kv.Reader) error {
		steps = nil
		return errors.Join(
			below(r, key(kindTag, repo, ""), tags, func(tag string) {
				steps = append(steps, func(t *tx) error { return t.move(repo, tag, "", "") })
			}),
			below(r, key(kindManifest, repo, ""), manifests, func(d string) {
				steps = append(steps, func(t *tx) error {
					m, err := manifest(t.w, repo, digest.Digest(d))
					if err != nil {
						return err
					}
					return t.removeManifest(repo, m)
				})
			}),
			below(r, key(kindLink, repo, ""), links, func(d string) {
				steps = append(steps, func(t *tx) error {
					l, err := get[linkRecord](t.w, key(kindLink, repo, d))
					if err != nil {
						return unless(err, kv.ErrNotFound)
					}
					return t.removeLink(repo, digest.Digest(d), l)
				})
			}))
	})
	return steps, err
}

// below calls fn for the last part of each key with the prefix that is not in except.
func below(r kv.Reader, prefix []byte, except map[string]bool, fn func(string)) error {
	for p, err := range r.Scan(prefix, kv.End(prefix)) {
		if err != nil {
			return err
		}
		if part := lastPart(p.Key); !except[part] {
			fn(part)
		}
	}
	return nil
}

// unless makes nothing of an error that is what.
func unless(err, what error) error {
	if errors.Is(err, what) {
		return nil
	}
	return err
}

// Knows reports whether the index has anything of a repository.
func (x *Index) Knows(ctx context.Context, repo string) (known bool, err error) {
	err = x.db.View(ctx, func(r kv.Reader) error {
		for _, kind := range []byte{kindLink, kindManifest, kindTag} {
			found, err := anyBelow(r, key(kind, repo, ""))
			if known = found != nil; known || err != nil {
				return err
			}
		}
		return nil
	})
	return known, err
}

// Next returns the first repository behind after, in byte order, that the index knows anything of; "" behind the last. Unlike
// Repositories it also finds those without a manifest.
func (x *Index) Next(ctx context.Context, after string) (name string, err error) {
	err = x.db.View(ctx, func(r kv.Reader) error {
		name = ""
		for _, kind := range []byte{kindLink, kindManifest, kindTag, kindRepository} {
			from := key(kind, "")
			if after != "" {
				from = append(key(kind, after), 1) // behind all that lies below after
			}
			for p, err := range r.Scan(from, kv.End(key(kind, ""))) {
				if err != nil {
					return err
				}
				found, _, _ := strings.Cut(string(p.Key[2:]), "\x00")
				if name == "" || found < name {
					name = found
				}
				break
			}
		}
		return nil
	})
	return name, err
}
