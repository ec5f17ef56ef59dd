package drivertest

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"gatehouse/registry/driver"
)

func emptyDriver(t *testing.T, d driver.Driver) {
	if d.Name() == "" {
		t.Error("the driver has no name")
	}
	info, err := d.Stat(t.Context(), ".")
	if err != nil || !info.Dir {
		t.Errorf("the root is %+v, error %v", info, err)
	}
	lists(t, d, ".")
}

func folders(t *testing.T, d driver.Driver) {
	put(t, d, "a/b/c/file=")
	for _, dir := range []string{".", "a", "a/b", "a/b/c"} {
		info, err := d.Stat(t.Context(), dir)
		if err != nil || !info.Dir {
			t.Errorf("%s is %+v, error %v; want a folder", dir, info, err)
		}
	}
	lists(t, d, "a", "b/")
}

func notMixed(t *testing.T, d driver.Driver) {
	put(t, d, "dir/file=content")
	for _, method := range []string{"Open", "ReadFile", "Move from"} {
		if calls[method](t.Context(), d, "dir") == nil {
			t.Errorf("%s of a folder: no error", method)
		}
	}
	for _, method := range []string{"Open", "ReadFile", "Move from", "Stat", "List"} {
		if calls[method](t.Context(), d, "dir/file/below") == nil {
			t.Errorf("%s below a file: no error", method)
		}
	}
	if calls["List"](t.Context(), d, "dir/file") == nil {
		t.Error("List of a file: no error")
	}
	holds(t, d, "dir/file", "content")
}

func stat(t *testing.T, d driver.Driver) {
	put(t, d, "a/file=0123456789")
	info, err := d.Stat(t.Context(), "a/file")
	if err != nil || info.Dir || info.Size != 10 || info.ModTime.IsZero() {
		t.Errorf("a file of 10 bytes is %+v, error %v", info, err)
	}
	f, err := d.Open(t.Context(), "a/file")
	must(t, err)
	defer f.Close()
	if !f.ModTime().Equal(info.ModTime) {
		t.Errorf("modified at %v by Open, at %v by Stat", f.ModTime(), info.ModTime)
	}
	must(t, d.Move(t.Context(), "a/file", "b/file"))
	moved, err := d.Stat(t.Context(), "b/file")
	if err != nil || !moved.ModTime.Equal(info.ModTime) {
		t.Errorf("modified at %v before a move, at %v after it, error %v", info.ModTime, moved.ModTime, err)
	}
	for _, name := range []string{"nothing", "b/nothing", "nothing/below"} {
		missing(t, d, name)
	}
}

func move(t *testing.T, d driver.Driver) {
	must(t, upload(t.Context(), d, "uploads/1/data", "one"))
	must(t, upload(t.Context(), d, "uploads/2/data", "two"))
	put(t, d, "uploads/2/startedat=now", "top=three")
	must(t, d.Move(t.Context(), "uploads/1/data", "blobs/ab/abcd/data"))
	must(t, d.Move(t.Context(), "uploads/2/data", "blobs/ab/abef/data"))
	must(t, d.Move(t.Context(), "top", "blobs/top"))
	must(t, d.Move(t.Context(), "blobs/top", "blobs/renamed"))
	must(t, d.Move(t.Context(), "blobs/renamed", "up"))
	holds(t, d, "blobs/ab/abcd/data", "one")
	holds(t, d, "blobs/ab/abef/data", "two")
	holds(t, d, "up", "three")
	missing(t, d, "uploads/1") // the folder goes when it is empty
	lists(t, d, "uploads/2", "startedat")
	lists(t, d, "blobs", "ab/")
	lists(t, d, ".", "blobs/", "up", "uploads/")

	for _, from := range []string{"uploads/1/data", "uploads/2/data", "nothing"} {
		is(t, "move of "+from+", which is missing", d.Move(t.Context(), from, "new/folder/data"), fs.ErrNotExist)
		is(t, "move of "+from+", which is missing", d.Move(t.Context(), from, "up"), fs.ErrNotExist)
	}
	missing(t, d, "new")
	holds(t, d, "up", "three")
}

func moveReplaces(t *testing.T, d driver.Driver) {
	for _, old := range []string{"", "damaged", "content", "damaged, and longer"} {
		put(t, d, "blobs/ab/data="+old, "uploads/1/data=content")
		must(t, d.Move(t.Context(), "uploads/1/data", "blobs/ab/data"))
		holds(t, d, "blobs/ab/data", "content")
		missing(t, d, "uploads/1/data")
		lists(t, d, "blobs/ab", "data")
	}
	must(t, d.Move(t.Context(), "blobs/ab/data", "blobs/ab/data"))
	holds(t, d, "blobs/ab/data", "content")
}

