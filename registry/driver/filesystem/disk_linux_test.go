package filesystem

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"gatehouse/registry/driver"
	"gatehouse/registry/driver/drivertest"
	"gatehouse/testbench"
)

// mount mounts what the arguments of mount(8) say at a new folder, until the test ends.
func mount(t *testing.T, args ...string) (dir string) {
	t.Helper()
	dir = filepath.Join(t.TempDir(), "mnt")
	must(t, os.Mkdir(dir, 0o777))
	out, err := exec.Command(testbench.Tool(t, "mount"), append(args, dir)...).CombinedOutput()
	if err != nil {
		testbench.Missing(t, "the right to mount", fmt.Sprintf("%v: %s", err, out))
	}
	t.Cleanup(func() { unmount(t, dir) })
	return dir
}

// unmount unmounts a folder, once.
func unmount(t *testing.T, dir string) {
	t.Helper()
	if _, err := os.Stat(dir + ".unmounted"); err == nil {
		return
	}
	if out, err := exec.Command("umount", dir).CombinedOutput(); err != nil {
		t.Errorf("unmount %s: %v: %s", dir, err, out)
	}
	must(t, os.WriteFile(dir+".unmounted", nil, 0o666))
}

// TestFullDisk fills a disk: what does not fit says why and leaves nothing behind, the rest works on, and deleting makes room.
func TestFullDisk(t *testing.T) {
	d, err := New(mount(t, "-t", "tmpfs", "-o", "size=1m", "tmpfs"))
	must(t, err)
	defer d.Close()
	small, large := bytes.Repeat([]byte("s"), 1000), bytes.Repeat([]byte("l"), 600<<10)
	must(t, d.WriteFile(t.Context(), "dir/small", small))
	must(t, d.WriteFile(t.Context(), "dir/large", large))

	w, err := d.Append(t.Context(), "uploads/1", 0)
	must(t, err)
	n, err := w.Write(large)
	if !errors.Is(err, driver.ErrNoSpace) || n == 0 || n == len(large) || w.Size() != int64(n) {
		t.Errorf("wrote %d of %d bytes, size %d, error %v; want a part and driver.ErrNoSpace", n, len(large), w.Size(), err)
	}
	if _, err := w.Write(small); !errors.Is(err, driver.ErrNoSpace) {
		t.Errorf("write after the error: %v", err)
	}
	if err := w.Commit(t.Context()); !errors.Is(err, driver.ErrNoSpace) {
		t.Errorf("commit after the error: %v", err)
	}
	must(t, w.Close())
	for _, name := range []string{"dir/small", "dir/new"} {
		if err := d.WriteFile(t.Context(), name, large); !errors.Is(err, driver.ErrNoSpace) {
			t.Errorf("write of %s: %v", name, err)
		}
	}
	if got := strings.Join(drivertest.Files(t, d), " "); got != "dir/large dir/small uploads/1" {
		t.Errorf("files are %s", got)
	}
	holds(t, d, "dir/small", string(small))

	must(t, d.Delete(t.Context(), "dir/large"))
	w, err = d.Append(t.Context(), "uploads/1", int64(n)) // the upload goes on where it stopped
	must(t, err)
	_, err = w.Write(large[n:])
	must(t, err)
	must(t, w.Commit(t.Context()))
	must(t, d.Move(t.Context(), "uploads/1", "dir/new"))
	holds(t, d, "dir/new", string(large))
}

// TestReadOnly has a disk that the system has turned read-only, as ext4 does after an error.
func TestReadOnly(t *testing.T) {
	dir := mount(t, "-t", "tmpfs", "tmpfs")
	d, err := New(dir)
	must(t, err)
	defer d.Close()
	must(t, d.WriteFile(t.Context(), "dir/file", []byte("content")))
	if out, err := exec.Command("mount", "-o", "remount,ro", dir).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	_, appended := d.Append(t.Context(), "uploads/1", 0)
	for what, err := range map[string]error{
		"WriteFile": d.WriteFile(t.Context(), "dir/file", nil),
		"Append":    appended,
		"Move":      d.Move(t.Context(), "dir/file", "dir/moved"),
		"Move far":  d.Move(t.Context(), "dir/file", "new/file"),
		"Delete":    d.Delete(t.Context(), "dir/file"),
	} {
		if !errors.Is(err, driver.ErrReadOnly) {
			t.Errorf("%s: error is %v, want driver.ErrReadOnly", what, err)
		}
	}
	holds(t, d, "dir/file", "content")
}

