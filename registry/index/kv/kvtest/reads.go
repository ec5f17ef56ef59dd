package kvtest

import (
	"context"
	"iter"
	"sync/atomic"

	"gatehouse/registry/index/kv"
)

// Reads is a kv.DB that counts what is read in Views: each Get, and each pair that a Scan yields. Updates are not counted.
type Reads struct {
	kv.DB
	n atomic.Int64
}

// CountReads returns a Reads of db.
func CountReads(db kv.DB) *Reads { return &Reads{DB: db} }

// Take returns how much was read since the last Take.
func (c *Reads) Take() int64 { return c.n.Swap(0) }

// View is kv.DB's.
func (c *Reads) View(ctx context.Context, fn func(kv.Reader) error) error {
	return c.DB.View(ctx, func(r kv.Reader) error { return fn(countedReader{r, &c.n}) })
}

type countedReader struct {
	kv.Reader
	n *atomic.Int64
}

func (r countedReader) Get(key []byte) ([]byte, error) {
	r.n.Add(1)
	return r.Reader.Get(key)
}

func (r countedReader) Scan(from, to []byte) iter.Seq2[kv.Pair, error] {
	return func(yield func(kv.Pair, error) bool) {
		for p, err := range r.Reader.Scan(from, to) {
			r.n.Add(1)
			if !yield(p, err) {
				return
			}
		}
	}
}
