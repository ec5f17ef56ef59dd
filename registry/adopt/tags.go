package adopt

import (
	"context"
	"path"
	"regexp"
	"slices"
	"strings"

	"github.com/opencontainers/go-digest"

	"gatehouse/registry/driver"
	"gatehouse/registry/index"
	"gatehouse/registry/tree"
)

// What the API's URLs can name (specification, "Pulling manifests").
var (
	tagPattern  = regexp.MustCompile(`^[a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}$`)
	namePattern = regexp.MustCompile(`^[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*(/[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*)*$`)
)

// readTags reads the tags of the repository, and what they pointed to before. A tag whose target is not served is a finding.
func (r *reader) readTags(ctx context.Context) error {
	folder := path.Join(r.folder, "_manifests/tags")
	entries, err := list(ctx, r.driver, folder)
	if err != nil {
		return err
	}
	served := map[digest.Digest]bool{}
	for _, m := range r.in.Manifests {
		served[m.Digest] = true
	}
	err = each(ctx, entries, func(ctx context.Context, e *driver.Entry) error {
		switch {
		case !e.Dir:
			r.report(path.Join(folder, e.Name), stray(*e), "distribution lists it as a tag")
			return nil
		case !tagPattern.MatchString(e.Name):
			r.report(path.Join(folder, e.Name), KindUnknownName, "not a tag's name")
			return nil
		}
		return r.readTag(ctx, e.Name, served)
	})
	slices.SortFunc(r.in.Tags, func(a, b index.ImportedTag) int { return strings.Compare(a.Name, b.Name) })
	return err
}

func (r *reader) readTag(ctx context.Context, name string, served map[digest.Digest]bool) error {
	repo := r.in.Repository
	current := link{path: tree.TagCurrent(repo, name)}
	if err := readLink(ctx, r.driver, &current, r.report); err != nil {
		return err
	}
	earlier, err := r.readTagIndex(ctx, name)
	if err != nil {
		return err
	}
	if current.holds == "" && !current.absent && len(earlier) == 1 {
		current.holds = earlier[0].To // it never pointed to anything else
	}
	switch {
	case current.holds == "" && current.absent && len(earlier) == 0: // what deleting a tag can leave behind
		r.report(tree.Tag(repo, name), KindNoTarget, "an empty folder, which distribution lists as a tag")
		return nil
	case current.holds == "":
		r.report(tree.Tag(repo, name), KindNoTarget, "")
		return nil
	case !served[current.holds]:
		r.report(tree.Tag(repo, name), KindNoTarget, "the repository does not serve "+string(current.holds))
		return nil
	}
	at, err := r.modified(ctx, current.path)
	if err != nil {
		return err
	}
	earlier = slices.DeleteFunc(earlier, func(m index.Moved) bool { return m.To == current.holds })
	r.mu.Lock()
	defer r.mu.Unlock()
	r.in.Tags = append(r.in.Tags, index.ImportedTag{Name: name, Digest: current.holds, At: at, Earlier: earlier})
	return nil
}

// readTagIndex returns the targets that a tag has or had, oldest first by when their links were written.
func (r *reader) readTagIndex(ctx context.Context, name string) (moves []index.Moved, err error) {
	entries, err := links(ctx, r.driver, path.Join(tree.Tag(r.in.Repository, name), "index"), r.report)
	if err != nil {
		return nil, err
	}
	for _, l := range entries {
		info, err := r.driver.Stat(ctx, l.path)
		if isAbsent(err) {
			continue
		}
		if err != nil {
			return nil, err
		}
		moves = append(moves, index.Moved{To: l.digest, At: info.ModTime.UTC()})
	}
	slices.SortStableFunc(moves, func(a, b index.Moved) int { return a.At.Compare(b.At) })
	return moves, nil
}
