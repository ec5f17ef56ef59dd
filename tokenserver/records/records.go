// Package records keeps small records on disk, a JSON file each, in a folder for its owner alone. They are read at each use, so a
// verb and a server that runs need nothing between them but the folder.
package records

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"gatehouse/durable"
	"gatehouse/tokenserver/regular"
)

const (
	suffix = ".json"
	// maxName bounds a record's name in bytes, maxRecord its JSON.
	maxName   = 200
	maxRecord = 64 << 10
)

// ErrExists is what Create says of a name that is taken.
var ErrExists = errors.New("there is one of this name already")

// Folder is a folder of records of one kind. It may be used from many goroutines and processes: a record is replaced whole, and
// whoever writes last wins.
type Folder[T any] struct {
	dir string
}

// Open returns the folder dir. It is made when the first record is.
func Open[T any](dir string) *Folder[T] { return &Folder[T]{dir: dir} }

// path returns the file of a record. Names come from clients, so nothing but letters, digits, "-", "_" and "." (not first) is one.
func (f *Folder[T]) path(name string) (string, error) {
	valid := name != "" && len(name) <= maxName && name[0] != '.'
	for _, c := range []byte(name) {
		valid = valid && (c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || strings.IndexByte("-_.", c) >= 0)
	}
	if !valid {
		return "", fmt.Errorf("no record has the name %.60q: %w", name, fs.ErrNotExist)
	}
	return filepath.Join(f.dir, name+suffix), nil
}

// Get returns a record, or an error that wraps fs.ErrNotExist. Any other error says nothing about it.
func (f *Folder[T]) Get(name string) (record T, err error) {
	path, err := f.path(name)
	if err != nil {
		return record, err
	}
	data, _, err := regular.Read(path, maxRecord)
	if err != nil {
		return record, fmt.Errorf("the record could not be read: %w", err)
	}
	if err := json.Unmarshal(data, &record); err != nil { // the error may quote the record
		return record, fmt.Errorf("the record %s is damaged; remove the file if it cannot be restored", path)
	}
	return record, nil
}

// Put writes a record, in place of the one that may be there. It is on disk when Put returns.
func (f *Folder[T]) Put(name string, record T) error {
	path, data, err := f.prepare(name, record)
	if err != nil {
		return err
	}
	if err := durable.WriteFile(path, data, 0o600); err != nil {
		return fmt.Errorf("the record could not be kept: %w", err)
	}
	return nil
}

// Create is Put for a name that is not taken, else ErrExists: of several at once one succeeds.
func (f *Folder[T]) Create(name string, record T) error {
	path, data, err := f.prepare(name, record)
	if err != nil {
		return err
	}
	claim, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if errors.Is(err, fs.ErrExist) {
		return ErrExists
	}
	if err != nil {
		return fmt.Errorf("the record could not be kept: %w", err)
	}
	if err := errors.Join(claim.Close(), durable.WriteFile(path, data, 0o600)); err != nil {
		return fmt.Errorf("the record could not be kept: %w", errors.Join(err, os.Remove(path))) // the name is free again
	}
	return nil
}

// prepare makes the folder and returns the file and what goes into it.
func (f *Folder[T]) prepare(name string, record T) (path string, data []byte, err error) {
	if path, err = f.path(name); err != nil {
		return "", nil, err
	}
	if data, err = json.MarshalIndent(record, "", "  "); err != nil {
		return "", nil, fmt.Errorf("the record could not be encoded: %w", err)
	}
	if len(data) >= maxRecord {
		return "", nil, fmt.Errorf("the record is longer than %d bytes", maxRecord)
	}
	if err := durable.MkdirAll(f.dir, 0o700); err != nil {
		return "", nil, fmt.Errorf("the folder of records could not be made: %w", err)
	}
	return path, append(data, '\n'), nil
}

// Delete removes a record; one that is not there is an error that wraps fs.ErrNotExist. It stays removed when Delete returns.
func (f *Folder[T]) Delete(name string) error {
	path, err := f.path(name)
	if err != nil {
		return err
	}
	if err := durable.Remove(path); err != nil {
		return fmt.Errorf("the record could not be removed: %w", err)
	}
	return nil
}

// All calls each with every record, in the order of their names. What is damaged comes with its error; one that goes meanwhile is
// left out. It ends with the first error of each.
func (f *Folder[T]) All(each func(name string, record T, err error) error) error {
	entries, err := os.ReadDir(f.dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("the folder of records could not be read: %w", err)
	}
	for _, e := range entries {
		name, ok := strings.CutSuffix(e.Name(), suffix)
		if !ok || !e.Type().IsRegular() {
			continue
		}
		record, err := f.Get(name)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err := each(name, record, err); err != nil {
			return err
		}
	}
	return nil
}
