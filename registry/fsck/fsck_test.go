package fsck

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"

	"gatehouse/registry/adopt"
	"gatehouse/registry/driver"
	"gatehouse/registry/driver/drivertest"
	"gatehouse/registry/driver/inmemory"
	"gatehouse/registry/index"
	"gatehouse/registry/index/indextest"
	"gatehouse/registry/index/kv/bolt"
	"gatehouse/registry/tree"
)

func ok(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// bench is a registry's storage that agrees with itself: an image in "a", tagged v1.
type bench struct {
	t        testing.TB
	driver   driver.Driver
	index    *index.Index
	layer    digest.Digest
	manifest digest.Digest
}

func newBench(t testing.TB) *bench {
	t.Helper()
	db, err := bolt.Open(filepath.Join(t.TempDir(), "index.db"))
	ok(t, err)
	t.Cleanup(func() { db.Close() })
	x, err := index.Open(t.Context(), db, time.Now)
	ok(t, err)
	b := &bench{t: t, driver: inmemory.New(), index: x}
	ok(t, adopt.New(x, b.driver, time.Now, slog.New(slog.DiscardHandler)).Start(t.Context()))
	b.layer = b.blob("a", "layer")
	b.manifest = b.image("a", b.layer, "v1")
	b.project()
	return b
}

func (b *bench) file(name, content string) {
	b.t.Helper()
	ok(b.t, b.driver.WriteFile(b.t.Context(), name, []byte(content)))
}

func (b *bench) remove(name string) {
	b.t.Helper()
	ok(b.t, b.driver.Delete(b.t.Context(), name))
}

func (b *bench) blob(repo, content string) digest.Digest {
	d := digest.FromString(content)
	b.file(tree.Blob(d), content)
	ok(b.t, indextest.LinkBlob(b.t.Context(), b.index, repo, d, int64(len(content))))
	return d
}

func (b *bench) image(repo string, layer digest.Digest, tags ...string) digest.Digest {
	document := fmt.Sprintf(`{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json","config":{"digest":%q},"layers":[]}`, layer)
	d := digest.FromString(document)
	b.file(tree.Blob(d), document)
	ok(b.t, indextest.PutManifest(b.t.Context(), b.index, repo, index.Manifest{Digest: d, Size: int64(len(document)), Blobs: []digest.Digest{layer}}, tags...))
	return d
}

func (b *bench) project() {
	b.t.Helper()
	ok(b.t, tree.NewProjector(b.index, b.driver, slog.New(slog.DiscardHandler)).Drain(b.t.Context()))
}

// check returns a line for each defect, sorted: what became of it, its kind, its path.
func (b *bench) check(o Options) (lines []string, sum Summary) {
	b.t.Helper()
	o.Index, o.Log, o.Progress = b.index, slog.New(slog.DiscardHandler), func(Summary) {}
	if o.Driver == nil {
		o.Driver = b.driver
	}
	o.Defect = func(d Defect) {
		word := map[bool]string{true: "note ", false: ""}[d.Note] + map[bool]string{true: "repaired ", false: ""}[d.Repaired]
		lines = append(lines, word+d.Kind+": "+d.Path)
	}
	sum, err := Check(b.t.Context(), o)
	ok(b.t, err)
	slices.Sort(lines)
	return lines, sum
}

func TestClean(t *testing.T) {
	b := newBench(t)
	lines, sum := b.check(Options{Digests: true})
	if len(lines) != 0 {
		t.Errorf("%v", lines)
	}
	if want := (Summary{Blobs: 2, Bytes: sum.Bytes, Repositories: 1, Manifests: 1, Tags: 1, Links: 1}); sum != want || sum.Bytes < 100 {
		t.Errorf("summary %+v, want %+v", sum, want)
	}
}

func TestNotAdopted(t *testing.T) {
	b := newBench(t)
	ok(t, b.index.StartAdoption(t.Context()))
	if _, err := Check(t.Context(), Options{Index: b.index, Driver: b.driver}); !errors.Is(err, ErrNotAdopted) {
		t.Errorf("error %v", err)
	}
}

func TestDefects(t *testing.T) {
	for name, c := range map[string]struct {
		damage func(*bench)
		want   func(*bench) []string // found
		left   func(*bench) []string // after a repair
	}{
		"no bytes": {
			func(b *bench) { b.remove(tree.Blob(b.layer)) },
			func(b *bench) []string {
				return []string{"no bytes: " + tree.Blob(b.layer), "no bytes: " + tree.Layer("a", b.layer), "incomplete: " + tree.Revision("a", b.manifest)}
			},
			func(b *bench) []string {
				return []string{"no bytes: " + tree.Blob(b.layer), "no bytes: " + tree.Layer("a", b.layer), "incomplete: " + tree.Revision("a", b.manifest)}
			},
		},
		"no bytes, and none needed": { // registry 3.1.2 collected them; then the tree was adopted again
			func(b *bench) {
				d := digest.FromString("let go of")
				ok(b.t, indextest.LinkBlob(b.t.Context(), b.index, "a", d, 9))
				ok(b.t, b.index.UnlinkBlob(b.t.Context(), "a", d))
				events, err := b.index.Events(b.t.Context(), 10)
				ok(b.t, err)
				ok(b.t, b.index.Done(b.t.Context(), events))
			},
			func(*bench) []string { return nil },
			func(*bench) []string { return nil },
		},
		"wrong size": {
			func(b *bench) { b.file(tree.Blob(b.layer), "longer layer") },
			func(b *bench) []string {
				return []string{"wrong size: " + tree.Blob(b.layer), "wrong size: " + tree.Layer("a", b.layer)}
			},
			func(b *bench) []string {
				return []string{"wrong size: " + tree.Blob(b.layer), "wrong size: " + tree.Layer("a", b.layer)}
			},
		},
		"wrong digest": {
			func(b *bench) { b.file(tree.Blob(b.layer), "LAYER") },
			func(b *bench) []string {
				return []string{"wrong digest: " + tree.Blob(b.layer), "wrong digest: " + tree.Layer("a", b.layer)}
			},
			func(b *bench) []string {
				return []string{"wrong digest: " + tree.Blob(b.layer), "wrong digest: " + tree.Layer("a", b.layer)}
			},
		},
		"links missing": {
			func(b *bench) { b.remove(tree.Repository("a")) },
			func(b *bench) []string {
				return []string{"no link: " + tree.Layer("a", b.layer), "no link: " + tree.Revision("a", b.manifest),
					"no link: " + tree.TagCurrent("a", "v1"), "no link: " + tree.TagIndex("a", "v1", b.manifest)}
			}, nil,
		},
		"links wrong": {
			func(b *bench) {
				b.file(tree.Layer("a", b.layer), "")
				b.file(tree.Revision("a", b.manifest), string(b.manifest)+"\n")
				b.file(tree.TagCurrent("a", "v1"), string(b.layer))
			},
			func(b *bench) []string {
				return []string{"empty link: " + tree.Layer("a", b.layer), "wrong link: " + tree.Revision("a", b.manifest),
					"wrong link: " + tree.TagCurrent("a", "v1"), "no target: " + tree.Tag("a", "v1")}
			}, nil,
		},
		"not indexed": {
			func(b *bench) {
				for repo, d := range map[string]digest.Digest{"a": b.manifest, "new": b.manifest} {
					b.file(tree.Revision(repo, d), string(d))
					b.file(tree.Layer(repo, b.layer), string(b.layer))
					b.file(tree.TagIndex(repo, "v2", d), string(d))
					b.file(tree.TagCurrent(repo, "v2"), string(d))
				}
			},
			func(b *bench) []string {
				return []string{"not indexed: " + tree.TagCurrent("a", "v2"), "not indexed: " + tree.Layer("new", b.layer),
					"not indexed: " + tree.Revision("new", b.manifest), "not indexed: " + tree.TagCurrent("new", "v2")}
			}, nil,
		},
		"not projected": {
			func(b *bench) { b.blob("a", "another") },
			func(b *bench) []string {
				return []string{"not projected: ", "no link: " + tree.Layer("a", digest.FromString("another"))}
			},
			nil,
		},
		"orphans": {
			func(b *bench) {
				b.file(tree.Blob(digest.FromString("orphan")), "orphan")
				b.file(tree.Blobs+"/sha256/ff/00/data", "x")
				b.file(tree.Blobs+"/tarsum/x", "x")
			},
			func(b *bench) []string {
				return []string{"note orphan: " + tree.Blob(digest.FromString("orphan")), "note orphan: " + tree.Blobs + "/sha256/ff/00", "note orphan: " + tree.Blobs + "/tarsum"}
			},
			func(b *bench) []string {
				return []string{"note orphan: " + tree.Blob(digest.FromString("orphan")), "note orphan: " + tree.Blobs + "/sha256/ff/00", "note orphan: " + tree.Blobs + "/tarsum"}
			},
		},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t)
			c.damage(b)
			want := c.want(b)
			slices.Sort(want)
			lines, sum := b.check(Options{Digests: true})
			if !slices.Equal(lines, want) {
				t.Errorf("found\n%s\nwant\n%s", strings.Join(lines, "\n"), strings.Join(want, "\n"))
			}
			if notes := strings.Count(strings.Join(lines, "\n"), "note "); sum.Notes != notes || sum.Defects != len(lines)-notes {
				t.Errorf("summary %+v of %d lines", sum, len(lines))
			}
			b.check(Options{Repair: true, Digests: true})
			want = nil
			if c.left != nil {
				want = c.left(b)
				slices.Sort(want)
			}
			if lines, _ := b.check(Options{Digests: true}); !slices.Equal(lines, want) {
				t.Errorf("after the repair\n%s\nwant\n%s", strings.Join(lines, "\n"), strings.Join(want, "\n"))
			}
			if m, err := b.index.Tagged(t.Context(), "a", "v1"); m.Digest != b.manifest || err != nil {
				t.Errorf("v1 is %s, %v", m.Digest, err)
			}
		})
	}
}

