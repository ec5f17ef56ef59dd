package gc

import (
	"context"
	"crypto/rand"
	"fmt"
	"time"

	"gatehouse/registry/index"
	"gatehouse/registry/planted"
)

// batch is how many items a transaction of a cycle is about. A push waits for no more than that: one or two milliseconds.
const batch = 25

// maxErrors ends a cycle that fails with so many items: what ails the index or the store ails the others too.
const maxErrors = 1000

// item names an entry of the queue.
type item struct {
	class index.Class
	repo  string
	dgst  string
}

func itemOf(v index.Review) item { return item{v.Class, v.Repository, string(v.Digest)} }

// run is a cycle under way.
type run struct {
	Report
	*Collector
	request Request
	policy  index.Policy
	limit   int           // of deletions, once it is known
	skip    map[item]bool // what this cycle does not look at again
	behind  bool          // the tree, so that what is condemned waits
	scanned bool
	whole   bool // it ended without any error
	missing int  // deletions that found no bytes
}

func newRun(c *Collector, r Request) *run {
	policy := c.Policy
	if r.Policy != nil {
		policy = *r.Policy
	}
	return &run{
		Report:    Report{Number: rand.Text()[:8], Started: c.Now()},
		Collector: c, request: r, policy: policy, skip: map[item]bool{},
	}
}

// all is the cycle: first a look whether the index knows all names, then what an earlier one left half done, then what is due, then
// now and then the comparison.
func (r *run) all(ctx context.Context) error {
	if err := r.current(ctx); err != nil {
		return err
	}
	if err := r.resume(ctx); err != nil {
		return err
	}
	if err := r.reviews(ctx); err != nil {
		return err
	}
	s, err := r.Index.Collector(ctx)
	if err != nil {
		return err
	}
	if !r.request.Scan && (r.ScanInterval <= 0 || r.Now().Sub(s.LastScan) < r.ScanInterval) {
		return nil
	}
	if err := r.scan(ctx); err != nil {
		return err
	}
	if r.scanned = true; r.Strays > 0 && r.request.Drain {
		return r.reviews(ctx)
	}
	return nil
}

// reviews looks at what is due until nothing is.
func (r *run) reviews(ctx context.Context) error {
	for {
		if err := r.mayGoOn(ctx); err != nil {
			return err
		}
		began := r.Now()
		due, err := r.due(ctx)
		if err != nil {
			return err
		}
		if len(due) == 0 {
			if again, err := r.awaitTree(ctx); err != nil || !again {
				return err
			}
			continue
		}
		outcomes, err := r.collect(ctx, due)
		if err != nil {
			return err
		}
		if err := r.carryOut(ctx, outcomes); err != nil {
			return err
		}
		r.show(r.Report, true)
		if r.request.Progress != nil {
			r.request.Progress(r.Report)
		}
		if err := r.rest(ctx, r.Now().Sub(began)); err != nil {
			return err
		}
	}
}

// restFactor is how much longer a cycle rests than it works, when nobody waits for its end.
const restFactor = 4

// rest leaves index and storage to clients after a step that has kept them busy for so long.
func (r *run) rest(ctx context.Context, busy time.Duration) error {
	if r.request.Drain || busy <= 0 {
		return nil
	}
	return pause(ctx, restFactor*busy)
}

