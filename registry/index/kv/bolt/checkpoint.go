package bolt

import (
	"encoding/binary"
	"fmt"

	"go.etcd.io/bbolt"
)

// checkpoint moves what is in memory into bbolt while commits go on. It has the writes up to seq; those that are committed
// meanwhile go into DB.memory and DB.next both, so that readers go on with one map, and the other takes its place in the end.
type checkpoint struct {
	tree *tree
	seq  uint64
	done chan struct{} // closed when bbolt has it all, or it has failed
	err  error
}

// batchBytes bounds what a checkpoint writes in one transaction of bbolt, next to options.batch.
const batchBytes = 4 << 20

// freeze begins a checkpoint of what is in memory. Whoever leads calls it, when none is running.
func (db *DB) freeze() {
	c := &checkpoint{tree: db.memory.tree.Copy(), seq: db.journal.seq, done: make(chan struct{})}
	db.running, db.next = c, newTable()
	db.journal.rotate(db.complete)
	db.options.step("begun")
	db.checkpoints.Go(func() {
		c.err = db.move(c)
		close(c.done)
		db.lead <- struct{}{}
		db.reap()
		<-db.lead
	})
}

// move writes the checkpoint into bbolt, in several transactions so that none holds too many pages in memory.
//
// The first says, by the bucket's sequence, that bbolt has writes up to seq from now on: readers and recovery must have the
// others. The last says that it has them all.
func (db *DB) move(c *checkpoint) error {
	it := c.tree.Iter()
	for more := it.First(); more; {
		if err := db.options.step("transaction"); err != nil {
			return err
		}
		err := db.bolt.Update(func(tx *bbolt.Tx) error {
			b := tx.Bucket(bucket)
			if err := b.SetSequence(c.seq); err != nil {
				return err
			}
			for n, size := 0, 0; more && n < db.options.batch && size < batchBytes; n++ {
				size += len(it.Key()) + len(it.Value().value)
				if err := apply(b, change{it.Key(), it.Value()}); err != nil {
					return err
				}
				more = it.Next()
			}
			if more {
				return nil
			}
			return tx.Bucket(journalBucket).Put(keyComplete, binary.BigEndian.AppendUint64(nil, c.seq))
		})
		if err != nil {
			return fmt.Errorf("move the journal into the index: %w", err)
		}
	}
	db.options.step("moved")
	return nil
}

func apply(b *bbolt.Bucket, c change) error {
	if c.deleted {
		return b.Delete([]byte(c.key))
	}
	return b.Put([]byte(c.key), c.value)
}

// reap ends the running checkpoint, if it is done: what it has moved leaves memory, and its part of the journal is free. For
// want of space it changes nothing: bbolt has then written pages that nothing refers to, and the next checkpoint has it all
// again. Any other error is the end of writing, since bbolt's own pages are not to be believed after a sync that failed. Whoever leads
// calls it.
func (db *DB) reap() error {
	c := db.running
	if c == nil {
		return nil
	}
	select {
	case <-c.done:
	default:
		return nil
	}
	switch {
	case c.err == nil:
		db.complete = c.seq
		db.memory = db.next
		db.retry = 0
		db.publish()
		db.reserve.fill()
	case full(c.err):
		db.retry = db.memory.bytes + db.options.memory/8
	default:
		db.failed = fmt.Errorf("nothing is written to the index any more: check the disk, then restart: %w", c.err)
	}
	db.running, db.next = nil, table{}
	if c.err != nil && full(c.err) {
		return noSpace(c.err)
	}
	return db.failed
}

// await waits for the checkpoint under way, or makes one. Whoever leads calls it.
func (db *DB) await() error {
	if db.running == nil {
		db.freeze()
	}
	<-db.running.done
	return db.reap()
}

// drain moves all that is in memory into bbolt. Whoever leads calls it.
func (db *DB) drain() error {
	for db.running != nil || db.memory.tree.Len() > 0 {
		if err := db.await(); err != nil {
			return err
		}
	}
	return nil
}

// over reports whether memory or journal have reached n times what they should have.
func (db *DB) over(n int64) bool {
	return db.memory.bytes >= n*db.options.memory || db.journal.used(db.complete) >= n*db.options.journal
}
