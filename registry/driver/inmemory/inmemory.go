// Package inmemory keeps the registry's files in memory, for tests and for a registry that may forget. It is the reference for
// driver.Driver: what the contract says, and nothing else. Stable storage is the process's memory here.
package inmemory

import (
	"bytes"
	"context"
	"fmt"
	"io/fs"
	"iter"
	"path"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"gatehouse/registry/driver"
)

// Driver is a driver.Driver over a tree in memory. A name is found and a folder listed in a time that does not grow with what
// else is stored, but for a logarithm.
type Driver struct {
	mu     sync.RWMutex
	root   *folder // and all below it; guarded by mu
	closed bool    // guarded by mu
}

var _ driver.Driver = (*Driver)(nil)

// New returns an empty driver.
func New() *Driver { return &Driver{root: &folder{}} }

// folder has its entries in ascending order of their names.
type folder struct {
	entries []entry
}

// entry is a file or a folder; the other is nil.
type entry struct {
	name   string
	file   *file
	folder *folder
}

// file has bytes that are only ever added to: whoever holds a part of data may read it without the lock.
type file struct {
	data    []byte
	modTime time.Time
}

func (f *folder) find(name string) (int, bool) {
	return slices.BinarySearchFunc(f.entries, name, func(e entry, name string) int { return strings.Compare(e.name, name) })
}

// lookup returns the entry at a path.
func (d *Driver) lookup(op, name string) (entry, error) {
	at := entry{folder: d.root}
	if name == "." {
		return at, nil
	}
	for part := range strings.SplitSeq(name, "/") {
		if at.folder == nil {
			return entry{}, &fs.PathError{Op: op, Path: name, Err: syscall.ENOTDIR}
		}
		i, found := at.folder.find(part)
		if !found {
			return entry{}, &fs.PathError{Op: op, Path: name, Err: fs.ErrNotExist}
		}
		at = at.folder.entries[i]
	}
	return at, nil
}

// lookupFile returns the file at a path.
func (d *Driver) lookupFile(op, name string) (*file, error) {
	e, err := d.lookup(op, name)
	if err == nil && e.file == nil {
		err = &fs.PathError{Op: op, Path: name, Err: syscall.EISDIR}
	}
	return e.file, err
}

// put makes f the file at a path, with the folders above it.
func (d *Driver) put(op, name string, f *file) error {
	at := d.root
	for dir, rest := "", name; ; {
		var below bool
		dir, rest, below = strings.Cut(rest, "/")
		i, found := at.find(dir)
		switch {
		case below && !found:
			next := &folder{}
			at.entries = slices.Insert(at.entries, i, entry{name: dir, folder: next})
			at = next
		case below && at.entries[i].folder == nil:
			return &fs.PathError{Op: op, Path: name, Err: syscall.ENOTDIR}
		case below:
			at = at.entries[i].folder
		case !found:
			at.entries = slices.Insert(at.entries, i, entry{name: dir, file: f})
			return nil
		case at.entries[i].file == nil:
			return &fs.PathError{Op: op, Path: name, Err: syscall.EISDIR}
		default:
			at.entries[i].file = f
			return nil
		}
	}
}

// remove takes away what is at a path that exists, and returns the folder it was in.
func (d *Driver) remove(name string) *folder {
	above, _ := d.lookup("", path.Dir(name))
	i, _ := above.folder.find(path.Base(name))
	above.folder.entries = slices.Delete(above.folder.entries, i, i+1)
	return above.folder
}

// read runs fn under the lock for reading, write under that for writing, unless the driver is closed.
func (d *Driver) read(fn func() error) error {
	d.mu.RLock()
	defer d.mu.RUnlock()
	if d.closed {
		return fs.ErrClosed
	}
	return fn()
}

func (d *Driver) write(fn func() error) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.closed {
		return fs.ErrClosed
	}
	return fn()
}

// Name is "inmemory".
func (d *Driver) Name() string { return "inmemory" }

