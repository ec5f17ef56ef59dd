package filesystem

import (
	"errors"
	"io/fs"
	"os"
	"sync/atomic"
	"testing"

	"gatehouse/registry/driver"
)

// TestRemove: it is Delete without the sync.
func TestRemove(t *testing.T) {
	var synced atomic.Int64
	d, err := open(t.TempDir(), func(f *os.File) error { synced.Add(1); return f.Sync() }, ordered)
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	ctx := t.Context()
	for _, name := range []string{"a/file", "a/folder/one", "a/folder/two/three"} {
		if err := d.WriteFile(ctx, name, []byte("x")); err != nil {
			t.Fatal(err)
		}
	}
	before := synced.Load()
	for _, name := range []string{"a/file", "a/folder"} {
		if err := d.Remove(ctx, name); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if _, err := d.Stat(ctx, name); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s is still there: %v", name, err)
		}
		if err := d.Remove(ctx, name); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s, removed again: %v", name, err)
		}
	}
	if n := synced.Load() - before; n != 0 {
		t.Errorf("%d syncs", n)
	}
	if err := d.Remove(ctx, "../outside"); err == nil {
		t.Error("a path that leads out is accepted")
	}
	var _ driver.Remover = d
}
