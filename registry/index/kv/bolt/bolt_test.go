package bolt

import (
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"gatehouse/registry/index/kv"
	"gatehouse/registry/index/kv/kvtest"
)

func open(t testing.TB, path string) *DB {
	t.Helper()
	db, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	return db
}

func TestContract(t *testing.T) {
	kvtest.Run(t, func(t *testing.T) kv.DB { return open(t, filepath.Join(t.TempDir(), "new", "index.db")) })
}

func TestReopen(t *testing.T) {
	path := filepath.Join(t.TempDir(), "index.db")
	db := open(t, path)
	kvtest.Put(t, db, "a=1")
	if _, err := Open(path); err == nil || !strings.Contains(err.Error(), "in use by another process") {
		t.Errorf("second open: %v, want a hint that the file is in use", err)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	db = open(t, path)
	defer db.Close()
	if got := kvtest.Dump(t, db, "", ""); len(got) != 1 || got[0] != "a=1" {
		t.Errorf("after reopening: %q", got)
	}
}

// TestCutShort: a file that lost its end is refused in words; mapping it would end the process.
func TestCutShort(t *testing.T) {
	path := filepath.Join(t.TempDir(), "index.db")
	db := open(t, path)
	var pairs []string
	for i := range 1001 {
		pairs = append(pairs, "key "+strconv.Itoa(i)+"="+strings.Repeat("x", 100))
	}
	kvtest.Put(t, db, pairs...)
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for _, size := range []int{1, 100, 4096, 8192, 20000, 65536} {
		if err := os.WriteFile(path, whole[:size], 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := Open(path); err == nil || !strings.Contains(err.Error(), "cut short") {
			t.Errorf("%d of %d bytes: %v", size, len(whole), err)
		}
	}
	if err := os.WriteFile(path, []byte(strings.Repeat("no index ", 10000)), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(path); err == nil {
		t.Error("opened a file that is no index")
	}
	if err := os.WriteFile(path, whole, 0o600); err != nil {
		t.Fatal(err)
	}
	db = open(t, path)
	defer db.Close()
	if got := kvtest.Dump(t, db, "", ""); len(got) != 1001 {
		t.Errorf("%d keys in the whole file", len(got))
	}
}

// TestGroupCommit holds the disk, queues transactions, and sees them share one commit.
func TestGroupCommit(t *testing.T) {
	d := newDrive()
	db, _ := start(t, d, func(o *options) { o.memory = 1 << 30 })
	db.lead <- struct{}{} // nobody else may commit
	d.takeSyncs()
	errs := make(chan error)
	const n = 100
	for i := range n {
		go func() {
			errs <- db.Update(t.Context(), func(w kv.Writer) error { return w.Put([]byte(strconv.Itoa(i)), nil) })
		}()
	}
	for len(db.queue) < n {
		runtime.Gosched()
	}
	db.commit()
	<-db.lead
	for range n {
		if err := <-errs; err != nil {
			t.Error(err)
		}
	}
	if syncs := d.takeSyncs(); syncs != 1 {
		t.Errorf("%d syncs for %d transactions that were waiting", syncs, n)
	}
}

// TestLimits: what bbolt could not take is refused when it is written, not when a checkpoint comes to it.
func TestLimits(t *testing.T) {
	db, path := start(t, newDrive(), nil)
	for _, size := range []int{maxKey, maxKey + 1} {
		err := db.Update(t.Context(), func(w kv.Writer) error { return w.Put(make([]byte, size), nil) })
		if (err != nil) != (size > maxKey) {
			t.Errorf("a key of %d bytes: %v", size, err)
		}
		must(t, db.Update(t.Context(), func(w kv.Writer) error { return w.Delete(make([]byte, maxKey+1)) }))
	}
	err := db.Update(t.Context(), func(w kv.Writer) error { return w.Put([]byte("a"), make([]byte, maxValue+1)) })
	if err == nil {
		t.Error("a value that is too large was taken")
	}
	finds(t, copyIndex(t, path), pairs{string(make([]byte, maxKey)): ""})
}

// TestClosed: a closed index refuses what comes later.
func TestClosed(t *testing.T) {
	db := open(t, filepath.Join(t.TempDir(), "index.db"))
	must(t, db.Close())
	if err := (pairs{"a": "1"}).set(db); err == nil {
		t.Error("committed after Close")
	}
	if err := db.View(t.Context(), func(kv.Reader) error { return nil }); err == nil {
		t.Error("read after Close")
	}
	must(t, db.Close())
}

func BenchmarkUpdate(b *testing.B) {
	for _, writers := range []int{1, 16} {
		b.Run(strconv.Itoa(writers), func(b *testing.B) {
			db := open(b, filepath.Join(b.TempDir(), "index.db"))
			defer db.Close()
			var left atomic.Int64
			left.Store(int64(b.N))
			var wg sync.WaitGroup
			for w := range writers {
				wg.Go(func() {
					value := make([]byte, 150)
					for i := w << 20; left.Add(-1) >= 0; i++ {
						err := db.Update(b.Context(), func(w kv.Writer) error { // about what a pushed blob writes
							for k := range 4 {
								if err := w.Put([]byte(strconv.Itoa(k)+"/"+strconv.Itoa(i*7919%1000003)), value); err != nil {
									return err
								}
							}
							return nil
						})
						if err != nil {
							b.Error(err)
							return
						}
					}
				})
			}
			wg.Wait()
		})
	}
}

func BenchmarkView(b *testing.B) {
	db := open(b, filepath.Join(b.TempDir(), "index.db"))
	defer db.Close()
	if err := db.Update(b.Context(), func(w kv.Writer) error { return w.Put([]byte("k"), []byte("v")) }); err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		err := db.View(b.Context(), func(r kv.Reader) error {
			_, err := r.Get([]byte("k"))
			return err
		})
		if err != nil {
			b.Fatal(err)
		}
	}
}
