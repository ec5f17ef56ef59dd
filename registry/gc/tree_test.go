package gc_test

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"

	"gatehouse/registry/tree"
)

// planter writes a tree as distribution's registry does, with nothing of ours but the names of files.
type planter struct {
	testing.TB
	root string
}

func plant(t testing.TB) planter { return planter{t, folder(t)} }

// old is when the tree was written: longer ago than any grace time.
var old = time.Now().Add(-1000 * time.Hour)

func (p planter) file(name, content string) {
	p.Helper()
	file := filepath.Join(p.root, name)
	ok(p, os.MkdirAll(filepath.Dir(file), 0o777))
	ok(p, os.WriteFile(file, []byte(content), 0o666))
	ok(p, os.Chtimes(file, old, old))
}

func (p planter) drop(name string) {
	p.Helper()
	ok(p, os.RemoveAll(filepath.Join(p.root, name)))
}

// blob plants a blob that the repository may serve.
func (p planter) blob(repo, content string) digest.Digest {
	p.Helper()
	d := digest.FromString(content)
	p.file(tree.Blob(d), content)
	p.file(tree.Layer(repo, d), string(d))
	return d
}

// manifest plants a manifest.
func (p planter) manifest(repo, document string, tags ...string) digest.Digest {
	p.Helper()
	d := digest.FromString(document)
	p.file(tree.Blob(d), document)
	p.file(tree.Revision(repo, d), string(d))
	for _, tag := range tags {
		p.file(tree.TagIndex(repo, tag, d), string(d))
		p.file(tree.TagCurrent(repo, tag), string(d))
	}
	return d
}

// image plants an image of a config and layers, given by what they hold.
func (p planter) image(repo, tag string, contents ...string) digest.Digest {
	p.Helper()
	for _, content := range contents {
		p.blob(repo, content)
	}
	if tag == "" {
		return p.manifest(repo, imageOf(contents...))
	}
	return p.manifest(repo, imageOf(contents...), tag)
}

// adopted returns a bench over the tree that has read all of it.
func (p planter) adopted() *bench {
	p.Helper()
	b := newBenchAt(p.TB, p.root, nil)
	b.adopt()
	b.check()
	return b
}
