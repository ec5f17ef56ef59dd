package bolt

import (
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
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
	db := open(t, filepath.Join(t.TempDir(), "index.db"))
	defer db.Close()
	db.lead <- struct{}{} // nobody else may commit
	start := db.bolt.Stats()
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
	// A commit writes its pages one by one: 100 keys fit in a few, 100 commits would take hundreds.
	end := db.bolt.Stats()
	if writes := end.TxStats.GetWrite() - start.TxStats.GetWrite(); writes > 10 {
		t.Errorf("%d page writes for %d transactions: they did not share a commit", writes, n)
	}
}

func BenchmarkUpdate(b *testing.B) {
	db := open(b, filepath.Join(b.TempDir(), "index.db"))
	defer db.Close()
	b.SetParallelism(16)
	b.RunParallel(func(pb *testing.PB) {
		for i := 0; pb.Next(); i++ {
			key := []byte("key" + strconv.Itoa(i%1000))
			if err := db.Update(b.Context(), func(w kv.Writer) error { return w.Put(key, key) }); err != nil {
				b.Error(err)
			}
		}
	})
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
