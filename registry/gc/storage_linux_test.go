package gc_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"

	"gatehouse/registry/driver"
	"gatehouse/registry/gc"
	"gatehouse/registry/index"
	"gatehouse/registry/index/kv"
	"gatehouse/registry/tree"
	"gatehouse/testbench"
)

// mounted returns a new file system in memory, of a size, until the test ends.
func mounted(t testing.TB, options string) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "mnt")
	ok(t, os.Mkdir(dir, 0o777))
	if out, err := exec.Command(testbench.Tool(t, "mount"), "-t", "tmpfs", "-o", options, "tmpfs", dir).CombinedOutput(); err != nil {
		testbench.Missing(t, "the right to mount", fmt.Sprintf("%v: %s", err, out))
	}
	t.Cleanup(func() {
		if out, err := exec.Command("umount", dir).CombinedOutput(); err != nil {
			t.Errorf("unmount %s: %v: %s", dir, err, out)
		}
	})
	return dir
}

func remount(t testing.TB, dir, options string) {
	t.Helper()
	if out, err := exec.Command("mount", "-o", "remount,"+options, dir).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
}

// garbage returns a bench on a disk, with an image that stays, and blobs of 4 KiB that are due to be deleted. The tree lags behind.
func garbage(t testing.TB, root, path string, blobs int) *bench {
	t.Helper()
	b := prepareBench(t, root)
	b.path = path
	b.policy.Quarantine = 0
	b.open()
	b.image("a", "v1", configContent, layerContent)
	for i := range blobs {
		b.blob("a", strings.Repeat(fmt.Sprint(i%10), 4096-5)+fmt.Sprintf("%05d", i))
	}
	b.drain()
	b.clock.pass(b.policy.Grace)
	return b
}

// fill takes all the room of a disk, for files or for their names, and returns what gives it back.
func fill(t testing.TB, dir string, bytes bool) (release func()) {
	t.Helper()
	folder := filepath.Join(dir, "filler")
	ok(t, os.MkdirAll(folder, 0o777))
	for i := 0; ; i++ {
		var content []byte
		if bytes {
			content = make([]byte, max(1, 1<<20>>i)) // larger ones first
		}
		if err := os.WriteFile(filepath.Join(folder, fmt.Sprint(i)), content, 0o666); err != nil {
			if !bytes || i > 30 {
				break
			}
		} else if bytes && i < 20 {
			for j := 0; os.WriteFile(filepath.Join(folder, fmt.Sprint(i, "-", j)), content, 0o666) == nil; j++ {
			}
		}
	}
	return func() { ok(t, os.RemoveAll(folder)) }
}

// TestFullDisk is R28: on a disk that is full, of bytes or of names, nothing is lost, pulls go on, and deleting is what makes room
// again, also where the index is on the same disk and needs some itself.
func TestFullDisk(t *testing.T) {
	for _, c := range []struct {
		name, options string
		bytes         bool
	}{
		{"bytes", "size=24m", true},
		{"names", "size=24m,nr_inodes=3000", false},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := mounted(t, c.options)
			b := garbage(t, dir, filepath.Join(dir, "index/index.db"), 200)
			release := fill(t, dir, c.bytes)
			if a := b.ask("POST", "/v2/a/blobs/uploads/?digest="+string(theConfig)[:len(theConfig)-1]+"0", strings.Repeat("x", 1<<16)); a.StatusCode < 400 {
				t.Fatalf("the disk is not full: %s", a.Status)
			}
			var last gc.Report
			for range 6 {
				_ = b.attempt()
				b.served("a", "v1", b.acked["a:v1"])
				last, _ = b.gc.Cycle(t.Context(), gc.Request{})
			}
			if n := len(b.stored()); n != 3 {
				t.Errorf("%d blobs are left on a full disk: %+v", n, last)
			}
			b.push("a", "v2", configContent, "there is room again")
			release()
			b.drain()
			b.check()
			b.rest()
			b.close()
		})
	}
}

// TestFullIndex: where the index has a disk of its own, and that is full, its reserve used up, nothing is collected, nothing is lost, and pulls go on
// until there is room.
func TestFullIndex(t *testing.T) {
	for _, c := range []struct {
		name, options string
		bytes         bool
	}{{"bytes", "size=8m", true}, {"names", "size=8m,nr_inodes=100", false}} {
		t.Run(c.name, func(t *testing.T) {
			dir := mounted(t, c.options)
			b := garbage(t, folder(t), filepath.Join(dir, "index.db"), 200)
			ok(t, os.Remove(filepath.Join(dir, "index.db-reserve"))) // used up
			release := fill(t, dir, c.bytes)
			var errs []error
			for range 3 {
				errs = append(errs, b.attempt())
				b.served("a", "v1", b.acked["a:v1"])
			}
			if err := errors.Join(errs...); c.bytes && !errors.Is(err, kv.ErrNoSpace) || err != nil && !errors.Is(err, kv.ErrNoSpace) {
				t.Errorf("the reason is not said: %v", err)
			}
			b.check()
			release()
			b.rest()
			b.close()
		})
	}
}