// moveAtOnce pushes one blob many times: each push succeeds, and from the first success on the blob is there for everybody.
func moveAtOnce(t *testing.T, d driver.Driver) {
	const n = 8
	for round := range 5 {
		blob := fmt.Sprintf("blobs/%d/data", round)
		must(t, atOnce(n, func(i int) error {
			name := fmt.Sprintf("uploads/%d-%d/data", round, i)
			if err := upload(t.Context(), d, name, "content"); err != nil {
				return err
			}
			if err := d.Move(t.Context(), name, blob); err != nil {
				return err
			}
			for range 20 {
				if got, err := d.ReadFile(t.Context(), blob, 100); err != nil || string(got) != "content" {
					return fmt.Errorf("after a move: %q, %w", got, err)
				}
			}
			return nil
		}))
	}
	for _, name := range Files(t, d) {
		holds(t, d, name, "content")
	}
	if files := Files(t, d); len(files) != 5 {
		t.Errorf("left are %q, want the 5 blobs", files)
	}
}

// moveAway moves one file to many places: it ends up in one of them, or in several while none of them lost it.
func moveAway(t *testing.T, d driver.Driver) {
	put(t, d, "from/file=content")
	must(t, atOnce(8, func(i int) error {
		err := d.Move(t.Context(), "from/file", fmt.Sprint("to/", i, "/file"))
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		return err
	}))
	files := Files(t, d)
	if len(files) == 0 || files[0] == "from/file" {
		t.Errorf("left are %q, want some of the targets", files)
	}
	for _, name := range files {
		holds(t, d, name, "content")
	}
}

// emptyAndFill writes into a folder that moves empty all the time.
func emptyAndFill(t *testing.T, d driver.Driver) {
	const n = 6
	must(t, atOnce(n, func(i int) error {
		for round := range 15 {
			from, to := fmt.Sprint("a/", i), fmt.Sprint("b/", i)
			if round%2 == 1 {
				from, to = to, fmt.Sprint("a/", i, "-")
			}
			var err error
			if i%2 == 0 {
				err = upload(t.Context(), d, from, "content")
			} else {
				err = d.WriteFile(t.Context(), from, []byte("content"))
			}
			if errors.Is(err, driver.ErrOffset) { // it is there from the round before
				err = nil
			}
			if err == nil {
				err = d.Move(t.Context(), from, to)
			}
			if err == nil && round%3 == 0 {
				err = d.Delete(t.Context(), to)
			}
			if err != nil {
				return fmt.Errorf("round %d: %w", round, err)
			}
		}
		return nil
	}))
	for _, name := range Files(t, d) {
		holds(t, d, name, "content")
	}
}

// deleteAtOnce has a folder deleted while others write and move to a file in it, as the collector and those who push again do.
func deleteAtOnce(t *testing.T, d driver.Driver) {
	const file = "blobs/ab/abcd/data"
	must(t, atOnce(6, func(i int) error {
		for round := range 30 {
			var err error
			switch from := fmt.Sprint("uploads/", i, "/data"); i % 3 {
			case 0:
				if err = d.Delete(t.Context(), path.Dir(file)); errors.Is(err, fs.ErrNotExist) {
					err = nil
				}
			case 1:
				err = d.WriteFile(t.Context(), file, []byte("content"))
			case 2:
				if err = upload(t.Context(), d, from, "content"); err == nil {
					err = d.Move(t.Context(), from, file)
				}
			}
			if err != nil && !errors.Is(err, driver.ErrUnavailable) { // a server may not be up to this
				return fmt.Errorf("round %d: %w", round, err)
			}
		}
		return nil
	}))
	for _, name := range Files(t, d) {
		if name != file {
			t.Errorf("%s is left", name)
		}
		holds(t, d, name, "content")
	}
	put(t, d, file+"=content")
	holds(t, d, file, "content")
	must(t, d.Delete(t.Context(), path.Dir(file)))
	missing(t, d, file)
}

