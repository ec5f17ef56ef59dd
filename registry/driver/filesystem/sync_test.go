package filesystem

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"gatehouse/registry/driver"
	"gatehouse/registry/driver/drivertest"
)

// syncs takes the place of fsync: it records what is synced, relative to the root and temporary names as "TEMP", and fails
// the next one with err.
type syncs struct {
	dir    string
	names  []string
	err    error
	before func(name string)
}

func (s *syncs) sync(f *os.File) error {
	name, err := filepath.Rel(s.dir, f.Name())
	if err != nil {
		return err
	}
	if dir, base := filepath.Split(name); driver.IsTemp(base) {
		name = dir + "TEMP"
	}
	s.names = append(s.names, name)
	if s.before != nil {
		s.before(name)
	}
	if err := s.err; err != nil {
		s.err = nil
		return err
	}
	return f.Sync()
}

// take returns what was synced since it was last called.
func (s *syncs) take() []string {
	defer func() { s.names = nil }()
	return s.names
}

func openSyncs(t *testing.T, ordered func(*os.File) bool) (*Driver, *syncs) {
	t.Helper()
	s := &syncs{dir: t.TempDir()}
	d, err := open(s.dir, s.sync, ordered)
	must(t, err)
	t.Cleanup(func() { d.Close() })
	s.take()
	return d, s
}

const (
	blob = "blobs/sha256/ab/abcd/data"
	link = "repositories/r/_layers/sha256/abcd/link"
)

// TestSyncs counts what each operation costs, and names it: a pushed blob two fsyncs where the file system keeps the order.
func TestSyncs(t *testing.T) {
	write := func(d *Driver, name string) func(context.Context) error {
		return func(ctx context.Context) error { return d.WriteFile(ctx, name, []byte("x")) }
	}
	steps := []struct {
		name               string
		do                 func(*Driver) func(context.Context) error
		ordered, unordered string
	}{
		{"push of a blob", func(d *Driver) func(context.Context) error {
			return func(context.Context) error { return upload(t, d, blob, "content") }
		}, "uploads/1/data blobs/sha256/ab/abcd", "uploads/1/data blobs/sha256/ab/abcd blobs/sha256/ab blobs/sha256 blobs ."},
		{"push of the same blob", func(d *Driver) func(context.Context) error {
			return func(context.Context) error { return upload(t, d, blob, "content") }
		}, "uploads/1/data blobs/sha256/ab/abcd", "uploads/1/data blobs/sha256/ab/abcd blobs/sha256/ab blobs/sha256 blobs ."},
		{"what the store does after a push", func(d *Driver) func(context.Context) error {
			return func(ctx context.Context) error {
				if err := d.Delete(ctx, "uploads/1"); !errors.Is(err, fs.ErrNotExist) {
					return fmt.Errorf("the folder of the upload is still there: %v", err)
				}
				return nil
			}
		}, "", ""},
		{"a new link", func(d *Driver) func(context.Context) error { return write(d, link) },
			"repositories/r/_layers/sha256/abcd/TEMP repositories/r/_layers/sha256/abcd",
			"repositories/r/_layers/sha256/abcd/TEMP repositories/r/_layers/sha256/abcd repositories/r/_layers/sha256 repositories/r/_layers repositories/r repositories ."},
		{"a file in the root", func(d *Driver) func(context.Context) error { return write(d, "file") }, "TEMP .", "TEMP ."},
		{"an upload that is kept", func(d *Driver) func(context.Context) error {
			return func(ctx context.Context) error {
				w, err := d.Append(ctx, "uploads/2/data", 0)
				if err != nil {
					return err
				}
				w.Write([]byte("chunk"))
				return w.Close()
			}
		}, "", ""},
		{"delete of a folder", func(d *Driver) func(context.Context) error {
			return func(ctx context.Context) error { return d.Delete(ctx, "blobs/sha256/ab/abcd") }
		}, "blobs/sha256/ab", "blobs/sha256/ab"},
		{"delete of a file", func(d *Driver) func(context.Context) error {
			return func(ctx context.Context) error { return d.Delete(ctx, link) }
		}, "repositories/r/_layers/sha256/abcd", "repositories/r/_layers/sha256/abcd"},
		{"reading", func(d *Driver) func(context.Context) error {
			return func(ctx context.Context) error {
				_, err := d.ReadFile(ctx, "file", 10)
				return err
			}
		}, "", ""},
	}
	for kind, ordered := range kinds {
		d, s := openSyncs(t, ordered)
		for _, step := range steps {
			must(t, step.do(d)(t.Context()))
			want := step.ordered
			if kind == "unordered" {
				want = step.unordered
			}
			if got := strings.Join(s.take(), " "); got != want {
				t.Errorf("%s, %s: synced\n%s, want\n%s", step.name, kind, got, want)
			}
		}
	}
}

