package filesystem

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"

	"golang.org/x/sys/unix"

	"gatehouse/registry/driver"
)

// Move is driver.Driver's: a rename, which replaces what is at to, and an fsync of to's folder.
func (d *Driver) Move(ctx context.Context, from, to string) error {
	if err := driver.Check(ctx, "move", from, to); err != nil {
		return err
	}
	for _, name := range []string{from, path.Dir(to)} {
		if err := d.checkLost(name); err != nil {
			return fmt.Errorf("move: %w", err)
		}
	}
	folder, err := d.move(from, to)
	if err != nil {
		return known(err)
	}
	defer folder.Close()
	if path.Dir(from) != path.Dir(to) {
		d.removeEmpty(path.Dir(from))
	}
	return d.syncNames(folder, path.Dir(to))
}

// move is Move without making it durable. It returns the folder of to, as it was opened before.
func (d *Driver) move(from, to string) (*os.File, error) {
	info, err := d.root.Lstat(from)
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, notFile("move", from)
	}
	source, err := d.root.Open(path.Dir(from))
	if err != nil {
		return nil, err
	}
	defer source.Close()
	for range tries {
		var folder *os.File
		err = d.inFolder(path.Dir(to), func() error {
			folder, err = d.root.Open(path.Dir(to))
			return err
		})
		if err != nil {
			return nil, err
		}
		if err = rename(source, path.Base(from), folder, path.Base(to)); err == nil {
			return folder, nil
		}
		folder.Close()
		if !errors.Is(err, fs.ErrNotExist) {
			break
		}
		if _, err := d.root.Lstat(from); err != nil { // not to's folder was gone, but from
			return nil, err
		}
	}
	return nil, err
}

// rename renames within open folders: were they looked up again, the folder that is synced afterwards could be another one.
func rename(from *os.File, oldName string, to *os.File, newName string) error {
	err := uninterrupted(func() error { return unix.Renameat(int(from.Fd()), oldName, int(to.Fd()), newName) })
	if err != nil {
		return &os.LinkError{Op: "rename", Old: oldName, New: newName, Err: err}
	}
	return nil
}

// unlink removes the name from an open folder; flags are those of unlinkat(2).
func unlink(folder *os.File, name string, flags int) error {
	return uninterrupted(func() error { return unix.Unlinkat(int(folder.Fd()), name, flags) })
}

// uninterrupted repeats a system call that a signal cut short: on network file systems even these can be.
func uninterrupted(call func() error) error {
	for {
		if err := call(); err != unix.EINTR {
			return err
		}
	}
}

// removeEmpty removes a folder that nothing is in. Failing to is no loss.
func (d *Driver) removeEmpty(dir string) {
	above, err := d.root.Open(path.Dir(dir))
	if err != nil {
		return
	}
	defer above.Close()
	unlink(above, path.Base(dir), unix.AT_REMOVEDIR)
}

// removeAll removes a folder and what is in it, also what others put there meanwhile.
func (d *Driver) removeAll(name string) (err error) {
	for range tries {
		if err = d.root.RemoveAll(name); !errors.Is(err, unix.ENOTEMPTY) {
			break
		}
	}
	return err
}

// Delete is driver.Driver's.
func (d *Driver) Delete(ctx context.Context, name string) error {
	folder, err := d.remove(ctx, name)
	if err != nil {
		return err
	}
	defer folder.Close()
	return d.syncOne(folder, path.Dir(name))
}

// Remove is driver.Remover's.
func (d *Driver) Remove(ctx context.Context, name string) error {
	folder, err := d.remove(ctx, name)
	if err != nil {
		return err
	}
	return folder.Close()
}

// remove is Delete before it is durable. It returns the folder that is still to be synced, and closed.
func (d *Driver) remove(ctx context.Context, name string) (folder *os.File, err error) {
	if err := driver.Check(ctx, "delete", name); err != nil {
		return nil, err
	}
	if folder, err = d.root.Open(path.Dir(name)); err != nil {
		return nil, err
	}
	if err := unlink(folder, path.Base(name), 0); err != nil {
		err = &fs.PathError{Op: "delete", Path: name, Err: err}
		if info, e := d.root.Lstat(name); e == nil && info.IsDir() {
			err = d.removeAll(name)
		}
		if err != nil {
			folder.Close()
			return nil, known(err)
		}
	}
	return folder, nil
}
