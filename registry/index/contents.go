package index

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/opencontainers/go-digest"

	"gatehouse/registry/index/kv"
)

// Contents returns all that the index has of a repository, in the form in which a tree is imported; tags without what they
// pointed to before. It is read in one look, which holds up the reuse of space: for verbs that have the index to themselves.
func (x *Index) Contents(ctx context.Context, repo string) (in Import, err error) {
	err = x.db.View(ctx, func(r kv.Reader) error {
		in = Import{Repository: repo}
		return errors.Join(
			records(r, key(kindLink, repo, ""), func(d string, l linkRecord) {
				in.Links = append(in.Links, ImportedLink{Digest: digest.Digest(d), At: l.Stored, Size: l.Size})
			}),
			records(r, key(kindManifest, repo, ""), func(d string, m Manifest) {
				m.Digest = digest.Digest(d)
				in.Manifests = append(in.Manifests, m)
			}),
			records(r, key(kindTag, repo, ""), func(tag string, t tagRecord) {
				in.Tags = append(in.Tags, ImportedTag{Name: tag, Digest: t.Digest, At: t.At})
			}))
	})
	return in, err
}

// EachManifest calls each with every manifest of a repository. It takes many looks at the index, so what changes meanwhile may or
// may not be among them.
func (x *Index) EachManifest(ctx context.Context, repo string, each func(Manifest) error) error {
	read := func(_ kv.Reader, p kv.Pair) (m Manifest, err error) {
		err = decode(p.Key, p.Value, &m)
		m.Digest = digest.Digest(lastPart(p.Key))
		return m, err
	}
	return walk(ctx, x, key(kindManifest, repo, ""), read, each)
}

// StoredBlob is what the index says of bytes.
type StoredBlob struct {
	Digest digest.Digest `json:"digest"`
	Size   int64         `json:"size"`
}

// Blobs returns at most n of the blobs that the store has, those that sort after last. What is being deleted is not one.
func (x *Index) Blobs(ctx context.Context, last digest.Digest, n int) (blobs []StoredBlob, err error) {
	err = x.db.View(ctx, func(r kv.Reader) error {
		blobs = nil
		prefix := key(kindBlob, "")
		for p, err := range r.Scan(behind(prefix, string(last)), kv.End(prefix)) {
			if err != nil || len(blobs) == n {
				return err
			}
			var b blobRecord
			if err := decode(p.Key, p.Value, &b); err != nil {
				return err
			}
			if b.State == StateLive || b.State == StateCondemned {
				blobs = append(blobs, StoredBlob{digest.Digest(lastPart(p.Key)), b.Size})
			}
		}
		return nil
	})
	return blobs, err
}

// Held reports whether a repository needs bytes.
func (x *Index) Held(ctx context.Context, dgst digest.Digest) (held bool, err error) {
	err = x.db.View(ctx, func(r kv.Reader) error {
		holder, err := anyBelow(r, key(kindHolder, string(dgst), ""))
		held = holder != nil
		return err
	})
	return held, err
}

// Stored reports whether the index knows of bytes that the store has, or is deleting.
func (x *Index) Stored(ctx context.Context, dgst digest.Digest) (stored bool, err error) {
	err = x.db.View(ctx, func(r kv.Reader) error {
		b, err := get[blobRecord](r, key(kindBlob, string(dgst)))
		stored = err == nil && b.State != StateGone
		return unless(err, kv.ErrNotFound)
	})
	return stored, err
}

// records calls fn for each record of a kind below prefix, with the last part of its key.
func records[T any](r kv.Reader, prefix []byte, fn func(last string, record T)) error {
	for p, err := range r.Scan(prefix, kv.End(prefix)) {
		if err != nil {
			return err
		}
		var record T
		if err := decode(p.Key, p.Value, &record); err != nil {
			return err
		}
		fn(lastPart(p.Key), record)
	}
	return nil
}

// Verify looks at each record of the index, and at those that it belongs to, and calls broken for what does not agree. It
// changes nothing. It holds one view of the index as long as it runs: for verbs that have the index to themselves.
func (x *Index) Verify(ctx context.Context, broken func(record, problem string)) error {
	return x.db.View(ctx, func(r kv.Reader) error {
		v := &verifier{r: r, broken: broken}
		for p, err := range r.Scan(nil, nil) {
			if err == nil {
				err = ctx.Err()
			}
			if err != nil {
				return err
			}
			v.record = p
			if err := v.verify(); err != nil {
				return err
			}
		}
		return nil
	})
}

// verifier looks at one record after the other.
type verifier struct {
	r      kv.Reader
	record kv.Pair
	broken func(record, problem string)
}

func (v *verifier) complain(format string, args ...any) {
	v.broken(string(bytes.ReplaceAll(v.record.Key, []byte{0}, []byte{' '})), fmt.Sprintf(format, args...))
}

// need complains when there is no record of a kind; what says what is missing then.
func (v *verifier) need(what string, kind byte, parts ...string) error {
	found, err := has(v.r, key(kind, parts...))
	if err == nil && !found {
		v.complain("%s", what)
	}
	return err
}

// value decodes the record under the eye; false when it cannot be.
func value[T any](v *verifier) (record T, ok bool) {
	if err := decode(v.record.Key, v.record.Value, &record); err != nil {
		v.complain("it cannot be read: %v", err)
		return record, false
	}
	return record, true
}

