package gc_test

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"gatehouse/registry/driver"
	"gatehouse/registry/gc"
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

// TestFullIndex: where the index has a disk of its own, and that is full, nothing is collected, nothing is lost, and pulls go on
// until there is room.
func TestFullIndex(t *testing.T) {
	for _, c := range []struct {
		name, options string
		bytes         bool
	}{{"bytes", "size=8m", true}, {"names", "size=8m,nr_inodes=100", false}} {
		t.Run(c.name, func(t *testing.T) {
			dir := mounted(t, c.options)
			b := garbage(t, folder(t), filepath.Join(dir, "index.db"), 200)
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