// TestSyncOrder checks that bytes are durable before their name shows, and the name before the operation returns.
func TestSyncOrder(t *testing.T) {
	d, s := openSyncs(t, kinds["ordered"])
	must(t, d.WriteFile(t.Context(), "a/file", []byte("old")))
	s.before = func(name string) {
		got, err := os.ReadFile(filepath.Join(s.dir, "a/file"))
		must(t, err)
		if want := map[string]string{"a/TEMP": "old", "a": "new"}[name]; string(got) != want {
			t.Errorf("when %s was synced, the file held %q, want %q", name, got, want)
		}
	}
	s.take()
	must(t, d.WriteFile(t.Context(), "a/file", []byte("new")))
	s.before = func(name string) {
		_, err := os.Stat(filepath.Join(s.dir, blob))
		if moved := err == nil; moved != (name != "uploads/1/data") {
			t.Errorf("when %s was synced, the blob being there was %v", name, moved)
		}
	}
	must(t, upload(t, d, blob, "content"))
	if got := s.take(); len(got) != 4 {
		t.Errorf("synced %q, want two for each", got)
	}
}

var errDisk = &fs.PathError{Op: "sync", Path: "x", Err: syscall.EIO}

func isDamaged(t *testing.T, what string, err error) {
	t.Helper()
	if !errors.Is(err, driver.ErrDamaged) {
		t.Errorf("%s: error is %v, want driver.ErrDamaged", what, err)
	}
}

// TestDamagedUpload checks that an upload whose fsync failed stays lost, and is not synced again.
func TestDamagedUpload(t *testing.T) {
	d, s := openSyncs(t, kinds["ordered"])
	s.err = errDisk
	err := upload(t, d, blob, "content")
	isDamaged(t, "upload", err)
	if !errors.Is(err, syscall.EIO) {
		t.Errorf("the error does not say why: %v", err)
	}
	if files := drivertest.Files(t, d); len(files) != 0 {
		t.Errorf("left are %q", files)
	}
	s.take()
	for _, offset := range []int64{0, 7} {
		_, err := d.Append(t.Context(), "uploads/1/data", offset)
		isDamaged(t, fmt.Sprint("append at ", offset), err)
	}
	isDamaged(t, "move", d.Move(t.Context(), "uploads/1/data", blob))
	if got := s.take(); len(got) != 0 {
		t.Errorf("synced %q after the error", got)
	}
	w, err := d.Append(t.Context(), "uploads/2/data", 0)
	must(t, err)
	must(t, w.Commit(t.Context()))
	must(t, d.Move(t.Context(), "uploads/2/data", blob))
	holds(t, d, blob, "")

	// The file of a Writer that was open beside is lost too.
	w1, err := d.Append(t.Context(), "uploads/3/data", 0)
	must(t, err)
	w2, err := d.Append(t.Context(), "uploads/3/data", 0)
	must(t, err)
	s.err = errDisk
	isDamaged(t, "commit", w1.Commit(t.Context()))
	isDamaged(t, "commit of the other writer", w2.Commit(t.Context()))
}

