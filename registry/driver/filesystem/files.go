package filesystem

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"

	"gatehouse/registry/driver"
)

// WriteFile is driver.Driver's: a temporary file in the same folder, fsync, rename, fsync of the folder.
func (d *Driver) WriteFile(ctx context.Context, name string, data []byte) error {
	return d.writeFile(ctx, name, data, d.sync, d.syncNames)
}

// writeFile is WriteFile with what makes the bytes, and then the name in its folder, durable.
func (d *Driver) writeFile(ctx context.Context, name string, data []byte, syncData func(*os.File) error, syncNames func(*os.File, string) error) error {
	if err := driver.Check(ctx, "write", name); err != nil {
		return err
	}
	dir, base := path.Split(name)
	dir = path.Clean(dir)
	if err := d.checkLost(dir); err != nil {
		return fmt.Errorf("write: %w", err)
	}
	var folder *os.File
	err := fs.ErrNotExist
	for i := 0; i < tries && errors.Is(err, fs.ErrNotExist); i++ { // a Delete can take the folder away in between
		folder, err = d.replace(dir, base, data, syncData)
	}
	if err != nil {
		return known(err)
	}
	defer folder.Close()
	return syncNames(folder, dir)
}

// replace makes base in the folder dir a file of data, in one step but not durable. It returns the folder.
func (d *Driver) replace(dir, base string, data []byte, sync func(*os.File) error) (*os.File, error) {
	temp := driver.TempName(base)
	f, err := d.create(path.Join(dir, temp), os.O_WRONLY|os.O_CREATE|os.O_EXCL)
	if err != nil {
		return nil, err
	}
	folder, err := d.root.Open(dir)
	if err != nil {
		f.Close()
		return nil, err
	}
	if err = fill(f, data, sync); err == nil {
		err = rename(folder, temp, folder, base)
	}
	if err != nil {
		d.root.Remove(path.Join(dir, temp))
		folder.Close()
		return nil, err
	}
	return folder, nil
}

// fill writes data to a new file, and closes it.
func fill(f *os.File, data []byte, sync func(*os.File) error) error {
	_, err := f.Write(data)
	if err != nil {
		err = known(err)
	} else if err = sync(f); err != nil {
		err = damaged(err)
	}
	if e := f.Close(); err == nil && e != nil {
		err = damaged(e)
	}
	return err
}

// create opens a file that may have to be created, with the folders above it.
func (d *Driver) create(name string, flag int) (f *os.File, err error) {
	err = d.inFolder(path.Dir(name), func() error {
		f, err = d.root.OpenFile(name, flag, 0o666)
		return err
	})
	return f, err
}

const tries = 100 // to get something into a folder that others take away

// inFolder runs fn, and again after making the folder dir if something is missing: a Move can take the folder away in between,
// as long as it is empty. (MkdirAll's word for a folder that goes while it looks is that it exists.)
func (d *Driver) inFolder(dir string, fn func() error) error {
	err := fn()
	for range tries {
		if !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, fs.ErrExist) {
			break
		}
		if err = d.root.MkdirAll(dir, 0o777); err == nil {
			err = fn()
		}
	}
	return err
}

// Append is driver.Driver's.
func (d *Driver) Append(ctx context.Context, name string, offset int64) (driver.Writer, error) {
	if err := driver.Check(ctx, "append", name); err != nil {
		return nil, err
	}
	if err := d.checkLost(name); err != nil {
		return nil, fmt.Errorf("append: %w", err)
	}
	f, err := d.openAppend(name, offset)
	if err != nil {
		return nil, known(err)
	}
	return &writer{driver: d, name: name, file: f, size: offset}, nil
}

// openAppend opens a file of offset bytes for writing behind them.
func (d *Driver) openAppend(name string, offset int64) (f *os.File, err error) {
	if offset == 0 {
		f, err = d.create(name, os.O_WRONLY|os.O_CREATE)
	} else {
		f, err = d.root.OpenFile(name, os.O_WRONLY, 0)
	}
	if err != nil {
		return nil, err
	}
	info, err := f.Stat()
	switch {
	case err != nil:
	case !info.Mode().IsRegular():
		err = notFile("append", name)
	case info.Size() != offset:
		err = fmt.Errorf("append to %s at %d: %w, %d", name, offset, driver.ErrOffset, info.Size())
	default:
		if _, err = f.Seek(offset, 0); err == nil {
			return f, nil
		}
	}
	f.Close()
	return nil, err
}

// writer is the driver.Writer of a file.
type writer struct {
	driver *Driver
	name   string
	file   *os.File // nil when the writer has ended
	size   int64
	err    error // of a Write
}

func (w *writer) Size() int64 { return w.size }

func (w *writer) Write(p []byte) (int, error) {
	if w.file == nil {
		return 0, w.ended("write")
	}
	if w.err != nil {
		return 0, w.err
	}
	n, err := w.file.Write(p)
	w.size += int64(n)
	if err != nil {
		w.err = known(err)
	}
	return n, w.err
}

// Commit cannot see one thing: a page of an earlier Writer that the system failed to write, and forgot, while nobody had the
// file open. Whoever appends after a pause therefore reads the file first, as resuming a hash does.
func (w *writer) Commit(ctx context.Context) error {
	if w.file == nil {
		return w.ended("commit")
	}
	if w.err != nil {
		return w.err
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	err := w.driver.syncOne(w.file, w.name)
	w.Close() // what could fail here was reported by fsync
	if err != nil {
		w.driver.root.Remove(w.name) // in a later process nothing else would tell that it is lost
		return fmt.Errorf("commit %s: %w", w.name, err)
	}
	return nil
}

func (w *writer) Close() error {
	if w.file == nil {
		return nil
	}
	err := w.file.Close()
	w.file = nil
	return err
}

func (w *writer) ended(op string) error {
	return &fs.PathError{Op: op, Path: w.name, Err: fs.ErrClosed}
}
