package tree

import (
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"

	"gatehouse/registry/driver/drivertest"
	"gatehouse/registry/driver/filesystem"
	"gatehouse/registry/index"
	"gatehouse/registry/index/indextest"
)

// TestRemovedRepository: of a repository that is removed nothing is left by which distribution would know it, not even what the
// index never knew; repositories that lie in it and uploads stay, and so does what is pushed again.
func TestRemovedRepository(t *testing.T) {
	ctx, x := t.Context(), newIndex(t)
	d, err := filesystem.New(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	broken := drivertest.NewFaults(d)
	p := NewProjector(x, broken, slog.New(slog.DiscardHandler))
	ok := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	push := func(repo string) {
		t.Helper()
		for i := range 20 {
			layer, m := digest.FromString(fmt.Sprint("layer ", i)), digest.FromString(fmt.Sprint("manifest ", i))
			ok(indextest.LinkBlob(ctx, x, repo, layer, 5))
			ok(indextest.PutManifest(ctx, x, repo, index.Manifest{Digest: m, Blobs: []digest.Digest{layer}}, fmt.Sprint("v", i)))
		}
	}
	push("a")
	push("a/b")
	ok(p.Drain(ctx))
	all := files(t, d, repositories)
	ok(d.WriteFile(ctx, UploadData("a", "id"), []byte("half")))
	ok(d.WriteFile(ctx, Manifests("a")+"/tags/broken/current/link", nil))
	ok(d.WriteFile(ctx, Layers("a")+"/foreign", nil))
	remove := func() {
		t.Helper()
		_, err := x.RemoveRepository(ctx, "a", "", func(index.Removal) error { return nil })
		ok(err)
	}

	remove()
	broken.Set(drivertest.Fault{Match: drivertest.On("Delete"), Skip: 50, Err: errors.New("disk is away")})
	if err := p.Drain(ctx); err == nil {
		t.Error("the tree is not true, and nobody was told")
	}
	broken.Set()
	ok(p.Drain(ctx))
	want := maps.Clone(all)
	maps.DeleteFunc(want, func(name, _ string) bool { return !strings.HasPrefix(name, "a/b/") })
	want["a/_uploads/id/data"] = "half"
	if got := files(t, d, repositories); !maps.Equal(got, want) {
		t.Errorf("left: %v, want %v", slices.Sorted(maps.Keys(got)), slices.Sorted(maps.Keys(want)))
	}
	for _, folder := range []string{Layers("a"), Manifests("a")} {
		if _, err := d.Stat(ctx, folder); !isAbsent(err) {
			t.Errorf("%s is there: %v", folder, err)
		}
	}

	// Removed and pushed again before anybody looked.
	push("a")
	remove()
	push("a")
	ok(p.Drain(ctx))
	all["a/_uploads/id/data"] = "half"
	if got := files(t, d, repositories); !maps.Equal(got, all) {
		t.Errorf("pushed again: %v, want %v", slices.Sorted(maps.Keys(got)), slices.Sorted(maps.Keys(all)))
	}
}

func isAbsent(err error) bool { return err != nil && absent(err) == nil }