// parts is how many parts the key of each kind has.
var parts = map[byte]int{
	kindBlob: 1, kindLink: 2, kindManifest: 2, kindTag: 2, kindHistory: 3, kindTagged: 3, kindReference: 3, kindReferrer: 3,
	kindRepository: 1, kindAdopted: 1, kindFinding: 1, kindEvent: 1, kindMeta: 1,
	kindUnread: 2, kindHolder: 3, kindPromise: 2, kindReview: 3, kindPlace: 4,
}

func (v *verifier) verify() error {
	split := bytes.Split(v.record.Key[1:], []byte{0})
	kind := v.record.Key[0]
	if n, known := parts[kind]; !known || len(split) != n+1 || len(split[0]) != 0 {
		v.complain("it is no record of this version")
		return nil
	}
	k := make([]string, 0, 4)
	for _, part := range split[1:] {
		k = append(k, string(part))
	}
	switch kind {
	case kindBlob:
		return v.blob(k[0])
	case kindLink:
		return v.link(k[0], k[1])
	case kindManifest:
		return v.manifest(k[0], digest.Digest(k[1]))
	case kindTag:
		return v.tag(k[0], k[1])
	case kindTagged:
		t, err := get[tagRecord](v.r, key(kindTag, k[0], k[2]))
		if err == nil && t.Digest != digest.Digest(k[1]) || errors.Is(err, kv.ErrNotFound) {
			v.complain("the tag does not point there")
		}
	case kindReference:
		return v.backward(k[1], k[2], func(m Manifest) bool {
			return slices.Contains(slices.Concat(m.Blobs, m.Foreign, m.Manifests), digest.Digest(k[0]))
		})
	case kindReferrer:
		return v.backward(k[0], k[2], func(m Manifest) bool { return m.Subject == digest.Digest(k[1]) })
	case kindRepository:
		if first, err := anyBelow(v.r, key(kindManifest, k[0], "")); err != nil || first == nil {
			v.complain("the repository has no manifest")
			return err
		}
	case kindUnread:
		return v.need("it does not hold its bytes", kindHolder, k[1], k[0], asUnread)
	case kindHolder:
		return v.holder(k[0], k[1], k[2])
	case kindPromise:
		return v.promised(k[0], k[1])
	case kindReview:
		return v.review(Class(k[0]), k[1], k[2])
	case kindPlace:
		return v.place()
	case kindHistory:
		value[Moved](v)
	case kindEvent:
		value[Event](v)
	}
	return nil
}

func (v *verifier) link(repo, dgst string) error {
	l, ok := value[linkRecord](v)
	if !ok {
		return nil
	}
	b, err := get[blobRecord](v.r, key(kindBlob, cmp.Or(string(l.Stored), dgst)))
	switch {
	case errors.Is(err, kv.ErrNotFound):
		v.complain("the index has no record of the blob")
	case err == nil && b.Size != l.Size:
		v.complain("the link says %d bytes, the blob's record %d", l.Size, b.Size)
	}
	return v.linkUse(repo, dgst, l) // a blob's record that cannot be read is complained of as itself
}

func (v *verifier) manifest(repo string, dgst digest.Digest) error {
	m, ok := value[Manifest](v)
	if !ok {
		return nil
	}
	m.Digest = dgst
	for _, k := range m.backward(repo) {
		found, err := has(v.r, k)
		if err != nil {
			return err
		}
		if !found {
			v.complain("what it names does not lead back to it: %q is missing", k)
		}
	}
	b, err := get[blobRecord](v.r, key(kindBlob, string(dgst)))
	switch {
	case errors.Is(err, kv.ErrNotFound):
		v.complain("the index has no record of its bytes")
	case err == nil && b.Size != m.Size:
		v.complain("it says %d bytes, the blob's record %d", m.Size, b.Size)
	}
	if err := v.need("the index has no record of the repository", kindRepository, repo); err != nil {
		return err
	}
	return v.manifestUse(repo, m)
}

func (v *verifier) tag(repo, tag string) error {
	t, ok := value[tagRecord](v)
	if !ok {
		return nil
	}
	if err := v.need("it points to a manifest that the repository does not have: "+string(t.Digest), kindManifest, repo, string(t.Digest)); err != nil {
		return err
	}
	if err := v.need("its manifest does not lead back to it", kindTagged, repo, string(t.Digest), tag); err != nil {
		return err
	}
	moves, err := history(v.r, repo, tag)
	if err != nil {
		v.complain("its history cannot be read: %v", err)
		return nil
	}
	if len(moves) == 0 || moves[len(moves)-1].To != t.Digest {
		v.complain("its history does not end with its target")
	}
	return nil
}

// backward complains when a record does not lead to a manifest that names what the record is of.
func (v *verifier) backward(repo, dgst string, names func(Manifest) bool) error {
	m, err := get[Manifest](v.r, key(kindManifest, repo, dgst))
	switch {
	case errors.Is(err, kv.ErrNotFound):
		v.complain("it leads to a manifest that the repository does not have")
	case err == nil && !names(m):
		v.complain("it leads to a manifest that does not name it")
	}
	return nil // a manifest's record that cannot be read is complained of as itself
}
