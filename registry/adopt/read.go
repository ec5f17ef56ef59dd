package adopt

import (
	"cmp"
	"context"
	_ "crypto/sha256" // go-digest computes only what is linked in
	_ "crypto/sha512"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/opencontainers/go-digest"
	"golang.org/x/sync/errgroup"

	"gatehouse/registry/driver"
	"gatehouse/registry/index"
	"gatehouse/registry/manifest"
	"gatehouse/registry/tree"
)

// readsAtOnce is how many files of a repository are read at the same time: each waits for a disk or for a network.
const readsAtOnce = 16

// Read returns all that a tree says of a repository, and whether it is there. What is odd is in the result's findings, in the
// order of their paths. An error means that the storage failed: nothing is known then.
func Read(ctx context.Context, d driver.Driver, repo string) (in index.Import, present bool, err error) {
	r := &reader{driver: d, folder: tree.Repository(repo), in: index.Import{Repository: repo}}
	entries, err := list(ctx, d, r.folder)
	if err != nil {
		return r.in, false, fmt.Errorf("read repository %s from the tree: %w", repo, err)
	}
	for _, e := range entries {
		switch {
		case e.Dir && (e.Name == "_layers" || e.Name == "_manifests"):
			present = true
		case e.Name == "_uploads", e.Dir && !strings.HasPrefix(e.Name, "_"): // what is left of uploads; another repository
		default:
			r.report(path.Join(r.folder, e.Name), stray(e), "")
		}
	}
	if !present {
		return r.in, false, nil
	}
	for _, step := range []func(context.Context) error{r.readLayers, r.readManifests, r.readTags} {
		if err := step(ctx); err != nil {
			return r.in, true, fmt.Errorf("read repository %s from the tree: %w", repo, err)
		}
	}
	r.complete()
	slices.SortStableFunc(r.in.Findings, func(a, b index.Finding) int { return strings.Compare(a.Path, b.Path) })
	return r.in, true, nil
}

// reader reads one repository.
type reader struct {
	driver driver.Driver
	folder string

	mu sync.Mutex
	in index.Import // guarded by mu
}

// report adds a finding.
func (r *reader) report(path, kind, detail string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.in.Findings = append(r.in.Findings, index.Finding{Path: path, Kind: kind, Detail: detail})
}

// each calls fn for all items, many at once, until one fails.
func each[T any](ctx context.Context, items []T, fn func(context.Context, *T) error) error {
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(readsAtOnce)
	for i := range items {
		if ctx.Err() != nil {
			break
		}
		g.Go(func() error { return fn(ctx, &items[i]) })
	}
	return g.Wait()
}

// readLayers reads which blobs the repository may serve. A link that cannot be read counts as its path says: distribution
// writes it behind the bytes, under their digest.
func (r *reader) readLayers(ctx context.Context) error {
	found, err := links(ctx, r.driver, path.Join(r.folder, "_layers"), r.report)
	if err != nil {
		return err
	}
	err = each(ctx, found, func(ctx context.Context, l *link) error {
		if err := readLink(ctx, r.driver, l, r.report); err != nil || l.absent {
			return err
		}
		imported := index.ImportedLink{Digest: l.digest}
		switch {
		case l.holds == "" || l.holds == l.digest:
		case l.holds.Algorithm() != l.digest.Algorithm():
			imported.At = l.holds // stored under sha256, named by sha512
		default:
			r.report(l.path, KindBadLink, "it holds "+string(l.holds))
		}
		at := cmp.Or(imported.At, l.digest)
		info, err := r.driver.Stat(ctx, tree.Blob(at))
		switch {
		case errors.Is(err, fs.ErrNotExist) || err == nil && info.Dir:
			r.report(l.path, KindMissing, "the store has no bytes of "+string(at))
			return nil
		case err != nil:
			return err
		}
		imported.Size = info.Size
		r.mu.Lock()
		defer r.mu.Unlock()
		r.in.Links = append(r.in.Links, imported)
		return nil
	})
	slices.SortFunc(r.in.Links, func(a, b index.ImportedLink) int { return strings.Compare(string(a.Digest), string(b.Digest)) })
	return err
}

