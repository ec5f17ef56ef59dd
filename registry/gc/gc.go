// Package gc is the collector: it deletes what nothing needs, while people push.
//
// What needs what is counted by the index, in the transactions that change it, and what nothing needs any more is in the
// index's queue. So a cycle costs what changed, not what is stored, and there is no mark phase that could miss something: each
// step looks again, in a transaction of its own, at the one item that it is about. Package index says what the steps are
// (collect.go, needs.go, condemned.go); this package says when they are taken, and is the only one that deletes bytes.
//
// Start at Collector.Cycle.
package gc

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/opencontainers/go-digest"

	"gatehouse/registry/driver"
	"gatehouse/registry/index"
	"gatehouse/registry/store"
)

// Why no cycle is run. The collector says so, and goes on when it is over.
var (
	ErrBusy     = errors.New("the collector is at work already")
	ErrPaused   = errors.New("the collector is paused: gatehouse gc resume")
	ErrTripped  = errors.New("the collector has stopped itself: look at why (gatehouse gc status), then gatehouse gc resume")
	ErrAdopting = errors.New("distribution's tree is still being read: what nothing needs is not known before that is done")
	ErrReadOnly = errors.New("the registry is read-only")
	ErrClock    = errors.New("the clock has jumped: ages mean nothing; the next cycle goes by the new time")
)

// Options is what a Collector is made of.
type Options struct {
	Index  *index.Index
	Store  *store.Store
	Driver driver.Driver
	// Policy is how long is waited, until a cycle is asked for with another.
	Policy index.Policy
	// Interval is between two cycles of Run; ScanInterval between two comparisons of store and index.
	Interval, ScanInterval time.Duration
	// Rate is how many blobs are deleted in a second; 0 is as many as can be.
	Rate int
	// Breaker stops a cycle that would delete more than the larger of so many blobs and so many percent of all.
	Breaker Breaker
	// ReadOnly reports whether nothing may be changed now.
	ReadOnly func() bool
	// Newer looks for a name in the tree that the index does not have (adopt.Newer), and returns its path or "". nil: there is
	// none, as somebody else has seen to.
	Newer func(context.Context) (at string, err error)
	// Lost is told of bytes that the index knows and the store turned out not to have. May be nil.
	Lost func(digest.Digest)
	// Pushing reports whether a push of a digest is under way, so that its bytes had better wait for the next cycle: taken
	// now, they would have to be sent again. It spares work; nothing depends on it. Default: never.
	Pushing func(digest.Digest) bool
	// Now is the clock, with a monotonic reading where there is one.
	Now     func() time.Time
	Metrics *Metrics
	Log     *slog.Logger
}

// Breaker is the larger of a number of blobs and a share of all.
type Breaker struct {
	Blobs   int
	Percent int
}

// Collector deletes what nothing needs. One at a time works on an index; its methods may be called at once.
type Collector struct {
	Options
	cycle turn // held by the cycle under way
	work  chan struct{}

	mu       sync.Mutex
	progress Report               // of the cycle under way; guarded by mu
	running  bool                 // guarded by mu
	last     time.Time            // when the cycle before ended, with its monotonic reading; guarded by mu
	unsure   map[digest.Digest]at // deletions that failed or were cut short; guarded by cycle
	started  time.Time
	knows    bool  // the index all names of the tree; guarded by cycle
	stale    error // why it does not; guarded by mu
}

// turn is a lock for which those who wait get it in the order in which they came. Make it with room for one.
type turn chan struct{}

// TryLock takes the lock if it is free.
func (t turn) TryLock() bool {
	select {
	case t <- struct{}{}:
		return true
	default:
		return false
	}
}

// Unlock gives the lock to who has waited longest.
func (t turn) Unlock() { <-t }

