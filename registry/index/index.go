// Package index knows names: which repositories, tags and manifests there are, which repository may serve which blob, and
// what needs what. Every answer of the registry about names comes from here; bytes are the store's.
//
// Push, delete and (later) collect meet only in this package's transactions, so a tag that can be seen is complete, and no
// other lock is needed. Start at Index; records.go is the data model, one file per noun has its transactions.
package index

import (
	"context"
	"errors"
	"fmt"
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
}

// format is the version of the data model; an index of another one is not touched.
const format = "1"

// Open returns the index that db holds, an empty one at first. now is the clock for what records say of time.
func Open(ctx context.Context, db kv.DB, now func() time.Time) (*Index, error) {
	err := db.Update(ctx, func(w kv.Writer) error {
		found, err := w.Get(formatKey)
		switch {
		case errors.Is(err, kv.ErrNotFound):
			return w.Put(formatKey, []byte(format))
		case err == nil && string(found) != format:
			return fmt.Errorf("the index has format %q, this version of gatehouse reads %q: use the version that wrote it", found, format)
		}
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("open the index: %w", err)
	}
	return &Index{db: db, now: now, changed: make(chan struct{}, 1)}, nil
}

// update runs fn as a transaction and tells who follows the events that there may be new ones.
func (x *Index) update(ctx context.Context, fn func(*tx) error) error {
	err := x.db.Update(ctx, func(w kv.Writer) error { return fn(&tx{w: w, at: x.now().UTC()}) })
	if err == nil {
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
}
