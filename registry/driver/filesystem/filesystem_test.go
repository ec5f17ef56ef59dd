package filesystem

import (
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"gatehouse/registry/driver"
	"gatehouse/registry/driver/drivertest"
)

// kinds are the two kinds of file systems that sync.go tells apart.
var kinds = map[string]func(*os.File) bool{
	"ordered":   func(*os.File) bool { return true },
	"unordered": func(*os.File) bool { return false },
}

func TestDriver(t *testing.T) {
	for kind, ordered := range kinds {
		t.Run(kind, func(t *testing.T) {
			drivertest.Run(t, func(t *testing.T) driver.Driver {
				d, err := open(t.TempDir(), (*os.File).Sync, ordered)
				must(t, err)
				return d
			})
		})
	}
}

func BenchmarkDriver(b *testing.B) {
	drivertest.Bench(b, func(b *testing.B) driver.Driver {
		d, err := New(b.TempDir())
		must(b, err)
		return d
	})
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// newDriver returns a driver and its folder.
func newDriver(t *testing.T) (*Driver, string) {
	t.Helper()
	dir := t.TempDir()
	d, err := New(dir)
	must(t, err)
	t.Cleanup(func() { d.Close() })
	return d, dir
}

// upload makes a durable file at name, by way of an upload.
func upload(t *testing.T, d *Driver, name, content string) error {
	t.Helper()
	w, err := d.Append(t.Context(), "uploads/1/data", 0)
	if err != nil {
		return err
	}
	defer w.Close()
	if _, err := w.Write([]byte(content)); err != nil {
		return err
	}
	if err := w.Commit(t.Context()); err != nil {
		return err
	}
	return d.Move(t.Context(), "uploads/1/data", name)
}

func holds(t *testing.T, d *Driver, name, want string) {
	t.Helper()
	got, err := d.ReadFile(t.Context(), name, 1<<20)
	if err != nil || string(got) != want {
		t.Errorf("%s holds %.60q, error %v; want %.60q", name, got, err, want)
	}
}

func TestNew(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "a", "b", "c")
	for range 2 {
		d, err := New(dir)
		must(t, err)
		must(t, d.WriteFile(t.Context(), "file", []byte("content")))
		holds(t, d, "file", "content")
		must(t, d.Close())
	}
	if _, err := New(filepath.Join(dir, "file")); err == nil {
		t.Error("a file as root: no error")
	}
	if _, err := New(filepath.Join(dir, "file", "below")); err == nil {
		t.Error("a root below a file: no error")
	}

	var synced []string
	top := t.TempDir()
	_, err := open(filepath.Join(top, "x", "y")+"/", func(f *os.File) error {
		synced = append(synced, strings.TrimPrefix(f.Name(), top))
		return f.Sync()
	}, ordered)
	must(t, err)
	if want := []string{"", "/x", "/x/y"}; !slices.Equal(synced, want) {
		t.Errorf("synced %q below the temporary folder, want %q", synced, want)
	}
	_, err = open(t.TempDir(), func(*os.File) error { return syscall.EINVAL }, ordered)
	if !errors.Is(err, syscall.EINVAL) {
		t.Errorf("a file system that cannot sync folders: %v", err)
	}
}

// TestModes checks that folders and files have distribution's modes.
func TestModes(t *testing.T) {
	d, dir := newDriver(t)
	defer syscall.Umask(syscall.Umask(0o027))
	must(t, d.WriteFile(t.Context(), "a/written", nil))
	must(t, upload(t, d, "b/c/uploaded", "content"))
	for name, want := range map[string]fs.FileMode{
		"a": fs.ModeDir | 0o750, "b": fs.ModeDir | 0o750, "b/c": fs.ModeDir | 0o750, "uploads": fs.ModeDir | 0o750,
		"a/written": 0o640, "b/c/uploaded": 0o640,
	} {
		info, err := os.Stat(filepath.Join(dir, name))
		if err != nil || info.Mode() != want {
			t.Errorf("%s: mode %v, error %v; want %v", name, info.Mode(), err, want)
		}
	}
}

// TestEscape plants symbolic links that lead out of the root: nothing behind them can be read, written, listed or deleted.
func TestEscape(t *testing.T) {
	d, dir := newDriver(t)
	outside := t.TempDir()
	secret := filepath.Join(outside, "secret")
	must(t, os.WriteFile(secret, []byte("secret"), 0o600))
	up, err := filepath.Rel(dir, outside)
	must(t, err)
	must(t, d.WriteFile(t.Context(), "mine", []byte("mine")))
	links := map[string]string{"absolute": outside, "relative": up, "file": secret, "dangling": filepath.Join(outside, "new"), "root": "/"}
	ctx := t.Context()
	for link, target := range links {
		must(t, os.Symlink(target, filepath.Join(dir, link)))
		for _, name := range []string{link, link + "/secret", link + "/new/file"} {
			if _, err := d.Open(ctx, name); err == nil {
				t.Errorf("opened %s", name)
			}
			if _, err := d.ReadFile(ctx, name, 100); err == nil {
				t.Errorf("read %s", name)
			}
			if _, err := d.Stat(ctx, name); err == nil {
				t.Errorf("described %s", name)
			}
			if _, err := d.Append(ctx, name, 0); err == nil {
				t.Errorf("appended to %s", name)
			}
			if _, err := d.Append(ctx, name, 6); err == nil {
				t.Errorf("appended to %s", name)
			}
			if err := d.Move(ctx, name, "moved"); err == nil {
				t.Errorf("moved %s", name)
			}
			for e, err := range d.List(ctx, name) {
				if err == nil {
					t.Errorf("list of %s yields %v", name, e)
				}
			}
			if name == link {
				continue // the link itself may be replaced or deleted
			}
			if err := d.WriteFile(ctx, name, []byte("evil")); err == nil {
				t.Errorf("wrote %s", name)
			}
			if err := d.Move(ctx, "mine", name); err == nil {
				t.Errorf("moved to %s", name)
			}
			if err := d.Delete(ctx, name); err == nil {
				t.Errorf("deleted %s", name)
			}
		}
		if link != "root" {
			must(t, os.MkdirAll(filepath.Join(dir, "folder"), 0o777))
			must(t, os.Symlink(target, filepath.Join(dir, "folder", link)))
			must(t, d.Delete(ctx, link))
		}
	}
	must(t, d.Delete(ctx, "folder"))
	entries, err := os.ReadDir(outside)
	must(t, err)
	got, err := os.ReadFile(secret)
	if err != nil || string(got) != "secret" || len(entries) != 1 {
		t.Errorf("outside of the root there are %v now, and the secret is %q, %v", entries, got, err)
	}
	holds(t, d, "mine", "mine")
}

