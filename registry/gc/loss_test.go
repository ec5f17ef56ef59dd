package gc_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"

	"gatehouse/registry/driver/drivertest"
	"gatehouse/registry/gc"
	"gatehouse/registry/index"
	"gatehouse/registry/manifest"
	"gatehouse/registry/tree"
)

// The stories of how distribution's collector loses data, told to this one. T1 to T3 were found with distribution's own tests
// (each ends with a nil error there), a to e by running its releases, f to i by reading its source: garbagecollect.go of 3.1.2.

// indexTree is a tree with a tagged index of two images, an image that is tagged by itself, and one that nothing needs.
func indexTree(t testing.TB) (p planter, want map[string]digest.Digest) {
	p = plant(t)
	amd, arm := p.image("a", "", "config amd", "layer amd", "base"), p.image("a", "", "config arm", "layer arm", "base")
	multi := p.manifest("a", indexOf(amd, arm), "multi")
	single := p.image("a", "single", "config single", "layer single", "base")
	p.image("a", "", "config of none", "layer of none")
	return p, map[string]digest.Digest{"a:multi": multi, "a:single": single}
}

// remember has a bench check what an adopted tree has.
func (b *bench) remember(want map[string]digest.Digest) {
	for name, d := range want {
		b.acked[name] = d
	}
}

// TestLossTransientError is T1, and g: an error of storage while it is found out what needs what is not taken for an absence.
// Here that is when the tree is adopted; each read of that fails once, and whatever is collected meanwhile, nothing is lost. Nor
// is it later, when cycles look at nothing but the index: their faults are in faults_test.go.
func TestLossTransientError(t *testing.T) {
	p, want := indexTree(t)
	count := newBenchAt(t, p.root, nil)
	count.faults.Set()
	count.adopt()
	reads := count.faults.Seen()
	if reads < 30 {
		t.Fatalf("only %d reads", reads)
	}
	broken := errors.New("503")
	for k := range reads {
		b := newBenchAt(t, p.root, nil)
		b.faults.Set(drivertest.Fault{Skip: k, Times: 1, Err: broken})
		if err := b.adopter.Pass(t.Context(), func(index.Adoption) {}); !errors.Is(err, broken) {
			t.Fatalf("read %d failed and the adoption said %v", k, err)
		}
		b.clock.pass(1000 * time.Hour)
		if r, err := b.gc.Cycle(t.Context(), gc.Request{Scan: true}); !errors.Is(err, gc.ErrAdopting) || r.Reviewed > 0 {
			t.Fatalf("read %d failed, and a cycle ran: %+v, %v", k, r, err)
		}
		b.adopt()
		if k%10 != 0 { // the rest is the same
			b.close()
			continue
		}
		b.remember(want)
		b.check()
		b.close()
	}
	b := p.adopted()
	b.remember(want)
	b.rest()
	if n := len(b.stored()); n != 3+1+2+2+2+1 { // manifests, an index, configs, layers, and the base
		t.Errorf("%d blobs are left", n)
	}
}

// TestLossVanishedLink is T2, and f: a revision's link vanishes between the listing of its folder and its reading, as when
// somebody deletes a manifest meanwhile. That manifest is gone; the others of the repository are not.
func TestLossVanishedLink(t *testing.T) {
	p := plant(t)
	var tags []digest.Digest
	for i := range 5 {
		tags = append(tags, p.image("a", fmt.Sprint("v", i), fmt.Sprint("config ", i), fmt.Sprint("layer ", i), "base"))
	}
	lost := p.image("a", "", "config lost", "layer lost")
	b := newBenchAt(t, p.root, nil)
	b.atEachOperation(func(op drivertest.Op) {
		if op.Name == "ReadFile" && op.Path == tree.Revision("a", lost) {
			p.drop(tree.Revision("a", lost))
		}
	})
	b.adopt()
	for i, d := range tags {
		b.acked[fmt.Sprint("a:v", i)] = d
	}
	b.rest()
	b.gone("a", lost)
	if n := len(b.stored()); n != 5*3+1 {
		t.Errorf("%d blobs are left", n)
	}
}

// gone checks that a repository has a manifest no more.
func (b *bench) gone(repo string, d digest.Digest) {
	b.Helper()
	b.must(404, "GET", "/v2/"+repo+"/manifests/"+string(d), "")
}

// TestLossSparseIndex is T3, and b: one repository has an index whose child it does not store, another has the same index with the
// child. "Seen" there is not "looked at" here.
func TestLossSparseIndex(t *testing.T) {
	for _, tagged := range []bool{true, false} {
		t.Run(fmt.Sprint("tagged ", tagged), func(t *testing.T) {
			p := plant(t)
			child := p.image("b", "", "config", "layer")
			document := indexOf(child)
			want := map[string]digest.Digest{"b:multi": p.manifest("b", document, "multi")}
			if tagged {
				want["a-sparse:multi"] = p.manifest("a-sparse", document, "multi")
			} else {
				p.manifest("a-sparse", document)
			}
			b := p.adopted()
			b.remember(want)
			b.rest()
			if n := len(b.stored()); n != 4 {
				t.Errorf("%d blobs are left", n)
			}
		})
	}
}

