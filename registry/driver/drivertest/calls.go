package drivertest

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"strings"
	"testing"

	"gatehouse/registry/driver"
)

// calls are all methods that take a path, on the path name.
var calls = map[string]func(ctx context.Context, d driver.Driver, name string) error{
	"Open": func(ctx context.Context, d driver.Driver, name string) error {
		_, err := d.Open(ctx, name)
		return err
	},
	"ReadFile": func(ctx context.Context, d driver.Driver, name string) error {
		_, err := d.ReadFile(ctx, name, 100)
		return err
	},
	"WriteFile": func(ctx context.Context, d driver.Driver, name string) error {
		return d.WriteFile(ctx, name, []byte("new"))
	},
	"Append": func(ctx context.Context, d driver.Driver, name string) error {
		_, err := d.Append(ctx, name, 0)
		return err
	},
	"Stat": func(ctx context.Context, d driver.Driver, name string) error {
		_, err := d.Stat(ctx, name)
		return err
	},
	"Move from": func(ctx context.Context, d driver.Driver, name string) error { return d.Move(ctx, name, "moved") },
	"Move to":   func(ctx context.Context, d driver.Driver, name string) error { return d.Move(ctx, "file", name) },
	"Delete":    func(ctx context.Context, d driver.Driver, name string) error { return d.Delete(ctx, name) },
	"List": func(ctx context.Context, d driver.Driver, name string) error {
		_, err := listed(ctx, d, name)
		return err
	},
}

var hostilePaths = map[string]string{
	"empty":            "",
	"absolute":         "/etc/passwd",
	"up":               "..",
	"up first":         "../file",
	"up and down":      "a/../../file",
	"up last":          "a/..",
	"here first":       "./file",
	"here between":     "a/./file",
	"here last":        "a/.",
	"slash at the end": "file/",
	"two slashes":      "a//file",
	"NUL":              "file\x00",
	"newline":          "file\n",
	"backslash":        `a\file`,
	"space":            "a file",
	"colon":            "C:file",
	"not ASCII":        "fíle",
	"not UTF-8":        "file\xff",
	"long name":        strings.Repeat("n", 256),
	"long path":        strings.Repeat("n/", 512) + "n",
}

func paths(t *testing.T, d driver.Driver) {
	put(t, d, "file=content")
	for what, name := range hostilePaths {
		for method, call := range calls {
			is(t, method+" with a path that is hostile: "+what, call(t.Context(), d, name), fs.ErrInvalid)
		}
	}
	for method, call := range calls {
		if method != "Stat" && method != "List" {
			is(t, method+" on the root", call(t.Context(), d, "."), fs.ErrInvalid)
		}
	}
	lists(t, d, ".", "file")
	holds(t, d, "file", "content")

	long := strings.Repeat("n", 255)
	for _, name := range []string{"...", "..a", "-", "_x/.y", "A.Z-a_z/09", long + "/" + long, strings.Repeat("n/", 511) + "nn"} {
		put(t, d, name+"=allowed")
		holds(t, d, name, "allowed")
	}
}

func contextDone(t *testing.T, d driver.Driver) {
	put(t, d, "file=content")
	w, err := d.Append(t.Context(), "upload", 0)
	must(t, err)
	defer w.Close()

	done, cancel := context.WithCancel(t.Context())
	cancel()
	for method, call := range calls {
		is(t, method+" on a file with a done context", call(done, d, "file"), context.Canceled)
		is(t, method+" on nothing with a done context", call(done, d, "nothing"), context.Canceled)
	}
	lists(t, d, ".", "file", "upload")
	holds(t, d, "file", "content")

	is(t, "Commit with a done context", w.Commit(done), context.Canceled)
	_, err = io.WriteString(w, "goes on")
	must(t, err)
	must(t, w.Commit(t.Context()))
	holds(t, d, "upload", "goes on")
}

func outlivesContext(t *testing.T, d driver.Driver) {
	put(t, d, "file=content")
	ctx, cancel := context.WithCancel(t.Context())
	f, err := d.Open(ctx, "file")
	must(t, err)
	defer f.Close()
	w, err := d.Append(ctx, "upload", 0)
	must(t, err)
	cancel()
	got, err := io.ReadAll(f)
	if err != nil || string(got) != "content" {
		t.Errorf("read %q, error %v after the context was done", got, err)
	}
	_, err = io.WriteString(w, "bytes")
	must(t, err)
	must(t, w.Close())
	holds(t, d, "upload", "bytes")
}

func closed(t *testing.T, d driver.Driver) {
	put(t, d, "file=content")
	f, err := d.Open(t.Context(), "file")
	must(t, err)
	defer f.Close()
	w, err := d.Append(t.Context(), "upload", 0)
	must(t, err)
	must(t, d.Close())
	for method, call := range calls {
		if err := call(t.Context(), d, "file"); err == nil || errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s on a closed driver: error is %v", method, err)
		}
	}
	got, err := io.ReadAll(f)
	if err != nil || string(got) != "content" {
		t.Errorf("read %q, error %v after the driver was closed", got, err)
	}
	_, err = io.WriteString(w, "bytes")
	must(t, err)
	must(t, w.Close())
}
