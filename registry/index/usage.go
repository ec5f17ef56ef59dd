package index

import (
	"bytes"
	"context"
	"errors"

	"github.com/opencontainers/go-digest"

	"gatehouse/registry/index/kv"
)

// viewed is how many records one look at the index takes, for answers that are about many.
const viewed = 1000

// Usage is what a repository holds.
type Usage struct {
	Tags      int
	Manifests int
	Untagged  int // manifests that no tag points to, that no index of the repository names, and that have no subject
	Referrers int // manifests that have a subject
	Links     int // blobs that the repository may serve
	Bytes     int64
}

// Usage counts what a repository holds. Bytes is the sum of its distinct blobs and manifests, which other repositories may have
// too. It takes many looks at the index, so what changes meanwhile may or may not be counted; it costs the repository.
func (x *Index) Usage(ctx context.Context, repo string) (u Usage, err error) {
	err = walk(ctx, x, key(kindTag, repo, ""), func(kv.Reader, kv.Pair) (int, error) { return 1, nil }, func(n int) error {
		u.Tags += n
		return nil
	})
	if err != nil {
		return u, err
	}
	manifests := func(r kv.Reader, p kv.Pair) (Usage, error) { return manifestUsage(r, repo, p) }
	err = walk(ctx, x, key(kindManifest, repo, ""), manifests, func(one Usage) error {
		u.Manifests++
		u.Untagged += one.Untagged
		u.Referrers += one.Referrers
		u.Bytes += one.Bytes
		return nil
	})
	if err != nil {
		return u, err
	}
	links := func(r kv.Reader, p kv.Pair) (int64, error) { return linkUsage(r, repo, p) }
	err = walk(ctx, x, key(kindLink, repo, ""), links, func(size int64) error {
		u.Links++
		u.Bytes += size
		return nil
	})
	return u, err
}

// manifestUsage is what one manifest adds to the usage. Its bytes count as a blob's where there is a link to them too.
func manifestUsage(r kv.Reader, repo string, p kv.Pair) (u Usage, err error) {
	var m Manifest
	if err := decode(p.Key, p.Value, &m); err != nil {
		return u, err
	}
	d := lastPart(p.Key)
	linked, err := has(r, key(kindLink, repo, d))
	if err != nil {
		return u, err
	}
	if !linked {
		u.Bytes = m.Size
	}
	if m.Subject != "" {
		u.Referrers = 1
		return u, nil
	}
	tag, err := anyBelow(r, key(kindTagged, repo, d, ""))
	if err != nil || tag != nil {
		return u, err
	}
	parent, err := anyBelow(r, key(kindReference, d, repo, ""))
	if err == nil && parent == nil {
		u.Untagged = 1
	}
	return u, err
}

// linkUsage is how many bytes one link adds: none where the repository has them by another link, under their own digest.
func linkUsage(r kv.Reader, repo string, p kv.Pair) (int64, error) {
	var l linkRecord
	if err := decode(p.Key, p.Value, &l); err != nil || l.Stored == "" {
		return l.Size, err
	}
	own, err := has(r, key(kindLink, repo, string(l.Stored)))
	if own {
		return 0, err
	}
	return l.Size, err
}

// ImageSize returns how many bytes it takes to have a manifest of the repository with all that it names: its own, those of its
// blobs, and for an index those of its children, each digest once. What the repository does not have counts nothing.
func (x *Index) ImageSize(ctx context.Context, repo string, dgst digest.Digest) (size int64, err error) {
	seen := map[digest.Digest]bool{dgst: true}
	first := func(d digest.Digest) bool {
		was := seen[d]
		seen[d] = true
		return !was
	}
	for wanted := []digest.Digest{dgst}; len(wanted) > 0; wanted = wanted[1:] {
		m, blobs, err := x.imageParts(ctx, repo, wanted[0])
		if err != nil {
			return 0, err
		}
		size += m.Size
		for i, d := range m.Blobs {
			if first(d) {
				size += blobs[i]
			}
		}
		for _, d := range m.Manifests {
			if first(d) {
				wanted = append(wanted, d)
			}
		}
	}
	return size, nil
}

// imageParts returns a manifest, an empty one where the repository does not have it, and the sizes of its blobs.
func (x *Index) imageParts(ctx context.Context, repo string, dgst digest.Digest) (m Manifest, blobs []int64, err error) {
	err = x.db.View(ctx, func(r kv.Reader) (err error) {
		if m, err = get[Manifest](r, key(kindManifest, repo, string(dgst))); err != nil {
			return unless(err, kv.ErrNotFound)
		}
		blobs = make([]int64, len(m.Blobs))
		for i, d := range m.Blobs {
			l, err := get[linkRecord](r, key(kindLink, repo, string(d)))
			if err != nil && !errors.Is(err, kv.ErrNotFound) {
				return err
			}
			blobs[i] = l.Size
		}
		return nil
	})
	return m, blobs, err
}

// walk calls each with what read makes of the records whose keys begin with prefix, in their order, until it returns an error.
// A look at the index takes `viewed` of them, and each is called between two looks: so it may take its time, and use the index.
func walk[T any](ctx context.Context, x *Index, prefix []byte, read func(kv.Reader, kv.Pair) (T, error), each func(T) error) error {
	end := kv.End(prefix)
	for from := prefix; from != nil; {
		var page []T
		var next []byte
		err := x.db.View(ctx, func(r kv.Reader) error {
			page, next = nil, nil
			for p, err := range r.Scan(from, end) {
				if err != nil {
					return err
				}
				if len(page) == viewed {
					next = bytes.Clone(p.Key)
					return nil
				}
				item, err := read(r, p)
				if err != nil {
					return err
				}
				page = append(page, item)
			}
			return nil
		})
		if err != nil {
			return err
		}
		for _, item := range page {
			if err := each(item); err != nil {
				return err
			}
		}
		from = next
	}
	return nil
}
