package bolt

import (
	"bytes"
	"iter"

	"github.com/tidwall/btree"
	"go.etcd.io/bbolt"

	"gatehouse/registry/index/kv"
)

// write is what becomes of a key.
type write struct {
	value   []byte
	deleted bool
}

// change is a key with what becomes of it.
type change struct {
	key string
	write
}

// tree is an ordered map. Its Copy costs nothing; who writes to either of the two copies the nodes it changes.
type tree = btree.Map[string, write]

// table is a tree that knows roughly how much memory it takes.
type table struct {
	tree  *tree
	bytes int64
}

// entryBytes is about what an entry takes besides its key and value: its place in a node that is two thirds full, and the
// allocator's rounding.
const entryBytes = 128

// nodeDegree is smaller than usual: each commit copies the nodes that it changes, whole.
const nodeDegree = 16 // up to 31 entries in a node

func newTable() table { return table{tree: btree.NewMap[string, write](nodeDegree)} }

func (t *table) copy() table { return table{t.tree.Copy(), t.bytes} }

func (t *table) set(c change) {
	t.bytes += int64(len(c.value))
	old, replaced := t.tree.Set(c.key, c.write)
	if replaced {
		t.bytes -= int64(len(old.value))
	} else {
		t.bytes += int64(len(c.key)) + entryBytes
	}
}

// state is what is committed and may not be in bbolt: the writes up to seq, without some that bbolt had before the state was
// published. Nobody changes it.
type state struct {
	tree *tree
	seq  uint64
}

// publish lets readers see what is committed.
func (db *DB) publish() {
	db.state.Store(&state{db.memory.tree.Copy(), db.journal.seq})
}

// begin returns the committed state, to be read until tx is rolled back. It waits for nobody.
//
// A state and a transaction of bbolt belong together when the state has all writes that bbolt lacks, and bbolt has none that
// are newer than the state: then the state laid over bbolt is what was committed up to the state's sequence, whatever part of
// the state's own writes bbolt already has.
//
// The first is so because the state is taken first: a write leaves memory only after bbolt has it, and the transaction is
// younger. The second is asked of bbolt: a checkpoint that began after the state was taken may have been quicker. What it
// writes was published before it began, so the next try sees it; there is more than one only when another checkpoint begins and
// ends between these lines.
func (db *DB) begin() (reader, *bbolt.Tx, error) {
	for {
		s := db.state.Load()
		tx, err := db.bolt.Begin(false)
		if err != nil {
			return reader{}, nil, err
		}
		b := tx.Bucket(bucket)
		if b.Sequence() <= s.seq {
			return reader{s.tree, b}, tx, nil
		}
		if err := tx.Rollback(); err != nil {
			return reader{}, nil, err
		}
	}
}

// reader reads a tree laid over a bucket.
type reader struct {
	tree   *tree
	bucket *bbolt.Bucket
}

func (r reader) Get(key []byte) ([]byte, error) {
	if w, ok := r.tree.Get(string(key)); ok {
		if w.deleted {
			return nil, kv.ErrNotFound
		}
		return w.value, nil
	}
	if v := r.bucket.Get(key); v != nil {
		return v, nil
	}
	return nil, kv.ErrNotFound
}

func (r reader) Scan(from, to []byte) iter.Seq2[kv.Pair, error] {
	return func(yield func(kv.Pair, error) bool) { merge(r.scanBucket(from, to), between(r.tree, from, to), yield) }
}

// between returns a function that returns one change of a tree after the other.
func between(t *tree, from, to []byte) func() (change, bool) {
	it := t.Iter()
	more := it.Seek(string(from))
	return func() (c change, ok bool) {
		if !more || !before([]byte(it.Key()), to) {
			return c, false
		}
		c = change{it.Key(), it.Value()}
		more = it.Next()
		return c, true
	}
}

func (r reader) scanBucket(from, to []byte) iter.Seq2[kv.Pair, error] {
	return func(yield func(kv.Pair, error) bool) {
		c := r.bucket.Cursor()
		for k, v := c.Seek(from); k != nil && before(k, to); k, v = c.Next() {
			if !yield(kv.Pair{Key: k, Value: v}, nil) {
				return
			}
		}
	}
}

// merge yields the pairs of base as changes leave them. Both are in order; next returns one change after the other.
func merge(base iter.Seq2[kv.Pair, error], next func() (change, bool), yield func(kv.Pair, error) bool) {
	c, ok := next()
	// flush yields changes with keys below limit, and one at limit, which hides the base's.
	flush := func(limit []byte) (hidden, more bool) {
		for !hidden && ok && (limit == nil || c.key <= string(limit)) {
			hidden = limit != nil && c.key == string(limit)
			if !c.deleted && !yield(kv.Pair{Key: []byte(c.key), Value: c.value}, nil) {
				return hidden, false
			}
			c, ok = next()
		}
		return hidden, true
	}
	for p, err := range base {
		if err != nil {
			yield(p, err)
			return
		}
		hidden, more := flush(p.Key)
		if !more || !hidden && !yield(p, nil) {
			return
		}
	}
	flush(nil)
}

// before reports whether key lies before to, where nil is the end.
func before(key, to []byte) bool { return to == nil || bytes.Compare(key, to) < 0 }
