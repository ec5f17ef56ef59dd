// Package index knows names: which repositories, tags and manifests there are, which repository may serve which blob, and
// what needs what. Every answer of the registry about names comes from here; bytes are the store's.
//
// Push, delete and collect meet only in this package's transactions, so a tag that can be seen is complete, and no
// other lock is needed. Start at Index; records.go is the data model, one file per noun has its transactions.
package index

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/opencontainers/go-digest"

	"gatehouse/registry/index/kv"
)

// What is not there. A caller that gets one of these knows that it is so; every other error says nothing about names.
var (
	ErrBlobUnknown     = errors.New("blob unknown to the repository")
	ErrManifestUnknown = errors.New("manifest unknown to the repository")
	ErrNameUnknown     = errors.New("repository unknown")
)

// MissingError is why a manifest was not taken: it needs what the repository does not have.
type MissingError struct {
	Digests []digest.Digest
}

func (e *MissingError) Error() string {
	return fmt.Sprintf("the repository does not have %v", e.Digests)
}

// ReferencedError is why something was not deleted: a manifest of the repository needs it.
type ReferencedError struct {
	Digest, By digest.Digest
}

func (e *ReferencedError) Error() string {
	return fmt.Sprintf("%s is needed by manifest %s; delete that first", e.Digest, e.By)
}

// Index is the registry's memory of names. Its methods may be called at once from many goroutines; those that write return
// nil only when the change is on disk.
type Index struct {
	db      kv.DB
	now     func() time.Time
	changed chan struct{}
	grace   atomic.Int64 // SetGrace's, in nanoseconds
	revived atomic.Int64
	slow    slowness

	postponed atomic.Pointer[string] // Postponed's; nil for none

	// What pulls read again and again.
	links     *memo[linkRecord]
	tags      *memo[tagRecord]
	manifests *memo[Manifest]
}

// format is the version of the data model; an index of another one is not touched.
const format = "2"

// Open returns the index that db holds, an empty one at first. now is the clock for what records say of time.
func Open(ctx context.Context, db kv.DB, now func() time.Time) (*Index, error) {
	x := &Index{
		db: db, now: now, changed: make(chan struct{}, 1),
		links: newMemo[linkRecord](), tags: newMemo[tagRecord](), manifests: newMemo[Manifest](),
	}
	old := false
	err := db.Update(ctx, func(w kv.Writer) error {
		found, err := w.Get(formatKey)
		switch old = string(found) == formatBefore; {
		case errors.Is(err, kv.ErrNotFound):
			return w.Put(formatKey, []byte(format))
		case err == nil && string(found) != format && !old:
			return fmt.Errorf("the index has format %q, this version of gatehouse reads %q: use the version that wrote it", found, format)
		}
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("open the index: %w", err)
	}
	if old {
		if err := x.upgrade(ctx); err != nil {
			return nil, fmt.Errorf("bring the index to format %s: %w", format, err)
		}
	}
	return x, nil
}

// update runs fn as a transaction and tells who follows the events that there may be new ones.
func (x *Index) update(ctx context.Context, fn func(*tx) error) error {
	var revived int64
	var begun time.Time
	err := x.db.Update(ctx, func(w kv.Writer) error {
		t := x.begin(w)
		begun = t.at
		err := fn(t)
		revived = t.revived
		return err
	})
	if ended := x.now(); !begun.IsZero() {
		x.slow.note(ended, ended.Sub(begun))
	}
	if err == nil {
		x.revived.Add(revived)
		select {
		case x.changed <- struct{}{}:
		default:
		}
	}
	return err
}

// tx is a transaction under way, with the time that its records carry.
type tx struct {
	w     kv.Writer
	at    time.Time
	quiet bool // no events: the tree has it already, and what is imported carries its own times

	followed  string       // Postponed's, when it began
	reason    string       // why what it lets go of is needed no more
	policy    *Policy      // the collector's, when it is the collector's
	condemned []StoredBlob // by it
	revived   int64        // condemned bytes that live again
}

func (x *Index) begin(w kv.Writer) *tx { return &tx{w: w, at: x.now().UTC(), followed: x.followed()} }
