package bolt

import (
	"errors"
	"iter"

	"gatehouse/registry/index/kv"
)

// overlay is a kv.Writer that keeps its writes to itself until they are applied: its transaction can be given up without
// touching what others in the same commit have written.
type overlay struct {
	base   reader
	writes *tree // nil before the first
}

var errEmptyKey = errors.New("a key must not be empty")

func (o *overlay) Put(key, value []byte) error {
	return o.set(key, write{value: append([]byte{}, value...)})
}

func (o *overlay) Delete(key []byte) error {
	if len(key) > maxKey {
		return nil // it is not there
	}
	return o.set(key, write{deleted: true})
}

func (o *overlay) set(key []byte, w write) error {
	if len(key) == 0 {
		return errEmptyKey
	}
	if len(key) > maxKey || len(w.value) > maxValue {
		return errTooLarge
	}
	if o.writes == nil {
		o.writes = newTable().tree
	}
	o.writes.Set(string(key), w)
	return nil
}

func (o *overlay) Get(key []byte) ([]byte, error) {
	var w write
	ok := o.writes != nil
	if ok {
		w, ok = o.writes.Get(string(key))
	}
	switch {
	case !ok:
		return o.base.Get(key)
	case w.deleted:
		return nil, kv.ErrNotFound
	}
	return w.value, nil
}

// Scan merges the writes so far, in order, into the base's keys. It costs what it yields, however much was written.
func (o *overlay) Scan(from, to []byte) iter.Seq2[kv.Pair, error] {
	if o.writes == nil {
		return o.base.Scan(from, to)
	}
	first := o.writes.Iter()
	if !first.Seek(string(from)) || !before([]byte(first.Key()), to) {
		return o.base.Scan(from, to)
	}
	sofar := o.writes.Copy()
	return func(yield func(kv.Pair, error) bool) { merge(o.base.Scan(from, to), between(sofar, from, to), yield) }
}
