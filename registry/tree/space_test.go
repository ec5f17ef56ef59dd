package tree

import (
	"context"
	"errors"
	"log/slog"
	"maps"
	"slices"
	"testing"

	"github.com/opencontainers/go-digest"

	"gatehouse/registry/driver"
	"gatehouse/registry/driver/drivertest"
	"gatehouse/registry/driver/filesystem"
	"gatehouse/registry/driver/inmemory"
	"gatehouse/registry/index"
	"gatehouse/registry/index/indextest"
)

// spaceless is a disk that is full: for small files, or only when they are to be made durable.
type spaceless struct {
	*filesystem.Driver
	write, sync error // nil: there is space
}

func (d *spaceless) WriteFileLater(ctx context.Context, name string, data []byte) error {
	if d.sync == nil && d.write != nil {
		return d.write
	}
	return d.Driver.WriteFileLater(ctx, name, data)
}

func (d *spaceless) WriteFile(ctx context.Context, name string, data []byte) error {
	if d.write != nil {
		return d.write
	}
	return d.Driver.WriteFile(ctx, name, data)
}

func (d *spaceless) Sync(ctx context.Context) error { return errors.Join(d.sync, d.Driver.Sync(ctx)) }

// TestNoSpaceForLinks: what is removed goes from the tree although there is no space for links, what was to be written anew leads
// nowhere, and nothing that waited comes back after it was removed.
func TestNoSpaceForLinks(t *testing.T) {
	faulty := func(t *testing.T) (driver.Driver, func(full bool)) {
		d := drivertest.NewFaults(inmemory.New())
		return d, func(full bool) {
			d.Set()
			if full {
				d.Set(drivertest.Fault{Match: drivertest.On("WriteFile"), Err: driver.ErrNoSpace})
			}
		}
	}
	batching := func(sync bool) func(t *testing.T) (driver.Driver, func(full bool)) {
		return func(t *testing.T) (driver.Driver, func(full bool)) {
			files, err := filesystem.New(t.TempDir())
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { files.Close() })
			d := &spaceless{Driver: files}
			return d, func(full bool) {
				d.write, d.sync = nil, nil
				if full {
					d.write = driver.ErrNoSpace
				}
				if full && sync {
					d.sync = errors.Join(driver.ErrDamaged, driver.ErrNoSpace)
				}
			}
		}
	}
	for name, disk := range map[string]func(*testing.T) (driver.Driver, func(bool)){
		"one by one": faulty, "together": batching(false), "when synced": batching(true),
	} {
		t.Run(name, func(t *testing.T) {
			d, setFull := disk(t)
			testNoSpace(t, d, setFull)
		})
	}
}

func testNoSpace(t *testing.T, d driver.Driver, setFull func(bool)) {
	ctx, x := t.Context(), newIndex(t)
	p := NewProjector(x, d, slog.New(slog.DiscardHandler))
	ok := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	holds := func(want map[string]string) {
		t.Helper()
		if got := files(t, d, repositories); !maps.Equal(got, want) {
			t.Errorf("%v, want %v", slices.Sorted(maps.Keys(got)), slices.Sorted(maps.Keys(want)))
		}
	}
	pending := func(wanted bool) {
		t.Helper()
		follow, err := x.Events(ctx, 1)
		ok(err)
		all, err := x.Outbox(ctx, "", 1)
		ok(err)
		if len(follow) > 0 || len(all) > 0 != wanted {
			t.Errorf("%v are to be followed, %v in the outbox", follow, all)
		}
	}
	old, kept, one, two := digest.FromString("old"), digest.FromString("kept"), digest.FromString("one"), digest.FromString("two")
	const sha = "sha256/"
	ok(indextest.LinkBlob(ctx, x, "a", old, 5))
	ok(indextest.LinkBlob(ctx, x, "a", kept, 5))
	ok(indextest.PutManifest(ctx, x, "a", index.Manifest{Digest: one}, "v1"))
	ok(p.Drain(ctx))

	setFull(true)
	fresh, brief := digest.FromString("fresh"), digest.FromString("brief")
	ok(indextest.LinkBlob(ctx, x, "a", fresh, 5))
	ok(indextest.LinkBlob(ctx, x, "a", brief, 5))
	ok(indextest.PutManifest(ctx, x, "a", index.Manifest{Digest: two}, "v1"))
	if err := p.Drain(ctx); !errors.Is(err, driver.ErrNoSpace) {
		t.Errorf("the tree is not true, and nobody was told: %v", err)
	}
	pending(true)
	ok(x.DeleteManifest(ctx, "a", one, ""))
	ok(x.UnlinkBlob(ctx, "a", old))
	ok(x.UnlinkBlob(ctx, "a", brief))
	if err := p.Drain(ctx); !errors.Is(err, driver.ErrNoSpace) {
		t.Errorf("the tree is not true, and nobody was told: %v", err)
	}
	pending(true)
	for _, name := range []string{TagCurrent("a", "v1"), Revision("a", one), Layer("a", old), Layer("a", brief)} {
		if _, err := d.Stat(ctx, name); !isAbsent(err) {
			t.Errorf("%s leads to what the index let go of: %v", name, err)
		}
	}
	if _, err := d.Stat(ctx, Layer("a", kept)); err != nil {
		t.Error(err)
	}

	setFull(false)
	ok(p.Drain(ctx))
	pending(false)
	holds(map[string]string{
		"a/_layers/" + sha + kept.Encoded() + "/link":                 string(kept),
		"a/_layers/" + sha + fresh.Encoded() + "/link":                string(fresh),
		"a/_manifests/revisions/" + sha + two.Encoded() + "/link":     string(two),
		"a/_manifests/tags/v1/current/link":                           string(two),
		"a/_manifests/tags/v1/index/" + sha + one.Encoded() + "/link": string(one),
		"a/_manifests/tags/v1/index/" + sha + two.Encoded() + "/link": string(two),
	})
}

// TestNoSpaceToRemove: a removal that fails, for whatever reason, is waited for.
func TestNoSpaceToRemove(t *testing.T) {
	ctx, x := t.Context(), newIndex(t)
	d := drivertest.NewFaults(inmemory.New())
	p := NewProjector(x, d, slog.New(slog.DiscardHandler))
	old, fresh := digest.FromString("old"), digest.FromString("fresh")
	if err := errors.Join(indextest.LinkBlob(ctx, x, "a", old, 5), p.Drain(ctx),
		indextest.LinkBlob(ctx, x, "a", fresh, 5), x.UnlinkBlob(ctx, "a", old)); err != nil {
		t.Fatal(err)
	}
	d.Set(drivertest.Fault{Match: drivertest.On("WriteFile", "Delete"), Err: driver.ErrNoSpace})
	if err := p.Drain(ctx); !errors.Is(err, driver.ErrNoSpace) {
		t.Error(err)
	}
	if follow, err := x.Events(ctx, 10); len(follow) != 2 || err != nil {
		t.Errorf("a link leads to what the index let go of, and nobody waits for it: %v, %v", follow, err)
	}
}
