// Package bolt keeps a kv.DB in one file with go.etcd.io/bbolt: the embedded engine, for one process.
//
// Transactions that are waiting when the disk becomes free are committed together (group commit): each runs against its
// own overlay over the shared write transaction, so that one that fails takes back only its own writes, and one fsync
// makes all others durable.
package bolt

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"os"
	"path/filepath"
	"time"

	"go.etcd.io/bbolt"
	bolterrors "go.etcd.io/bbolt/errors"

	"gatehouse/registry/index/kv"
)

// bucket is the only bucket of the file: the index has one flat, ordered key space.
var bucket = []byte("index")

// maxBatch bounds how many transactions share a commit, so that none waits for a crowd behind it.
const maxBatch = 256

// DB is a kv.DB over a bbolt file. It starts no goroutine: the transaction that finds the disk free commits for all that
// are waiting.
type DB struct {
	bolt *bbolt.DB

	queue chan *update  // transactions waiting for a commit
	lead  chan struct{} // holds one element while somebody commits
}

// Open opens the file at path, made with its folder when it is missing. It waits a second for another process to let go of
// it and then fails.
func Open(path string) (*DB, error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return nil, fmt.Errorf("make the folder of the index: %w", err)
	}
	if err := checkSize(path); err != nil {
		return nil, fmt.Errorf("open the index: %w", err)
	}
	b, err := bbolt.Open(path, 0o600, &bbolt.Options{
		Timeout:         time.Second,
		FreelistType:    bbolt.FreelistMapType,
		InitialMmapSize: 1 << 30, // address space only: growing the map would wait for readers
	})
	if errors.Is(err, bolterrors.ErrTimeout) {
		return nil, fmt.Errorf("open the index %s: in use by another process; stop the server first: %w", path, err)
	}
	if err != nil {
		return nil, fmt.Errorf("open the index %s: %w", path, err)
	}
	err = b.Update(func(tx *bbolt.Tx) error {
		_, err := tx.CreateBucketIfNotExists(bucket)
		return err
	})
	if err == nil {
		err = syncFolder(filepath.Dir(path))
	}
	if err != nil {
		b.Close()
		return nil, fmt.Errorf("prepare the index %s: %w", path, err)
	}
	return &DB{bolt: b, queue: make(chan *update, maxBatch), lead: make(chan struct{}, 1)}, nil
}

// syncFolder makes the entry of a file that was just created durable.
func syncFolder(path string) error {
	d, err := os.Open(path)
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}

// View is kv.DB's.
func (db *DB) View(ctx context.Context, fn func(kv.Reader) error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	return db.bolt.View(func(tx *bbolt.Tx) error { return fn(reader{tx.Bucket(bucket)}) })
}

// Close is kv.DB's.
func (db *DB) Close() error { return db.bolt.Close() }

// reader reads a bucket.
type reader struct{ b *bbolt.Bucket }

func (r reader) Get(key []byte) ([]byte, error) {
	if v := r.b.Get(key); v != nil {
		return v, nil
	}
	return nil, kv.ErrNotFound
}

func (r reader) Scan(from, to []byte) iter.Seq2[kv.Pair, error] {
	return func(yield func(kv.Pair, error) bool) {
		c := r.b.Cursor()
		for k, v := c.Seek(from); k != nil && before(k, to); k, v = c.Next() {
			if !yield(kv.Pair{Key: k, Value: v}, nil) {
				return
			}
		}
	}
}