// readManifests reads the manifests of the repository. One that cannot be served is a finding.
func (r *reader) readManifests(ctx context.Context) error {
	entries, err := list(ctx, r.driver, path.Join(r.folder, "_manifests"))
	if err != nil {
		return err
	}
	for _, e := range entries {
		if !e.Dir || e.Name != "revisions" && e.Name != "tags" {
			r.report(path.Join(r.folder, "_manifests", e.Name), stray(e), "")
		}
	}
	found, err := links(ctx, r.driver, path.Join(r.folder, "_manifests/revisions"), r.report)
	if err != nil {
		return err
	}
	err = each(ctx, found, func(ctx context.Context, l *link) error {
		if err := readLink(ctx, r.driver, l, r.report); err != nil || l.absent {
			return err
		}
		if l.holds != "" && l.holds != l.digest {
			r.report(l.path, KindBadLink, "it holds "+string(l.holds))
		}
		return r.readManifest(ctx, l)
	})
	slices.SortFunc(r.in.Manifests, func(a, b index.Manifest) int { return strings.Compare(string(a.Digest), string(b.Digest)) })
	return err
}

// readManifest reads the bytes of a manifest and takes what can be served.
func (r *reader) readManifest(ctx context.Context, l *link) error {
	body, err := r.driver.ReadFile(ctx, tree.Blob(l.digest), manifest.MaxSize)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		r.report(l.path, KindMissing, "the store has no bytes of "+string(l.digest))
		return nil
	case errors.Is(err, driver.ErrTooLarge):
		r.report(l.path, KindUnreadable, fmt.Sprintf("it has more than %d bytes", manifest.MaxSize))
		return r.unread(ctx, l.digest)
	case err != nil:
		return err
	case l.digest.Algorithm().FromBytes(body) != l.digest:
		r.report(l.path, KindDamaged, "the bytes are those of "+string(l.digest.Algorithm().FromBytes(body)))
		return nil
	}
	m, err := parse(l.digest, body)
	if errors.Is(err, errSchema1) {
		r.report(l.path, KindSchema1, err.Error())
		return errors.Join(r.unread(ctx, l.digest), r.readSignatures(ctx, path.Dir(l.path)))
	}
	if err != nil {
		r.report(l.path, KindUnreadable, err.Error())
		return r.unread(ctx, l.digest)
	}
	if m.PushedAt, err = r.modified(ctx, l.path); err != nil {
		return err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.in.Manifests = append(r.in.Manifests, m)
	return nil
}

// unread notes that there is a manifest of which nobody knows what it needs.
func (r *reader) unread(ctx context.Context, d digest.Digest) error {
	info, err := r.driver.Stat(ctx, tree.Blob(d))
	if err != nil {
		return fmt.Errorf("look how large manifest %s is: %w", d, err)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.in.Unread = append(r.in.Unread, index.StoredBlob{Digest: d, Size: info.Size})
	return nil
}

// readSignatures reports what else is in the folder of a schema1 manifest.
func (r *reader) readSignatures(ctx context.Context, folder string) error {
	entries, err := list(ctx, r.driver, folder)
	for _, e := range entries {
		if e.Name == "signatures" {
			r.report(path.Join(folder, e.Name), KindSignatures, "")
		}
	}
	return err
}

// modified returns when a file was last written: the nearest to when its link was made.
func (r *reader) modified(ctx context.Context, file string) (time.Time, error) {
	info, err := r.driver.Stat(ctx, file)
	if errors.Is(err, fs.ErrNotExist) {
		return time.Time{}, nil
	}
	return info.ModTime.UTC(), err
}

// complete reports what manifests name and the repository lacks.
func (r *reader) complete() {
	links, manifests := map[digest.Digest]bool{}, map[digest.Digest]bool{}
	for _, l := range r.in.Links {
		links[l.Digest] = true
	}
	for _, m := range r.in.Manifests {
		manifests[m.Digest] = true
	}
	for _, m := range r.in.Manifests {
		at := tree.Revision(r.in.Repository, m.Digest)
		if lacks := without(m.Blobs, links); len(lacks) > 0 {
			r.report(at, KindIncomplete, "the repository lacks the blobs "+strings.Join(lacks, ", "))
		}
		if lacks := without(m.Manifests, manifests); len(lacks) > 0 {
			r.report(at, KindSparse, "the repository lacks the manifests "+strings.Join(lacks, ", "))
		}
	}
}

// without returns the digests that are not in a set.
func without(digests []digest.Digest, set map[digest.Digest]bool) (lacks []string) {
	for _, d := range digests {
		if !set[d] {
			lacks = append(lacks, string(d))
		}
	}
	return lacks
}
