package gc_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"

	"gatehouse/registry/driver/drivertest"
	"gatehouse/registry/gc"
	"gatehouse/registry/index"
	"gatehouse/registry/index/kv/bolt"
	"gatehouse/registry/tree"
)

// condemned returns a bench with so many blobs that nothing holds, whose deletion is due, and an image that stays.
func condemned(t testing.TB, blobs int, adjust func(*gc.Options)) *bench {
	t.Helper()
	b := newBenchAt(t, folder(t), adjust)
	b.image("a", "v1", configContent, layerContent)
	for i := range blobs {
		d := b.blob("a", fmt.Sprint("blob ", i))
		b.must(202, "DELETE", "/v2/a/blobs/"+string(d), "")
	}
	b.drain()
	b.clock.pass(b.policy.Quarantine)
	return b
}

// refused checks that a cycle is refused, and deletes nothing.
func (b *bench) refused(r gc.Request, want error) {
	b.Helper()
	before := len(b.stored())
	report, err := b.gc.Cycle(b.Context(), r)
	wantErr(b, err, want)
	if report.Deleted > 0 || len(b.stored()) != before {
		b.Errorf("refused, and %d blobs deleted: %+v", before-len(b.stored()), report)
	}
	b.check()
}

// TestCrashIsNoWrongStore: what a crash interrupted after the bytes were deleted is gone by our own doing.
func TestCrashIsNoWrongStore(t *testing.T) {
	b := condemned(t, gc.Batch, nil)
	b.db.fail(func(_ context.Context, op string) error {
		if op == "Update" && b.marked() == gc.Batch {
			return errStruck
		}
		return nil
	})
	_, err := b.gc.Cycle(t.Context(), gc.Request{})
	wantErr(t, err, errStruck)
	if n := b.marked(); n != gc.Batch || len(b.stored()) != 3 {
		t.Fatalf("%d are marked, stored are %v", n, b.stored())
	}
	b.reopen()
	if r := b.cycle(); r.Deleted != gc.Batch {
		t.Errorf("%+v", r)
	}
}

// marked returns how many digests are being deleted, whatever is to fail.
func (b *bench) marked() int {
	list, err := b.below.Marked(b.Context())
	if err != nil {
		b.Error(err)
	}
	return len(list)
}

// lose removes bytes from the disk behind everybody's back.
func (b *bench) lose(d digest.Digest) {
	b.Helper()
	planter{b, b.root}.drop(tree.BlobFolder(d))
	delete(b.seen, d)
}

func TestPause(t *testing.T) {
	b := condemned(t, 250, nil)
	b.atEachOperation(func(op drivertest.Op) {
		if op.Name == "Delete" {
			ok(t, b.gc.Pause(t.Context(), "alice"))
		}
	})
	r, err := b.gc.Cycle(t.Context(), gc.Request{})
	wantErr(t, err, gc.ErrPaused)
	if r.Deleted == 0 || r.Deleted > gc.Batch {
		t.Errorf("the pause began after the step: %+v", r)
	}
	b.works()
	b.check()
	for range 2 {
		b.refused(gc.Request{Force: true, Scan: true}, gc.ErrPaused)
		b.reopen() // it outlives a restart
	}
	if s, err := b.gc.Status(t.Context()); err != nil || s.Paused != "by alice" || s.PausedAt.IsZero() || !strings.Contains(s.Held, "paused") {
		t.Errorf("%+v, %v", s, err)
	}
	ok(t, b.gc.Resume(t.Context()))
	if r := b.cycle(); r.Deleted != 250-gc.Batch {
		t.Errorf("%+v", r)
	}
}

// TestPauseWhileResuming: what an earlier cycle left is deleted in steps too, between which a pause counts.
func TestPauseWhileResuming(t *testing.T) {
	b := condemned(t, 250, nil)
	b.faults.Set(drivertest.Fault{Match: drivertest.On("Delete"), Err: errStruck})
	_, err := b.gc.Cycle(t.Context(), gc.Request{})
	ok(t, err)
	if n := b.marked(); n != 250 {
		t.Fatalf("%d are marked", n)
	}
	b.atEachOperation(func(op drivertest.Op) {
		ok(t, b.gc.Pause(t.Context(), "alice"))
	})
	r, err := b.gc.Cycle(t.Context(), gc.Request{})
	wantErr(t, err, gc.ErrPaused)
	if r.Deleted == 0 || r.Deleted > gc.Batch {
		t.Errorf("the pause began after the step: %+v", r)
	}
	b.works()
	b.check()
}

