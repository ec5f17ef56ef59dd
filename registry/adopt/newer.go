package adopt

import (
	"context"
	"errors"
	"fmt"
	"path"
	"slices"
	"sync/atomic"
	"time"

	"github.com/opencontainers/go-digest"

	"gatehouse/registry/driver"
	"gatehouse/registry/index"
	"gatehouse/registry/manifest"
	"gatehouse/registry/tree"
)

// errFound ends a walk.
var errFound = errors.New("found")

// Newer looks for a name in the tree that the index does not have: a blob of a repository, a manifest, or a tag that points
// elsewhere. The tree follows the index, so there is one only when distribution has written to the tree since it was adopted, or
// when the index was put back from a backup; until it is adopted again, the index does not know what is needed. It returns the path
// of the first that it finds, "" when there is none. It changes nothing, and may run beside pushes.
func Newer(ctx context.Context, x *index.Index, d driver.Driver) (at string, err error) {
	look := func(repo string) error {
		for again := false; ; again = true {
			suspect, err := suspicious(ctx, x, d, repo)
			if err != nil || suspect == "" {
				return err
			}
			if suspect, err = lacking(ctx, x, d, repo); err != nil || suspect == "" {
				return err
			}
			if again {
				at = suspect
				return errFound
			}
			if err := settled(ctx, x); err != nil {
				return err
			}
		}
	}
	if err := Walk(ctx, d, look, func(index.Finding) {}); err != nil && !errors.Is(err, errFound) {
		return "", fmt.Errorf("look for names in the tree that the index does not know: %w", err)
	}
	return at, nil
}

// names are what the index has of a repository; manifests those too that nobody here can read.
type names struct {
	links, manifests map[digest.Digest]bool
	tags             map[string]index.ImportedTag
	changing         map[index.Event]bool // what the tree has yet to follow, without the sequence
}

func namesOf(ctx context.Context, x *index.Index, repo string) (n names, err error) {
	known, err := x.Contents(ctx, repo)
	if err != nil {
		return n, err
	}
	n = names{make(map[digest.Digest]bool), make(map[digest.Digest]bool), make(map[string]index.ImportedTag), make(map[index.Event]bool)}
	for _, l := range known.Links {
		n.links[l.Digest] = true
	}
	for _, m := range known.Manifests {
		n.manifests[m.Digest] = true
	}
	unread, err := x.Unread(ctx, repo)
	if err != nil {
		return n, err
	}
	for _, d := range unread {
		n.manifests[d] = true
	}
	for _, t := range known.Tags {
		n.tags[t.Name] = t
	}
	// After all others: what is done by now the tree has.
	pending, err := x.Outbox(ctx, "", 1<<20)
	if err != nil {
		return n, err
	}
	for _, e := range pending {
		switch {
		case e.Repository != repo:
		case e.Kind == index.TagChanged:
			n.changing[index.Event{Kind: e.Kind, Tag: e.Tag}] = true
		default:
			n.changing[index.Event{Kind: e.Kind, Digest: e.Digest}] = true
		}
	}
	return n, nil
}

// lacks reports whether the index has neither a link, or manifest, nor is the tree about to follow a change of it.
func (n names) lacks(kind index.EventKind, d digest.Digest) bool {
	has := n.links
	if kind == index.ManifestChanged {
		has = n.manifests
	}
	return !has[d] && !n.changing[index.Event{Kind: kind, Digest: d}] && !n.changing[index.Event{Kind: index.RepositoryChanged}]
}

// differs is lacks for a tag that points to a digest in the tree.
func (n names) differs(tag string, d digest.Digest) bool {
	return n.tags[tag].Digest != d && !n.changing[index.Event{Kind: index.TagChanged, Tag: tag}] && !n.changing[index.Event{Kind: index.RepositoryChanged}]
}

