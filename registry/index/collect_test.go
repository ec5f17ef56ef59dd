package index

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"

	"gatehouse/registry/index/kv/bolt"
)

// bench is an index with a clock to turn and a collector that deletes from a set.
type bench struct {
	testing.TB
	*Index
	clock  time.Time
	policy Policy
	bytes  map[digest.Digest]bool // what a store would have
}

func newBench(t testing.TB) *bench {
	t.Helper()
	b := &bench{TB: t, clock: time.Unix(1700000000, 0), policy: Policy{Grace: time.Hour, Quarantine: time.Minute, Untagged: 0}}
	db, err := bolt.Open(filepath.Join(t.TempDir(), "index.db"))
	ok(t, err)
	t.Cleanup(func() { db.Close() })
	b.Index, err = Open(t.Context(), db, func() time.Time { return b.clock })
	ok(t, err)
	b.SetGrace(b.policy.Grace)
	b.bytes = map[digest.Digest]bool{}
	return b
}

// pass lets time pass, and checks the index.
func (b *bench) pass(d time.Duration) {
	b.Helper()
	b.clock = b.clock.Add(d)
	b.verify()
}

func (b *bench) verify() {
	b.Helper()
	ok(b, b.Verify(b.Context(), func(record, problem string) { b.Errorf("index: %s: %s", record, problem) }))
}

// collect runs the queue dry and returns what was removed, readable and sorted.
func (b *bench) collect() (removed []string) {
	b.Helper()
	ctx := b.Context()
	events, err := b.Events(ctx, 1<<20)
	ok(b, err)
	ok(b, b.Done(ctx, events))
	for {
		due, err := b.Due(ctx, b.policy, 7)
		ok(b, err)
		due = slices.DeleteFunc(due, func(v Review) bool { return v.Class == Deleting })
		if len(due) == 0 {
			break
		}
		outcomes, err := b.Collect(ctx, b.policy, due)
		ok(b, err)
		var marked []digest.Digest
		waiting := 0
		for _, o := range outcomes {
			switch o.Verdict {
			case Removed:
				removed = append(removed, fmt.Sprintf("%s %s %s", o.Class, o.Repository, b.name(o.Digest)))
			case Marked:
				removed = append(removed, "bytes "+b.name(o.Digest))
				marked = append(marked, o.Digest)
			case Waiting:
				waiting++
			}
		}
		ok(b, b.Deleted(ctx, marked))
		b.verify()
		if waiting > 0 {
			events, err := b.Events(ctx, 1<<20)
			ok(b, err)
			ok(b, b.Done(ctx, events))
		}
	}
	slices.Sort(removed)
	return removed
}

var names = []string{"layer", "layer 2", "config", "m", "m 1", "m 2", "index", "subject", "signature", "of signature", "child", "outer", "stray"}

func (b *bench) name(d digest.Digest) string {
	for _, n := range names {
		for _, algorithm := range []digest.Algorithm{digest.SHA256, digest.SHA512} {
			if algorithm.FromString(n) == d {
				return n
			}
		}
	}
	return string(d)
}

func (b *bench) put(repo string, m Manifest, tags ...string) {
	b.Helper()
	ok(b, putManifest(b.Context(), b.Index, repo, m, tags...))
}

func (b *bench) link(repo, content string) {
	b.Helper()
	ok(b, linkBlob(b.Context(), b.Index, repo, dgst(content), int64(len(content))))
}