// TestFinish: what a crash left half deleted can be pushed again while the collector is paused, and nothing else is deleted.
func TestFinish(t *testing.T) {
	b := condemned(t, gc.Batch, nil)
	b.db.fail(func(_ context.Context, op string) error {
		if op == "Update" && b.marked() == gc.Batch {
			return errStruck
		}
		return nil
	})
	_, err := b.gc.Cycle(t.Context(), gc.Request{})
	wantErr(t, err, errStruck)
	b.reopen()
	ok(t, b.gc.Pause(t.Context(), "alice"))
	d := digest.FromString("blob 0")
	if _, err := b.index.Prepare(t.Context(), d); !errors.Is(err, index.ErrCollected) {
		t.Fatalf("it is not being deleted: %v", err)
	}
	for range 2 {
		ok(t, b.gc.Finish(t.Context(), d))
	}
	ok(t, b.gc.Finish(t.Context(), digest.FromString("another")))
	if _, err := b.index.Prepare(t.Context(), d); err != nil {
		t.Errorf("it cannot be pushed: %v", err)
	}
	if n := b.marked(); n != gc.Batch-1 {
		t.Errorf("%d are marked", n)
	}
	b.refused(gc.Request{}, gc.ErrPaused)
}

// TestRate: with a rate, no more is marked at a time than is deleted in a second: a push of it waits for that.
func TestRate(t *testing.T) {
	const rate, blobs = 20, 30
	b := condemned(t, blobs, func(o *gc.Options) { o.Rate = rate })
	most := 0
	b.atEachOperation(func(op drivertest.Op) {
		if op.Name == "Delete" {
			n := b.marked()
			mu.Lock()
			most = max(most, n)
			mu.Unlock()
		}
	})
	if r, err := b.gc.Cycle(t.Context(), gc.Request{}); err != nil || r.Deleted != blobs {
		t.Errorf("%+v, %v", r, err)
	}
	if most > rate {
		t.Errorf("%d were being deleted at a time", most)
	}
	b.works()
	b.check()
}

var mu sync.Mutex

// TestStopped: a cycle that is told to end ends after what it is at, and the next goes on.
func TestStopped(t *testing.T) {
	b := condemned(t, 100, func(o *gc.Options) { o.Rate = 1000 })
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	b.atEachOperation(func(op drivertest.Op) {
		stop()
	})
	r, err := b.gc.Cycle(ctx, gc.Request{})
	wantErr(t, err, context.Canceled)
	if r.Deleted == 0 || r.Deleted > 50 || r.Errors > 0 {
		t.Errorf("%+v", r)
	}
	b.works()
	b.check()
	deleted := r.Deleted
	b.reopen()
	if r := b.cycle(); r.Deleted != 100-deleted {
		t.Errorf("%+v after %d", r, deleted)
	}
}

// TestClock is R23: when the wall clock was set back or far ahead, one cycle is left out.
func TestClock(t *testing.T) {
	for _, c := range []struct {
		set     time.Duration
		restart bool
		refused bool
	}{
		{set: -time.Minute, refused: true}, {set: -time.Minute, restart: true, refused: true}, {set: 59 * time.Minute},
		{set: 61 * time.Minute, refused: true}, {set: 1000 * time.Hour, refused: true}, {},
	} {
		t.Run(fmt.Sprintf("%+v", c), func(t *testing.T) {
			b := condemned(t, 5, nil)
			b.clock.pass(-b.policy.Quarantine / 2)
			if r := b.cycle(); r.Deleted != 0 {
				t.Errorf("%+v", r)
			}
			b.clock.set(c.set)
			if c.restart {
				b.reopen()
			}
			if c.refused {
				b.refused(gc.Request{}, gc.ErrClock)
			}
			b.cycle() // once only
			b.clock.pass(b.policy.Quarantine + max(0, -c.set))
			if b.cycle(); len(b.stored()) != 3 {
				t.Errorf("stored are %v", b.stored())
			}
		})
	}
}

// TestAdoptionUnderWay: before the whole tree is known, nothing is garbage.
func TestAdoptionUnderWay(t *testing.T) {
	p := plant(t)
	p.image("a", "v1", configContent, layerContent)
	p.image("b", "", "config b")
	b := newBenchAt(t, p.root, nil)
	b.must(200, "GET", "/v2/a/manifests/v1", "") // a is known now
	b.clock.pass(1000 * time.Hour)
	for _, r := range []gc.Request{{}, {Force: true}, {Scan: true, Drain: true, Force: true}} {
		b.refused(r, gc.ErrAdopting)
	}
	if s, err := b.gc.Status(t.Context()); err != nil || !strings.Contains(s.Held, "still being read") {
		t.Errorf("%+v, %v", s, err)
	}
	b.adopt()
	b.rest()
}

