package index

import (
	"bytes"
	"hash/maphash"
	"sync/atomic"

	"gatehouse/registry/index/kv"
)

// memo remembers what records decode to, without a lock: reading the JSON of the records of a tag and its manifest was a fifth
// of what pulling the manifest costs. The key is the record as it is stored, which each reader gets from the index anew; so what
// is remembered is never old, and nothing has to be forgotten when a record changes.
type memo[T any] struct {
	seed  maphash.Seed
	slots [1024]atomic.Pointer[decoded[T]]
}

type decoded[T any] struct {
	value  []byte
	record T
}

// maxRemembered bounds a record that is kept, in bytes, so that a memo of manifests stays below 10 MiB. An image with 50 layers
// has a smaller one.
const maxRemembered = 4 << 10

func newMemo[T any]() *memo[T] { return &memo[T]{seed: maphash.MakeSeed()} }

// recall is get with a memo. Others have the record too: it must not be modified.
func recall[T any](r kv.Reader, m *memo[T], k []byte) (T, error) {
	v, err := r.Get(k)
	if err != nil {
		var none T
		return none, err
	}
	slot := &m.slots[maphash.Bytes(m.seed, v)%uint64(len(m.slots))]
	if d := slot.Load(); d != nil && bytes.Equal(d.value, v) {
		return d.record, nil
	}
	d := &decoded[T]{value: bytes.Clone(v)}
	if err := decode(k, d.value, &d.record); err != nil {
		return d.record, err
	}
	if len(v) <= maxRemembered {
		slot.Store(d)
	}
	return d.record, nil
}
