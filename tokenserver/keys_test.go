package tokenserver

import (
	"bytes"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

func openKeys(t testing.TB, dir string) *Keys {
	t.Helper()
	k, err := OpenKeys(dir, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func TestKeysAreMadeOnce(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data", "keys")
	log, logged := logTo()
	first, err := OpenKeys(dir, log)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, keyFile)
	for _, p := range []struct {
		path string
		want fs.FileMode
	}{{dir, 0o700}, {path, 0o600}} {
		if info, err := os.Stat(p.path); err != nil || info.Mode().Perm() != p.want {
			t.Errorf("%s has mode %v, %v", p.path, info.Mode(), err)
		}
	}
	if entries, err := os.ReadDir(dir); err != nil || len(entries) != 1 {
		t.Errorf("left over: %v, %v", entries, err)
	}
	if public := first.Public(); len(public) != 1 || public[0] != first.Active().Public() {
		t.Errorf("the active key is not the one that verifies: %v", public)
	}
	if secret := readFile(t, path); strings.Contains(logged.String(), secret[40:60]) || !strings.Contains(logged.String(), first.Active().Public().KeyID()) {
		t.Errorf("log: %s", logged)
	}
	before := readFile(t, path)
	second := openKeys(t, dir)
	if first.Active().Public().KeyID() != second.Active().Public().KeyID() {
		t.Error("a restart made another key")
	}
	if before != readFile(t, path) {
		t.Error("a restart wrote the file")
	}
}

func TestDamagedKeysAreNotReplaced(t *testing.T) {
	dir := t.TempDir()
	openKeys(t, dir)
	path := filepath.Join(dir, keyFile)
	good := []byte(readFile(t, path))
	for name, damage := range map[string]func() error{
		"empty":     func() error { return os.WriteFile(path, nil, 0o600) },
		"cut":       func() error { return os.WriteFile(path, good[:len(good)/2], 0o600) },
		"flipped":   func() error { return os.WriteFile(path, bytes.Replace(good, good[60:61], []byte("!"), 1), 0o600) },
		"zeroes":    func() error { return os.WriteFile(path, make([]byte, len(good)), 0o600) },
		"a folder":  func() error { return os.Mkdir(path, 0o700) },
		"mode 0644": func() error { return os.WriteFile(path, good, 0o644) },
		"mode 0640": func() error { return os.WriteFile(path, good, 0o640) },
	} {
		t.Run(name, func(t *testing.T) {
			if err := os.RemoveAll(path); err != nil {
				t.Fatal(err)
			}
			if err := damage(); err != nil {
				t.Fatal(err)
			}
			var before string
			if name != "a folder" {
				before = readFile(t, path)
			}
			k, err := OpenKeys(dir, slog.New(slog.DiscardHandler))
			if err == nil {
				t.Fatalf("opened: %v", k.Active().Public().KeyID())
			}
			if strings.Contains(err.Error(), string(good[40:60])) {
				t.Errorf("the error quotes the key: %v", err)
			}
			want := "restore it from a backup"
			switch {
			case strings.HasPrefix(name, "mode"):
				want = "chmod 600"
			case name == "a folder":
				want = "not a regular file"
			}
			if !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), path) {
				t.Errorf("the error does not help: %v", err)
			}
			if name != "a folder" && readFile(t, path) != before {
				t.Error("the file was changed")
			}
		})
	}
}

// TestKeysAtOnce: whoever starts first on an empty folder, all end up with the same key.
func TestKeysAtOnce(t *testing.T) {
	dir := t.TempDir()
	var all sync.WaitGroup
	ids := make([]string, 8)
	for i := range ids {
		all.Go(func() {
			k, err := OpenKeys(dir, slog.New(slog.DiscardHandler))
			if err != nil {
				t.Error(err)
				return
			}
			ids[i] = k.Active().Public().KeyID()
		})
	}
	all.Wait()
	for _, id := range ids {
		if id == "" || id != ids[0] {
			t.Fatalf("different keys: %v", ids)
		}
	}
}

func TestKeysCannotBeMade(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	writeFile(t, file, "")
	if _, err := OpenKeys(filepath.Join(file, "keys"), slog.New(slog.DiscardHandler)); err == nil {
		t.Error("keys below a file")
	}
}