// lock takes the lock, or returns ctx's error when that is done before.
func (t turn) lock(ctx context.Context) error {
	select {
	case t <- struct{}{}:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// at is a moment.
type at = time.Time

// New returns a collector. It starts nothing.
func New(o Options) *Collector {
	if o.ReadOnly == nil {
		o.ReadOnly = func() bool { return false }
	}
	if o.Pushing == nil {
		o.Pushing = func(digest.Digest) bool { return false }
	}
	return &Collector{Options: o, cycle: make(turn, 1), work: make(chan struct{}, 1), unsure: map[digest.Digest]at{}, started: o.Now()}
}

// Request says how a cycle differs from the usual.
type Request struct {
	Policy *index.Policy // instead of the collector's
	Force  bool          // lets the breaker pass
	Scan   bool          // compares store and index, whether it is time or not
	Drain  bool          // goes on until nothing is due, also what this very cycle has let go of
	// Wait is called where another cycle is at work; this one begins when that and those that came before have ended. nil: there is
	// ErrBusy instead.
	Wait func()
	// Progress is called now and then with what was done so far. May be nil.
	Progress func(Report)
}

// Report is what a cycle did.
type Report struct {
	Number    string        `json:"cycle"` // tells it from others in the log
	Started   time.Time     `json:"started"`
	Duration  time.Duration `json:"duration"`
	Reviewed  int           `json:"reviewed"`
	Postponed int           `json:"postponed"`
	Links     int           `json:"links"`     // removed from repositories
	Manifests int           `json:"manifests"` // removed from repositories
	Condemned int           `json:"condemned"` // blobs
	Deleted   int           `json:"deleted"`   // blobs
	Bytes     int64         `json:"bytes"`     // of them
	Waiting   int           `json:"waiting"`   // for the tree to follow
	Strays    int           `json:"strays"`    // bytes that the index does not know
	Spared    int           `json:"spared"`    // such bytes that a link of the tree leads to
	Missing   int           `json:"missing"`   // bytes that the index knows and the store has not
	Errors    int           `json:"errors"`
}

// Run runs a cycle every Interval until ctx is done; then it ends the step it is at.
func (c *Collector) Run(ctx context.Context) error {
	tick := time.NewTicker(max(c.Interval, time.Millisecond))
	defer tick.Stop()
	for {
		_, err := c.Cycle(ctx, Request{})
		switch {
		case ctx.Err() != nil:
			return nil
		case errors.Is(err, ErrPaused), errors.Is(err, ErrTripped), errors.Is(err, ErrReadOnly), errors.Is(err, ErrBusy), errors.Is(err, ErrClock):
			c.Log.DebugContext(ctx, "no collection", "err", err)
		case errors.Is(err, ErrAdopting):
			c.Log.InfoContext(ctx, "no collection", "err", err)
		case err != nil:
			c.Log.ErrorContext(ctx, "collection failed; the next cycle goes on", "err", err)
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return nil
		}
	}
}

// Cycle runs one cycle now. An error of one item is logged and counted, and the others go on; an error that is returned
// ended the cycle, or is why there was none. Whatever happens, nothing is deleted that a transaction did not just say nothing
// needs.
func (c *Collector) Cycle(ctx context.Context, r Request) (Report, error) {
	if !c.cycle.TryLock() {
		if r.Wait == nil {
			return Report{}, ErrBusy
		}
		r.Wait()
		if err := c.cycle.lock(ctx); err != nil {
			return Report{}, err
		}
	}
	defer c.cycle.Unlock()
	if err := c.ready(ctx, r); err != nil {
		c.Metrics.state(err)
		return Report{}, err
	}
	run := newRun(c, r)
	c.show(run.Report, true)
	err := run.all(ctx)
	run.Duration = c.Now().Sub(run.Started)
	c.show(run.Report, false)
	c.Metrics.cycle(ctx, run.Report, c.Index, err)
	run.whole = err == nil && run.Errors == 0
	if err == nil || run.Deleted > 0 {
		err = errors.Join(err, c.ended(ctx, run))
	}
	if did := run.Reviewed + run.Deleted + run.Errors; did > 0 || err != nil {
		c.Log.InfoContext(ctx, "collection", "cycle", run.Number, "reviewed", run.Reviewed, "condemned", run.Condemned,
			"deleted", run.Deleted, "bytes", run.Bytes, "errors", run.Errors, "duration", run.Duration)
	}
	return run.Report, err
}

// ended writes down that a cycle was. One that was forced and did all ends what the breaker has stopped: somebody has looked, and has
// decided.
func (c *Collector) ended(ctx context.Context, run *run) error {
	now := c.Now()
	c.mu.Lock()
	c.last = now
	c.mu.Unlock()
	return c.Index.ChangeCollector(context.WithoutCancel(ctx), func(s *index.CollectorState) {
		s.LastCycle = now.UTC()
		s.Deleted += int64(run.Deleted)
		s.DeletedBytes += run.Bytes
		if run.scanned {
			s.LastScan = now.UTC()
		}
		if run.whole && run.request.Force {
			s.Tripped, s.TrippedAt = "", time.Time{}
		}
	})
}

// ready returns why there can be no cycle now.
func (c *Collector) ready(ctx context.Context, r Request) error {
	if c.ReadOnly() {
		return ErrReadOnly
	}
	a, err := c.Index.Adoption(ctx)
	if err != nil {
		return err
	}
	if a.State != index.AdoptionDone {
		return ErrAdopting
	}
	s, err := c.Index.Collector(ctx)
	switch {
	case err != nil:
		return err
	case s.Paused != "":
		return ErrPaused
	case s.Tripped != "" && !r.Force:
		return fmt.Errorf("%w: %s", ErrTripped, s.Tripped)
	}
	return c.checkClock(ctx, s)
}

// maxJump is how far the clock may run ahead between two cycles without somebody having set it.
const maxJump = time.Hour

// checkClock returns ErrClock once when the wall clock was set back, or far ahead, since the last cycle.
func (c *Collector) checkClock(ctx context.Context, s index.CollectorState) error {
	now := c.Now()
	c.mu.Lock()
	last := c.last
	c.last = now
	c.mu.Unlock()
	back := now.UTC().Round(0).Before(s.LastCycle)
	ahead := !last.IsZero() && now.Round(0).Sub(last.Round(0))-now.Sub(last) > maxJump // wall time less monotonic time
	if !back && !ahead {
		return nil
	}
	c.Log.WarnContext(ctx, "the clock has jumped: a collection is left out", "lastcycle", s.LastCycle, "now", now.UTC())
	if err := c.Index.ChangeCollector(ctx, func(s *index.CollectorState) { s.LastCycle = now.UTC() }); err != nil {
		return err
	}
	return ErrClock
}

// trip stops the collector until somebody resumes it.
func (c *Collector) trip(ctx context.Context, why string) error {
	c.Log.ErrorContext(ctx, "the collector has stopped itself", "reason", why)
	err := c.Index.ChangeCollector(context.WithoutCancel(ctx), func(s *index.CollectorState) {
		s.Tripped, s.TrippedAt = why, c.Now().UTC()
	})
	return errors.Join(fmt.Errorf("%w: %s", ErrTripped, why), err)
}

// Pause ends the cycle under way after the step it is at, and lets none begin until Resume. It outlives a restart. by is who
// wants it.
func (c *Collector) Pause(ctx context.Context, by string) error {
	return c.Index.ChangeCollector(ctx, func(s *index.CollectorState) {
		if s.Paused == "" {
			s.Paused, s.PausedAt = "by "+by, c.Now().UTC()
		}
	})
}

// Resume ends a pause, and what the breaker stopped.
func (c *Collector) Resume(ctx context.Context) error {
	return c.Index.ChangeCollector(ctx, func(s *index.CollectorState) {
		s.Paused, s.PausedAt, s.Tripped, s.TrippedAt = "", time.Time{}, "", time.Time{}
	})
}

// Status is how the collector is.
type Status struct {
	index.CollectorState
	Running *Report            `json:"running,omitempty"` // what the cycle under way has done so far
	Waiting int                `json:"waiting,omitempty"` // blobs, at least, that the last cycle left since the tree lags behind the index
	Held    string             `json:"held,omitempty"`    // why the next cycle would not run
	Queues  []index.QueueState `json:"queues"`
	Policy  index.Policy       `json:"policy"`
}

// Status returns how the collector is.
func (c *Collector) Status(ctx context.Context) (s Status, err error) {
	if s.CollectorState, err = c.Index.Collector(ctx); err != nil {
		return s, err
	}
	if s.Queues, err = c.Index.Queues(ctx); err != nil {
		return s, err
	}
	a, err := c.Index.Adoption(ctx)
	switch {
	case err != nil:
		return s, err
	case s.Paused != "":
		s.Held = ErrPaused.Error()
	case s.Tripped != "":
		s.Held = ErrTripped.Error()
	case a.State != index.AdoptionDone:
		s.Held = ErrAdopting.Error()
	case c.ReadOnly():
		s.Held = ErrReadOnly.Error()
	default:
		if err := c.Stale(); err != nil {
			s.Held = err.Error()
		}
	}
	s.Policy = c.Policy
	c.mu.Lock()
	report, running := c.progress, c.running
	c.mu.Unlock()
	if running {
		s.Running = &report
	} else if report.Waiting > 0 {
		behind, err := c.Index.Events(ctx, 1)
		if err != nil {
			return s, err
		}
		if len(behind) > 0 {
			s.Waiting = report.Waiting
		}
	}
	return s, nil
}

// show keeps how far the cycle under way is.
func (c *Collector) show(r Report, running bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.progress, c.running = r, running
}