// TestPowerLoss takes a copy of the disk at the moment an operation returns: what a machine finds that lost its power then.
// The disk is ext4, which is told not to write names out by itself, so what is in the copy is there by the driver's doing.
func TestPowerLoss(t *testing.T) {
	mkfs := testbench.Tool(t, "mkfs.ext4")
	disk := filepath.Join(t.TempDir(), "disk")
	must(t, os.WriteFile(disk, nil, 0o666))
	must(t, os.Truncate(disk, 32<<20))
	if out, err := exec.Command(mkfs, "-qF", disk).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	d, err := New(filepath.Join(mount(t, "-o", "loop,commit=3600,noauto_da_alloc", disk), "root"))
	must(t, err)
	defer d.Close()

	// What nobody makes durable gets lost; but now and then another program syncs the whole machine.
	for i := 0; ; i++ {
		name := fmt.Sprint(unsynced, i)
		must(t, os.WriteFile(filepath.Join(d.root.Name(), name), nil, 0o666))
		if !slices.Contains(afterPowerLoss(t, disk), name+"=") {
			break
		}
		if i == 9 {
			t.Fatal("nothing ever gets lost: this is no power loss")
		}
	}

	ctx := t.Context()
	for _, step := range []struct {
		name string
		do   func() error
		want string // files after a power loss, with what they hold
	}{
		{"write", func() error { return d.WriteFile(ctx, link, []byte("one")) }, link + "=one"},
		{"a write in the root", func() error { return d.WriteFile(ctx, "file", nil) }, "file= " + link + "=one"},
		{"replace", func() error { return d.WriteFile(ctx, link, []byte("two")) }, "file= " + link + "=two"},
		{"push", func() error { return upload(t, d, blob, "content") }, blob + "=content file= " + link + "=two"},
		{"push of the same blob", func() error { return upload(t, d, blob, "content") }, blob + "=content file= " + link + "=two"},
		{"push beside it", func() error { return upload(t, d, "blobs/sha256/ab/abef/data", "more") },
			blob + "=content blobs/sha256/ab/abef/data=more file= " + link + "=two"},
		{"delete of a folder", func() error { return d.Delete(ctx, "blobs/sha256/ab/abcd") }, "blobs/sha256/ab/abef/data=more file= " + link + "=two"},
		{"delete of a file", func() error { return d.Delete(ctx, "file") }, "blobs/sha256/ab/abef/data=more " + link + "=two"},
	} {
		must(t, step.do())
		left := slices.DeleteFunc(afterPowerLoss(t, disk), func(file string) bool { return strings.HasPrefix(file, unsynced) })
		if got := strings.Join(left, " "); got != step.want {
			t.Errorf("power loss after %s: left is %q, want %q", step.name, got, step.want)
		}
	}
}

const unsynced = "unsynced-"

// afterPowerLoss returns the files on a disk, as contents does, that are there when its machine loses its power now.
func afterPowerLoss(t *testing.T, disk string) []string {
	t.Helper()
	image := disk + "-copy"
	copySparse(t, disk, image)
	defer os.Remove(image)
	dir := mount(t, "-o", "loop", image)
	defer unmount(t, dir)
	return contents(t, filepath.Join(dir, "root"))
}

// copySparse copies the file from to a new one, without its zeros.
func copySparse(t *testing.T, from, to string) {
	t.Helper()
	data, err := os.ReadFile(from)
	must(t, err)
	f, err := os.Create(to)
	must(t, err)
	defer f.Close()
	const block = 64 << 10
	zeros := make([]byte, block)
	for at := 0; at < len(data); at += block {
		if piece := data[at:min(at+block, len(data))]; !bytes.Equal(piece, zeros[:len(piece)]) {
			_, err := f.WriteAt(piece, int64(at))
			must(t, err)
		}
	}
	must(t, f.Truncate(int64(len(data))))
}

// contents returns all files below a folder as "path=content".
func contents(t *testing.T, dir string) (files []string) {
	t.Helper()
	must(t, fs.WalkDir(os.DirFS(dir), ".", func(name string, e fs.DirEntry, err error) error {
		if err == nil && !e.IsDir() {
			var data []byte
			data, err = os.ReadFile(filepath.Join(dir, name))
			files = append(files, name+"="+string(data))
		}
		return err
	}))
	return files
}

// TestKilled kills a process while it writes: each file is one that was written, whole, and what is left over besides is
// recognised.
func TestKilled(t *testing.T) {
	if dir := os.Getenv("DRIVER_TO_BE_KILLED"); dir != "" {
		writeForever(dir)
	}
	dir := t.TempDir()
	for round := range 5 {
		cmd := exec.Command(os.Args[0], "-test.run=^TestKilled$")
		cmd.Env = append(os.Environ(), "DRIVER_TO_BE_KILLED="+dir)
		out, err := cmd.StdoutPipe()
		must(t, err)
		must(t, cmd.Start())
		_, err = io.CopyN(io.Discard, out, int64(20+round*7)) // a byte for each round of writing
		must(t, err)
		must(t, cmd.Process.Kill())
		cmd.Wait()

		d, err := New(dir)
		must(t, err)
		for _, name := range drivertest.Files(t, d) {
			got, err := d.ReadFile(t.Context(), name, 1<<20)
			must(t, err)
			switch {
			case driver.IsTemp(name):
				must(t, d.Delete(t.Context(), name))
			case strings.HasPrefix(name, "uploads/"):
			case len(got) != killedSize || string(got) != strings.Repeat(string(got[:1]), killedSize):
				t.Errorf("%s has %d bytes that nobody wrote", name, len(got))
			}
		}
		must(t, d.Close())
	}
}

const killedSize = 20000

// writeForever replaces files and pushes blobs, and prints a byte after each round.
func writeForever(dir string) {
	d, err := New(dir)
	for i := 0; err == nil; i++ {
		data := bytes.Repeat([]byte{byte('a' + i%26)}, killedSize)
		ctx := context.Background()
		id := fmt.Sprintf("uploads/%d-%d", os.Getpid(), i)
		err = d.WriteFile(ctx, fmt.Sprint("links/", i%7), data)
		if err == nil {
			var w driver.Writer
			if w, err = d.Append(ctx, id, 0); err == nil {
				w.Write(data)
				err = errors.Join(w.Commit(ctx), d.Move(ctx, id, fmt.Sprintf("blobs/%d/data", i%10)))
			}
		}
		fmt.Print(".")
	}
	fmt.Fprintln(os.Stderr, err)
	os.Exit(1)
}
