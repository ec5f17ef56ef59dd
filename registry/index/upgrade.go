package index

import (
	"context"

	"github.com/opencontainers/go-digest"

	"gatehouse/registry/index/kv"
)

// formatBefore is the format that is brought up to date when the index is opened: it has no holders and no reviews.
const formatBefore = "1"

// upgrade enters what holds bytes, then what nothing needs, and the new format at last: what a crash cuts short starts over.
// It holds up the start by some seconds for a million records.
func (x *Index) upgrade(ctx context.Context) error {
	type item struct{ repo, digest string }
	read := func(_ kv.Reader, p kv.Pair) (item, error) {
		return item{firstPart(p.Key), lastPart(p.Key)}, nil
	}
	step := func(prefix []byte, do func(*tx, item) error) error {
		var batch []func(*tx) error
		flush := func() error {
			err := x.inSteps(ctx, batch, func(*tx) (bool, error) { return false, nil })
			batch = nil
			return err
		}
		err := walk(ctx, x, prefix, read, func(i item) error {
			batch = append(batch, func(t *tx) error { return do(t, i) })
			if len(batch) < importAtOnce {
				return nil
			}
			return flush()
		})
		if err != nil {
			return err
		}
		return flush()
	}
	for _, s := range []struct {
		kind byte
		do   func(*tx, item) error
	}{
		{kindLink, func(t *tx, i item) error {
			l, err := get[linkRecord](t.w, key(kindLink, i.repo, i.digest))
			if err != nil {
				return err
			}
			bytes := digest.Digest(i.digest)
			if l.Stored != "" {
				bytes = l.Stored
			}
			return t.hold(bytes, i.repo, i.digest)
		}},
		{kindManifest, func(t *tx, i item) error { return t.hold(digest.Digest(i.digest), i.repo, asManifest) }},
		{kindLink, func(t *tx, i item) error { return t.settleLink(i.repo, digest.Digest(i.digest)) }},
		{kindManifest, func(t *tx, i item) error { return t.settleManifest(i.repo, digest.Digest(i.digest)) }},
		{kindBlob, func(t *tx, i item) error {
			holder, err := anyBelow(t.w, key(kindHolder, i.digest, ""))
			if err != nil || holder != nil {
				return err
			}
			return t.condemn(digest.Digest(i.digest), Former{Reason: "no repository holds it"})
		}},
	} {
		if err := step(key(s.kind, ""), s.do); err != nil {
			return err
		}
	}
	return x.db.Update(ctx, func(w kv.Writer) error { return w.Put(formatKey, []byte(format)) })
}
