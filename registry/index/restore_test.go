package index

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
)

func (b *bench) wantRestored(d digest.Digest, want ...string) {
	b.Helper()
	list, err := b.Restore(b.Context(), d)
	ok(b, err)
	var got []string
	for _, d := range list {
		got = append(got, b.name(d))
	}
	slices.Sort(got)
	slices.Sort(want)
	if !slices.Equal(got, want) {
		b.Errorf("restored %q, want %q", got, want)
	}
	b.verify()
}

// served reports whether a repository has a blob.
func (b *bench) served(repo string, d digest.Digest) bool {
	_, err := b.Blob(b.Context(), repo, d)
	return err == nil
}

func TestRestoreABlob(t *testing.T) {
	b := newBench(t)
	b.link("a", "layer")
	ok(t, b.UnlinkBlob(t.Context(), "a", dgst("layer")))
	b.pass(59 * time.Second)
	b.want(b.collect())
	b.wantRestored(dgst("layer"), "layer")
	if !b.served("a", dgst("layer")) {
		t.Error("the repository does not have it")
	}
	b.pass(59 * time.Minute) // the grace time begins anew
	b.want(b.collect())
	b.pass(time.Minute)
	b.want(b.collect(), "unreferenced a layer")
	b.wantRestored(dgst("layer"), "layer")
	image(t, b.Index, "a", "m", []string{"layer"}, "v1")
	b.pass(1000 * time.Hour)
	b.want(b.collect())
}

// TestRestoreAnImage brings back an index with its children and their layers, all of them in quarantine.
func TestRestoreAnImage(t *testing.T) {
	b := newBench(t)
	ctx := t.Context()
	image(t, b.Index, "a", "child", []string{"layer", "config"})
	b.put("a", Manifest{Digest: dgst("index"), MediaType: "index", Size: 1, Manifests: []digest.Digest{dgst("child")}, PushedBy: "alice"})
	b.put("a", Manifest{Digest: dgst("outer"), Manifests: []digest.Digest{dgst("index")}}, "v1")
	b.put("a", Manifest{Digest: dgst("signature"), Subject: dgst("outer")})
	b.policy.Quarantine = 24 * time.Hour
	_, err := b.RemoveRepository(ctx, "a", "alice", func(Removal) error { return nil })
	ok(t, err)
	b.pass(time.Hour)
	b.want(b.collect())
	b.wantRestored(dgst("outer"), "outer", "index", "child", "layer", "config")
	m, err := b.Manifest(ctx, "a", dgst("index"))
	if err != nil || m.MediaType != "index" || m.PushedBy != "alice" || !slices.Equal(m.Manifests, []digest.Digest{dgst("child")}) {
		t.Errorf("%+v, %v", m, err)
	}
	if _, err := b.Tagged(ctx, "a", "v1"); !errors.Is(err, ErrManifestUnknown) {
		t.Errorf("a tag came back: %v", err)
	}
	b.wantRestored(dgst("signature"), "signature")
	if _, err := b.Restore(ctx, dgst("layer")); !errors.Is(err, ErrNotCondemned) {
		t.Errorf("a blob that lives was restored: %v", err)
	}
	b.put("a", Manifest{Digest: dgst("outer"), Manifests: []digest.Digest{dgst("index")}}, "v1")
	b.pass(1000 * time.Hour)
	b.want(b.collect())
	if !b.served("a", dgst("layer")) || !b.served("a", dgst("config")) {
		t.Error("the image is not whole")
	}
}

// TestRestoreToLivingBlobs: what the manifest names has come back to life elsewhere, and to its own repository it comes again.
func TestRestoreToLivingBlobs(t *testing.T) {
	b := newBench(t)
	image(t, b.Index, "a", "m", []string{"layer"}, "v1")
	_, err := b.RemoveRepository(t.Context(), "a", "alice", func(Removal) error { return nil })
	ok(t, err)
	b.link("b", "layer")
	b.wantRestored(dgst("m"), "m")
	if !b.served("a", dgst("layer")) {
		t.Error("the manifest's blob is not there")
	}
}

// TestRestoreIsNoWayIntoOtherRepositories: anybody can push a manifest whose foreign layer is another repository's blob.
func TestRestoreIsNoWayIntoOtherRepositories(t *testing.T) {
	b := newBench(t)
	b.link("private", "layer")
	b.link("a", "layer 2")
	b.put("a", Manifest{Digest: dgst("m"), Foreign: []digest.Digest{dgst("layer"), dgst("layer 2")}}, "v1")
	_, err := b.RemoveRepository(t.Context(), "a", "alice", func(Removal) error { return nil })
	ok(t, err)
	b.wantRestored(dgst("m"), "m", "layer 2")
	if b.served("a", dgst("layer")) || !b.served("a", dgst("layer 2")) {
		t.Errorf("private: %v, its own: %v", b.served("a", dgst("layer")), b.served("a", dgst("layer 2")))
	}
}

// TestNothingHalfRestored: what cannot be whole again stays where it is, with the reason.
func TestNothingHalfRestored(t *testing.T) {
	b := newBench(t)
	ctx := t.Context()
	refuse := func(d digest.Digest, want error, words string) {
		t.Helper()
		before := dump(t, b.Index)
		list, err := b.Restore(ctx, d)
		if !errors.Is(err, want) || !strings.Contains(err.Error(), words) {
			t.Errorf("%v, want %v, %q", err, want, words)
		}
		if after := dump(t, b.Index); !slices.Equal(before, after) {
			t.Errorf("restored %v, and changed the index", list)
		}
	}
	refuse(dgst("nothing"), ErrNotCondemned, "does not have it")
	b.link("a", "layer")
	refuse(dgst("layer"), ErrNotCondemned, "a repository has it")

	image(t, b.Index, "a", "m", []string{"layer", "config"}, "v1")
	_, err := b.RemoveRepository(ctx, "a", "alice", func(Removal) error { return nil })
	ok(t, err)
	events, err := b.Events(ctx, 1<<20)
	ok(t, err)
	ok(t, b.Done(ctx, events))
	b.pass(time.Minute)
	outcomes, err := b.Collect(ctx, b.policy, []Review{{Class: Condemned, Digest: dgst("layer")}})
	if ok(t, err); outcomes[0].Verdict != Marked {
		t.Fatalf("%+v", outcomes)
	}
	refuse(dgst("layer"), ErrNotCondemned, "it is being deleted")
	refuse(dgst("m"), ErrNoWayBack, string(dgst("layer")))
	ok(t, b.Deleted(ctx, []digest.Digest{dgst("layer")}))
	refuse(dgst("layer"), ErrNotCondemned, "does not have it")
	refuse(dgst("m"), ErrNoWayBack, string(dgst("layer")))
	b.wantRestored(dgst("config"), "config")

	_, err = b.Stray(ctx, b.policy, []StoredBlob{{dgst("stray"), 5}})
	ok(t, err)
	refuse(dgst("stray"), ErrNoWayBack, "no repository ever had it")
}
