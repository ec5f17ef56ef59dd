package drivertest

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"strings"
	"testing"

	"gatehouse/registry/driver"
)

func read(t *testing.T, d driver.Driver) {
	put(t, d, "a/file=0123456789")
	f, err := d.Open(t.Context(), "a/file")
	must(t, err)
	if f.Size() != 10 {
		t.Errorf("size %d, want 10", f.Size())
	}
	got, err := io.ReadAll(f)
	if err != nil || string(got) != "0123456789" {
		t.Errorf("read %q, error %v", got, err)
	}
	at, err := f.Seek(-3, io.SeekEnd)
	must(t, err)
	got, err = io.ReadAll(f)
	if at != 7 || err != nil || string(got) != "789" {
		t.Errorf("read %q at %d, error %v; want 789 at 7", got, at, err)
	}
	must(t, f.Close())

	for _, limit := range []int64{10, 11, 1 << 40} {
		got, err := d.ReadFile(t.Context(), "a/file", limit)
		if err != nil || string(got) != "0123456789" {
			t.Errorf("ReadFile with limit %d: %q, error %v", limit, got, err)
		}
	}
	for _, limit := range []int64{9, 0} {
		_, err = d.ReadFile(t.Context(), "a/file", limit)
		is(t, "ReadFile over the limit", err, driver.ErrTooLarge)
	}
	for _, name := range []string{"nothing", "a/nothing", "nothing/below"} {
		for _, method := range []string{"Open", "ReadFile"} {
			is(t, method+" of "+name, calls[method](t.Context(), d, name), fs.ErrNotExist)
		}
	}
}

func openFileStays(t *testing.T, d driver.Driver) {
	changes := map[string]func() error{
		"delete":        func() error { return d.Delete(t.Context(), "a/file") },
		"delete folder": func() error { return d.Delete(t.Context(), "a") },
		"replace":       func() error { return d.WriteFile(t.Context(), "a/file", []byte("another one, and longer")) },
		"move away":     func() error { return d.Move(t.Context(), "a/file", "b/file") },
		"move over":     func() error { return d.Move(t.Context(), "other", "a/file") },
		"append": func() error {
			w, err := d.Append(t.Context(), "a/file", 10)
			if err == nil {
				_, err = io.WriteString(w, "more")
			}
			return errors.Join(err, w.Commit(t.Context()))
		},
	}
	for what, change := range changes {
		put(t, d, "a/file=0123456789", "other=the other")
		f, err := d.Open(t.Context(), "a/file")
		must(t, err)
		first := make([]byte, 4)
		_, err = io.ReadFull(f, first)
		must(t, err)
		must(t, change())
		rest, err := io.ReadAll(io.LimitReader(f, f.Size()-4))
		if err != nil || string(first)+string(rest) != "0123456789" || f.Size() != 10 {
			t.Errorf("%s while the file is open: read %s, then %s, size %d, error %v", what, first, rest, f.Size(), err)
		}
		must(t, f.Close())
	}
}

func readAtOnce(t *testing.T, d driver.Driver) {
	put(t, d, "file=0123456789")
	f, err := d.Open(t.Context(), "file")
	must(t, err)
	defer f.Close()
	must(t, atOnce(8, func(i int) error {
		b := make([]byte, 2)
		if _, err := f.ReadAt(b, int64(i)); err != nil || b[0] != byte('0'+i) {
			return fmt.Errorf("ReadAt(%d): %q, %v", i, b, err)
		}
		return nil
	}))
	b := make([]byte, 5)
	if n, err := f.ReadAt(b, 7); n != 3 || err != io.EOF {
		t.Errorf("ReadAt over the end: %d, %v; want 3, EOF", n, err)
	}
}

func write(t *testing.T, d driver.Driver) {
	put(t, d, "a/b/c/file=one", "file=two", "a/b/c/file=three, which is longer", "file=2")
	holds(t, d, "a/b/c/file", "three, which is longer")
	holds(t, d, "file", "2")
	lists(t, d, ".", "a/", "file")
	lists(t, d, "a/b/c", "file") // no temporary file is left

	data := []byte("mine")
	must(t, d.WriteFile(t.Context(), "kept", data))
	copy(data, "xxxx")
	holds(t, d, "kept", "mine")
	got, err := d.ReadFile(t.Context(), "kept", 4)
	must(t, err)
	copy(got, "xxxx")
	holds(t, d, "kept", "mine")
}

// wholeFiles has readers that must see one of the contents, whole, while writers replace it.
func wholeFiles(t *testing.T, d driver.Driver) {
	const writers, readers = 4, 4
	content := func(i int) string { return strings.Repeat(string(rune('a'+i)), 1+i*5000) }
	put(t, d, "a/file="+content(0))
	must(t, atOnce(writers+readers, func(i int) error {
		for range 10 {
			if i < writers {
				if err := d.WriteFile(t.Context(), "a/file", []byte(content(i))); err != nil {
					return err
				}
				continue
			}
			got, err := d.ReadFile(t.Context(), "a/file", 1<<20)
			if err != nil {
				return err
			}
			if len(got) == 0 || string(got) != content(int(got[0]-'a')) {
				return fmt.Errorf("read %d bytes that nobody wrote", len(got))
			}
		}
		return nil
	}))
	lists(t, d, "a", "file")
}

