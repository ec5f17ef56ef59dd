package bolt

import (
	"context"
	"errors"
	"fmt"

	"gatehouse/registry/index/kv"
)

// update is a transaction on its way through a commit.
type update struct {
	fn   func(kv.Writer) error
	err  error         // fn's own error
	died any           // what fn panicked with
	done chan struct{} // closed when the outcome is known
}

var errClosed = errors.New("the index is closed")

// Update is kv.DB's.
func (db *DB) Update(ctx context.Context, fn func(kv.Writer) error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	u := &update{fn: fn, done: make(chan struct{})}
	for queued := false; ; {
		queue := db.queue
		if queued {
			queue = nil
		}
		select {
		case queue <- u:
			queued = true
		case <-u.done:
			if u.died != nil {
				panic(u.died)
			}
			return u.err
		case db.lead <- struct{}{}:
			db.commit()
			<-db.lead
		}
	}
}

// commit carries out what is queued, and tells each its outcome. It returns false when nothing was queued.
func (db *DB) commit() bool {
	batch := db.take()
	if len(batch) == 0 {
		return false
	}
	err := db.ready()
	if err == nil {
		err = db.write(batch)
		if errors.Is(err, kv.ErrNoSpace) && db.makeRoom() == nil { // the journal begins anew in the room that it has
			err = db.write(batch)
		}
	}
	for _, u := range batch {
		if u.err == nil && u.died == nil && err != nil {
			u.err = fmt.Errorf("commit to the index: %w", err)
		}
		close(u.done)
	}
	return true
}

// ready returns an error when nothing can be committed. When memory or the journal are full it waits for a checkpoint first.
func (db *DB) ready() error {
	if db.closed {
		return errClosed
	}
	db.reap() // one that failed for want of space is tried again in time
	for db.failed == nil && db.over(2) {
		db.options.step("full")
		if err := db.await(); err != nil {
			return err
		}
	}
	return db.failed
}

// write runs a batch and commits what it has written: in the journal first, then for others to see. When it is done it begins a
// checkpoint if it is time for one.
func (db *DB) write(batch []*update) error {
	base, tx, err := db.begin()
	if err != nil {
		return err
	}
	after := db.memory.copy()
	base.tree = after.tree
	var changes []change
	for _, u := range batch {
		if writes := u.run(base); writes != nil {
			writes.Scan(func(key string, w write) bool {
				c := change{key, w}
				after.set(c)
				changes = append(changes, c)
				return true
			})
		}
	}
	if err := tx.Rollback(); err != nil {
		return err
	}
	if len(changes) == 0 {
		return nil
	}
	if err := db.journal.append(changes, db.complete); err != nil {
		return err
	}
	db.memory = after
	if db.running != nil {
		for _, c := range changes {
			db.next.set(c)
		}
	}
	db.publish()
	if db.running == nil && db.over(1) && db.memory.bytes >= db.retry {
		db.freeze()
	}
	return nil
}

// take returns what is queued, in order.
func (db *DB) take() []*update {
	var batch []*update
	for len(batch) < maxBatch {
		select {
		case u := <-db.queue:
			batch = append(batch, u)
		default:
			return batch
		}
	}
	return batch
}

// run runs the transaction over base and returns what it wrote: nothing, if it failed.
func (u *update) run(base reader) *tree {
	o := &overlay{base: base}
	u.err = nil
	func() {
		defer func() { u.died = recover() }()
		u.err = u.fn(o)
	}()
	if u.err != nil || u.died != nil {
		return nil
	}
	return o.writes
}
