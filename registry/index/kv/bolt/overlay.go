package bolt

import (
	"bytes"
	"errors"
	"iter"
	"slices"
	"strings"

	"gatehouse/registry/index/kv"
)

// overlay is a kv.Writer that keeps its writes to itself until they are applied: its transaction can be given up without
// touching what others in the same commit have written.
type overlay struct {
	base   reader
	writes map[string]write
}

// write is what becomes of a key.
type write struct {
	value   []byte
	deleted bool
}

var errEmptyKey = errors.New("a key must not be empty")

func (o *overlay) Put(key, value []byte) error {
	return o.set(key, write{value: append([]byte{}, value...)})
}

func (o *overlay) Delete(key []byte) error { return o.set(key, write{deleted: true}) }

func (o *overlay) set(key []byte, w write) error {
	if len(key) == 0 {
		return errEmptyKey
	}
	if o.writes == nil {
		o.writes = make(map[string]write)
	}
	o.writes[string(key)] = w
	return nil
}

func (o *overlay) Get(key []byte) ([]byte, error) {
	w, ok := o.writes[string(key)]
	switch {
	case !ok:
		return o.base.Get(key)
	case w.deleted:
		return nil, kv.ErrNotFound
	}
	return w.value, nil
}

// Scan merges the writes so far, in order, into the base's keys.
func (o *overlay) Scan(from, to []byte) iter.Seq2[kv.Pair, error] {
	type change struct {
		key string
		write
	}
	var own []change
	for key, w := range o.writes {
		if key >= string(from) && before([]byte(key), to) {
			own = append(own, change{key, w})
		}
	}
	slices.SortFunc(own, func(a, b change) int { return strings.Compare(a.key, b.key) })

	return func(yield func(kv.Pair, error) bool) {
		rest := own
		// flush yields own changes with keys below limit, and one at limit, which hides the base's.
		flush := func(limit []byte) (hidden, more bool) {
			for len(rest) > 0 && (limit == nil || rest[0].key <= string(limit)) {
				c := rest[0]
				rest = rest[1:]
				hidden = limit != nil && c.key == string(limit)
				if !c.deleted && !yield(kv.Pair{Key: []byte(c.key), Value: c.value}, nil) {
					return hidden, false
				}
			}
			return hidden, true
		}
		for p, err := range o.base.Scan(from, to) {
			hidden, more := flush(p.Key)
			if !more || !hidden && !yield(p, err) {
				return
			}
		}
		flush(nil)
	}
}

// before reports whether key lies before to, where nil is the end.
func before(key, to []byte) bool { return to == nil || bytes.Compare(key, to) < 0 }
