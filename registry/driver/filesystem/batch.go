package filesystem

import (
	"context"
	"errors"
	"maps"
	"os"
	"slices"
	"sync"

	"gatehouse/registry/driver"
)

var _ driver.Batcher = (*Driver)(nil)

// batch is what has been written since the last Sync: an open folder on each file system that was written to. The sync of a file
// system reports what failed to be written since the folder was opened.
type batch struct {
	mu      sync.Mutex
	folders map[uint64]*os.File // by device; guarded by mu
}

// WriteFileLater is driver.Batcher's: a temporary file in the same folder, and rename.
func (d *Driver) WriteFileLater(ctx context.Context, name string, data []byte) error {
	if d.syncAll == nil {
		return d.WriteFile(ctx, name, data)
	}
	return d.writeFile(ctx, name, data, func(*os.File) error { return nil }, func(folder *os.File, dir string) error {
		return d.batch.add(d.root, folder, dir)
	})
}

// add remembers the file system of a folder, which is called dir.
func (b *batch) add(root *os.Root, folder *os.File, dir string) error {
	info, err := folder.Stat()
	if err != nil {
		return known(err)
	}
	device := deviceOf(info)
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.folders[device] != nil {
		return nil
	}
	kept, err := root.Open(dir) // an error that nobody has seen yet is reported to this one too
	if err != nil {
		return err
	}
	if b.folders == nil {
		b.folders = make(map[uint64]*os.File)
	}
	b.folders[device] = kept
	return nil
}

// take returns the folders and forgets them.
func (b *batch) take() []*os.File {
	b.mu.Lock()
	defer b.mu.Unlock()
	folders := slices.Collect(maps.Values(b.folders))
	b.folders = nil
	return folders
}

func (b *batch) close() {
	for _, f := range b.take() {
		f.Close()
	}
}

// Sync is driver.Batcher's.
func (d *Driver) Sync(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	var errs []error
	for _, f := range d.batch.take() {
		if err := d.syncAll(f); err != nil {
			errs = append(errs, damaged(err))
		}
		f.Close()
	}
	return errors.Join(errs...)
}