// TestLinksInside has symbolic links that stay below the root, as operators make them to move parts of a tree.
func TestLinksInside(t *testing.T) {
	d, dir := newDriver(t)
	must(t, d.WriteFile(t.Context(), "disk2/blobs/data", []byte("content")))
	must(t, os.Symlink("disk2/blobs", filepath.Join(dir, "blobs")))
	must(t, os.Symlink("disk2/nothing", filepath.Join(dir, "dangling")))
	must(t, os.Symlink("disk2/blobs/data", filepath.Join(dir, "link")))
	holds(t, d, "link", "content")
	if d.Move(t.Context(), "link", "blobs/moved/data") == nil {
		t.Error("the link was moved, which is not the file")
	}
	holds(t, d, "blobs/data", "content")
	must(t, upload(t, d, "blobs/ab/data", "pushed"))
	holds(t, d, "disk2/blobs/ab/data", "pushed")
	must(t, d.Move(t.Context(), "disk2/blobs/ab/data", "blobs/ab/data"))
	holds(t, d, "blobs/ab/data", "pushed")
	must(t, d.Move(t.Context(), "blobs/ab/data", "other/data"))
	must(t, d.Delete(t.Context(), "blobs/data"))

	var got []driver.Entry
	for e, err := range d.List(t.Context(), ".") {
		must(t, err)
		got = append(got, e)
	}
	if want := []driver.Entry{{Name: "blobs", Dir: true}, {Name: "dangling"}, {Name: "disk2", Dir: true}, {Name: "link"}, {Name: "other", Dir: true}, {Name: "uploads", Dir: true}}; !slices.Equal(got, want) {
		t.Errorf("listed %v, want %v", got, want)
	}
}

// TestForeignNames checks that what has no valid path is not listed.
func TestForeignNames(t *testing.T) {
	d, dir := newDriver(t)
	for _, name := range []string{"lost+found", "a b", "ü", "ok"} {
		must(t, os.Mkdir(filepath.Join(dir, name), 0o777))
	}
	for e, err := range d.List(t.Context(), ".") {
		if err != nil || e.Name != "ok" {
			t.Errorf("listed %v, error %v", e, err)
		}
	}
}

// TestEmptyingFolders has moves that take away each other's folders, as often as a disk that need not sync can.
func TestEmptyingFolders(t *testing.T) {
	d, err := open(t.TempDir(), func(*os.File) error { return nil }, kinds["ordered"])
	must(t, err)
	defer d.Close()
	const movers = 4
	errs := make(chan error)
	for i := range movers {
		go func() {
			file := fmt.Sprint("/f", i)
			err := d.WriteFile(t.Context(), "a"+file, []byte("content"))
			for range 500 {
				if err == nil {
					err = d.Move(t.Context(), "a"+file, "b/c"+file)
				}
				if err == nil {
					err = d.Move(t.Context(), "b/c"+file, "a"+file)
				}
			}
			errs <- err
		}()
	}
	for range movers {
		must(t, <-errs)
	}
	for i := range movers {
		holds(t, d, fmt.Sprint("a/f", i), "content")
	}
}

// TestServed checks that an HTTP server gets at the file itself, and what it makes of it.
func TestServed(t *testing.T) {
	d, _ := newDriver(t)
	content := strings.Repeat("0123456789", 10000)
	must(t, d.WriteFile(t.Context(), "file", []byte(content)))
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		f, err := d.Open(r.Context(), "file")
		if err != nil {
			t.Error(err)
			return
		}
		defer f.Close()
		if _, ok := f.(syscall.Conn); !ok {
			t.Error("the kernel cannot send the file: it is no syscall.Conn")
		}
		http.ServeContent(w, r, "", f.ModTime(), f)
	}))
	defer s.Close()
	for part, want := range map[string]string{"": content, "bytes=5-": content[5:], "bytes=11-12": "12"} {
		r, err := http.NewRequestWithContext(t.Context(), "GET", s.URL, nil)
		must(t, err)
		if part != "" {
			r.Header.Set("Range", part)
		}
		res, err := http.DefaultClient.Do(r)
		must(t, err)
		var got strings.Builder
		if err := res.Write(&got); err != nil || !strings.HasSuffix(got.String(), "\r\n\r\n"+want) {
			t.Errorf("range %q: got %d bytes with head, want %d; error %v", part, got.Len(), len(want), err)
		}
		res.Body.Close()
	}
}
