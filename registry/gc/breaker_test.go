package gc_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"

	"gatehouse/registry/driver/drivertest"
	"gatehouse/registry/gc"
)

func TestBreaker(t *testing.T) {
	for _, c := range []struct {
		blobs   int
		breaker gc.Breaker
		trips   bool
	}{
		{10, gc.Breaker{Blobs: 9}, true},
		{10, gc.Breaker{Blobs: 10}, false},
		{10, gc.Breaker{Blobs: 1, Percent: 76}, true}, // 76 % of 13 blobs are 9.88
		{10, gc.Breaker{Blobs: 1, Percent: 77}, false},
		{10, gc.Breaker{}, false}, // none
		{250, gc.Breaker{Blobs: 210}, true},
	} {
		t.Run(fmt.Sprintf("%d blobs, %+v", c.blobs, c.breaker), func(t *testing.T) {
			b := condemned(t, c.blobs, func(o *gc.Options) { o.Breaker = c.breaker })
			r, err := b.gc.Cycle(t.Context(), gc.Request{})
			if !c.trips {
				if err != nil || r.Deleted != c.blobs {
					t.Errorf("%+v, %v", r, err)
				}
				return
			}
			wantErr(t, err, gc.ErrTripped)
			if r.Deleted > c.breaker.Blobs && c.breaker.Percent == 0 || r.Deleted+3 > len(b.seen)+c.blobs {
				t.Errorf("it tripped after %+v", r)
			}
			b.check()
			b.refused(gc.Request{}, gc.ErrTripped)
			b.reopen()
			b.refused(gc.Request{Scan: true, Drain: true}, gc.ErrTripped)
			s, err := b.gc.Status(t.Context())
			if err != nil || !strings.Contains(s.Held, "stopped itself") || !strings.Contains(s.Tripped, "about to delete more than") {
				t.Errorf("status %+v, %v", s, err)
			}
			r, err = b.gc.Cycle(t.Context(), gc.Request{Force: true})
			ok(t, err)
			if b.check(); len(b.stored()) != 3 {
				t.Errorf("%+v, and left are %v", r, b.stored())
			}
			if s, err := b.gc.Status(t.Context()); err != nil || s.Tripped != "" || !s.TrippedAt.IsZero() || s.Held != "" {
				t.Errorf("after a forced cycle: %+v, %v", s, err)
			}
			b.cycle()
		})
	}
}

// TestBreakerForcedInPart: a forced cycle that did not do all leaves the collector stopped.
func TestBreakerForcedInPart(t *testing.T) {
	b := condemned(t, 10, func(o *gc.Options) { o.Breaker = gc.Breaker{Blobs: 9} })
	b.refused(gc.Request{}, gc.ErrTripped)
	b.faults.Set(drivertest.Fault{Match: drivertest.On("Delete"), Err: errStruck})
	r, err := b.gc.Cycle(t.Context(), gc.Request{Force: true})
	if ok(t, err); r.Errors == 0 {
		t.Errorf("%+v", r)
	}
	b.works()
	b.refused(gc.Request{}, gc.ErrTripped)
	b.run(gc.Request{Force: true})
	b.cycle()
}

// TestBreakerStrays: a store full of what the index does not know is another index's.
func TestBreakerStrays(t *testing.T) {
	b := newBenchAt(t, folder(t), func(o *gc.Options) { o.Breaker = gc.Breaker{Blobs: 5, Percent: 20} })
	b.image("a", "v1", configContent, layerContent)
	b.drain()
	for i := range 6 {
		b.stray(fmt.Sprint("stray ", i))
	}
	b.refused(gc.Request{Scan: true}, gc.ErrTripped)
	ok(t, b.gc.Resume(t.Context()))
	b.clock.pass(1000 * time.Hour)
	if r := b.cycle(); r.Reviewed != 0 {
		t.Errorf("strays were condemned: %+v", r)
	}
	r, err := b.gc.Cycle(t.Context(), gc.Request{Scan: true, Force: true})
	if err != nil || r.Strays != 6 {
		t.Errorf("%+v, %v", r, err)
	}
	b.clock.pass(1000 * time.Hour)
	b.run(gc.Request{Force: true})
	b.rest()
}

// TestBreakerMissing: deletions that find nothing are those of another store.
func TestBreakerMissing(t *testing.T) {
	b := condemned(t, 30, nil)
	for i := range 30 {
		b.lose(digest.FromString(fmt.Sprint("blob ", i)))
	}
	_, err := b.gc.Cycle(t.Context(), gc.Request{})
	wantErr(t, err, gc.ErrTripped)
	b.check()
	b.refused(gc.Request{}, gc.ErrTripped)
}
