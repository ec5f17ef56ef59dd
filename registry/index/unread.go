package index

import (
	"context"
	"errors"

	"github.com/opencontainers/go-digest"

	"gatehouse/registry/index/kv"
)

// A tree can hold manifests that nobody here can read: of docker 1.9 and older, or of a type that is not known. They are not
// served. What they need is not known, and who goes back to distribution has it again: so their bytes stay, and as long as there
// is one, its repository lets go of nothing by itself. What somebody deletes is deleted.

// asUnread is what holds the bytes of such a manifest.
const asUnread = "unread"

// going is the record of one that the tree has no more, until all that its repository has is settled without it.
const going = "going"

// hasUnread reports whether the repository has a manifest that nobody here can read.
func hasUnread(r kv.Reader, repo string) (bool, error) {
	prefix := key(kindUnread, repo, "")
	for p, err := range r.Scan(prefix, kv.End(prefix)) {
		if err != nil || string(p.Value) != going {
			return err == nil, err
		}
	}
	return false, nil
}

// Unread returns the manifests of a repository that nobody here can read.
func (x *Index) Unread(ctx context.Context, repo string) (list []digest.Digest, err error) {
	err = x.db.View(ctx, func(r kv.Reader) error {
		list = nil
		prefix := key(kindUnread, repo, "")
		for p, err := range r.Scan(prefix, kv.End(prefix)) {
			if err != nil {
				return err
			}
			if string(p.Value) != going {
				list = append(list, digest.Digest(lastPart(p.Key)))
			}
		}
		return nil
	})
	return list, err
}

func (t *tx) addUnread(repo string, m StoredBlob) error {
	if err := t.store(Ticket{Digest: m.Digest}, m.Size); err != nil {
		return err
	}
	if err := t.hold(m.Digest, repo, asUnread); err != nil {
		return err
	}
	return t.w.Put(key(kindUnread, repo, string(m.Digest)), nil)
}

func (t *tx) removeUnread(repo string, dgst digest.Digest) error {
	if err := t.w.Delete(key(kindUnread, repo, string(dgst))); err != nil {
		return err
	}
	return t.release(dgst, repo, asUnread, Former{Reason: "a manifest of " + repo + " that could not be read was removed"})
}

// removeAllUnread is for the end of a removal, when the repository has only what was pushed meanwhile: that is settled anew.
func (t *tx) removeAllUnread(repo string) error {
	found, err := anyBelow(t.w, key(kindUnread, repo, ""))
	if err != nil || found == nil {
		return err
	}
	return errors.Join(
		t.eachBelow(kindUnread, repo, func(d string) error { return t.removeUnread(repo, digest.Digest(d)) }),
		t.eachBelow(kindLink, repo, func(d string) error { return t.settleLink(repo, digest.Digest(d)) }),
		t.eachBelow(kindManifest, repo, func(d string) error { return t.settleManifest(repo, digest.Digest(d)) }))
}

// unreadSteps returns the steps that bring what is known of a repository's unread manifests up to what a tree says: those that come
// before what the tree has else, and those behind. drop says that what the tree lacks is removed. A crash between leaves all as it
// was, or what the next import takes up: the records that say so go at last.
func (x *Index) unreadSteps(ctx context.Context, in Import, drop bool) (before, after []func(*tx) error, err error) {
	repo, kept := in.Repository, map[string]bool{}
	for _, m := range in.Unread {
		kept[string(m.Digest)] = true
		before = append(before, func(t *tx) error { return t.addUnread(repo, m) })
	}
	var dropped []string
	err = x.db.View(ctx, func(r kv.Reader) error {
		after, dropped = nil, nil
		if drop {
			if err := below(r, key(kindUnread, repo, ""), kept, func(d string) { dropped = append(dropped, d) }); err != nil {
				return err
			}
		}
		if len(before)+len(dropped) == 0 {
			return nil
		}
		return errors.Join(
			below(r, key(kindLink, repo, ""), nil, func(d string) {
				after = append(after, func(t *tx) error { return t.settleLink(repo, digest.Digest(d)) })
			}),
			below(r, key(kindManifest, repo, ""), nil, func(d string) {
				after = append(after, func(t *tx) error { return t.settleManifest(repo, digest.Digest(d)) })
			}))
	})
	for _, d := range dropped {
		before = append(before, func(t *tx) error { return t.w.Put(key(kindUnread, repo, d), []byte(going)) })
		after = append(after, func(t *tx) error { return t.removeUnread(repo, digest.Digest(d)) })
	}
	return before, after, err
}
