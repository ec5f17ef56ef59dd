package gc_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"

	"gatehouse/registry/driver/drivertest"
	"gatehouse/registry/gc"
	"gatehouse/registry/tree"
)

// medley returns a bench that is closed, to be copied, with some of everything that a cycle looks at, and lets time pass until it is due: an image without a tag, an
// index that was deleted with its children and a signature, a blob that was never named, one that was unlinked, a stray; and images
// that stay and share bytes with them.
func medley(t testing.TB) *bench {
	t.Helper()
	b := prepareBench(t, folder(t))
	b.policy.Quarantine = 0
	b.open()
	b.image("a", "v1", "config", "layer", "base")
	b.forget("a", b.image("a", "", "config of none", "layer of none", "base"))
	child := b.image("a", "", "config of child", "base")
	multi := b.put("a", "multi", indexOf(child))
	b.put("a", "", imageWith(descriptor(b.blob("a", "{}")), nil, subject(multi)))
	b.forget("a", b.put("a", "", imageWith(descriptor(b.blob("a", "{}")), nil, subject(multi))))
	b.forget("a", child)
	b.remove("a", multi)
	b.image("b", "v1", "config of b", "base")
	b.blob("b", "never named")
	b.must(202, "DELETE", "/v2/b/blobs/"+string(b.blob("b", "unlinked")), "")
	b.stray("stray")
	b.drain()
	b.check()
	b.clock.pass(b.policy.Grace)
	b.close()
	return b
}

// stray writes bytes behind everybody's back, as a crash between bytes and index leaves them.
func (b *bench) stray(content string) digest.Digest {
	b.Helper()
	d := digest.FromString(content)
	file := filepath.Join(b.root, tree.Blob(d))
	ok(b, os.MkdirAll(filepath.Dir(file), 0o777))
	ok(b, os.WriteFile(file, []byte(content), 0o666))
	return d
}

// attempt runs cycles that may fail, as the server's loop does, with the tree following in between as far as it can. It returns the
// errors there were.
func (b *bench) attempt() error {
	var errs []error
	for i := range 3 {
		err := tree.NewProjector(b.index, b.driver, discard).Drain(b.Context())
		r, cycle := b.gc.Cycle(b.Context(), gc.Request{Scan: i == 0})
		if r.Errors > 0 {
			cycle = errors.Join(cycle, fmt.Errorf("%d items failed", r.Errors))
		}
		errs = append(errs, err, cycle)
	}
	return errors.Join(errs...)
}

// recovered checks that nothing was lost, that the next cycles do all that there is to do, and that nothing is lost then.
func (b *bench) recovered() {
	b.Helper()
	b.works()
	b.check()
	for range 2 {
		b.clock.pass(b.policy.Grace + time.Hour)
		ok(b, b.attempt())
	}
	if garbage := b.check(); len(garbage) > 0 {
		b.Errorf("nothing needs %v, and they are still there", garbage)
	}
}

var errStruck = errors.New("input/output error")

// TestEveryStorageOperationFails lets each operation on the storage, of three cycles with all that a cycle can do, fail once; once
// before it is carried out, and once with its answer lost.
func TestEveryStorageOperationFails(t *testing.T) {
	ready := medley(t)
	for _, after := range []bool{false, true} {
		for k, struck := 0, true; struck; k++ {
			b := ready.copied()
			b.faults.Set(drivertest.Fault{Skip: k, Times: 1, Err: errStruck, After: after})
			err := b.attempt()
			if struck = b.faults.Seen() > k; struck && err == nil && !after { // one that fails by itself says that it is missing
				t.Errorf("operation %d failed, and nobody noticed", k)
			}
			b.recovered()
			b.ended()
			if !struck && k < 20 {
				t.Errorf("only %d operations", k)
			}
			if t.Failed() {
				t.Fatalf("after operation %d failed, answer lost: %v", k, after)
			}
		}
	}
}

// TestEveryIndexOperationFails does the same with the index: each look, each transaction, each record that is read or written, and
// each commit, which may have taken place all the same.
func TestEveryIndexOperationFails(t *testing.T) {
	ready := medley(t)
	for k, struck := 0, true; struck; k += stride {
		b := ready.copied()
		var n atomic.Int32
		b.db.fail(func(context.Context, string) error {
			if int(n.Add(1)) == k+1 {
				return errStruck
			}
			return nil
		})
		_ = b.attempt() // one that failed may have been tried again, and then nothing is to be said
		struck = int(n.Load()) > k
		b.recovered()
		b.ended()
		if !struck && k < 500 {
			t.Errorf("only %d operations", k)
		}
		if t.Failed() {
			t.Fatalf("after operation %d failed", k)
		}
	}
}

// TestCrashAnywhere is R21: the process ends at each operation, on the storage or the index, before it or right behind it. A new one
// finds nothing lost, goes on, may end at any point too, and a third ends the work.
func TestCrashAnywhere(t *testing.T) {
	ready := medley(t)
	for k, crashed := 0, true; crashed; k += stride {
		b := ready.copied()
		crashed = b.crash(k)
		b.reopen()
		b.check()
		if crashed {
			b.crash(k % 23)
			b.reopen()
		}
		b.recovered()
		b.ended()
		if t.Failed() {
			t.Fatalf("after a crash at operation %d, digest", k)
		}
	}
}

// crash attempts to collect, and lets nothing happen from operation k on. It reports whether there were so many.
func (b *bench) crash(k int) bool {
	var n atomic.Int32
	strike := func() error {
		if int(n.Add(1)) > k {
			return errStruck
		}
		return nil
	}
	b.faults.Set(drivertest.Fault{Err: errStruck, Match: func(drivertest.Op) bool { return strike() != nil }},
		drivertest.Fault{Err: errStruck, After: true, Match: func(drivertest.Op) bool { return strike() != nil }})
	b.db.fail(func(_ context.Context, op string) error {
		switch op {
		case "View", "Update", "Commit", "Committed":
			return strike()
		}
		return nil
	})
	_ = b.attempt()
	return int(n.Load()) > k
}

// TestSparingFails: bytes that the tree leads to under another digest are spared also when a link cannot be read.
func TestSparingFails(t *testing.T) {
	ready := newBench(t)
	ready.image("a", "v1", configContent)
	ready.drain()
	long := ready.stray("long")
	ok(t, ready.driver.WriteFile(t.Context(), tree.Layer("deep/b", digest.SHA512.FromString("long")), []byte(long)))
	ready.close()
	for k, struck := 0, true; struck; k++ {
		b := ready.copied()
		b.faults.Set(drivertest.Fault{Skip: k, Times: 1, Err: errStruck})
		r, err := b.gc.Cycle(t.Context(), gc.Request{Scan: true})
		if struck = b.faults.Seen() > k; struck == (err == nil) || r.Strays > 0 {
			t.Errorf("operation %d failed: %+v, %v", k, r, err)
		}
		b.works()
		if r, err := b.gc.Cycle(t.Context(), gc.Request{Scan: true}); err != nil || r.Strays != 0 || r.Spared != 1 {
			t.Errorf("%+v, %v", r, err)
		}
		b.ended()
	}
}