// TestDamagedWrite fails the fsync of the bytes: the old file stays, nothing is left behind, and trying again is no trouble,
// since that writes other pages.
func TestDamagedWrite(t *testing.T) {
	d, s := openSyncs(t, kinds["ordered"])
	must(t, d.WriteFile(t.Context(), link, []byte("old")))
	s.err = errDisk
	isDamaged(t, "write", d.WriteFile(t.Context(), link, []byte("new")))
	holds(t, d, link, "old")
	if files := drivertest.Files(t, d); !slices.Equal(files, []string{link}) {
		t.Errorf("left are %q", files)
	}
	must(t, d.WriteFile(t.Context(), link, []byte("new")))
	holds(t, d, link, "new")
}

// TestDamagedFolder fails the fsync of each folder in turn: the operation fails, and so does what needs that folder
// afterwards, without another fsync of it. Other folders are not touched by it.
func TestDamagedFolder(t *testing.T) {
	changes := map[string]func(*Driver) error{
		"write":  func(d *Driver) error { return d.WriteFile(t.Context(), "top/dir/file", []byte("new")) },
		"move":   func(d *Driver) error { return upload(t, d, "top/dir/file", "new") },
		"delete": func(d *Driver) error { return d.Delete(t.Context(), "top/dir/other") },
	}
	for kind, ordered := range kinds {
		for what, change := range changes {
			for _, fails := range []string{"top/dir", "top", "."} {
				d, s := openSyncs(t, ordered)
				must(t, d.WriteFile(t.Context(), "top/dir/other", nil))
				must(t, d.WriteFile(t.Context(), "top/dir/another", nil))
				s.before = func(name string) {
					if name == fails {
						s.err = errDisk
					}
				}
				s.take()
				err := change(d)
				if fails != "top/dir" && (kind == "ordered" || what == "delete") { // it needs one folder only
					must(t, err)
					continue
				}
				isDamaged(t, what+" with failing "+fails, err)
				s.before = nil
				s.take()
				isDamaged(t, "write after "+what, d.WriteFile(t.Context(), "top/dir/file", []byte("again")))
				isDamaged(t, "move after "+what, upload(t, d, "top/dir/file", "again"))
				if got, _ := d.ReadFile(t.Context(), "top/dir/file", 10); fails == "top/dir" && string(got) == "again" {
					t.Errorf("after %s with failing %s the file was changed all the same", what, fails)
				}
				if fails == "top/dir" {
					isDamaged(t, "delete after "+what, d.Delete(t.Context(), "top/dir/another"))
				}
				if slices.Contains(s.take(), fails) {
					t.Errorf("%s was synced again after it had failed", fails)
				}
				if fails != "." {
					must(t, d.WriteFile(t.Context(), "elsewhere/file", nil))
				}
			}
		}
	}
}

// TestDamagedDisk checks that a disk that always fails does not fill the memory with names.
func TestDamagedDisk(t *testing.T) {
	d, s := openSyncs(t, kinds["ordered"])
	for i := range maxLost + 1 {
		s.err = errDisk
		w, err := d.Append(t.Context(), fmt.Sprint("uploads/", i), 0)
		must(t, err)
		isDamaged(t, "commit", w.Commit(t.Context()))
	}
	if len(d.lost) > maxLost {
		t.Errorf("%d names remembered", len(d.lost))
	}
	isDamaged(t, "write", d.WriteFile(t.Context(), "elsewhere/file", nil))
	_, err := d.Append(t.Context(), "elsewhere/upload", 0)
	isDamaged(t, "append", err)
}

// TestKnownErrors checks that an fsync that fails for want of space says so too.
func TestKnownErrors(t *testing.T) {
	for errno, want := range map[syscall.Errno]error{
		syscall.ENOSPC: driver.ErrNoSpace, syscall.EDQUOT: driver.ErrNoSpace, syscall.EROFS: driver.ErrReadOnly,
	} {
		d, s := openSyncs(t, kinds["ordered"])
		s.err = &fs.PathError{Op: "sync", Path: "x", Err: errno}
		err := d.WriteFile(t.Context(), "file", nil)
		isDamaged(t, errno.Error(), err)
		if !errors.Is(err, want) || !errors.Is(err, errno) {
			t.Errorf("%v: error is %v, want %v", errno, err, want)
		}
	}
}
