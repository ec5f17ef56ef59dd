package filesystem

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"time"

	"gatehouse/registry/driver"
)

var _ driver.Sweeper = (*Driver)(nil)

// Sweep is driver.Sweeper's. It walks the whole tree for the temporary files of writes that a crash cut short: WriteFile's, and
// those of distribution. Folders stay. That they are gone is not made durable: the next Sweep finds what came back.
func (d *Driver) Sweep(ctx context.Context, olderThan time.Duration) (n int, err error) {
	err = d.sweepBelow(ctx, ".", time.Now().Add(-olderThan), &n)
	return n, err
}

// sweepBelow sweeps a folder. What cannot be read or removed holds up nothing else.
func (d *Driver) sweepBelow(ctx context.Context, folder string, before time.Time, n *int) (failed error) {
	entries, err := d.readFolder(ctx, folder)
	if err != nil {
		return unlessGone(err)
	}
	for _, e := range entries {
		if err := ctx.Err(); err != nil {
			return err
		}
		name := path.Join(folder, e.Name())
		switch {
		case e.IsDir():
			err = d.sweepBelow(ctx, name, before, n)
		case driver.IsTemp(e.Name()):
			err = d.sweepFile(name, e, before, n)
		default:
			continue
		}
		if err != nil {
			failed = errors.Join(failed, fmt.Errorf("sweep %s: %w", name, err))
		}
	}
	return failed
}

func (d *Driver) sweepFile(name string, e fs.DirEntry, before time.Time, n *int) error {
	info, err := e.Info()
	if err != nil || !info.Mode().IsRegular() || info.ModTime().After(before) {
		return unlessGone(err)
	}
	if err := d.root.Remove(name); err != nil {
		return unlessGone(err)
	}
	*n++
	return nil
}

// unlessGone makes nothing of an error that says that something has gone meanwhile.
func unlessGone(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}