// TestLossSHA512 is a: an image names its layer by sha512, and the tree has it under its sha256.
func TestLossSHA512(t *testing.T) {
	p := plant(t)
	config, short, long := p.blob("a", "config"), p.blob("a", "layer"), digest.SHA512.FromString("layer")
	p.file(tree.Layer("a", long), string(short))
	d := p.manifest("a", imageWith(descriptor(config), []string{descriptor(long)}), "v1")
	b := p.adopted()
	b.remember(map[string]digest.Digest{"a:v1": d})
	b.rest()
	if n := len(b.stored()); n != 3 {
		t.Errorf("%d blobs are left", n)
	}
	b.untag("a", "v1")
	b.rest()
	if n := len(b.stored()); n != 0 {
		t.Errorf("%d blobs are left", n)
	}
}

// TestLossUnknownManifests is c, and R13: what a manifest needs that cannot be understood is not known, so all that its
// repository has stays, and so do its own bytes. Other repositories are collected.
func TestLossUnknownManifests(t *testing.T) {
	for name, document := range map[string]string{
		"schema1":           `{"schemaVersion":1,"name":"a","fsLayers":[{"blobSum":"%s"}]}`,
		"an unknown type":   `{"schemaVersion":2,"mediaType":"application/vnd.oci.artifact.manifest.v1+json","blobs":[{"digest":"%s"}]}`,
		"an unknown digest": `{"schemaVersion":2,"mediaType":"` + manifest.OCIManifest + `","config":{"digest":"blake3:00"},"layers":[{"digest":"%s"}]}`,
	} {
		t.Run(name, func(t *testing.T) {
			p := plant(t)
			layer := p.blob("a", "its layer")
			d := p.manifest("a", fmt.Sprintf(document, layer), "old")
			child := p.image("a", "", "config child", "layer child")
			want := map[string]digest.Digest{"a:v1": p.image("a", "v1", "config", "layer"), "b:v1": p.image("b", "v1", "config", "layer b")}
			p.blob("b", "of nothing")
			b := p.adopted()
			b.remember(want)
			for range 5 {
				b.clock.pass(1000 * time.Hour)
				b.scan()
			}
			stored := b.stored()
			for what, d := range map[string]digest.Digest{"its bytes": d, "its layer": layer, "what may be its child": child} {
				if !stored[d] {
					t.Errorf("%s were deleted", what)
				}
			}
			if stored[digest.FromString("of nothing")] {
				t.Error("another repository was not collected")
			}
		})
	}
}

// TestUnknownManifestsGo: when what cannot be read is gone from the tree, or its repository is removed, its repository is collected
// like others; also when entering that fails at any point and is repeated.
func TestUnknownManifestsGo(t *testing.T) {
	for name, remove := range map[string]func(b *bench, d digest.Digest) error{
		"from the tree": func(b *bench, d digest.Digest) error {
			planter{b, b.root}.drop(tree.Revision("a", d))
			if a, err := b.below.Adoption(t.Context()); err != nil || a.State == index.AdoptionDone {
				if err := errors.Join(err, b.adopter.Again(t.Context())); err != nil {
					return err
				}
			}
			return b.adopter.Pass(t.Context(), func(index.Adoption) {})
		},
		"with its repository": func(b *bench, _ digest.Digest) error {
			_, err := b.index.RemoveRepository(t.Context(), "a", "alice", func(index.Removal) error { return nil })
			if err == nil {
				delete(b.acked, "a:v1")
			}
			return err
		},
	} {
		t.Run(name, func(t *testing.T) {
			for k, struck := 0, true; struck; k += 3 {
				p := plant(t)
				d := p.manifest("a", fmt.Sprintf(`{"schemaVersion":1,"fsLayers":[{"blobSum":%q}]}`, p.blob("a", "its layer")))
				want := map[string]digest.Digest{"a:v1": p.image("a", "v1", configContent, layerContent)}
				p.image("a", "", "config of none")
				b := p.adopted()
				b.remember(want)
				b.clock.pass(1000 * time.Hour)
				if b.scan(); len(b.stored()) != 3+2+2 {
					t.Fatalf("stored are %v", b.stored())
				}
				var n atomic.Int32
				b.db.fail(func(context.Context, string) error {
					if int(n.Add(1)) == k+1 {
						return errStruck
					}
					return nil
				})
				err := remove(b, d)
				struck = int(n.Load()) > k
				b.works()
				if err != nil {
					b.clock.pass(time.Hour) // what failed is not tried again at once
					ok(t, remove(b, d))
				}
				b.rest()
				if n := len(b.stored()); n != 3*len(b.acked) {
					t.Errorf("%d blobs are left", n)
				}
				b.ended()
			}
		})
	}
}