// suspicious is lacking at a glance: by the names of folders and by the tags, without a look at what is odd in them. What it does
// not find, lacking does not find either.
func suspicious(ctx context.Context, x *index.Index, d driver.Driver, repo string) (at string, err error) {
	known, err := namesOf(ctx, x, repo)
	if err != nil {
		return "", err
	}
	manifests := path.Join(tree.Repository(repo), "_manifests")
	for folder, has := range map[string]map[digest.Digest]bool{
		path.Join(tree.Repository(repo), "_layers"): known.links, path.Join(manifests, "revisions"): known.manifests,
	} {
		for _, algorithm := range []digest.Algorithm{digest.SHA256, digest.SHA512} {
			entries, err := list(ctx, d, path.Join(folder, string(algorithm)))
			if err != nil {
				return "", err
			}
			for _, e := range entries {
				dgst, err := manifest.ParseDigest(string(algorithm) + ":" + e.Name)
				if err == nil && !has[dgst] {
					return path.Join(folder, string(algorithm), e.Name), nil
				}
			}
		}
	}
	entries, err := list(ctx, d, path.Join(manifests, "tags"))
	if err != nil {
		return "", err
	}
	var found atomic.Value
	err = each(ctx, entries, func(ctx context.Context, e *driver.Entry) error {
		current := link{path: tree.TagCurrent(repo, e.Name)}
		if err := readLink(ctx, d, &current, func(string, string, string) {}); err != nil {
			return err
		}
		if current.holds == "" || known.tags[e.Name].Digest != current.holds {
			found.Store(current.path)
			return errFound
		}
		return nil
	})
	if errors.Is(err, errFound) {
		return found.Load().(string), nil
	}
	return "", err
}

// lacking returns the path of something that adopting the repository now would enter into the index. It looks at the index before
// and after the tree: what changes between is no news, and neither is what the tree has yet to follow.
func lacking(ctx context.Context, x *index.Index, d driver.Driver, repo string) (at string, err error) {
	before, err := namesOf(ctx, x, repo)
	if err != nil {
		return "", err
	}
	in, _, err := Read(ctx, d, repo)
	if err != nil {
		return "", err
	}
	after, err := namesOf(ctx, x, repo)
	if err != nil {
		return "", err
	}
	for _, l := range in.Links {
		if before.lacks(index.LinkChanged, l.Digest) && after.lacks(index.LinkChanged, l.Digest) {
			return tree.Layer(repo, l.Digest), nil
		}
	}
	unread := make([]index.Manifest, 0, len(in.Unread))
	for _, m := range in.Unread {
		unread = append(unread, index.Manifest{Digest: m.Digest})
	}
	for _, m := range slices.Concat(in.Manifests, unread) {
		if before.lacks(index.ManifestChanged, m.Digest) && after.lacks(index.ManifestChanged, m.Digest) {
			return tree.Revision(repo, m.Digest), nil
		}
	}
	for _, t := range in.Tags {
		same := before.tags[t.Name].Digest == after.tags[t.Name].Digest && before.tags[t.Name].At.Equal(after.tags[t.Name].At)
		if same && before.differs(t.Name, t.Digest) && after.differs(t.Name, t.Digest) {
			return tree.TagCurrent(repo, t.Name), nil
		}
	}
	return "", nil
}

// The tree follows the index within moments. It is waited for so long.
const (
	settleWait = 30 * time.Second
	settlePoll = 10 * time.Millisecond
)

// settled returns when the tree has followed all that the index says now.
func settled(ctx context.Context, x *index.Index) error {
	ctx, cancel := context.WithTimeout(ctx, settleWait)
	defer cancel()
	tick := time.NewTicker(settlePoll)
	defer tick.Stop()
	pending, err := x.Events(ctx, 1<<20)
	if err != nil || len(pending) == 0 {
		return err
	}
	for last := pending[len(pending)-1]; ; {
		oldest, err := x.Events(ctx, 1)
		if err != nil {
			return err
		}
		if len(oldest) == 0 || oldest[0].Sequence > last.Sequence {
			return nil
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return fmt.Errorf("the tree does not follow the index: %w", ctx.Err())
		}
	}
}
