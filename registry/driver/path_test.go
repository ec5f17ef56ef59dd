package driver_test

import (
	"context"
	"errors"
	"io/fs"
	"strings"
	"testing"

	"github.com/google/uuid"

	"gatehouse/registry/driver"
)

func FuzzValidPath(f *testing.F) {
	for _, path := range []string{"a", "a/b", "", ".", "..", "/", "a//b", "../a", "a/..", "a\x00", "a/./b", ".a", "a b", "é", "\xff"} {
		f.Add(path)
	}
	f.Fuzz(func(t *testing.T, path string) {
		if !driver.ValidPath(path) {
			return
		}
		if !fs.ValidPath(path) || path == "." || len(path) > 1024 {
			t.Errorf("%q is accepted and no path below a root", path)
		}
		if i := strings.IndexFunc(path, func(r rune) bool { return r > '~' || r <= ' ' }); i >= 0 || strings.ContainsAny(path, `\:*?"<>|+%~`) {
			t.Errorf("%q is accepted and distribution's drivers refuse it", path)
		}
	})
}

func TestCheck(t *testing.T) {
	done, cancel := context.WithCancel(t.Context())
	cancel()
	for _, c := range []struct {
		ctx    context.Context
		path   string
		file   error
		folder error
	}{
		{t.Context(), "a/b", nil, nil},
		{t.Context(), ".", fs.ErrInvalid, nil},
		{t.Context(), "..", fs.ErrInvalid, fs.ErrInvalid},
		{done, "a/b", context.Canceled, context.Canceled},
		{done, ".", fs.ErrInvalid, context.Canceled},
	} {
		if err := driver.Check(c.ctx, "open", c.path); !errors.Is(err, c.file) {
			t.Errorf("Check(%q): %v, want %v", c.path, err, c.file)
		}
		if err := driver.CheckFolder(c.ctx, "list", c.path); !errors.Is(err, c.folder) {
			t.Errorf("CheckFolder(%q): %v, want %v", c.path, err, c.folder)
		}
	}
	if err := driver.Check(t.Context(), "move", "a", "/b"); !errors.Is(err, fs.ErrInvalid) || !strings.Contains(err.Error(), "/b") {
		t.Errorf("Check with a second path that is hostile: %v", err)
	}
}

func TestTempName(t *testing.T) {
	long := strings.Repeat("n", 255)
	for _, name := range []string{"link", "data", "a.b.tmp", long} {
		a, b := driver.TempName(name), driver.TempName(name)
		if a == b || !driver.IsTemp(a) || !driver.ValidPath(a) || !strings.HasPrefix(a, name[:min(len(name), 200)]+map[bool]string{true: "."}[len(name) < 200]) {
			t.Errorf("temporary names of %.20q: %q, %q", name, a, b)
		}
	}
	id := uuid.NewString()
	for name, want := range map[string]bool{
		"link." + id + ".tmp":                           true,
		"link.0191e3a0-7b1c-7def-8123-456789abcdef.tmp": true, // version 7, as distribution 3.1
		"link":                      false,
		"link.tmp":                  false,
		"v1.2.tmp":                  false,
		id:                          false,
		id + ".tmp":                 false,
		"." + id + ".tmp":           false,
		"link." + id:                false,
		"link." + id + ".tmp.tmp":   false,
		"link.{" + id[2:] + "}.tmp": false,
		"link." + strings.ReplaceAll(id, "-", "") + ".tmp": false,
	} {
		if driver.IsTemp(name) != want {
			t.Errorf("IsTemp(%q) is %v", name, !want)
		}
	}
}
