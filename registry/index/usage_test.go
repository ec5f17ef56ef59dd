package index

import (
	"context"
	"fmt"
	"slices"
	"testing"

	"github.com/opencontainers/go-digest"
)

// repositoryOfAllKinds pushes two images that share a layer, an index of two more, a signature, and bytes named by a longer digest.
func repositoryOfAllKinds(t testing.TB, x *Index, repo string) {
	t.Helper()
	ctx := t.Context()
	image(t, x, repo, "one", []string{"config one", "shared layer"}, "v1", "latest")
	image(t, x, repo, "two", []string{"config two", "shared layer"}, "v2")
	image(t, x, repo, "old", []string{"config old"}, "v2")
	ok(t, putManifest(ctx, x, repo, Manifest{Digest: dgst("two"), Size: 3}, "v2")) // v2 moves back: old is untagged
	children := []digest.Digest{}
	for _, platform := range []string{"amd64", "arm64"} {
		children = append(children, image(t, x, repo, platform, []string{platform + " layer", "shared layer"}).Digest)
	}
	ok(t, putManifest(ctx, x, repo, Manifest{Digest: dgst("multi"), Size: 7, Manifests: children}, "multi"))
	ok(t, putManifest(ctx, x, repo, Manifest{Digest: dgst("signature"), Size: 9, Subject: dgst("one")}))
	ok(t, x.Add(ctx, Import{Repository: repo, Links: []ImportedLink{
		{Digest: dgst("bytes"), Size: 100}, {Digest: digest.SHA512.FromString("bytes"), At: dgst("bytes"), Size: 100},
	}}))
}

func TestUsage(t *testing.T) {
	x, ctx := open(t), t.Context()
	if u, err := x.Usage(ctx, "a"); u != (Usage{}) || err != nil {
		t.Errorf("of nothing: %+v, %v", u, err)
	}
	repositoryOfAllKinds(t, x, "a")
	image(t, x, "a/b", "one", []string{"config one"}, "v1") // is not a's
	blobs := 0
	for _, content := range []string{"config one", "config two", "config old", "shared layer", "amd64 layer", "arm64 layer"} {
		blobs += len(content)
	}
	want := Usage{Tags: 4, Manifests: 7, Untagged: 1, Referrers: 1, Links: 8, Bytes: int64(blobs + 5*3 + 7 + 9 + 100)}
	if u, err := x.Usage(ctx, "a"); u != want || err != nil {
		t.Errorf("%+v, %v; want %+v", u, err, want)
	}
	sizes := map[string]int{
		"one": 3 + len("config one") + len("shared layer"), "signature": 9, "nothing": 0,
		"multi": 7 + 2*3 + len("amd64 layer") + len("arm64 layer") + len("shared layer"),
	}
	for name, want := range sizes {
		if got, err := x.ImageSize(ctx, "a", dgst(name)); got != int64(want) || err != nil {
			t.Errorf("size of %s: %d, %v; want %d", name, got, err, want)
		}
	}
	if got, err := x.ImageSize(ctx, "b", dgst("one")); got != 0 || err != nil {
		t.Errorf("size in a repository that has nothing: %d, %v", got, err)
	}
}

// TestUsageOfMany: what takes several looks at the index is counted once, to the last record.
func TestUsageOfMany(t *testing.T) {
	x, ctx := open(t), t.Context()
	in := Import{Repository: "a"}
	for i := range 2*viewed + 1 {
		in.Links = append(in.Links, ImportedLink{Digest: dgst(fmt.Sprint(i)), Size: 2})
	}
	ok(t, x.Add(ctx, in))
	if u, err := x.Usage(ctx, "a"); u != (Usage{Links: 2*viewed + 1, Bytes: 2 * (2*viewed + 1)}) || err != nil {
		t.Errorf("%+v, %v", u, err)
	}
	stopped, stop := context.WithCancel(ctx)
	stop()
	if _, err := x.Usage(stopped, "a"); err == nil {
		t.Error("it went on for nobody")
	}
}

func TestTagStates(t *testing.T) {
	x, ctx := open(t), t.Context()
	if tags, more, err := x.TagStates(ctx, "a", "", 10); len(tags) > 0 || more || err != nil {
		t.Errorf("of nothing: %v, %v, %v", tags, more, err)
	}
	_, err := x.TagState(ctx, "a", "v1")
	wantErr(t, err, ErrNameUnknown)
	repositoryOfAllKinds(t, x, "a")
	_, err = x.TagState(ctx, "a", "v9")
	wantErr(t, err, ErrManifestUnknown)
	var names []string
	for last := ""; ; {
		tags, more, err := x.TagStates(ctx, "a", last, 3)
		ok(t, err)
		for _, tag := range tags {
			names = append(names, tag.Name)
			if tag.At.IsZero() || tag.Manifest.Digest == "" {
				t.Errorf("%+v", tag)
			}
			last = tag.Name
		}
		if !more {
			break
		}
	}
	if !slices.Equal(names, []string{"latest", "multi", "v1", "v2"}) {
		t.Errorf("tags %v", names)
	}
	if tag, err := x.TagState(ctx, "a", "v1"); tag.By != "alice" || tag.Manifest.Digest != dgst("one") || err != nil {
		t.Errorf("%+v, %v", tag, err)
	}
}

func TestMoves(t *testing.T) {
	x, ctx := open(t), t.Context()
	repositoryOfAllKinds(t, x, "a")
	image(t, x, "a/b", "one", nil, "v1")
	ok(t, x.DeleteTag(ctx, "a", "v2", "bob"))
	moves := func(repo, tag string) (all []string) {
		t.Helper()
		ok(t, x.Moves(ctx, repo, tag, func(m TagMoved) error {
			all = append(all, fmt.Sprintf("%s %.12s by %s", m.Tag, m.To, m.By))
			return nil
		}))
		return all
	}
	v2 := []string{
		fmt.Sprintf("v2 %.12s by alice", dgst("two")), fmt.Sprintf("v2 %.12s by alice", dgst("old")),
		fmt.Sprintf("v2 %.12s by ", dgst("two")), "v2  by bob",
	}
	if got := moves("a", "v2"); !slices.Equal(got, v2) {
		t.Errorf("of a tag: %q, want %q", got, v2)
	}
	if got := moves("a", ""); len(got) != 7 || !slices.Equal(got[3:], v2) {
		t.Errorf("of a repository: %q", got)
	}
	for _, nothing := range [][2]string{{"a", "v"}, {"a", "v9"}, {"b", ""}, {"", ""}} {
		if got := moves(nothing[0], nothing[1]); len(got) > 0 {
			t.Errorf("of %q: %q", nothing, got)
		}
	}
}
