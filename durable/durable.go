// Package durable writes the small files that gatehouse keeps beside the registry's tree: keys, certificates, users, the last
// good configuration. When a call returns nil, what it did survives a power cut; until then the old file is what is there.
package durable

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// WriteFile replaces the file at path by data with the permissions perm. The folder must exist. It is atomic: readers see
// the old content or the new, whole.
//
// The steps: a temporary file in the same folder, fsync, rename, fsync of the folder, which is opened first so that a late
// error of its own is not lost.
func WriteFile(path string, data []byte, perm fs.FileMode) (err error) {
	defer func() {
		if err != nil {
			err = fmt.Errorf("write %s: %w", path, err)
		}
	}()
	folder, err := os.Open(filepath.Dir(path))
	if err != nil {
		return err
	}
	defer folder.Close()
	f, err := os.CreateTemp(folder.Name(), "."+filepath.Base(path)+".*.tmp")
	if err != nil {
		return err
	}
	if err := fill(f, data, perm); err != nil {
		return errors.Join(err, os.Remove(f.Name()))
	}
	if err := os.Rename(f.Name(), path); err != nil {
		return errors.Join(err, os.Remove(f.Name()))
	}
	return folder.Sync()
}

// fill writes a file that is complete on disk when it returns nil.
func fill(f *os.File, data []byte, perm fs.FileMode) error {
	_, err := f.Write(data)
	if err == nil {
		err = f.Chmod(perm)
	}
	if err == nil {
		err = f.Sync()
	}
	return errors.Join(err, f.Close())
}

// MkdirAll makes the folder at path, and those above it that are missing, with the permissions perm.
func MkdirAll(path string, perm fs.FileMode) error {
	path, err := filepath.Abs(path)
	if err != nil {
		return err
	}
	if info, err := os.Stat(path); err == nil && info.IsDir() {
		return nil
	}
	above := filepath.Dir(path)
	if err := MkdirAll(above, perm); err != nil {
		return err
	}
	if err := os.Mkdir(path, perm); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	folder, err := os.Open(above)
	if err != nil {
		return err
	}
	defer folder.Close()
	return folder.Sync()
}

// Remove removes the file at path. It stays removed, also after a power cut, when Remove returns nil.
func Remove(path string) error {
	folder, err := os.Open(filepath.Dir(path))
	if err != nil {
		return err
	}
	defer folder.Close()
	if err := os.Remove(path); err != nil {
		return err
	}
	return folder.Sync()
}
