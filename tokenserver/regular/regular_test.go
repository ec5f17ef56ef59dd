package regular

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

func TestRead(t *testing.T) {
	dir := t.TempDir()
	file, link, pipe := filepath.Join(dir, "file"), filepath.Join(dir, "link"), filepath.Join(dir, "pipe")
	err := errors.Join(os.WriteFile(file, []byte("12345"), 0o600), os.Symlink(file, link), syscall.Mkfifo(pipe, 0o600))
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{file, link} {
		data, info, err := Read(path, 5)
		if err != nil || string(data) != "12345" || info.Size() != 5 {
			t.Errorf("%s: %q, %v", path, data, err)
		}
	}
	// Nobody writes to the pipe, so this would never end.
	for _, path := range []string{pipe, dir, os.DevNull} {
		if _, _, err := Read(path, 5); err == nil || !strings.Contains(err.Error(), path+" is not a regular file") {
			t.Errorf("%s: %v", path, err)
		}
	}
	if _, _, err := Read(file, 4); err == nil || !strings.Contains(err.Error(), "larger than 4 bytes") {
		t.Errorf("a file that is too large: %v", err)
	}
	if _, _, err := Read(filepath.Join(dir, "none"), 5); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("no file: %v", err)
	}
}
