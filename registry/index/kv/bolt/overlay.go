package bolt

import (
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
	var own []change
	for key, w := range o.writes {
		if key >= string(from) && before([]byte(key), to) {
			own = append(own, change{key, w})
		}
	}
	if len(own) == 0 {
		return o.base.Scan(from, to)
	}
	slices.SortFunc(own, func(a, b change) int { return strings.Compare(a.key, b.key) })

	return func(yield func(kv.Pair, error) bool) {
		rest := own
		merge(o.base.Scan(from, to), func() (c change, ok bool) {
			if len(rest) == 0 {
				return c, false
			}
			c, rest = rest[0], rest[1:]
			return c, true
		}, yield)
	}
}