// pause waits so long, or until ctx is done, which is an error.
func pause(ctx context.Context, d time.Duration) error {
	wait := time.NewTimer(d)
	defer wait.Stop()
	select {
	case <-wait.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// mayGoOn returns why the cycle ends before its end.
func (r *run) mayGoOn(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if r.ReadOnly() {
		return ErrReadOnly
	}
	s, err := r.Index.Collector(ctx)
	if err == nil && s.Paused != "" {
		return ErrPaused
	}
	return err
}

// due returns what to look at next. With a Rate it holds no more condemned bytes than are deleted in a second: from being marked
// until they are deleted, nobody can push them.
func (r *run) due(ctx context.Context) ([]index.Review, error) {
	if r.Errors > maxErrors {
		return nil, fmt.Errorf("%d items failed: see the log", r.Errors)
	}
	all, err := r.Index.Due(ctx, r.policy, batch+len(r.skip))
	if err != nil {
		return nil, fmt.Errorf("read the queue: %w", err)
	}
	mark := batch
	if r.behind {
		mark = 0
	} else if r.Rate > 0 {
		mark = min(batch, r.Rate)
	}
	var due []index.Review
	again := false
	for _, v := range all {
		if v.Class == index.Deleting || r.skip[itemOf(v)] || len(due) == batch {
			continue
		}
		if v.Class == index.Condemned {
			if r.Pushing(v.Digest) {
				r.skip[itemOf(v)], again = true, true
				continue
			}
			if mark--; mark < 0 {
				continue
			}
		}
		due = append(due, v)
	}
	if len(due) == 0 && again { // there may be others behind those that are being pushed
		return r.due(ctx)
	}
	return due, nil
}

// collect carries out reviews together, and one by one where that fails: one that cannot be read holds up no other.
func (r *run) collect(ctx context.Context, due []index.Review) ([]index.Outcome, error) {
	if err := r.breaker(ctx, due); err != nil {
		return nil, err
	}
	for _, v := range due {
		if planted.On(planted.DeleteFirst) && v.Class == index.Condemned {
			_ = r.Store.Delete(ctx, v.Digest)
		}
	}
	outcomes, err := r.Index.Collect(ctx, r.policy, due)
	if err == nil || ctx.Err() != nil {
		return outcomes, err
	}
	for _, v := range due {
		one, err := r.Index.Collect(ctx, r.policy, []index.Review{v})
		if ctx.Err() != nil {
			return outcomes, ctx.Err()
		}
		if err != nil {
			r.fail(ctx, v, err)
			continue
		}
		outcomes = append(outcomes, one...)
	}
	return outcomes, nil
}

// fail leaves an item to the next cycle. Nothing is deleted for it.
func (r *run) fail(ctx context.Context, v index.Review, err error) {
	r.Errors++
	r.skip[itemOf(v)] = true
	r.Log.ErrorContext(ctx, "an item could not be collected; the next cycle tries again", "cycle", r.Number,
		"class", v.Class, "repo", v.Repository, "digest", v.Digest, "err", err)
}

// breaker stops a cycle that is about to delete more than is likely to be meant.
func (r *run) breaker(ctx context.Context, due []index.Review) error {
	n := r.Deleted
	for _, v := range due {
		if v.Class == index.Condemned {
			n++
		}
	}
	if r.request.Force || r.Breaker == (Breaker{}) || n <= max(r.limit, r.Breaker.Blobs) {
		return nil
	}
	if r.limit == 0 {
		all, err := r.Index.CountBlobs(ctx, 1<<40)
		if err != nil {
			return err
		}
		r.limit = max(r.Breaker.Blobs, (all+r.Deleted)*r.Breaker.Percent/100)
		if n <= r.limit {
			return nil
		}
	}
	return r.trip(ctx, fmt.Sprintf("cycle %s was about to delete more than %d blobs", r.Number, r.limit))
}

// carryOut counts what came of reviews, and deletes the bytes that were marked.
func (r *run) carryOut(ctx context.Context, outcomes []index.Outcome) error {
	var marked []index.Outcome
	for _, o := range outcomes {
		r.Reviewed++
		r.Condemned += len(o.Condemned)
		r.Metrics.reviewed(o)
		switch o.Verdict {
		case index.Removed:
			if o.Class == index.Unreferenced {
				r.Links++
			} else {
				r.Manifests++
			}
			r.Log.InfoContext(ctx, "collected", "cycle", r.Number, "class", o.Class, "repo", o.Repository, "digest", o.Digest, "reason", o.Reason)
		case index.Postponed:
			r.Postponed++
			r.skip[itemOf(o.Review)] = true
		case index.Waiting:
			r.Waiting++
			r.skip[itemOf(o.Review)], r.behind = true, true
		case index.Marked:
			marked = append(marked, o)
		}
	}
	return r.delete(ctx, marked)
}

// The tree follows the index in the background, within moments. A cycle that is to leave nothing waits for it so long.
const (
	treeWait = 30 * time.Second
	treePoll = 10 * time.Millisecond
)

// awaitTree lets a cycle that is to leave nothing look again at bytes that the tree still led to. It returns false when there
// are none.
func (r *run) awaitTree(ctx context.Context) (again bool, err error) {
	if !r.request.Drain || r.Waiting == 0 {
		return false, nil
	}
	enough, cancel := context.WithTimeout(ctx, treeWait)
	defer cancel()
	tick := time.NewTicker(treePoll)
	defer tick.Stop()
	for {
		events, err := r.Index.Events(ctx, 1)
		if err != nil {
			return false, err
		}
		if len(events) == 0 {
			break
		}
		select {
		case <-tick.C:
		case <-enough.Done():
			return false, ctx.Err() // without one, what waits is the next cycle's
		}
	}
	for i := range r.skip {
		if i.class == index.Condemned {
			delete(r.skip, i)
		}
	}
	r.Waiting, r.behind = 0, false
	return true, nil
}
