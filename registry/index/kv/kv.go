// Package kv is the seam under the index: an ordered key-value store with serializable transactions. The contract is kept
// small enough for an embedded B+tree (package bolt) and for a remote store with optimistic transactions to keep alike;
// package kvtest holds it as tests.
package kv

import (
	"context"
	"errors"
	"iter"
)

// ErrNotFound is what Get returns for a key that is not there. Any other error says nothing about the key.
var ErrNotFound = errors.New("key not found")

// ErrNoSpace is a full disk or an exhausted quota. Reading still works, and so does writing once there is space again.
var ErrNoSpace = errors.New("no space left for the index: free some or raise the quota")

// DB is an ordered key-value store.
type DB interface {
	// View runs fn over one consistent state. It writes nothing, waits for no writer and holds up none; but the space of old
	// states cannot be reused while fn runs, so fn builds its answer in memory and returns. Keys and values that fn was given
	// are valid until it returns and must not be modified. View returns fn's error as it is.
	View(ctx context.Context, fn func(Reader) error) error

	// Update runs fn as one transaction: all of its writes or none, as if no other ran at the same time. When Update returns
	// nil, they are on disk. When fn returns an error, nothing of it is written and Update returns that error as it is, as
	// nothing is written when it returns ErrNoSpace. Any other error leaves open whether the writes took place.
	//
	// fn may run more than once and on another goroutine, so it must start over each time and touch nothing but its own
	// results. It must not call the DB. ctx is looked at before fn is queued; what is queued is carried out.
	Update(ctx context.Context, fn func(Writer) error) error

	// Close waits for transactions under way and releases the store. Using the DB afterwards is an error.
	Close() error
}

// Reader reads in a transaction. It is for one goroutine.
type Reader interface {
	// Get returns the value of key, or ErrNotFound.
	Get(key []byte) ([]byte, error)
	// Scan yields keys and values with from <= key < to in ascending byte order; a nil to is the end. After an error it
	// yields that error once, with an empty Pair, and ends. Writes made while it runs are not seen by it.
	Scan(from, to []byte) iter.Seq2[Pair, error]
}

// Writer reads and writes in a transaction, and reads its own writes.
type Writer interface {
	Reader
	// Put sets key to value and keeps copies of both. An empty key is an error, and so is one of more than 32 KiB, or a value
	// of more than 64 MiB.
	Put(key, value []byte) error
	// Delete removes key. A key that is not there is no error.
	Delete(key []byte) error
}

// Pair is a key with its value.
type Pair struct {
	Key, Value []byte
}

// End returns the key right behind all keys that begin with prefix: Scan(prefix, End(prefix)) is what lies below it. It
// returns nil, the end of everything, for an empty prefix or one of 0xff bytes only.
func End(prefix []byte) []byte {
	for i := len(prefix) - 1; i >= 0; i-- {
		if prefix[i] < 0xff {
			end := append([]byte(nil), prefix[:i+1]...)
			end[i]++
			return end
		}
	}
	return nil
}
