package gc

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"sync"
	"time"

	"github.com/opencontainers/go-digest"
	"golang.org/x/sync/errgroup"

	"gatehouse/registry/index"
	"gatehouse/registry/planted"
)

// deletesAtOnce is how many deletions are under way at a time: a bucket takes its time to answer.
const deletesAtOnce = 8

// lateDelete is how long a request for deletion whose answer was lost may still be carried out by a backend. Until then the
// digest stays one that is being deleted, so that nobody writes bytes which the late request would take.
const lateDelete = time.Minute

// minMissing is how many deletions have to find nothing before the index is taken to be of another store.
const minMissing = 20

// resume deletes what an earlier cycle, or an earlier process, marked and did not finish.
func (r *run) resume(ctx context.Context) error {
	if planted.On(planted.NotResumed) {
		return nil
	}
	left, err := r.Index.Marked(ctx)
	if err != nil {
		return fmt.Errorf("read what is being deleted: %w", err)
	}
	for _, o := range left {
		if _, known := r.unsure[o.Digest]; !known {
			r.unsure[o.Digest] = r.started // the process before may have asked for it
		}
	}
	for len(left) > 0 {
		if err := r.mayGoOn(ctx); err != nil {
			return err
		}
		n := min(batch, len(left))
		if err := r.delete(ctx, left[:n]); err != nil {
			return err
		}
		left = left[n:]
	}
	return nil
}

// Finish deletes the bytes of a digest that a cycle marked and did not come to: it was interrupted, and then the collector was
// paused, or disabled. Until that is done nobody can push the digest; so whoever wants to push it, and has the bytes, asks for
// this. It does nothing for a digest that is not marked, and while a cycle runs, which may be about to do it.
func (c *Collector) Finish(ctx context.Context, d digest.Digest) error {
	if !c.cycle.TryLock() {
		return nil
	}
	defer c.cycle.Unlock()
	if c.ReadOnly() {
		return ErrReadOnly
	}
	left, err := c.Index.Marked(ctx)
	if err != nil {
		return fmt.Errorf("read what is being deleted: %w", err)
	}
	if err := c.current(ctx); err != nil {
		return err
	}
	r := newRun(c, Request{})
	for _, o := range left {
		if o.Digest != d {
			continue
		}
		if _, known := c.unsure[d]; !known {
			c.unsure[d] = c.started
		}
		if err := r.delete(ctx, []index.Outcome{o}); err != nil {
			return err
		}
		return c.ended(ctx, r)
	}
	return nil
}

// delete removes the bytes of marked digests, and then from the index that they are being deleted. Each that fails stays
// marked for the next cycle.
func (r *run) delete(ctx context.Context, marked []index.Outcome) error {
	if len(marked) == 0 {
		return nil
	}
	done, err := r.remove(ctx, marked)
	if err != nil {
		return err
	}
	digests := make([]digest.Digest, len(done))
	for i, o := range done {
		digests[i] = o.Digest
	}
	if err := r.Index.Deleted(context.WithoutCancel(ctx), digests); err != nil {
		return fmt.Errorf("record what was deleted: %w", err)
	}
	if r.missing >= minMissing && 2*r.missing > r.Deleted && !r.request.Force {
		return r.trip(ctx, fmt.Sprintf("cycle %s found no bytes for %d of the %d blobs that it deleted: is the storage the one that this index is of?",
			r.Number, r.missing, r.Deleted))
	}
	return ctx.Err()
}

// remove deletes bytes and returns those that are gone. A step that has begun is ended, also when ctx is done. It does not wait until
// the disk has it: bytes that a power cut brings back are found by the next comparison of store and index, as strays.
func (r *run) remove(ctx context.Context, marked []index.Outcome) (done []index.Outcome, err error) {
	var mu sync.Mutex
	workers := errgroup.Group{}
	workers.SetLimit(deletesAtOnce)
	for _, o := range marked {
		if err := r.pace(ctx); err != nil {
			break // what is marked and not deleted is resumed
		}
		workers.Go(func() error {
			err := r.Store.Remove(context.WithoutCancel(ctx), o.Digest)
			mu.Lock()
			defer mu.Unlock()
			if r.deleted(ctx, o, err) {
				done = append(done, o)
			}
			return nil
		})
	}
	return done, workers.Wait()
}

// deleted counts a deletion and writes its line into the log: no bytes go without one. It reports whether it is finished.
func (r *run) deleted(ctx context.Context, o index.Outcome, err error) bool {
	absent := errors.Is(err, fs.ErrNotExist) || err != nil && planted.On(planted.ErrorIsAbsence)
	if err != nil && !absent {
		r.unsure[o.Digest] = r.Now()
		r.fail(ctx, o.Review, err)
		return false
	}
	since, unsure := r.unsure[o.Digest]
	if unsure {
		if r.Driver.Name() == "s3" && r.Now().Sub(since) < lateDelete {
			return false
		}
		delete(r.unsure, o.Digest)
	}
	r.Deleted++
	if absent && !unsure { // else it was an earlier attempt that took them
		r.missing++
	} else {
		r.Bytes += o.Size
	}
	r.Metrics.deleted(o)
	if planted.On(planted.Unlogged) {
		return true
	}
	r.Log.InfoContext(ctx, "blob deleted", "digest", o.Digest, "cycle", r.Number, "reason", o.Reason,
		"bytes", o.Size, "condemned", o.Since, "age", r.Now().Sub(o.Since), "absent", absent)
	return true
}

// pace waits until the next deletion may begin.
func (r *run) pace(ctx context.Context) error {
	if r.Rate <= 0 {
		return ctx.Err()
	}
	return pause(ctx, time.Second/time.Duration(r.Rate))
}
