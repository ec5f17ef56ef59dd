package filesystem

import (
	"errors"
	"io/fs"
	"path/filepath"
	"syscall"
	"testing"
)

// TestFIFO: one in the tree is an error, and nobody waits for it.
func TestFIFO(t *testing.T) {
	root := t.TempDir()
	if err := syscall.Mkfifo(filepath.Join(root, "link"), 0o666); err != nil {
		t.Fatal(err)
	}
	d, err := New(root)
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	if _, err := d.Open(t.Context(), "link"); err == nil || errors.Is(err, fs.ErrNotExist) {
		t.Errorf("opened: %v", err)
	}
	if _, err := d.ReadFile(t.Context(), "link", 100); err == nil || errors.Is(err, fs.ErrNotExist) {
		t.Errorf("read: %v", err)
	}
}