func appends(t *testing.T, d driver.Driver) {
	const name = "a/b/upload"
	want := ""
	for i, end := range []string{"close", "close", "commit", "commit"} {
		w, err := d.Append(t.Context(), name, int64(len(want)))
		must(t, err)
		for _, piece := range []string{fmt.Sprint("piece ", i), "", " and more"} {
			n, err := io.WriteString(w, piece)
			want += piece
			if n != len(piece) || err != nil || w.Size() != int64(len(want)) {
				t.Fatalf("wrote %d of %d bytes, size %d of %d, error %v", n, len(piece), w.Size(), len(want), err)
			}
		}
		if end == "commit" {
			must(t, w.Commit(t.Context()))
		} else {
			must(t, w.Close())
		}
		holds(t, d, name, want)
	}
	f, err := d.Open(t.Context(), name)
	must(t, err)
	defer f.Close()
	if f.Size() != int64(len(want)) {
		t.Errorf("size %d, want %d", f.Size(), len(want))
	}
}

func appendElsewhere(t *testing.T, d driver.Driver) {
	put(t, d, "file=0123456789")
	for _, offset := range []int64{0, 9, 11, -1, 1 << 40} {
		_, err := d.Append(t.Context(), "file", offset)
		is(t, fmt.Sprint("append at ", offset, " of 10"), err, driver.ErrOffset)
	}
	holds(t, d, "file", "0123456789")
	_, err := d.Append(t.Context(), "a/nothing", 1)
	is(t, "append behind the end of nothing", err, fs.ErrNotExist)
	missing(t, d, "a/nothing")
}

func emptyFiles(t *testing.T, d driver.Driver) {
	must(t, d.WriteFile(t.Context(), "written", nil))
	must(t, upload(t.Context(), d, "uploads/1", ""))
	must(t, upload(t.Context(), d, "uploads/1", "")) // at offset 0 of a file that is there
	must(t, d.Move(t.Context(), "uploads/1", "blobs/e3"))
	for _, name := range []string{"written", "blobs/e3"} {
		holds(t, d, name, "")
		f, err := d.Open(t.Context(), name)
		must(t, err)
		if n, err := f.Read(make([]byte, 1)); n != 0 || err != io.EOF || f.Size() != 0 {
			t.Errorf("%s: size %d, read %d, error %v", name, f.Size(), n, err)
		}
		must(t, f.Close())
		_, err = d.ReadFile(t.Context(), name, 0)
		must(t, err)
	}
}

func writerEnds(t *testing.T, d driver.Driver) {
	ends := map[string]func(driver.Writer) error{
		"commit": func(w driver.Writer) error { return w.Commit(t.Context()) },
		"close":  func(w driver.Writer) error { return w.Close() },
	}
	for what, end := range ends {
		w, err := d.Append(t.Context(), what, 0)
		must(t, err)
		_, err = io.WriteString(w, "bytes")
		must(t, err)
		must(t, end(w))
		_, err = io.WriteString(w, "late")
		is(t, "Write after "+what, err, fs.ErrClosed)
		is(t, "Commit after "+what, w.Commit(t.Context()), fs.ErrClosed)
		if err := w.Close(); err != nil || w.Size() != 5 {
			t.Errorf("Close after %s: %v, size %d", what, err, w.Size())
		}
		holds(t, d, what, "bytes")
	}
}

func largeFiles(t *testing.T, d driver.Driver) {
	data := make([]byte, 9<<20)
	rand.NewChaCha8([32]byte{}).Read(data)
	w, err := d.Append(t.Context(), "uploads/large", 0)
	must(t, err)
	for rest := data; len(rest) > 0; {
		n := min(len(rest), 1<<20+1)
		_, err := w.Write(rest[:n])
		must(t, err)
		rest = rest[n:]
	}
	must(t, w.Commit(t.Context()))
	must(t, d.Move(t.Context(), "uploads/large", "blobs/large"))
	f, err := d.Open(t.Context(), "blobs/large")
	must(t, err)
	defer f.Close()
	if got, err := io.ReadAll(f); err != nil || !bytes.Equal(got, data) {
		t.Errorf("read %d bytes, error %v; want the %d that were written", len(got), err, len(data))
	}
	must(t, d.WriteFile(t.Context(), "written", data))
	got, err := d.ReadFile(t.Context(), "written", int64(len(data)))
	if err != nil || !bytes.Equal(got, data) {
		t.Errorf("ReadFile: %d bytes, error %v; want the %d that were written", len(got), err, len(data))
	}
}

// appendAtOnce makes folders and files beside each other, the folders by all at the same time.
func appendAtOnce(t *testing.T, d driver.Driver) {
	const n = 8
	must(t, atOnce(n, func(i int) error {
		for round := range 4 {
			if err := upload(t.Context(), d, fmt.Sprintf("new/%d/folders/%d", round, i), fmt.Sprint(i)); err != nil {
				return err
			}
		}
		return nil
	}))
	for round := range 4 {
		for i := range n {
			holds(t, d, fmt.Sprintf("new/%d/folders/%d", round, i), fmt.Sprint(i))
		}
	}
}
