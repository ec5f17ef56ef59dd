package gc_test

import (
	"context"
	"iter"
	"sync"

	"gatehouse/registry/index/kv"
)

// database is an index's database that counts what is asked of it, and fails as told.
type database struct {
	kv.DB

	mu   sync.Mutex
	hook func(ctx context.Context, op string) error // asked about each operation; guarded by mu
	// Since count was called; guarded by mu.
	gets, pairs, puts, updates int // gets that found something
}

// fail has a function say which operations fail: "View", "Update", "Get", "Scan" for each pair of one, "Put", "Delete", "Commit"
// before a transaction is committed and "Committed" behind it. The context is that of "View" and "Update", nil for others. It may
// be called at once from many goroutines. nil: none.
func (d *database) fail(hook func(ctx context.Context, op string) error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.hook = hook
}

// count begins to count anew.
func (d *database) count() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.gets, d.pairs, d.puts, d.updates = 0, 0, 0, 0
}

// reads returns how many records were read since count.
func (d *database) reads() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.gets + d.pairs
}

func (d *database) do(ctx context.Context, op string) error {
	d.mu.Lock()
	hook := d.hook
	switch op {
	case "Scan":
		d.pairs++
	case "Put", "Delete":
		d.puts++
	case "Update":
		d.updates++
	}
	d.mu.Unlock()
	if hook == nil {
		return nil
	}
	return hook(ctx, op)
}

func (d *database) View(ctx context.Context, fn func(kv.Reader) error) error {
	if err := d.do(ctx, "View"); err != nil {
		return err
	}
	return d.DB.View(ctx, func(r kv.Reader) error { return fn(reader{r, d}) })
}

func (d *database) Update(ctx context.Context, fn func(kv.Writer) error) error {
	if err := d.do(ctx, "Update"); err != nil {
		return err
	}
	err := d.DB.Update(ctx, func(w kv.Writer) error {
		if err := fn(writer{reader{w, d}, w}); err != nil {
			return err
		}
		return d.do(noContext, "Commit")
	})
	if err == nil {
		err = d.do(noContext, "Committed")
	}
	return err
}

// noContext is that of what happens in a transaction.
var noContext context.Context

type reader struct {
	kv.Reader
	d *database
}

func (r reader) Get(key []byte) ([]byte, error) {
	if err := r.d.do(noContext, "Get"); err != nil {
		return nil, err
	}
	value, err := r.Reader.Get(key)
	if err == nil {
		r.d.mu.Lock()
		r.d.gets++
		r.d.mu.Unlock()
	}
	return value, err
}

func (r reader) Scan(from, to []byte) iter.Seq2[kv.Pair, error] {
	return func(yield func(kv.Pair, error) bool) {
		for p, err := range r.Reader.Scan(from, to) {
			if failed := r.d.do(noContext, "Scan"); failed != nil {
				yield(kv.Pair{}, failed)
				return
			}
			if !yield(p, err) {
				return
			}
		}
	}
}

type writer struct {
	reader
	w kv.Writer
}

func (w writer) Put(key, value []byte) error {
	if err := w.d.do(noContext, "Put"); err != nil {
		return err
	}
	return w.w.Put(key, value)
}

func (w writer) Delete(key []byte) error {
	if err := w.d.do(noContext, "Delete"); err != nil {
		return err
	}
	return w.w.Delete(key)
}