func (b *bench) want(got []string, want ...string) {
	b.Helper()
	slices.Sort(want)
	if !slices.Equal(got, want) {
		b.Errorf("removed\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

func TestCollectsWhatNothingNeeds(t *testing.T) {
	b := newBench(t)
	image(t, b.Index, "a", "m", []string{"config", "layer"}, "latest", "v1")
	image(t, b.Index, "b", "m 2", []string{"config"}, "latest")
	b.link("a", "layer 2") // pushed, and never named
	b.pass(59 * time.Minute)
	b.want(b.collect())
	b.pass(time.Minute)
	b.want(b.collect(), "unreferenced a layer 2")
	b.pass(time.Minute)
	b.want(b.collect(), "bytes layer 2")

	ok(t, b.DeleteTag(t.Context(), "a", "v1", "alice"))
	b.pass(100 * time.Hour)
	b.want(b.collect()) // latest still needs it
	ok(t, b.DeleteTag(t.Context(), "a", "latest", "alice"))
	b.pass(59 * time.Minute)
	b.want(b.collect())
	b.pass(time.Minute)
	b.want(b.collect(), "untagged a m")
	for range 3 { // what it needed stays readable as long as the quarantine
		if size, err := b.Blob(t.Context(), "a", dgst("layer")); err != nil || size != 5 {
			t.Errorf("layer of a manifest just collected: %d, %v", size, err)
		}
	}
	b.pass(time.Minute)
	b.want(b.collect(), "unreferenced a layer", "unreferenced a config", "bytes m")
	b.pass(time.Minute)
	b.want(b.collect(), "bytes layer") // b still needs config
	b.pass(time.Hour)
	b.want(b.collect())
	if _, err := b.Tagged(t.Context(), "b", "latest"); err != nil {
		t.Error(err)
	}
}

func TestUntaggedAreKept(t *testing.T) {
	b := newBench(t)
	b.policy.Untagged = KeepUntagged
	image(t, b.Index, "a", "m 1", []string{"layer"}, "latest")
	image(t, b.Index, "a", "m 2", []string{"layer 2"}, "latest")
	b.pass(1000 * time.Hour)
	b.want(b.collect())
	b.policy.Untagged = 1001 * time.Hour
	b.want(b.collect())
	b.pass(time.Hour)
	b.want(b.collect(), "untagged a m 1")
}

func TestChildrenLiveWithTheirIndexes(t *testing.T) {
	b := newBench(t)
	image(t, b.Index, "a", "child", []string{"layer"})
	b.put("a", Manifest{Digest: dgst("index"), Manifests: []digest.Digest{dgst("child")}})
	b.put("a", Manifest{Digest: dgst("outer"), Manifests: []digest.Digest{dgst("index")}}, "v1")
	b.pass(1000 * time.Hour)
	b.want(b.collect())
	ok(t, b.DeleteManifest(t.Context(), "a", dgst("outer"), "alice"))
	b.pass(time.Minute)
	b.want(b.collect(), "bytes outer") // deleted by its owner: nobody was promised it
	b.put("a", Manifest{Digest: dgst("m"), Manifests: []digest.Digest{dgst("child")}}, "v2")
	b.pass(time.Hour)
	b.want(b.collect(), "untagged a index")
	b.pass(1000 * time.Hour)
	b.want(b.collect(), "bytes index")
	ok(t, b.DeleteTag(t.Context(), "a", "v2", "alice"))
	b.pass(time.Hour)
	b.want(b.collect(), "untagged a m")
	b.pass(time.Minute)
	b.want(b.collect(), "bytes m", "untagged a child")
	b.pass(time.Minute)
	b.want(b.collect(), "bytes child", "unreferenced a layer")
	b.pass(time.Minute)
	b.want(b.collect(), "bytes layer")
}

// TestReferrersLiveAndDieWithTheirSubject, also where untagged manifests are kept. One that never had its subject here is
// such a manifest.
func TestReferrersLiveAndDieWithTheirSubject(t *testing.T) {
	b := newBench(t)
	b.policy.Untagged = KeepUntagged
	b.put("a", Manifest{Digest: dgst("signature"), Subject: dgst("subject")}) // before its subject
	b.put("a", Manifest{Digest: dgst("of signature"), Subject: dgst("signature")})
	b.put("a", Manifest{Digest: dgst("m"), Subject: dgst("nowhere")})
	b.pass(1000 * time.Hour)
	b.want(b.collect())
	b.put("a", Manifest{Digest: dgst("subject")}, "v1")
	b.pass(1000 * time.Hour)
	b.want(b.collect())

	ok(t, b.DeleteManifest(t.Context(), "a", dgst("subject"), "alice"))
	b.pass(59 * time.Minute)
	b.want(b.collect(), "bytes subject")
	b.put("a", Manifest{Digest: dgst("subject")}, "v1") // pushed again: its signature is good again
	b.pass(1000 * time.Hour)
	b.want(b.collect())

	ok(t, b.DeleteManifest(t.Context(), "a", dgst("subject"), "alice"))
	b.pass(time.Hour)
	b.want(b.collect(), "bytes subject", "orphaned a signature")
	b.pass(time.Minute)
	b.want(b.collect(), "bytes signature", "orphaned a of signature")
	b.pass(time.Minute)
	b.want(b.collect(), "bytes of signature")
}

// TestRevival: condemned bytes live again for whoever comes to need them.
func TestRevival(t *testing.T) {
	b := newBench(t)
	b.link("a", "layer")
	ok(t, b.UnlinkBlob(t.Context(), "a", dgst("layer")))
	b.put("a", Manifest{Digest: dgst("m")}, "v1")
	ok(t, b.DeleteManifest(t.Context(), "a", dgst("m"), "alice"))
	b.verify()
	b.link("b", "layer")
	b.put("b", Manifest{Digest: dgst("m"), Blobs: []digest.Digest{dgst("layer")}}, "v1")
	b.pass(1000 * time.Hour)
	b.want(b.collect())
}

// TestSameDigestAsBlobAndManifest: either holds the bytes.
func TestSameDigestAsBlobAndManifest(t *testing.T) {
	b := newBench(t)
	b.link("a", "m")
	b.put("a", Manifest{Digest: dgst("m"), Size: 1}, "v1")
	b.pass(time.Hour)
	b.want(b.collect(), "unreferenced a m")
	b.pass(time.Hour)
	b.want(b.collect())
	b.link("a", "m")
	ok(t, b.DeleteManifest(t.Context(), "a", dgst("m"), "alice"))
	b.pass(59 * time.Minute)
	b.want(b.collect())
	b.pass(time.Hour)
	b.want(b.collect(), "unreferenced a m")
	b.pass(time.Hour)
	b.want(b.collect(), "bytes m")
}

// TestForeignLayersThatAreHere are needed, though no push is refused for want of them.
func TestForeignLayersThatAreHere(t *testing.T) {
	b := newBench(t)
	b.put("a", Manifest{Digest: dgst("m"), Foreign: []digest.Digest{dgst("layer"), dgst("layer 2")}}, "v1")
	b.link("a", "layer")
	b.pass(1000 * time.Hour)
	b.want(b.collect())
	ok(t, b.DeleteTag(t.Context(), "a", "v1", "alice"))
	b.pass(time.Hour)
	b.want(b.collect(), "untagged a m")
	b.pass(time.Hour)
	b.want(b.collect(), "bytes m", "unreferenced a layer")
}

// TestBytesUnderAnotherDigest: distribution keeps what was pushed as sha512 under its sha256, and deletes it although an
// image needs it.
func TestBytesUnderAnotherDigest(t *testing.T) {
	b := newBench(t)
	ctx, long := t.Context(), digest.SHA512.FromString("layer")
	ok(t, b.StartAdoption(ctx))
	ok(t, b.Import(ctx, Import{
		Repository: "a",
		Links:      []ImportedLink{{Digest: long, At: dgst("layer"), Size: 5}, {Digest: dgst("layer"), Size: 5}},
		Manifests:  []Manifest{{Digest: dgst("m"), Blobs: []digest.Digest{long}, PushedAt: b.clock}},
		Tags:       []ImportedTag{{Name: "v1", Digest: dgst("m")}},
	}))
	ok(t, b.FinishAdoption(ctx, nil))
	b.pass(1000 * time.Hour)
	b.want(b.collect())
	ok(t, b.Mount(ctx, "b", "a", long))
	b.put("b", Manifest{Digest: dgst("m 2"), Blobs: []digest.Digest{long}}, "v1")
	b.pass(1000 * time.Hour)
	b.want(b.collect())
	ok(t, b.DeleteManifest(ctx, "a", dgst("m"), "alice"))
	b.pass(1000 * time.Hour)
	b.want(b.collect(), "bytes m", "unreferenced a layer")
	b.pass(time.Minute)
	b.want(b.collect(), "unreferenced a layer") // the link to the bytes, when the one that lent them had gone
	if at, _, err := b.Locate(ctx, "b", long); err != nil || at != dgst("layer") {
		t.Errorf("%s, %v", at, err)
	}
	ok(t, b.DeleteManifest(ctx, "b", dgst("m 2"), "alice"))
	b.pass(1000 * time.Hour)
	b.want(b.collect(), "bytes m 2", "unreferenced b layer")
	b.pass(time.Minute)
	b.want(b.collect(), "unreferenced b layer")
	b.pass(time.Minute)
	b.want(b.collect(), "bytes layer")
}
