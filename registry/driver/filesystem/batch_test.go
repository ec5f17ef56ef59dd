package filesystem

import (
	"errors"
	"fmt"
	"os"
	"sync/atomic"
	"syscall"
	"testing"

	"gatehouse/registry/driver"
)

// TestBatch: many files are one sync, and they are there before it.
func TestBatch(t *testing.T) {
	var synced, all atomic.Int64
	d, err := open(t.TempDir(), func(f *os.File) error { synced.Add(1); return f.Sync() }, ordered)
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	failing := false
	d.syncAll = func(f *os.File) error {
		all.Add(1)
		if failing {
			return syscall.EIO
		}
		return syncAll(f)
	}
	ctx := t.Context()
	before := synced.Load()
	for i := range 100 {
		if err := d.WriteFileLater(ctx, fmt.Sprintf("a/%d/link", i%10), fmt.Appendf(nil, "content %d", i)); err != nil {
			t.Fatal(err)
		}
	}
	for i := range 10 {
		if b, err := d.ReadFile(ctx, fmt.Sprintf("a/%d/link", i), 100); string(b) != fmt.Sprintf("content %d", 90+i) || err != nil {
			t.Errorf("before the sync: %q, %v", b, err)
		}
	}
	if n := synced.Load() - before; n != 0 || all.Load() != 0 {
		t.Errorf("%d syncs of files and folders, %d of all before Sync", n, all.Load())
	}
	for range 2 { // the second has nothing to do
		if err := d.Sync(ctx); err != nil {
			t.Fatal(err)
		}
	}
	if all.Load() != 1 {
		t.Errorf("%d syncs of all for one file system", all.Load())
	}
	failing = true
	if err := d.WriteFileLater(ctx, "a/b", nil); err != nil {
		t.Fatal(err)
	}
	if err := d.Sync(ctx); !errors.Is(err, driver.ErrDamaged) {
		t.Errorf("a sync that fails: %v", err)
	}
	failing = false
	if err := d.WriteFileLater(ctx, "../a", nil); err == nil {
		t.Error("written outside the root")
	}
	for _, folder := range d.batch.folders {
		t.Errorf("%s is still open", folder.Name())
	}
}