// TestReadOnlyDisk: on storage that the system has turned read-only, nothing is lost, the reason is said, pulls go on, and when it is
// over the work is done.
func TestReadOnlyDisk(t *testing.T) {
	dir := mounted(t, "size=24m")
	b := garbage(t, dir, filepath.Join(folder(t), "index.db"), 200)
	if r := b.cycle(); r.Condemned != 200 {
		t.Errorf("%+v", r)
	}
	b.untag("a", "v1")
	b.image("a", "v2", configContent, layerContent)
	remount(t, dir, "ro")
	for range 3 {
		if _, err := b.gc.Cycle(t.Context(), gc.Request{}); err != nil {
			t.Error(err) // each item is tried by itself
		}
		if err := tree.NewProjector(b.index, b.driver, discard).Drain(t.Context()); !errors.Is(err, driver.ErrReadOnly) {
			t.Errorf("the reason is not said: %v", err)
		}
		b.check()
	}
	if why := b.log.lastError(); !strings.Contains(why, driver.ErrReadOnly.Error()) || len(b.stored()) != 203 {
		t.Errorf("the reason is %q, %d are stored", why, len(b.stored()))
	}
	b.reopen()
	b.check()
	remount(t, dir, "rw")
	b.rest()
	b.close()
}

// TestEmptied: a disk that pushes have filled, where there is no space for the tree's links either, is emptied by deleting images,
// also where the index is on it. Links that are pending hold up no removal, and are all there in the end.
func TestEmptied(t *testing.T) {
	for _, c := range []struct{ name, options string }{{"bytes", "size=12m"}, {"names", "size=64m,nr_inodes=1200"}} {
		t.Run(c.name, func(t *testing.T) {
			dir := mounted(t, c.options)
			b := prepareBench(t, dir)
			b.path, b.policy = filepath.Join(dir, "index/index.db"), index.Policy{}
			b.open()
			const removed = 20
			pushed := 0
			for ; b.pushUntilFull(pushed, 64<<10); pushed++ {
				if pushed%8 == 0 { // the tree lags behind a little
					_ = tree.NewProjector(b.index, b.driver, discard).Drain(t.Context())
				}
			}
			for i, status := 0, 201; status == 201; i++ {
				content := fmt.Sprint(i)
				status = b.ask("POST", "/v2/small/blobs/uploads/?digest="+string(digest.FromString(content)), content).StatusCode
			}
			if err := tree.NewProjector(b.index, b.driver, discard).Drain(t.Context()); !errors.Is(err, driver.ErrNoSpace) || pushed <= removed {
				t.Fatalf("%d images, and there is space for their links: %v", pushed, err)
			}
			before := len(b.stored())
			for i := range removed {
				b.remove("a", b.acked[fmt.Sprint("a:v", i)])
			}
			b.remove("a", b.acked[fmt.Sprint("a:v", pushed-1)]) // of which the tree has no link
			ctx, stop := context.WithCancel(t.Context())
			followed := make(chan error)
			go func() { followed <- tree.NewProjector(b.index, b.driver, discard).Run(ctx) }()
			report, err := b.gc.Cycle(t.Context(), gc.Request{Drain: true})
			stop()
			if e := <-followed; e != nil || err != nil || report.Waiting > 0 || report.Deleted < 3*removed || len(b.stored()) > before-3*removed {
				t.Errorf("%d of %d blobs are left: %+v, %v; the tree: %v", len(b.stored()), before, report, err, e)
			}
			if b.lags() {
				t.Error("there is space, and links are lacking")
			}
			b.check()
			b.image("a", "again", "config", "there is room again")
			b.rest()
			b.close()
		})
	}
}

// pushUntilFull pushes an image with a layer of so many bytes, and reports whether there was space for it.
func (b *bench) pushUntilFull(i, size int) bool {
	b.Helper()
	layer := fmt.Sprintf("%0*d", size, i)
	config := fmt.Sprint("config ", i)
	for _, content := range []string{config, layer} {
		a := b.ask("POST", "/v2/a/blobs/uploads/?digest="+string(digest.FromString(content)), content)
		if a.StatusCode == 507 {
			return false
		}
		if a.StatusCode != 201 {
			b.Fatalf("%s: %s", a.Status, a.body)
		}
	}
	document := imageOf(config, layer)
	a := b.ask("PUT", fmt.Sprint("/v2/a/manifests/v", i), document, "Content-Type: "+typeOf(document))
	if a.StatusCode == 201 {
		b.told("a", fmt.Sprint("v", i), digest.FromString(document))
	}
	return a.StatusCode == 201
}
