package bolt

import (
	"context"
	"errors"
	"fmt"

	"go.etcd.io/bbolt"

	"gatehouse/registry/index/kv"
)

// update is a transaction on its way through a commit.
type update struct {
	fn   func(kv.Writer) error
	err  error         // fn's own error
	died any           // what fn panicked with
	done chan struct{} // closed when the outcome is known
}

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

// commit carries out what is queued in one bbolt transaction, and tells each its outcome.
func (db *DB) commit() {
	batch := db.take()
	if len(batch) == 0 {
		return
	}
	err := db.bolt.Update(func(tx *bbolt.Tx) error {
		b := tx.Bucket(bucket)
		written := false
		for _, u := range batch {
			changed, err := u.run(b)
			if err != nil {
				return err
			}
			written = written || changed
		}
		if !written {
			return errNothing
		}
		return nil
	})
	for _, u := range batch {
		if u.err == nil && u.died == nil && err != nil && err != errNothing {
			u.err = fmt.Errorf("commit to the index: %w", err)
		}
		close(u.done)
	}
}

// errNothing rolls back a bbolt transaction in which nobody wrote, which saves its fsync.
var errNothing = errors.New("nothing to commit")

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

// run runs the transaction over b and writes what it wrote, unless it failed. The error is the engine's, not fn's.
func (u *update) run(b *bbolt.Bucket) (changed bool, err error) {
	o := &overlay{base: reader{b}}
	func() {
		defer func() { u.died = recover() }()
		u.err = u.fn(o)
	}()
	if u.err != nil || u.died != nil {
		return false, nil
	}
	for key, w := range o.writes {
		if w.deleted {
			err = b.Delete([]byte(key))
		} else {
			err = b.Put([]byte(key), w.value)
		}
		if err != nil {
			return false, err
		}
	}
	return len(o.writes) > 0, nil
}
