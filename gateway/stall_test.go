package gateway

import (
	"io"
	"net/http"
	"os"
	"testing"
	"testing/synctest"
	"time"

	"gatehouse/configs"
)

// The guard's clock, without a network.
func TestGuard(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cuts := 0
		x := &exchange{server: &Server{limit: configs.Gateway{BodyIdleTimeout: time.Minute}}}
		g := &guard{x: x, cut: func(*exchange) { cuts++ }, stall: errStalledBody}
		operation := func(d time.Duration) (begun, ended error) {
			if err := g.begin(0); err != nil {
				return err, nil
			}
			time.Sleep(d)
			synctest.Wait()
			return nil, g.end()
		}
		// Any number of operations, any pause between them, as long as each is in time.
		for range 5 {
			if b, e := operation(time.Minute - 1); b != nil || e != nil {
				t.Fatal(b, e)
			}
			time.Sleep(time.Hour)
		}
		if cuts != 0 {
			t.Fatalf("%d cuts", cuts)
		}
		if b, e := operation(time.Minute); b != nil || e != errStalledBody || cuts != 1 {
			t.Fatal(b, e, cuts)
		}
		if b, _ := operation(0); b != errStalledBody {
			t.Fatal(b)
		}
		if !g.finish() || !g.stalled() {
			t.Fatal("stall forgotten")
		}

		// Extra time is the operation's own.
		g = &guard{x: x, cut: func(*exchange) { cuts++ }, stall: errStalledBody}
		_ = g.begin(time.Hour)
		time.Sleep(time.Hour + time.Minute - 1)
		if err := g.end(); err != nil {
			t.Fatal(err)
		}

		// A timer that comes late finds another operation in flight: its own deadline counts. And none after finish.
		cuts = 0
		g = &guard{x: x, cut: func(*exchange) { cuts++ }, stall: errStalledBody}
		_ = g.begin(0)
		g.fire()
		_ = g.end()
		g.fire()
		_ = g.begin(0)
		if g.finish() {
			t.Fatal("finished is not stalled")
		}
		time.Sleep(time.Hour)
		g.fire()
		synctest.Wait()
		if b, _ := operation(0); b != errFinished || cuts != 0 || g.stalled() {
			t.Fatal(b, cuts)
		}
	})
}

// The first Read of a body that the client offers with Expect writes, so it can hang there. The way for the 408 must be free
// again afterwards.
func TestExpectHangsInWriting(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		hung := &hungWriter{written: make(chan struct{})}
		x := &exchange{server: &Server{limit: calm}, w: hung, r: &http.Request{}, http1: true}
		x.reads = guard{x: x, cut: (*exchange).cutRead, stall: errStalledBody}
		x.body = body{x: x, from: hung, expect: true}
		if _, err := x.body.Read(make([]byte, 1)); err != errStalledBody {
			t.Error(err)
		}
		if !hung.deadline.IsZero() {
			t.Errorf("writing still ends at %s", hung.deadline)
		}
	})
}

// hungWriter is a connection whose reader waits until its writer has a deadline.
type hungWriter struct {
	http.ResponseWriter
	io.Closer
	deadline time.Time
	written  chan struct{}
}

func (h *hungWriter) Read([]byte) (int, error) { <-h.written; return 0, os.ErrDeadlineExceeded }

func (h *hungWriter) SetReadDeadline(time.Time) error { return nil }

func (h *hungWriter) SetWriteDeadline(t time.Time) error {
	if h.deadline = t; !t.IsZero() {
		close(h.written)
	}
	return nil
}
