package bolt

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"gatehouse/registry/index/kv"
	"gatehouse/testbench"
)

// TestFullDisk fills a disk, for the journal and for bbolt: commits say why they fail, reading goes on, also after a restart;
// what was acknowledged stays; and commits work once there is space.
func TestFullDisk(t *testing.T) {
	dir := t.TempDir()
	if out, err := exec.Command(testbench.Tool(t, "mount"), "-t", "tmpfs", "-o", "size=5m", "tmpfs", dir).CombinedOutput(); err != nil {
		testbench.Missing(t, "the right to mount", fmt.Sprintf("%v: %s", err, out))
	}
	t.Cleanup(func() {
		if out, err := exec.Command("umount", dir).CombinedOutput(); err != nil {
			t.Errorf("unmount %s: %v: %s", dir, err, out)
		}
	})
	path, ballast := filepath.Join(dir, "index.db"), filepath.Join(dir, "ballast")
	db := open(t, path)
	must(t, os.WriteFile(ballast, make([]byte, 2<<20), 0o600))
	want := pairs{}
	next := func(i int) pairs { return pairs{"key" + strconv.Itoa(i): strings.Repeat("x", 1000)} }
	n := 0
	for ; ; n++ {
		if err := next(n).set(db); err != nil {
			if !errors.Is(err, kv.ErrNoSpace) {
				t.Fatalf("commit %d: %v", n, err)
			}
			break
		}
		want = want.with(next(n))
	}
	if n < 100 {
		t.Fatalf("only %d commits in 3 MiB", n)
	}
	for range 2 {
		if got := contentsOf(t, db); !maps.Equal(got, want) {
			t.Errorf("found %d pairs on a full disk, want %d", len(got), len(want))
		}
		if err := next(n).set(db); err != nil && !errors.Is(err, kv.ErrNoSpace) {
			t.Errorf("another commit: %v", err)
		} else if err == nil {
			want = want.with(next(n))
		}
		if err := db.Close(); err != nil && !errors.Is(err, kv.ErrNoSpace) {
			t.Errorf("close: %v", err)
		}
		db = open(t, path)
	}
	must(t, os.Remove(ballast))
	must(t, next(n+1).set(db))
	must(t, db.Close())
	db = open(t, path)
	defer db.Close()
	if got := contentsOf(t, db); !maps.Equal(got, want.with(next(n+1))) {
		t.Errorf("found %d pairs in the end, want %d", len(got), len(want)+1)
	}
}

// TestReserve: on a disk that is full to the last byte, what little is written into the index goes on for long.
func TestReserve(t *testing.T) {
	dir := t.TempDir()
	if out, err := exec.Command(testbench.Tool(t, "mount"), "-t", "tmpfs", "-o", "size=16m", "tmpfs", dir).CombinedOutput(); err != nil {
		testbench.Missing(t, "the right to mount", fmt.Sprintf("%v: %s", err, out))
	}
	t.Cleanup(func() {
		if out, err := exec.Command("umount", dir).CombinedOutput(); err != nil {
			t.Errorf("unmount %s: %v: %s", dir, err, out)
		}
	})
	path := filepath.Join(dir, "index.db")
	db := open(t, path)
	for i := range 100 {
		must(t, pairs{"key" + strconv.Itoa(i): strings.Repeat("x", 1000)}.set(db))
	}
	full := func() {
		f, err := os.OpenFile(filepath.Join(dir, "ballast"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
		must(t, err)
		for err == nil {
			_, err = f.Write(make([]byte, 4096))
		}
		must(t, f.Close())
	}
	want := contentsOf(t, db)
	for i := range 1000 {
		full()
		p := pairs{"key" + strconv.Itoa(i%100): strconv.Itoa(i)}
		if err := p.set(db); err != nil {
			t.Fatalf("commit %d: %v", i, err)
		}
		want = want.with(p)
	}
	must(t, db.Close())
	if _, err := os.Stat(path + "-reserve"); err == nil {
		t.Error("the reserve stays behind")
	}
	db = open(t, path)
	defer db.Close()
	if got := contentsOf(t, db); !maps.Equal(got, want) {
		t.Errorf("found %d pairs in the end, want %d", len(got), len(want))
	}
}

// TestKilled kills a process while it commits: what it has said that it committed is there.
func TestKilled(t *testing.T) {
	const variable = "INDEX_TO_BE_KILLED"
	if path := os.Getenv(variable); path != "" {
		commitForever(path)
	}
	path := filepath.Join(t.TempDir(), "index.db")
	for round := range 8 {
		cmd := exec.Command(os.Args[0], "-test.run=^TestKilled$")
		cmd.Env = append(os.Environ(), variable+"="+path)
		var stderr bytes.Buffer
		cmd.Stderr = &stderr
		out, err := cmd.StdoutPipe()
		must(t, err)
		must(t, cmd.Start())
		lines := bufio.NewScanner(out)
		last := 0
		for range 40 + round*37 {
			if !lines.Scan() {
				t.Fatalf("the process ended: %s", stderr.String())
			}
			last, err = strconv.Atoi(lines.Text())
			must(t, err)
		}
		must(t, cmd.Process.Kill())
		for lines.Scan() { // what was on its way
			if n, err := strconv.Atoi(lines.Text()); err == nil {
				last = n
			}
		}
		cmd.Wait()
		db := open(t, path)
		p := contentsOf(t, db)
		n, _ := strconv.Atoi(p["n"])
		if n != last && n != last+1 {
			t.Errorf("killed after %d was acknowledged, found %d", last, n)
		}
		for i := max(1, n-99); i <= n; i++ {
			if k := strconv.Itoa(i); p["key"+k] != k {
				t.Errorf("key%d is %q", i, p["key"+k])
			}
		}
		if len(p) > 101 {
			t.Errorf("%d pairs: deleted ones are back", len(p))
		}
		must(t, db.Close())
	}
}

// commitForever commits one number after the other, with small checkpoints, and prints each when it is acknowledged.
func commitForever(path string) {
	o := newDrive().options()
	o.open, o.folder, o.noSync = openDisk, syncFolder, false
	db, err := openWith(path, o)
	n := 0
	if err == nil {
		err = db.View(context.Background(), func(r kv.Reader) error {
			b, _ := r.Get([]byte("n"))
			n, _ = strconv.Atoi(string(b))
			return nil
		})
	}
	for err == nil {
		n++
		k := strconv.Itoa(n)
		if err = (pairs{"n": k, "key" + k: k, "key" + strconv.Itoa(n-100): "-"}).set(db); err == nil {
			fmt.Println(n)
		}
	}
	fmt.Fprintln(os.Stderr, err)
	os.Exit(1)
}