// TestNothingIsDeleted: repairing deletes nothing, neither bytes nor links nor names.
func TestNothingIsDeleted(t *testing.T) {
	b := newBench(t)
	b.remove(tree.Blob(b.layer))
	b.file(tree.Blob(digest.FromString("orphan")), "orphan")
	b.file(tree.Repository("a")+"/foreign", "x")
	before, err := b.index.Contents(t.Context(), "a")
	ok(t, err)
	faults := drivertest.NewFaults(b.driver, drivertest.Fault{Match: drivertest.On("Delete", "Move"), Err: errors.New("deleted")})
	b.check(Options{Repair: true, Driver: faults})
	after, err := b.index.Contents(t.Context(), "a")
	ok(t, err)
	if fmt.Sprint(before) != fmt.Sprint(after) {
		t.Errorf("the index has %v, had %v", after, before)
	}
	for _, name := range []string{tree.Blob(digest.FromString("orphan")), tree.Repository("a") + "/foreign", tree.Layer("a", b.layer)} {
		if _, err := b.driver.Stat(t.Context(), name); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestEveryOperationFails: a storage that fails is a defect of its own or an error, never silence, and never taken for absence.
func TestEveryOperationFails(t *testing.T) {
	b := newBench(t)
	faults := drivertest.NewFaults(b.driver)
	b.check(Options{Driver: faults, Digests: true})
	operations := faults.Seen()
	if operations < 15 {
		t.Fatalf("only %d operations", operations)
	}
	for k := range operations {
		faults.Set(drivertest.Fault{Skip: k, Times: 1, Err: errors.New("input/output error")})
		var kinds []string
		_, err := Check(t.Context(), Options{Index: b.index, Driver: faults, Digests: true, Progress: func(Summary) {},
			Log: slog.New(slog.DiscardHandler), Defect: func(d Defect) { kinds = append(kinds, d.Kind) }})
		if err == nil && !slices.Contains(kinds, KindUnreachable) {
			t.Errorf("operation %d failed: %v, nothing said of it", k, kinds)
		}
		if slices.Contains(kinds, KindNoBytes) || slices.Contains(kinds, KindNoLink) {
			t.Errorf("operation %d failed and was taken for absence: %v", k, kinds)
		}
		if errors.Is(err, fs.ErrNotExist) || errors.Is(err, context.Canceled) {
			t.Errorf("operation %d: %v", k, err)
		}
	}
}
