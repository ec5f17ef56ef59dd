package index

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
)

// explained returns an explanation of a digest, readable: its state, and for each use the path, and what becomes of it. Times are those
// since the clock that the bench began with.
func (b *bench) explained(d digest.Digest, repo string) string {
	b.Helper()
	e, err := b.Explain(b.Context(), b.policy, d, repo)
	ok(b, err)
	if !e.Known {
		return "unknown"
	}
	since := func(t time.Time) string { return t.Sub(time.Unix(1700000000, 0)).String() }
	lines := []string{string(e.State)}
	if e.State == StateCondemned {
		lines[0] += " until " + since(e.Due)
	}
	if e.Stored != e.Digest {
		lines[0] += "as " + b.name(e.Stored)
	}
	for _, u := range e.Uses {
		var hops []string
		for _, h := range u.Path {
			hops = append(hops, strings.TrimSpace(h.Kind+" "+h.Tag+b.name(h.Digest)))
		}
		line := u.Repository + ": " + strings.Join(hops, " > ")
		switch {
		case u.Tagged && u.Review != nil, u.Tagged && !u.Due.IsZero():
			b.Errorf("%+v is tagged and in the queue", u)
		case u.Review != nil && u.Due.IsZero():
			line += " kept, " + string(u.Review.Class)
		case u.Review != nil:
			line += fmt.Sprintf(" %s until %s", u.Review.Class, since(u.Due))
		}
		if !u.Tagged {
			line += ", promised " + since(u.Promised)
		}
		lines = append(lines, line)
	}
	if e.Revision == "" {
		b.Error("an explanation without the number of a change")
	}
	return strings.Join(lines, "\n")
}

func (b *bench) wantExplained(d digest.Digest, repo string, lines ...string) {
	b.Helper()
	if got, want := b.explained(d, repo), strings.Join(lines, "\n"); got != want {
		b.Errorf("explained\n%s\nwant\n%s", got, want)
	}
}

// TestExplain explains each kind of digest.
func TestExplain(t *testing.T) {
	b := newBench(t)
	b.policy.Untagged = KeepUntagged
	image(t, b.Index, "a", "child", []string{"layer", "config"})
	b.put("a", Manifest{Digest: dgst("index"), Manifests: []digest.Digest{dgst("child")}})
	b.put("a", Manifest{Digest: dgst("outer"), Manifests: []digest.Digest{dgst("index")}}, "multi")
	image(t, b.Index, "a", "m 1", []string{"config"}, "v1")
	image(t, b.Index, "b/c", "m 2", []string{"layer"})
	b.put("a", Manifest{Digest: dgst("signature"), Subject: dgst("outer"), Blobs: []digest.Digest{dgst("layer")}})
	b.put("a", Manifest{Digest: dgst("of signature"), Subject: dgst("signature")})

	b.wantExplained(dgst("nothing"), "", "unknown")
	b.wantExplained(dgst("config"), "", "", "a: tag v1 > manifest m 1 > blob config")
	b.wantExplained(dgst("child"), "", "", "a: tag multi > index outer > index index > manifest child")
	b.wantExplained(dgst("index"), "", "", "a: tag multi > index outer > index index")
	b.wantExplained(dgst("of signature"), "", "", "a: tag multi > subject outer > subject signature > manifest of signature")
	// The signature is nearer to the tag than the child is.
	b.wantExplained(dgst("layer"), "", "",
		"a: tag multi > subject outer > manifest signature > blob layer",
		"b/c: manifest m 2 > blob layer kept, untagged, promised 1h0m0s")
	b.wantExplained(dgst("layer"), "b/c", "", "b/c: manifest m 2 > blob layer kept, untagged, promised 1h0m0s")
	b.wantExplained(dgst("layer"), "b", "") // not what lies below it
	b.wantExplained(dgst("m 2"), "", "", "b/c: manifest m 2 kept, untagged, promised 1h0m0s")

	b.policy.Untagged = 3 * time.Hour
	b.wantExplained(dgst("m 2"), "", "", "b/c: manifest m 2 untagged until 3h0m0s, promised 1h0m0s")
	b.pass(150 * time.Minute)
	_, err := b.PromiseManifest(t.Context(), "b/c", dgst("m 2"))
	ok(t, err)
	b.wantExplained(dgst("m 2"), "", "", "b/c: manifest m 2 untagged until 3h30m0s, promised 3h30m0s")
	b.wantExplained(dgst("layer"), "b/c", "", "b/c: manifest m 2 > blob layer untagged until 3h30m0s, promised 1h0m0s")

	ok(t, b.DeleteManifest(t.Context(), "a", dgst("outer"), "alice"))
	b.wantExplained(dgst("outer"), "", "condemned until 2h31m0s")
	b.wantExplained(dgst("of signature"), "", "", "a: subject signature > manifest of signature orphaned until 3h30m0s, promised 1h0m0s")
}

