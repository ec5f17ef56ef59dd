package tree

import (
	"context"
	_ "crypto/sha512" // for digest.SHA512
	"errors"
	"io/fs"
	"log/slog"
	"maps"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"

	"gatehouse/registry/driver"
	"gatehouse/registry/driver/drivertest"
	"gatehouse/registry/driver/inmemory"
	"gatehouse/registry/index"
	"gatehouse/registry/index/indextest"
	"gatehouse/registry/index/kv/bolt"
)

// TestPaths pins the layout: these are the paths of distribution's storage/paths.go.
func TestPaths(t *testing.T) {
	d := digest.FromString("x")
	hex := d.Encoded()
	for got, want := range map[string]string{
		Blob(d):                             "docker/registry/v2/blobs/sha256/" + hex[:2] + "/" + hex + "/data",
		Blob(digest.SHA512.FromString("x")): "docker/registry/v2/blobs/sha512/a4/" + digest.SHA512.FromString("x").Encoded() + "/data",
		UploadData("a/b", "id"):             "docker/registry/v2/repositories/a/b/_uploads/id/data",
		Layer("a/b", d):                     "docker/registry/v2/repositories/a/b/_layers/sha256/" + hex + "/link",
		Revision("a/b", d):                  "docker/registry/v2/repositories/a/b/_manifests/revisions/sha256/" + hex + "/link",
		TagCurrent("a/b", "v1"):             "docker/registry/v2/repositories/a/b/_manifests/tags/v1/current/link",
		TagIndex("a/b", "v1", d):            "docker/registry/v2/repositories/a/b/_manifests/tags/v1/index/sha256/" + hex + "/link",
	} {
		if got != want {
			t.Errorf("%s, want %s", got, want)
		}
	}
}

// files returns what is below a folder: paths and contents.
func files(t *testing.T, d driver.Driver, folder string) map[string]string {
	t.Helper()
	found := map[string]string{}
	for e, err := range d.List(t.Context(), folder) {
		if errors.Is(err, fs.ErrNotExist) {
			return found
		}
		if err != nil {
			t.Fatal(err)
		}
		name := path.Join(folder, e.Name)
		if e.Dir {
			maps.Copy(found, files(t, d, name))
			continue
		}
		b, err := d.ReadFile(t.Context(), name, 1000)
		if err != nil {
			t.Fatal(err)
		}
		found[strings.TrimPrefix(name, repositories+"/")] = string(b)
	}
	return found
}

// newIndex returns an empty index.
func newIndex(t *testing.T) *index.Index {
	t.Helper()
	db, err := bolt.Open(filepath.Join(t.TempDir(), "index.db"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	x, err := index.Open(t.Context(), db, time.Now)
	if err != nil {
		t.Fatal(err)
	}
	return x
}

// TestRunEndsWithATrueTree: whatever is left when the server stops is projected, however much it is; where that fails, Run says so
// and the events are kept.
func TestRunEndsWithATrueTree(t *testing.T) {
	x, memory := newIndex(t), inmemory.New()
	broken := drivertest.NewFaults(memory, drivertest.Fault{Match: drivertest.On("WriteFile"), Skip: 100, Err: errors.New("disk is away")})
	const count = eventsAtOnce + 100
	for i := range count {
		if err := indextest.LinkBlob(t.Context(), x, "a", digest.FromString(strconv.Itoa(i)), 1); err != nil {
			t.Fatal(err)
		}
	}
	stopped, stop := context.WithCancel(t.Context())
	stop()
	log := slog.New(slog.DiscardHandler)
	if err := NewProjector(x, broken, log).Run(stopped); err == nil {
		t.Error("the tree is not true, and nobody was told")
	}
	if err := NewProjector(x, memory, log).Run(stopped); err != nil {
		t.Error(err)
	}
	if got := len(files(t, memory, repositories)); got != count {
		t.Errorf("%d links of %d", got, count)
	}
	if left, err := x.Events(t.Context(), 1); len(left) > 0 || err != nil {
		t.Errorf("events left over: %v, %v", left, err)
	}
}

func TestProjection(t *testing.T) {
	ctx, x := t.Context(), newIndex(t)
	d := inmemory.New()
	p := NewProjector(x, d, slog.New(slog.DiscardHandler))
	layer, one, two := digest.FromString("layer"), digest.FromString("one"), digest.FromString("two")
	check := func(step string, err error, want map[string]string) {
		t.Helper()
		if err != nil {
			t.Fatalf("%s: %v", step, err)
		}
		if err := p.Drain(ctx); err != nil {
			t.Fatalf("%s: %v", step, err)
		}
		if got := files(t, d, repositories); !maps.Equal(got, want) {
			t.Errorf("%s: %v, want %v", step, slices.Sorted(maps.Keys(got)), slices.Sorted(maps.Keys(want)))
		}
		if left, err := x.Events(ctx, 1); len(left) > 0 || err != nil {
			t.Errorf("%s: events left over: %v, %v", step, left, err)
		}
	}
	const sha = "sha256/"
	want := map[string]string{}
	check("nothing", nil, want)

	want["a/_layers/"+sha+layer.Encoded()+"/link"] = string(layer)
	check("link", indextest.LinkBlob(ctx, x, "a", layer, 5), want)

	want["a/_manifests/revisions/"+sha+one.Encoded()+"/link"] = string(one)
	want["a/_manifests/tags/v1/current/link"] = string(one)
	want["a/_manifests/tags/v1/index/"+sha+one.Encoded()+"/link"] = string(one)
	check("push", indextest.PutManifest(ctx, x, "a", index.Manifest{Digest: one, Blobs: []digest.Digest{layer}}, "v1"), want)

	want["a/_manifests/revisions/"+sha+two.Encoded()+"/link"] = string(two)
	want["a/_manifests/tags/v1/current/link"] = string(two)
	want["a/_manifests/tags/v1/index/"+sha+two.Encoded()+"/link"] = string(two)
	check("retag", indextest.PutManifest(ctx, x, "a", index.Manifest{Digest: two}, "v1"), want)

	delete(want, "a/_manifests/revisions/"+sha+one.Encoded()+"/link")
	check("delete a manifest", x.DeleteManifest(ctx, "a", one, ""), want)

	delete(want, "a/_layers/"+sha+layer.Encoded()+"/link")
	check("unlink", x.UnlinkBlob(ctx, "a", layer), want)

	maps.DeleteFunc(want, func(name, _ string) bool { return strings.Contains(name, "/tags/v1/") })
	check("delete a tag", x.DeleteTag(ctx, "a", "v1", ""), want)

	// Events that come late or twice meet what has become of it: nothing is left of what came and went.
	if err := indextest.PutManifest(ctx, x, "b", index.Manifest{Digest: one}, "v1"); err != nil {
		t.Fatal(err)
	}
	check("pushed and deleted", x.DeleteManifest(ctx, "b", one, ""), want)
}
