package gateway

import (
	"errors"
	"fmt"
	"os"
	"sync"
	"time"
)

// What a Read or a Write of a request returns after the client was silent for the idle timeout. Both are
// os.ErrDeadlineExceeded, so that a handler can tell them from a client that left.
var (
	errStalledBody   = fmt.Errorf("client sent nothing more of the request body: %w", os.ErrDeadlineExceeded)
	errStalledReader = fmt.Errorf("client read nothing more of the answer: %w", os.ErrDeadlineExceeded)
	errFinished      = errors.New("the request is over")
)

// guard cuts one direction of an exchange when an operation makes no progress for the idle time. It is a timer of our own
// instead of a deadline of net/http because a deadline outlives the operation: on HTTP/2 it resets a stream whose handler
// is merely busy (an fsync between two reads), on HTTP/1 it ends the background read that notices a client leaving. So a
// handler's own deadlines stay as it set them, and can only be tighter. Safe for concurrent use.
type guard struct {
	x     *exchange
	cut   func(*exchange) // makes the operation in flight return; called with mu held, never after finish
	stall error           // what err becomes then

	mu       sync.Mutex
	timer    *time.Timer
	deadline time.Time
	inFlight bool
	err      error // why no more operation may begin
}

// begin starts the clock for an operation, or says why there must be none. extra is time that the operation may spend on
// something else first.
func (g *guard) begin(extra time.Duration) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.err != nil {
		return g.err
	}
	g.inFlight = true
	idle := g.x.server.limit.BodyIdleTimeout + extra
	g.deadline = time.Now().Add(idle)
	if g.timer == nil {
		g.timer = time.AfterFunc(idle, g.fire)
	} else {
		g.timer.Reset(idle)
	}
	return nil
}

// end stops the clock. It returns the stall if the operation was cut.
func (g *guard) end() error {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.inFlight = false
	g.timer.Stop()
	return g.err
}

// fire is the timer's. It may come late, when the operation that it was set for has ended and another one has begun.
func (g *guard) fire() {
	g.mu.Lock()
	defer g.mu.Unlock()
	if !g.inFlight || g.err != nil || time.Now().Before(g.deadline) {
		return
	}
	g.err = g.stall
	g.cut(g.x)
}

// finish forbids further operations and reports whether one stalled.
func (g *guard) finish() (stalled bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.timer != nil {
		g.timer.Stop()
	}
	if g.err == nil {
		g.err = errFinished
	}
	return g.err == g.stall
}

// stalled reports whether an operation was cut.
func (g *guard) stalled() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.err == g.stall
}
