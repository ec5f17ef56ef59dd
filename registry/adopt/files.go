package adopt

import (
	"context"
	"errors"
	"io/fs"
	"path"
	"strings"

	"github.com/opencontainers/go-digest"

	"gatehouse/registry/driver"
	"gatehouse/registry/manifest"
)

// maxLink is more than any link has: "sha512:" and 128 digits, and white space.
const maxLink = 1024

// list returns what is in a folder; nothing where it is not there.
func list(ctx context.Context, d driver.Driver, folder string) ([]driver.Entry, error) {
	var entries []driver.Entry
	for e, err := range d.List(ctx, folder) {
		if errors.Is(err, fs.ErrNotExist) {
			return nil, nil
		}
		if err != nil {
			return nil, err
		}
		entries = append(entries, e)
	}
	return entries, nil
}

// link is a link file: where it is, the digest of its path, and what it holds.
type link struct {
	path   string
	digest digest.Digest // of the path; "" for a tag's current target
	holds  digest.Digest // "" when it holds no digest
	absent bool
}

// readLink reads a link file into l. What is wrong with it goes to report; only storage that fails is an error.
func readLink(ctx context.Context, d driver.Driver, l *link, report func(path, kind, detail string)) error {
	b, err := d.ReadFile(ctx, l.path, maxLink)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		l.absent = true // a deleted link leaves its folder behind
		return nil
	case errors.Is(err, driver.ErrTooLarge):
		report(l.path, KindBadLink, "it is larger than a digest")
		return nil
	case err != nil:
		if info, e := d.Stat(ctx, l.path); e == nil && info.Dir {
			l.absent = true
			report(l.path, KindBadLink, "it is a folder")
			return nil
		}
		return err
	}
	text := strings.TrimSpace(string(b))
	if len(text) == 0 {
		report(l.path, KindEmptyLink, "")
		return nil
	}
	held, err := manifest.ParseDigest(text)
	if err != nil {
		report(l.path, KindBadLink, "it holds no digest")
		return nil
	}
	if len(text) != len(b) {
		report(l.path, KindWhitespace, "")
	}
	l.holds = held
	return nil
}

// links returns the links below a folder of <algorithm>/<hex>/link, unread.
func links(ctx context.Context, d driver.Driver, folder string, report func(path, kind, detail string)) ([]link, error) {
	algorithms, err := list(ctx, d, folder)
	if err != nil {
		return nil, err
	}
	var found []link
	for _, a := range algorithms {
		below := path.Join(folder, a.Name)
		if a.Name != "sha256" && a.Name != "sha512" || !a.Dir {
			report(below, stray(a), "")
			continue
		}
		entries, err := list(ctx, d, below)
		if err != nil {
			return nil, err
		}
		for _, e := range entries {
			dgst, err := manifest.ParseDigest(a.Name + ":" + e.Name)
			if err != nil || !e.Dir {
				report(path.Join(below, e.Name), stray(e), "")
				continue
			}
			found = append(found, link{path: path.Join(below, e.Name, "link"), digest: dgst})
		}
	}
	return found, nil
}

// stray is the kind of what does not belong where it is.
func stray(e driver.Entry) string {
	if !e.Dir && strings.HasSuffix(e.Name, ".tmp") {
		return KindTemporary
	}
	return KindForeign
}