func deletes(t *testing.T, d driver.Driver) {
	put(t, d, "a/file=1", "a/b/file=2", "a/b/c/d/file=3", "file=4")
	must(t, d.Delete(t.Context(), "a/file"))
	missing(t, d, "a/file")
	is(t, "second delete of a file", d.Delete(t.Context(), "a/file"), fs.ErrNotExist)
	must(t, d.Delete(t.Context(), "a/b"))
	missing(t, d, "a/b")
	missing(t, d, "a/b/c/d/file")
	is(t, "second delete of a folder", d.Delete(t.Context(), "a/b"), fs.ErrNotExist)
	is(t, "delete below nothing", d.Delete(t.Context(), "nothing/below"), fs.ErrNotExist)
	if files := Files(t, d); !slices.Equal(files, []string{"file"}) {
		t.Errorf("left are %q, want file", files)
	}
	put(t, d, "a/b/file=again")
	holds(t, d, "a/b/file", "again")

	const files = 4
	var done [files]atomic.Int32
	for i := range files {
		put(t, d, fmt.Sprint("many/", i, "="))
	}
	must(t, atOnce(3*files, func(i int) error {
		err := d.Delete(t.Context(), fmt.Sprint("many/", i%files))
		if err == nil {
			done[i%files].Add(1)
		} else if errors.Is(err, fs.ErrNotExist) {
			err = nil
		}
		return err
	}))
	for i := range files {
		missing(t, d, fmt.Sprint("many/", i))
		if done[i].Load() == 0 {
			t.Errorf("of several deletes of many/%d none succeeded", i)
		}
	}
}

func deleteNamed(t *testing.T, d driver.Driver) {
	put(t, d, "r/a/file=", "r/a-b/file=", "r/a.b=", "r/aa=", "r/A/file=", "r/b/a/file=")
	must(t, d.Delete(t.Context(), "r/a"))
	if files := Files(t, d); !slices.Equal(files, []string{"r/A/file", "r/a-b/file", "r/a.b", "r/aa", "r/b/a/file"}) {
		t.Errorf("left are %q", files)
	}
}

func list(t *testing.T, d driver.Driver) {
	put(t, d, "dir/file=1", "dir/sub/file=2", "dir/sub/sub/file=3")
	lists(t, d, ".", "dir/")
	lists(t, d, "dir", "file", "sub/")
	lists(t, d, "dir/sub", "file", "sub/")
	for _, name := range []string{"nothing", "di", "dir/nothing", "nothing/below"} {
		names, err := listed(t.Context(), d, name)
		is(t, "list of "+name, err, fs.ErrNotExist)
		if len(names) != 0 {
			t.Errorf("list of %s yields %q before its error", name, names)
		}
	}
}

// listInOrder has names that sort differently with the "/" of a folder at their end, as keys in a bucket do.
func listInOrder(t *testing.T, d driver.Driver) {
	for _, name := range []string{"a-b", "a/b", "a.b", "a0", "B", "b/c", "_x/y", "10", "9", "a/c", "-", "A/B/C"} {
		put(t, d, "r/"+name+"=")
	}
	lists(t, d, "r", "-", "10", "9", "A/", "B", "_x/", "a/", "a-b", "a.b", "a0", "b/")
	lists(t, d, "r/a", "b", "c")
}

// listChanging lists while files come and go: what was there all the time is yielded, once and in order.
func listChanging(t *testing.T, d driver.Driver) {
	for i := range 20 {
		put(t, d, fmt.Sprintf("dir/stays-%02d=", i))
	}
	must(t, atOnce(4, func(i int) error {
		for range 10 {
			if i == 0 {
				name := fmt.Sprint("dir/goes-", i)
				if err := errors.Join(d.WriteFile(t.Context(), name, nil), d.Delete(t.Context(), name)); err != nil {
					return err
				}
				continue
			}
			names, err := listed(t.Context(), d, "dir")
			if err != nil {
				return err
			}
			if !slices.IsSorted(names) {
				return fmt.Errorf("not in order: %q", names)
			}
			// What is being made or removed may be seen as a folder for a moment (MinIO).
			names = slices.DeleteFunc(names, func(name string) bool { return strings.TrimSuffix(name, "/") == "goes-0" || driver.IsTemp(name) })
			if len(names) != 20 || len(slices.Compact(names)) != 20 {
				return fmt.Errorf("listed %q, want each of the 20 that stay once", names)
			}
		}
		return nil
	}))
}

func listStops(t *testing.T, d driver.Driver) {
	put(t, d, "dir/1=", "dir/2=", "dir/3=")
	for e, err := range d.List(t.Context(), "dir") {
		must(t, err)
		if e.Name != "1" {
			t.Errorf("yielded %q after the loop had ended", e.Name)
		}
		break
	}

	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var names []string
	var errs []error
	for e, err := range d.List(ctx, "dir") {
		cancel()
		if err != nil {
			errs = append(errs, err)
			if e != (driver.Entry{}) {
				t.Errorf("entry %+v with an error", e)
			}
			continue
		}
		names = append(names, e.Name)
	}
	if !slices.Equal(names, []string{"1"}) || len(errs) != 1 || !errors.Is(errs[0], context.Canceled) {
		t.Errorf("cancelled after the first entry: %q, errors %v; want that entry and one context.Canceled", names, errs)
	}
}
