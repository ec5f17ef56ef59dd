package gc

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"

	"github.com/opencontainers/go-digest"

	"gatehouse/registry/driver"
	"gatehouse/registry/index"
	"gatehouse/registry/manifest"
	"gatehouse/registry/tree"
)

// spare takes out of strays those that a link of the tree leads to, and returns the others. The tree follows the index, so such
// a link says that the index has lost the name, or never had it: it was put back from a backup, or distribution wrote to the
// tree meanwhile. Their bytes are never deleted. It goes through all links, so it is for when there are strays at all.
func (r *run) spare(ctx context.Context, strays []index.StoredBlob) ([]index.StoredBlob, error) {
	if len(strays) == 0 {
		return nil, nil
	}
	unlinked := make(map[digest.Digest]bool, len(strays))
	for _, s := range strays {
		unlinked[s.Digest] = true
	}
	if err := r.followLinks(ctx, tree.Repositories, unlinked); err != nil {
		return nil, fmt.Errorf("look for links to bytes that the index does not know: %w", err)
	}
	left := slices.DeleteFunc(slices.Clone(strays), func(s index.StoredBlob) bool { return !unlinked[s.Digest] })
	if r.Spared = len(strays) - len(left); r.Spared > 0 {
		r.knows = false // the next cycle looks what else the index lacks
		r.Log.WarnContext(ctx, "the tree leads to bytes that the index does not know; they are spared: stop the server, and gatehouse adopt --again takes over what the tree says",
			"cycle", r.Number, "blobs", r.Spared)
	}
	return left, nil
}

// followLinks goes through the repositories below a folder and marks what their links lead to as linked.
func (r *run) followLinks(ctx context.Context, folder string, unlinked map[digest.Digest]bool) error {
	for e, err := range r.Driver.List(ctx, folder) {
		switch {
		case errors.Is(err, fs.ErrNotExist):
			return nil
		case err != nil:
			return err
		case !e.Dir:
		case e.Name == "_layers":
			err = r.linksBelow(ctx, path.Join(folder, e.Name), unlinked)
		case e.Name == "_manifests":
			err = r.linksBelow(ctx, path.Join(folder, e.Name, "revisions"), unlinked)
		case !strings.HasPrefix(e.Name, "_"):
			err = r.followLinks(ctx, path.Join(folder, e.Name), unlinked)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// linksBelow marks what the links in a folder lead to.
func (r *run) linksBelow(ctx context.Context, folder string, unlinked map[digest.Digest]bool) error {
	for _, algorithm := range []digest.Algorithm{digest.SHA256, digest.SHA512} {
		at := path.Join(folder, string(algorithm))
		for e, err := range r.Driver.List(ctx, at) {
			if errors.Is(err, fs.ErrNotExist) {
				break
			}
			if err != nil {
				return err
			}
			d, err := manifest.ParseDigest(string(algorithm) + ":" + e.Name)
			if err != nil {
				continue
			}
			if err := r.followLink(ctx, path.Join(at, e.Name, "link"), d, unlinked); err != nil {
				return err
			}
		}
	}
	return nil
}

// followLink marks the digest that a link is named after, whatever it holds, and for another one than sha256 what it holds:
// distribution keeps the bytes under that. A folder without a link is what distribution leaves when it deletes one.
func (r *run) followLink(ctx context.Context, link string, d digest.Digest, unlinked map[digest.Digest]bool) error {
	if d.Algorithm() == digest.SHA256 {
		if !unlinked[d] {
			return nil
		}
		_, err := r.Driver.Stat(ctx, link)
		if err == nil {
			unlinked[d] = false
		}
		return absent(err)
	}
	b, err := r.Driver.ReadFile(ctx, link, 1024)
	if err != nil && !errors.Is(err, driver.ErrTooLarge) {
		return absent(err)
	}
	for _, d := range []digest.Digest{d, digest.Digest(strings.TrimSpace(string(b)))} {
		if unlinked[d] {
			unlinked[d] = false
		}
	}
	return nil
}

// absent makes nothing of an error that says that a file is not there.
func absent(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}