// reader is the driver.File of a file as it was.
type reader struct {
	*bytes.Reader
	modTime time.Time
}

func (r reader) ModTime() time.Time { return r.modTime }
func (r reader) Close() error       { return nil }

// Open is driver.Driver's.
func (d *Driver) Open(ctx context.Context, name string) (r driver.File, err error) {
	if err := driver.Check(ctx, "open", name); err != nil {
		return nil, err
	}
	err = d.read(func() error {
		f, err := d.lookupFile("open", name)
		if err == nil {
			r = reader{bytes.NewReader(f.data), f.modTime}
		}
		return err
	})
	return r, err
}

// ReadFile is driver.Driver's.
func (d *Driver) ReadFile(ctx context.Context, name string, limit int64) (data []byte, err error) {
	if err := driver.Check(ctx, "read", name); err != nil {
		return nil, err
	}
	err = d.read(func() error {
		f, err := d.lookupFile("read", name)
		if err != nil {
			return err
		}
		if int64(len(f.data)) > limit {
			return fmt.Errorf("read %s: %w: %d bytes, not %d", name, driver.ErrTooLarge, len(f.data), limit)
		}
		data = bytes.Clone(f.data)
		return nil
	})
	return data, err
}

// WriteFile is driver.Driver's.
func (d *Driver) WriteFile(ctx context.Context, name string, data []byte) error {
	if err := driver.Check(ctx, "write", name); err != nil {
		return err
	}
	f := &file{bytes.Clone(data), time.Now()}
	return d.write(func() error { return d.put("write", name, f) })
}

// Stat is driver.Driver's.
func (d *Driver) Stat(ctx context.Context, name string) (info driver.Info, err error) {
	if err := driver.CheckFolder(ctx, "stat", name); err != nil {
		return info, err
	}
	err = d.read(func() error {
		e, err := d.lookup("stat", name)
		switch {
		case err != nil:
		case e.file == nil:
			info.Dir = true
		default:
			info = driver.Info{Size: int64(len(e.file.data)), ModTime: e.file.modTime}
		}
		return err
	})
	return info, err
}

// Move is driver.Driver's.
func (d *Driver) Move(ctx context.Context, from, to string) error {
	if err := driver.Check(ctx, "move", from, to); err != nil {
		return err
	}
	return d.write(func() error {
		f, err := d.lookupFile("move", from)
		if err != nil {
			return err
		}
		if err := d.put("move", to, f); err != nil || from == to {
			return err
		}
		if len(d.remove(from).entries) == 0 && path.Dir(from) != "." {
			d.remove(path.Dir(from))
		}
		return nil
	})
}

// Delete is driver.Driver's.
func (d *Driver) Delete(ctx context.Context, name string) error {
	if err := driver.Check(ctx, "delete", name); err != nil {
		return err
	}
	return d.write(func() error {
		if _, err := d.lookup("delete", name); err != nil {
			return err
		}
		d.remove(name)
		return nil
	})
}

// List is driver.Driver's. It yields the folder as it was when it began.
func (d *Driver) List(ctx context.Context, name string) iter.Seq2[driver.Entry, error] {
	return func(yield func(driver.Entry, error) bool) {
		var entries []entry
		err := driver.CheckFolder(ctx, "list", name)
		if err == nil {
			err = d.read(func() error {
				e, err := d.lookup("list", name)
				if err == nil && e.folder == nil {
					err = &fs.PathError{Op: "list", Path: name, Err: syscall.ENOTDIR}
				}
				if err == nil {
					entries = slices.Clone(e.folder.entries)
				}
				return err
			})
		}
		for i := 0; err == nil && i < len(entries); i++ {
			if err = ctx.Err(); err == nil && !yield(driver.Entry{Name: entries[i].name, Dir: entries[i].folder != nil}, nil) {
				return
			}
		}
		if err != nil {
			yield(driver.Entry{}, err)
		}
	}
}

// Close is driver.Driver's.
func (d *Driver) Close() error {
	return d.write(func() error {
		d.closed = true
		return nil
	})
}
