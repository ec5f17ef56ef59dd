package adopt

import (
	"context"
	"errors"
	"io/fs"
	"path"
	"slices"
	"strings"

	"gatehouse/registry/driver"
	"gatehouse/registry/index"
	"gatehouse/registry/tree"
)

const maxName = 255 // of a repository (distribution, reference.NameTotalLengthMax)

// ValidName reports whether a repository can be called so.
func ValidName(name string) bool { return len(name) <= maxName && namePattern.MatchString(name) }

// Walk calls found for each repository of a tree, each behind those that it lies in, and odd for what else there is. It
// ends with the first error.
func Walk(ctx context.Context, d driver.Driver, found func(repo string) error, odd func(index.Finding)) error {
	return walk(ctx, d, "", found, odd)
}

func walk(ctx context.Context, d driver.Driver, name string, found func(string) error, odd func(index.Finding)) error {
	folder := tree.Repository(name)
	entries, err := list(ctx, d, folder)
	if err != nil {
		return err
	}
	repository := slices.ContainsFunc(entries, func(e driver.Entry) bool {
		return e.Dir && (e.Name == "_layers" || e.Name == "_manifests")
	})
	switch {
	case !repository:
	case !ValidName(name):
		odd(index.Finding{Path: folder, Kind: KindUnknownName, Detail: "not a repository's name"})
	default:
		if err := found(name); err != nil {
			return err
		}
	}
	for _, e := range entries {
		switch {
		case strings.HasPrefix(e.Name, "_"):
			if name == "" {
				odd(index.Finding{Path: path.Join(folder, e.Name), Kind: stray(e)})
			}
		case e.Dir && !driver.IsTemp(e.Name):
			if err := walk(ctx, d, path.Join(name, e.Name), found, odd); err != nil {
				return err
			}
		case !repository: // of those in one, Read reports
			odd(index.Finding{Path: path.Join(folder, e.Name), Kind: stray(e)})
		}
	}
	return nil
}

// oddBlobs reports what lies beside the folders of blobs.
func oddBlobs(ctx context.Context, d driver.Driver) (found []index.Finding, err error) {
	entries, err := list(ctx, d, tree.Blobs)
	for _, e := range entries {
		at := path.Join(tree.Blobs, e.Name)
		switch {
		case strings.HasPrefix(e.Name, "tarsum"):
			found = append(found, index.Finding{Path: at, Kind: KindTarsum, Detail: "of docker 1.5 and older"})
		case !e.Dir || e.Name != "sha256" && e.Name != "sha512":
			found = append(found, index.Finding{Path: at, Kind: stray(e)})
		}
	}
	return found, err
}

func isAbsent(err error) bool { return errors.Is(err, fs.ErrNotExist) }
