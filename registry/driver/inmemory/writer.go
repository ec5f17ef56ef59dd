package inmemory

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"time"

	"gatehouse/registry/driver"
)

// Append is driver.Driver's.
func (d *Driver) Append(ctx context.Context, name string, offset int64) (driver.Writer, error) {
	if err := driver.Check(ctx, "append", name); err != nil {
		return nil, err
	}
	w := &writer{driver: d, name: name, size: offset}
	err := d.write(func() (err error) {
		w.file, err = d.lookupFile("append", name)
		if errors.Is(err, fs.ErrNotExist) && offset == 0 {
			w.file = &file{modTime: time.Now()}
			err = d.put("append", name, w.file)
		}
		if err == nil && int64(len(w.file.data)) != offset {
			err = w.misplaced()
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	return w, nil
}

// writer is the driver.Writer of a file.
type writer struct {
	driver *Driver
	name   string
	file   *file // nil when the writer has ended
	size   int64
	err    error // of a Write
}

func (w *writer) misplaced() error {
	return fmt.Errorf("append to %s at %d: %w, %d", w.name, w.size, driver.ErrOffset, len(w.file.data))
}

func (w *writer) Size() int64 { return w.size }

// Write also fails when another Writer has written meanwhile, where a disk would keep the bytes of either.
func (w *writer) Write(p []byte) (int, error) {
	if w.file == nil {
		return 0, w.ended("write")
	}
	if w.err != nil {
		return 0, w.err
	}
	w.driver.mu.Lock()
	defer w.driver.mu.Unlock()
	if int64(len(w.file.data)) != w.size {
		w.err = w.misplaced()
		return 0, w.err
	}
	w.file.data, w.file.modTime = append(w.file.data, p...), time.Now()
	w.size += int64(len(p))
	return len(p), nil
}

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
	return w.Close()
}

func (w *writer) Close() error {
	w.file = nil
	return nil
}

func (w *writer) ended(op string) error {
	return &fs.PathError{Op: op, Path: w.name, Err: fs.ErrClosed}
}
