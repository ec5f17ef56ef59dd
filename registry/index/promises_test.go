package index

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"

	"gatehouse/registry/index/kv"
)

// TestPromises: HEAD, mount, upload and pushing again promise at least half the grace time.
func TestPromises(t *testing.T) {
	for name, promise := range map[string]func(*bench) error{
		"head": func(b *bench) error { _, err := b.Promise(b.Context(), "a", dgst("layer")); return err },
		"upload": func(b *bench) error {
			return linkBlob(b.Context(), b.Index, "a", dgst("layer"), 5)
		},
		"mount": func(b *bench) error { return b.Mount(b.Context(), "a", "b", dgst("layer")) },
	} {
		for _, state := range []string{"unreferenced", "referenced"} {
			t.Run(name+" "+state, func(t *testing.T) {
				b := newBench(t)
				b.link("b", "layer")
				image(t, b.Index, "b", "m", []string{"layer"}, "v1")
				b.link("a", "layer")
				if state == "referenced" {
					image(t, b.Index, "a", "m", []string{"layer"}, "v1")
					b.pass(10 * time.Hour)
					ok(t, b.DeleteTag(t.Context(), "a", "v1", "alice"))
				}
				b.pass(59 * time.Minute)
				b.want(b.collect())
				ok(t, promise(b))
				b.pass(30 * time.Minute) // past the grace time; the manifest goes
				b.collect()
				b.pass(29 * time.Minute) // past the quarantine too
				for _, removed := range b.collect() {
					if strings.Contains(removed, "layer") {
						t.Errorf("%s was promised", removed)
					}
				}
				b.put("a", Manifest{Digest: dgst("m 2"), Blobs: []digest.Digest{dgst("layer")}}, "v2")
				b.pass(1000 * time.Hour)
				b.collect()
				if _, err := b.Blob(t.Context(), "a", dgst("layer")); err != nil {
					t.Error(err)
				}
			})
		}
	}
}

// TestPromisesCostLittle: a HEAD writes at most once in half the grace time, and never without the collector.
func TestPromisesCostLittle(t *testing.T) {
	b := newBench(t)
	db := &countingDB{DB: b.db}
	b.db = db
	b.link("a", "layer")
	db.updates = 0
	for range 240 { // an hour and two
		b.clock = b.clock.Add(30 * time.Second)
		_, err := b.Promise(t.Context(), "a", dgst("layer"))
		ok(t, err)
	}
	if db.updates < 3 || db.updates > 4 {
		t.Errorf("%d writes in four times half the grace time", db.updates)
	}
	b.SetGrace(0)
	db.updates = 0
	b.pass(1000 * time.Hour)
	_, err := b.Promise(t.Context(), "a", dgst("layer"))
	ok(t, err)
	if db.updates != 0 {
		t.Error("a promise that nobody needs was written")
	}
}

// countingDB counts transactions that may write.
type countingDB struct {
	kv.DB
	updates int
}

func (c *countingDB) Update(ctx context.Context, fn func(kv.Writer) error) error {
	c.updates++
	return c.DB.Update(ctx, fn)
}

// TestPromiseOfAManifest: who HEADs a child by its digest can push an index of it.
func TestPromiseOfAManifest(t *testing.T) {
	b := newBench(t)
	b.put("a", Manifest{Digest: dgst("child")}, "v1")
	b.pass(10 * time.Hour)
	_, err := b.PromiseManifest(t.Context(), "a", dgst("child"))
	ok(t, err)
	ok(t, b.DeleteTag(t.Context(), "a", "v1", "alice"))
	b.pass(time.Hour)
	b.want(b.collect(), "untagged a child")

	b.put("a", Manifest{Digest: dgst("child")})
	b.pass(59 * time.Minute)
	_, err = b.PromiseManifest(t.Context(), "a", dgst("child"))
	ok(t, err)
	b.pass(59 * time.Minute)
	b.want(b.collect())
	b.put("a", Manifest{Digest: dgst("index"), Manifests: []digest.Digest{dgst("child")}}, "v1")
	b.pass(1000 * time.Hour)
	b.want(b.collect())
}