func TestReadOnly(t *testing.T) {
	readOnly := true
	b := condemned(t, 250, func(o *gc.Options) { o.ReadOnly = func() bool { mu.Lock(); defer mu.Unlock(); return readOnly } })
	b.refused(gc.Request{Force: true, Scan: true}, gc.ErrReadOnly)
	readOnly = false
	b.atEachOperation(func(drivertest.Op) {
		mu.Lock()
		defer mu.Unlock()
		readOnly = true
	})
	r, err := b.gc.Cycle(t.Context(), gc.Request{})
	wantErr(t, err, gc.ErrReadOnly)
	if r.Deleted != gc.Batch {
		t.Errorf("%+v", r)
	}
	b.works()
	readOnly = false
	b.cycle()
}

// TestOneAtATime is R16: a second cycle is refused while one runs, and a second process does not get at the index at all.
func TestOneAtATime(t *testing.T) {
	b := condemned(t, 5, nil)
	b.atEachStep(func(context.Context, string) {
		if _, err := b.gc.Cycle(t.Context(), gc.Request{Force: true}); !errors.Is(err, gc.ErrBusy) {
			t.Errorf("beside another cycle: %v", err)
		}
	})
	_, err := b.gc.Cycle(t.Context(), gc.Request{Scan: true})
	ok(t, err)
	b.works()
	if db, err := bolt.Open(b.path); err == nil {
		db.Close()
		t.Error("two processes have the index")
	}
	b.check()
}

// TestTreeFirst: bytes stay until the tree has followed the index in all that let go of them.
func TestTreeFirst(t *testing.T) {
	for name, remove := range map[string]func(*bench){
		"blob":     func(b *bench) { b.must(202, "DELETE", "/v2/a/blobs/"+string(digest.FromString("lone")), "") },
		"manifest": func(b *bench) { b.remove("a", b.acked["a:v1"]) },
		"tag":      func(b *bench) { b.untag("a", "v1") },
		"repository": func(b *bench) {
			delete(b.acked, "a:v1")
			_, err := b.index.RemoveRepository(t.Context(), "a", "alice", func(index.Removal) error { return nil })
			ok(t, err)
		},
		"time": func(b *bench) { b.clock.pass(b.policy.Grace) },
	} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t)
			b.image("a", "v1", configContent, layerContent)
			b.blob("a", "lone")
			b.drain() // so that the only changes are those of the removal
			remove(b)
			for range 5 {
				b.clock.pass(b.policy.Grace + time.Hour)
				r, err := b.gc.Cycle(t.Context(), gc.Request{})
				if err != nil || r.Deleted > 0 {
					t.Errorf("%+v, %v", r, err)
				}
				b.check()
			}
			b.rest()
		})
	}
}

// TestManyWait: however many wait for the tree, that is no failure.
func TestManyWait(t *testing.T) {
	b := condemned(t, 1200, nil)
	b.blob("a", "fresh") // the tree does not have this yet, but has all that let go of the others
	b.must(202, "DELETE", "/v2/a/blobs/"+string(digest.FromString("fresh")), "")
	b.clock.pass(b.policy.Quarantine)
	r, err := b.gc.Cycle(t.Context(), gc.Request{})
	if err != nil || r.Deleted != 1200 || r.Waiting != 1 {
		t.Errorf("%+v, %v", r, err)
	}
	waiting := func(want int) {
		t.Helper()
		if s, err := b.gc.Status(t.Context()); err != nil || s.Waiting != want {
			t.Errorf("status %+v, %v; want %d to wait", s, err, want)
		}
	}
	waiting(1)
	for i := range 1200 {
		b.must(202, "DELETE", "/v2/a/blobs/"+string(b.blob("a", fmt.Sprint("waits ", i))), "")
	}
	b.clock.pass(b.policy.Quarantine)
	r, err = b.gc.Cycle(t.Context(), gc.Request{})
	if err != nil || r.Deleted != 0 || r.Waiting == 0 { // where one waits, the rest need not be looked at
		t.Errorf("%+v, %v", r, err)
	}
	waiting(r.Waiting)
	b.drain()
	waiting(0)
	b.rest()
}

// TestDrain: a cycle that is to leave nothing goes on until nothing is left that is due, and waits for the tree.
func TestDrain(t *testing.T) {
	b := prepareBench(t, folder(t))
	b.policy = index.Policy{}
	b.open()
	b.image("a", "v1", configContent, layerContent)
	b.forget("a", b.image("a", "", "config of none", "layer of none"))
	b.stray("stray")
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- tree.NewProjector(b.index, b.driver, discard).Run(ctx) }()
	var seen []gc.Report
	r, err := b.gc.Cycle(t.Context(), gc.Request{Drain: true, Scan: true, Progress: func(r gc.Report) { seen = append(seen, r) }})
	stop()
	ok(t, <-done)
	if err != nil || r.Deleted != 4 || r.Manifests != 1 || r.Links != 2 || r.Strays != 1 || len(seen) == 0 {
		t.Errorf("%+v, %v", r, err)
	}
	b.check()
}
