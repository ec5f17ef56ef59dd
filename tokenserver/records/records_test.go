package records

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
)

type note struct {
	Text string `json:"text"`
}

func TestFolder(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "deep", "notes")
	f := Open[note](dir)
	if err := f.All(func(string, note, error) error { t.Error("a record in a folder that is not there"); return nil }); err != nil {
		t.Fatal(err)
	}
	if _, err := f.Get("a"); !errors.Is(err, fs.ErrNotExist) {
		t.Fatalf("Get of nothing: %v", err)
	}
	for _, text := range []string{"one", "two"} {
		if err := f.Put("a", note{text}); err != nil {
			t.Fatal(err)
		}
		if got, err := Open[note](dir).Get("a"); err != nil || got.Text != text {
			t.Fatalf("Get = %q, %v; want %q", got.Text, err, text)
		}
	}
	if err := f.Create("a", note{"three"}); !errors.Is(err, ErrExists) {
		t.Fatalf("Create of what is there: %v", err)
	}
	if info, err := os.Stat(filepath.Join(dir, "a.json")); err != nil || info.Mode().Perm() != 0o600 {
		t.Fatalf("the file: %v, %v", info, err)
	}
	if err := f.Delete("a"); err != nil {
		t.Fatal(err)
	}
	if err := f.Delete("a"); !errors.Is(err, fs.ErrNotExist) {
		t.Fatalf("Delete of nothing: %v", err)
	}
}

// TestFolderOfPipes: a record that is a pipe is an error, and nothing to wait for.
func TestFolderOfPipes(t *testing.T) {
	dir := t.TempDir()
	if err := syscall.Mkfifo(filepath.Join(dir, "a.json"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Open[note](dir).Get("a"); err == nil || errors.Is(err, fs.ErrNotExist) {
		t.Errorf("Get of a pipe: %v", err)
	}
}

func TestFolderNames(t *testing.T) {
	root := t.TempDir()
	outside := filepath.Join(root, "outside.json")
	if err := os.WriteFile(outside, []byte(`{"text":"secret"}`), 0o600); err != nil {
		t.Fatal(err)
	}
	f := Open[note](filepath.Join(root, "notes"))
	for _, name := range []string{"", ".", "..", "../outside", "a/b", `a\b`, ".hidden", "a\x00b", "é", strings.Repeat("a", 201)} {
		if _, err := f.Get(name); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("Get(%q): %v", name, err)
		}
		if err := f.Put(name, note{}); err == nil {
			t.Errorf("Put(%q) is accepted", name)
		}
		if err := f.Delete(name); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("Delete(%q): %v", name, err)
		}
	}
	if _, err := os.Stat(outside); err != nil {
		t.Error(err)
	}
}

func TestFolderDamage(t *testing.T) {
	dir := t.TempDir()
	f := Open[note](dir)
	if err := errors.Join(f.Put("good", note{"x"}), os.WriteFile(filepath.Join(dir, "bad.json"), []byte(`{"text":"hunter2`), 0o600)); err != nil {
		t.Fatal(err)
	}
	var good, bad int
	err := f.All(func(name string, n note, err error) error {
		switch {
		case err == nil && name == "good" && n.Text == "x":
			good++
		case err != nil && name == "bad" && !strings.Contains(err.Error(), "hunter2"):
			bad++
		}
		return nil
	})
	if err != nil || good != 1 || bad != 1 {
		t.Errorf("All: %d good, %d bad, %v", good, bad, err)
	}
}

func TestFolderCreateOnce(t *testing.T) {
	f := Open[note](t.TempDir())
	var won atomic.Int64
	var all sync.WaitGroup
	for range 20 {
		all.Go(func() {
			switch err := f.Create("a", note{"x"}); {
			case err == nil:
				won.Add(1)
			case !errors.Is(err, ErrExists):
				t.Error(err)
			}
		})
	}
	all.Wait()
	if won.Load() != 1 {
		t.Errorf("%d of 20 made the record", won.Load())
	}
}
