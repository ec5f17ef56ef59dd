package gc_test

import (
	"encoding/json"
	"errors"
	"io/fs"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/opencontainers/go-digest"

	"gatehouse/registry/driver"
	"gatehouse/registry/fsck"
	"gatehouse/registry/manifest"
)

// check looks at everything, with no help from the index or the collector: what clients were told to be there is served whole
// and right; what the tags on the disk lead to, by the documents alone, is on the disk and right; no bytes went without a line in
// the log. Then the index and fsck say what they think. It returns the blobs that nothing on the disk needs.
//
// Errors are the test's, so that whoever calls it after each step sees the first.
func (b *bench) check() (garbage []digest.Digest) {
	b.Helper()
	for name, d := range b.acked {
		repo, tag, _ := strings.Cut(name, ":")
		b.served(repo, tag, d)
	}
	for name, d := range b.loose {
		repo, _, _ := strings.Cut(name, "@")
		b.served(repo, string(d), d)
	}
	stored := b.stored()
	needed := b.needed()
	for d, by := range needed {
		if _, err := manifest.ParseDigest(string(d)); err == nil && !stored[d] {
			b.Errorf("%s needs %s, which is not on the disk", by, d)
		}
	}
	for d := range stored {
		if _, found := needed[d]; !found {
			garbage = append(garbage, d)
		}
	}
	b.logged(stored)
	b.linked(stored)
	ok(b, b.index.Verify(b.Context(), func(record, problem string) { b.Errorf("index: %s: %s", record, problem) }))
	b.fsck()
	if b.Failed() {
		b.FailNow()
	}
	slices.Sort(garbage)
	return garbage
}

// logged checks that bytes that are gone since the last look have their lines in the log; those of which the process ended in the
// moment between get theirs when their deletion is resumed.
func (b *bench) logged(stored map[digest.Digest]bool) {
	b.Helper()
	marked, err := b.index.Marked(b.Context())
	ok(b, err)
	later := map[digest.Digest]bool{}
	for _, o := range marked {
		later[o.Digest] = b.seen[o.Digest]
	}
	lines := b.log.lines()
	for d, was := range b.seen {
		if was && !stored[d] && !later[d] && lines[d] == 0 {
			b.Errorf("%s is gone, and no line in the log says so", d)
		}
	}
	b.seen = maps.Clone(stored)
	for d, was := range later {
		b.seen[d] = b.seen[d] || was
	}
}

// linked checks that no link of the tree leads to bytes that are not there, however far the tree lags behind the index: that is
// what distribution would find after a crash.
func (b *bench) linked(stored map[digest.Digest]bool) {
	b.Helper()
	err := filepath.WalkDir(b.file("repositories"), func(file string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() || e.Name() != "link" || strings.Contains(file, "/index/") {
			return err
		}
		content, err := os.ReadFile(file)
		if d, bad := manifest.ParseDigest(strings.TrimSpace(string(content))); bad == nil && !stored[d] {
			b.Errorf("%s leads to %s, which is not on the disk", file, d)
		}
		return err
	})
	if !errors.Is(err, fs.ErrNotExist) {
		ok(b, err)
	}
}

// fsck has fsck look. What is odd in a tree by intention, and a tree that lags behind, are no defects here.
func (b *bench) fsck() {
	b.Helper()
	b.runFsck(fsck.Options{Defect: func(d fsck.Defect) {
		switch {
		case d.Note:
		case d.Kind == fsck.KindIndex, d.Kind == fsck.KindNoBytes, d.Kind == fsck.KindWrongSize, d.Kind == fsck.KindUnreachable:
			b.Errorf("fsck: %+v", d)
		case !b.lags() && (d.Kind == fsck.KindNoLink || d.Kind == fsck.KindWrongLink || d.Kind == fsck.KindNotIndexed):
			b.Errorf("fsck: %+v", d)
		}
	}})
}

// repair has fsck write what is missing or wrong in the tree.
func (b *bench) repair() {
	b.Helper()
	b.runFsck(fsck.Options{Repair: true, Defect: func(fsck.Defect) {}})
}

func (b *bench) runFsck(o fsck.Options) {
	b.Helper()
	o.Index, o.Driver, o.Log, o.Progress = b.index, b.driver, slog.New(slog.DiscardHandler), func(fsck.Summary) {}
	if _, err := fsck.Check(b.Context(), o); !errors.Is(err, fsck.ErrNotAdopted) {
		ok(b, err)
	}
}

// lags reports whether the tree has not followed the index yet.
func (b *bench) lags() bool {
	events, err := b.index.Outbox(b.Context(), "", 1)
	ok(b, err)
	return len(events) > 0
}

// document is what a manifest names.
type document struct {
	Config    *named
	Layers    []named
	Manifests []named
}

type named struct {
	Digest digest.Digest
	URLs   []string
}

// blobs returns the config and the layers that have to be here.
func (d document) blobs() (blobs []digest.Digest) {
	if d.Config != nil {
		blobs = append(blobs, d.Config.Digest)
	}
	for _, l := range d.Layers {
		if len(l.URLs) == 0 {
			blobs = append(blobs, l.Digest)
		}
	}
	return blobs
}

