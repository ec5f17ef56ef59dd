package fsck

import (
	"cmp"
	"context"
	"errors"
	"io/fs"

	"github.com/opencontainers/go-digest"
	"golang.org/x/sync/errgroup"

	"gatehouse/registry/adopt"
	"gatehouse/registry/driver"
	"gatehouse/registry/index"
	"gatehouse/registry/tree"
)

// repositories compares all repositories of the tree and of the index.
func (c *check) repositories(ctx context.Context) error {
	seen := make(map[string]bool)
	look := func(repo string) error {
		if seen[repo] {
			return nil
		}
		seen[repo] = true
		defer c.count(func(s *Summary) { s.Repositories++ })
		return c.repository(ctx, repo)
	}
	err := adopt.Walk(ctx, c.Driver, look, func(f index.Finding) { c.finding("", f) })
	if err != nil {
		return err
	}
	for name := ""; ; {
		if name, err = c.Index.Next(ctx, name); err != nil || name == "" {
			return err
		}
		if err := look(name); err != nil {
			return err
		}
	}
}

func (c *check) finding(repo string, f index.Finding) {
	c.report(Defect{Kind: f.Kind, Repository: repo, Path: f.Path, Detail: f.Detail, Note: adopt.Harmless(f.Kind)})
}

// expected is a link that the index says the tree has.
type expected struct {
	path   string
	digest digest.Digest // what the link is of
	holds  digest.Digest
}

// repository compares one repository.
func (c *check) repository(ctx context.Context, repo string) error {
	known, err := c.Index.Contents(ctx, repo)
	if err != nil { // a record that cannot be read; records names it
		c.report(Defect{Kind: KindIndex, Repository: repo, Detail: err.Error()})
		return nil
	}
	links := c.expected(known)
	for _, l := range known.Links {
		c.bytesOf(repo, tree.Layer(repo, l.Digest), cmp.Or(l.At, l.Digest))
	}
	for _, m := range known.Manifests {
		c.bytesOf(repo, tree.Revision(repo, m.Digest), m.Digest)
	}
	if err := c.compareLinks(ctx, repo, links); err != nil {
		return err
	}
	found, _, err := adopt.Read(ctx, c.Driver, repo)
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if err != nil {
		c.report(Defect{Kind: KindUnreachable, Repository: repo, Path: tree.Repository(repo), Detail: err.Error()})
		return nil
	}
	paths := make(map[string]bool, len(links))
	for _, l := range links {
		paths[l.path] = true
	}
	for _, f := range found.Findings {
		if !paths[f.Path] || f.Kind == adopt.KindIncomplete || f.Kind == adopt.KindSparse { // the others were found in comparing
			c.finding(repo, f)
		}
	}
	return c.notIndexed(ctx, found, paths)
}

// expected returns the links that the index says there are.
func (c *check) expected(known index.Import) (links []expected) {
	repo := known.Repository
	for _, l := range known.Links {
		links = append(links, expected{tree.Layer(repo, l.Digest), l.Digest, cmp.Or(l.At, l.Digest)})
	}
	for _, m := range known.Manifests {
		links = append(links, expected{tree.Revision(repo, m.Digest), m.Digest, m.Digest})
	}
	for _, t := range known.Tags {
		links = append(links, expected{tree.TagIndex(repo, t.Name, t.Digest), t.Digest, t.Digest},
			expected{tree.TagCurrent(repo, t.Name), t.Digest, t.Digest})
	}
	c.count(func(s *Summary) {
		s.Links += len(known.Links)
		s.Manifests += len(known.Manifests)
		s.Tags += len(known.Tags)
	})
	return links
}

// bytesOf reports a link to bytes with which something is wrong.
func (c *check) bytesOf(repo, link string, d digest.Digest) {
	if kind, bad := c.bad[d]; bad {
		c.report(Defect{Kind: kind, Repository: repo, Path: link, Digest: d, Detail: "the repository serves it"})
	}
}

// compareLinks looks for links that are missing or not as the index says, to the byte.
func (c *check) compareLinks(ctx context.Context, repo string, links []expected) error {
	looks, ctx := errgroup.WithContext(ctx)
	looks.SetLimit(looksAtOnce)
	for _, l := range links {
		looks.Go(func() error {
			d := Defect{Repository: repo, Path: l.path, Digest: l.digest}
			b, err := c.Driver.ReadFile(ctx, l.path, 1024)
			switch {
			case ctx.Err() != nil:
				return ctx.Err()
			case err == nil && string(b) == string(l.holds):
				return nil
			case errors.Is(err, fs.ErrNotExist):
				d.Kind, d.Detail = KindNoLink, "the index has it"
			case errors.Is(err, driver.ErrTooLarge):
				d.Kind, d.Detail = KindWrongLink, "it is larger than a digest"
			case err != nil:
				d.Kind, d.Detail = KindUnreachable, err.Error()
			case len(b) == 0:
				d.Kind, d.Detail = adopt.KindEmptyLink, "the index says "+string(l.holds)
			default:
				d.Kind, d.Detail = KindWrongLink, "the index says "+string(l.holds)
			}
			if c.Repair && d.Kind != KindUnreachable {
				if err := c.Driver.WriteFile(ctx, l.path, []byte(l.holds)); err != nil {
					d.Detail += "; it could not be repaired: " + err.Error()
				} else {
					d.Repaired = true
				}
			}
			c.report(d)
			return nil
		})
	}
	return looks.Wait()
}

// notIndexed reports what the tree has and the index has not; has are the paths of the links that the index has.
func (c *check) notIndexed(ctx context.Context, found index.Import, has map[string]bool) error {
	repo := found.Repository
	var defects []Defect
	note := func(path string, d digest.Digest) {
		defects = append(defects, Defect{Kind: KindNotIndexed, Repository: repo, Path: path, Digest: d, Detail: "the tree has it, the index has not"})
	}
	for _, l := range found.Links {
		if at := tree.Layer(repo, l.Digest); !has[at] {
			note(at, l.Digest)
		}
	}
	for _, m := range found.Manifests {
		if at := tree.Revision(repo, m.Digest); !has[at] {
			note(at, m.Digest)
		}
	}
	for _, t := range found.Tags {
		if at := tree.TagCurrent(repo, t.Name); !has[at] {
			note(at, t.Digest)
		}
	}
	if len(defects) > 0 && c.Repair {
		if err := c.Index.Add(ctx, found); err != nil {
			return err
		}
		for i := range defects {
			defects[i].Repaired = true
		}
	}
	for _, d := range defects {
		c.report(d)
	}
	return nil
}