// TestExplainTheWayOut follows a blob from its upload until it is forgotten.
func TestExplainTheWayOut(t *testing.T) {
	b, layer := newBench(t), dgst("layer")
	ctx := t.Context()
	b.link("a", "layer")
	b.wantExplained(layer, "", "", "a: blob layer unreferenced until 1h0m0s, promised 1h0m0s")
	if e, err := b.Explain(ctx, b.policy, layer, ""); err != nil || !e.Since.Equal(b.clock) || e.Size != 5 {
		t.Errorf("%+v, %v", e, err)
	}
	b.pass(40 * time.Minute)
	_, err := b.Promise(ctx, "a", layer)
	ok(t, err)
	b.wantExplained(layer, "", "", "a: blob layer unreferenced until 1h40m0s, promised 1h40m0s")
	ok(t, b.UnlinkBlob(ctx, "a", layer))
	b.wantExplained(layer, "", "condemned until 41m0s")
	e, err := b.Explain(ctx, b.policy, layer, "")
	if ok(t, err); e.Reason != "the blob was deleted" || e.Size != 5 || !e.Since.Equal(b.clock) {
		t.Errorf("%+v", e)
	}
	b.pass(time.Minute)
	events, err := b.Events(ctx, 100)
	ok(t, err)
	ok(t, b.Done(ctx, events))
	due, err := b.Due(ctx, b.policy, 10)
	ok(t, err)
	_, err = b.Collect(ctx, b.policy, due)
	ok(t, err)
	b.wantExplained(layer, "", "deleting")
	ok(t, b.Deleted(ctx, []digest.Digest{layer}))
	b.wantExplained(layer, "", "gone")
	b.pass(settling)
	b.collect()
	b.wantExplained(layer, "", "unknown")
}

// TestExplainLentBytes asks by either digest for bytes that one of two links lends.
func TestExplainLentBytes(t *testing.T) {
	b := newBench(t)
	ctx, long := t.Context(), digest.SHA512.FromString("layer")
	b.link("0", "stray") // other repositories, before and after, with no such link
	b.link("z", "stray")
	ok(t, b.StartAdoption(ctx))
	ok(t, b.Import(ctx, Import{
		Repository: "0/a",
		Links:      []ImportedLink{{Digest: long, At: dgst("layer"), Size: 5}, {Digest: dgst("layer"), Size: 5}},
		Manifests:  []Manifest{{Digest: dgst("m"), Blobs: []digest.Digest{long}, PushedAt: b.clock}},
		Tags:       []ImportedTag{{Name: "v1", Digest: dgst("m")}},
	}))
	ok(t, b.FinishAdoption(ctx, nil))
	uses := []string{"0/a: tag v1 > manifest m > link layer > blob layer", "0/a: tag v1 > manifest m > blob layer"}
	b.wantExplained(dgst("layer"), "", append([]string{""}, uses...)...)
	b.wantExplained(long, "", append([]string{"as layer"}, uses...)...)
	b.wantExplained(digest.SHA512.FromString("nothing"), "", "unknown")
	ok(t, b.DeleteTag(ctx, "0/a", "v1", "alice"))
	b.policy.Untagged = 0
	b.wantExplained(long, "z", "as layer")
	e, err := b.Explain(ctx, b.policy, long, "")
	ok(t, err)
	for _, u := range e.Uses {
		if u.Review == nil || u.Review.Reason != "tag v1 was deleted" || u.Path[0].Digest != dgst("m") {
			t.Errorf("%+v", u)
		}
	}
}

// TestReasonOfAMovedTag: the most usual way in which a manifest becomes garbage.
func TestReasonOfAMovedTag(t *testing.T) {
	b := newBench(t)
	image(t, b.Index, "a", "m 1", nil, "v1")
	image(t, b.Index, "a", "m 2", nil, "v1")
	image(t, b.Index, "a", "m", nil)
	var reasons []string
	ok(t, b.Plan(t.Context(), b.policy, b.clock.Add(time.Hour), func(s Step) error {
		reasons = append(reasons, b.name(s.Digest)+": "+s.Reason)
		return nil
	}))
	slices.Sort(reasons)
	if want := []string{"m 1: tag v1 was moved", "m: pushed without a tag"}; !slices.Equal(reasons, want) {
		t.Errorf("%q, want %q", reasons, want)
	}
}