// served pulls all that a reference leads to over the API, referrers too, and compares each digest. It asks with GET only: HEAD
// would have the registry promise things.
func (b *bench) served(repo, reference string, want digest.Digest) {
	b.Helper()
	a := b.ask("GET", "/v2/"+repo+"/manifests/"+reference, "")
	if a.StatusCode != 200 || want.Algorithm().FromBytes(a.body) != want {
		b.Errorf("%s:%s has to be %s: %s, %d bytes", repo, reference, want, a.Status, len(a.body))
		return
	}
	var doc document
	ok(b, json.Unmarshal(a.body, &doc))
	for _, d := range doc.blobs() {
		if a := b.ask("GET", "/v2/"+repo+"/blobs/"+string(d), ""); a.StatusCode != 200 || d.Algorithm().FromBytes(a.body) != d {
			b.Errorf("%s:%s needs the blob %s: %s, %d bytes", repo, reference, d, a.Status, len(a.body))
		}
	}
	for _, child := range doc.Manifests {
		if b.sparse(repo, child.Digest) {
			continue
		}
		b.served(repo, string(child.Digest), child.Digest)
	}
	var referrers struct{ Manifests []named }
	a = b.ask("GET", "/v2/"+repo+"/referrers/"+string(want), "")
	ok(b, json.Unmarshal(a.body, &referrers))
	for _, r := range referrers.Manifests {
		b.served(repo, string(r.Digest), r.Digest)
	}
}

// sparse reports whether a child of an index was not in the repository's tree when it was adopted: such names hold a "-sparse".
func (b *bench) sparse(repo string, d digest.Digest) bool {
	return strings.HasSuffix(repo, "-sparse") && b.ask("GET", "/v2/"+repo+"/manifests/"+string(d), "").StatusCode == 404
}

func (b *bench) file(name ...string) string {
	return filepath.Join(append([]string{b.root, "docker/registry/v2"}, name...)...)
}

// stored returns the blobs on the disk, each of which must be what its name says.
func (b *bench) stored() map[digest.Digest]bool {
	b.Helper()
	found := map[digest.Digest]bool{}
	files, err := filepath.Glob(b.file("blobs/*/*/*/*"))
	ok(b, err)
	for _, file := range files {
		hex := filepath.Base(filepath.Dir(file))
		algorithm := filepath.Base(filepath.Dir(filepath.Dir(filepath.Dir(file))))
		d := digest.Digest(algorithm + ":" + hex)
		content, err := os.ReadFile(file)
		ok(b, err)
		if filepath.Base(file) != "data" {
			if !driver.IsTemp(filepath.Base(file)) {
				b.Errorf("%s does not belong there", file)
			}
			continue
		}
		if d.Algorithm().FromBytes(content) != d {
			b.Errorf("%s holds other bytes", d)
		}
		found[d] = true
	}
	return found
}

// needed returns the blobs that are needed by what the tree on the disk says, each with a tag or manifest that needs it: what
// tags lead to, and what the manifests do that clients were told to keep without a tag. A link is followed, as distribution does.
func (b *bench) needed() map[digest.Digest]string {
	b.Helper()
	n := &needs{bench: b, by: map[digest.Digest]string{}, seen: map[string]bool{}}
	for name, d := range b.loose {
		repo, _, _ := strings.Cut(name, "@")
		n.manifest(repo, d, name)
	}
	if b.lags() {
		for name, d := range b.acked {
			repo, _, _ := strings.Cut(name, ":")
			n.manifest(repo, d, name)
		}
		return n.by
	}
	ok(b, filepath.WalkDir(b.file("repositories"), func(file string, e fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) || err == nil && (e.IsDir() || !strings.HasSuffix(file, "/current/link")) {
			return nil
		}
		if err != nil {
			return err
		}
		rest, _ := filepath.Rel(b.file("repositories"), file)
		repo, tag, _ := strings.Cut(strings.TrimSuffix(rest, "/current/link"), "/_manifests/tags/")
		link, err := os.ReadFile(file)
		if d, err := digest.Parse(strings.TrimSpace(string(link))); err == nil {
			n.manifest(repo, d, repo+":"+tag)
		}
		return err
	}))
	return n.by
}

// needs collects what is needed.
type needs struct {
	*bench
	by   map[digest.Digest]string
	seen map[string]bool // "repository@digest"
}

func (n *needs) manifest(repo string, d digest.Digest, by string) {
	if n.seen[repo+"@"+string(d)] {
		return
	}
	n.seen[repo+"@"+string(d)] = true
	content, err := os.ReadFile(n.data(d))
	if errors.Is(err, fs.ErrNotExist) && strings.HasSuffix(repo, "-sparse") {
		return
	}
	n.by[d] = by
	var doc document
	if err != nil || json.Unmarshal(content, &doc) != nil {
		return // that it is missing is said by who asked
	}
	for _, blob := range doc.blobs() {
		link, err := os.ReadFile(n.file("repositories", repo, "_layers", string(blob.Algorithm()), blob.Encoded(), "link"))
		if at, e := digest.Parse(strings.TrimSpace(string(link))); err == nil && e == nil {
			blob = at
		}
		n.by[blob] = by
	}
	for _, child := range doc.Manifests {
		n.manifest(repo, child.Digest, by)
	}
	n.referrers(repo, d, by)
}

// referrers looks through all revisions of the repository for those that refer to a digest.
func (n *needs) referrers(repo string, to digest.Digest, by string) {
	files, err := filepath.Glob(n.file("repositories", repo, "_manifests/revisions/*/*/link"))
	ok(n, err)
	for _, file := range files {
		hex := filepath.Dir(file)
		d := digest.NewDigestFromEncoded(digest.Algorithm(filepath.Base(filepath.Dir(hex))), filepath.Base(hex))
		content, err := os.ReadFile(n.data(d))
		var doc struct{ Subject *named }
		if err == nil && json.Unmarshal(content, &doc) == nil && doc.Subject != nil && doc.Subject.Digest == to {
			n.manifest(repo, d, by)
		}
	}
}

// data is where the bytes of a digest are.
func (b *bench) data(d digest.Digest) string {
	return b.file("blobs", string(d.Algorithm()), d.Encoded()[:2], d.Encoded(), "data")
}