// TestLossDamagedLinks is d: links that are empty or hold no digest stop nothing and lose nothing.
func TestLossDamagedLinks(t *testing.T) {
	for name, content := range map[string]string{"empty": "", "garbage": "no digest", "newline": "\n"} {
		for what, file := range map[string]func(d, layer digest.Digest) string{
			"revision": func(d, _ digest.Digest) string { return tree.Revision("a", d) },
			"layer":    func(_, layer digest.Digest) string { return tree.Layer("a", layer) },
			"tag":      func(digest.Digest, digest.Digest) string { return tree.TagCurrent("a", "v1") },
		} {
			t.Run(name+" "+what, func(t *testing.T) {
				p := plant(t)
				want := map[string]digest.Digest{
					"a:v1": p.image("a", "v1", "config", "layer"), "a:v2": p.image("a", "v2", "config", "layer 2"), "z:v1": p.image("z", "v1", "config z"),
				}
				p.image("z", "", "config of none")
				p.file(file(want["a:v1"], digest.FromString("layer")), content)
				b := newBenchAt(t, p.root, nil)
				b.adopt()
				b.repair()
				b.remember(want)
				b.rest()
				if n := len(b.stored()); n != 7 {
					t.Errorf("%d blobs are left", n)
				}
			})
		}
	}
}

// TestLossNoLayers is e: a repository that has manifests and no layers stops nothing, and what its tags name is not deleted,
// though nobody can pull it before the links are there again.
func TestLossNoLayers(t *testing.T) {
	p := plant(t)
	d := p.image("a", "v1", "config", "layer")
	p.drop(tree.Layers("a"))
	p.image("b", "v1", "config b", "layer b")
	p.image("b", "", "config of none")
	b := newBenchAt(t, p.root, nil)
	b.adopt()
	for range 5 {
		b.clock.pass(1000 * time.Hour)
		b.scan()
	}
	stored := b.stored()
	for _, d := range []digest.Digest{d, digest.FromString("config"), digest.FromString("layer")} {
		if !stored[d] {
			t.Errorf("%s is gone, which the tag a:v1 names", d)
		}
	}
	if stored[digest.FromString("config of none")] {
		t.Error("another repository was not collected")
	}
}

// TestLossReferrers is h: signatures that nobody tagged live as long as their subject.
func TestLossReferrers(t *testing.T) {
	p := plant(t)
	d := p.image("a", "v1", "config", "layer")
	signature := p.manifest("a", imageWith(descriptor(p.blob("a", "{}")), []string{descriptor(p.blob("a", "signature"))}, subject(d)))
	p.manifest("a", imageWith(descriptor(p.blob("a", "{}")), []string{descriptor(p.blob("a", "of the signature"))}, subject(signature)))
	b := p.adopted()
	b.remember(map[string]digest.Digest{"a:v1": d})
	b.rest()
	if n := len(b.stored()); n != 3+2+2+1 {
		t.Errorf("%d blobs are left", n)
	}
	b.untag("a", "v1")
	b.rest()
	if n := len(b.stored()); n != 0 {
		t.Errorf("%d blobs are left", n)
	}
}

// TestLossLinksAlone is i: the links of a repository that has no manifests are found, and go.
func TestLossLinksAlone(t *testing.T) {
	p := plant(t)
	p.blob("a", "layer")
	p.image("b", "v1", "config")
	b := p.adopted()
	b.rest()
	if n := len(b.stored()); n != 2 {
		t.Errorf("%d blobs are left", n)
	}
	if left := strings.Join(drivertest.Files(t, b.driver), " "); strings.Contains(left, "repositories/a/") {
		t.Errorf("links are left: %s", left)
	}
}

// TestLossForeignLayers: a layer that may be fetched from elsewhere and is here is its image's, as in TestForeignLayersThatAreHere
// of package index, also when it comes from a tree.
func TestLossForeignLayers(t *testing.T) {
	p := plant(t)
	config, layer := p.blob("a", "config"), p.blob("a", "windows")
	d := p.manifest("a", imageWith(descriptor(config), []string{descriptor(layer, `"urls":["https://example.com/layer"]`)}), "v1")
	b := p.adopted()
	b.remember(map[string]digest.Digest{"a:v1": d})
	for range 4 {
		b.clock.pass(1000 * time.Hour)
		b.cycle()
	}
	b.must(200, "GET", "/v2/a/blobs/"+string(layer), "")
}

// TestLossOldTimes is R24: a tree that was restored from a backup, or copied, has times long past. What nothing needs in it
// waits for the grace time all the same, from when it was adopted.
func TestLossOldTimes(t *testing.T) {
	p := plant(t)
	d := p.image("a", "", "config", "layer")
	b := p.adopted()
	b.clock.pass(59 * time.Minute)
	if r := b.cycle(); r.Reviewed != 0 {
		t.Errorf("%+v", r)
	}
	b.put("a", "v1", imageOf("config", "layer"))
	b.rest()
	if b.acked["a:v1"] != d || len(b.stored()) != 3 {
		t.Errorf("%v are left", b.stored())
	}
}
