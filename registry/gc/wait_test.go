package gc_test

import (
	"context"
	"fmt"
	"sync"
	"testing"

	"gatehouse/registry/driver/drivertest"
	"gatehouse/registry/gc"
)

// TestWait: a cycle that is to wait begins when the one at work has ended, and not at all when nobody wants it any more.
func TestWait(t *testing.T) {
	b := condemned(t, 5, nil)
	waits, done := make(chan struct{}, 2), make(chan error, 1)
	wait := gc.Request{Wait: func() { waits <- struct{}{} }}
	var once sync.Once
	b.atEachOperation(func(drivertest.Op) {
		once.Do(func() {
			go func() {
				r, err := b.gc.Cycle(t.Context(), wait)
				if err == nil && (r.Number == "" || r.Deleted > 0) {
					err = fmt.Errorf("it did not wait: %+v", r)
				}
				done <- err
			}()
			<-waits
			gone, cancel := context.WithCancel(t.Context())
			cancel()
			_, err := b.gc.Cycle(gone, wait)
			wantErr(t, err, context.Canceled)
			<-waits
		})
	})
	r, err := b.gc.Cycle(t.Context(), gc.Request{})
	if ok(t, err); r.Deleted != 5 {
		t.Errorf("%+v", r)
	}
	ok(t, <-done)
	b.works()
	b.cycle() // the turn is free
}
