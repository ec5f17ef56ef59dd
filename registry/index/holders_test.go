package index

import (
	"fmt"
	"slices"
	"testing"
)

func TestHolders(t *testing.T) {
	x, ctx := open(t), t.Context()
	layer := dgst("layer")
	for i := range 3 {
		image(t, x, "a", fmt.Sprint("image ", i), []string{"layer", "other"})
	}
	for _, repo := range []string{"a/b", "z"} {
		ok(t, linkBlob(ctx, x, repo, layer, 5))
		ok(t, linkBlob(ctx, x, repo, dgst("other in "+repo), 5))
	}
	ok(t, linkBlob(ctx, x, "b", dgst("another"), 5))
	for n, want := range map[int][]string{0: nil, 1: {"a"}, 2: {"a", "a/b"}, 10: {"a", "a/b", "z"}} {
		if got, err := x.Holders(ctx, layer, n); err != nil || !slices.Equal(got, want) {
			t.Errorf("at most %d: %q, %v; want %q", n, got, err, want)
		}
	}
	for _, content := range []string{"nowhere", "image 1"} { // a manifest is no blob
		if got, err := x.Holders(ctx, dgst(content), 10); err != nil || len(got) > 0 {
			t.Errorf("of %s: %q, %v", content, got, err)
		}
	}
	ok(t, x.UnlinkBlob(ctx, "z", layer))
	if got, err := x.Holders(ctx, layer, 10); err != nil || !slices.Equal(got, []string{"a", "a/b"}) {
		t.Errorf("after it was deleted in z: %q, %v", got, err)
	}
}
