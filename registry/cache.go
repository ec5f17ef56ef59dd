package registry

import (
	"context"
	"hash/maphash"
	"sync/atomic"

	"github.com/opencontainers/go-digest"

	"gatehouse/registry/planted"
	"gatehouse/registry/store"
)

// cache holds bytes that were read lately, of manifests or of small blobs, without a lock: a digest has one slot, and who comes
// last has it. Bytes never change, so a cached answer is never old; whether a repository may still give it is the index's to
// say.
type cache struct {
	seed  maphash.Seed
	slots [4096]atomic.Pointer[cached]
	bytes atomic.Int64
}

type cached struct {
	digest digest.Digest
	bytes  []byte
}

const (
	maxCached      = 64 << 10 // larger ones are not kept
	maxCachedTotal = 32 << 20
)

func newCache() *cache { return &cache{seed: maphash.MakeSeed()} }

// read returns the bytes of a digest, from memory where they were read before. They must not be modified.
func (c *cache) read(ctx context.Context, from *store.Store, d digest.Digest, size int64) ([]byte, error) {
	if b := c.get(d); b != nil {
		return b, nil
	}
	b, err := from.Read(ctx, d, size)
	if err == nil {
		c.put(d, b)
	}
	return b, err
}

func (c *cache) slot(d digest.Digest) uint64 {
	if planted.On(planted.WrongBytes) {
		return 0
	}
	return maphash.String(c.seed, string(d)) % uint64(len(c.slots))
}

// get returns the bytes of a digest, or nil.
func (c *cache) get(d digest.Digest) []byte {
	if e := c.slots[c.slot(d)].Load(); e != nil && (e.digest == d || planted.On(planted.WrongBytes)) {
		return e.bytes
	}
	return nil
}

// put keeps bytes, unless they are many. Without room for them the slots that follow are cleared.
func (c *cache) put(d digest.Digest, b []byte) {
	if len(b) > maxCached {
		return
	}
	slot := c.slot(d)
	c.swap(slot, &cached{d, b})
	for i := uint64(1); c.bytes.Load() > maxCachedTotal && i < uint64(len(c.slots)); i++ {
		c.swap((slot+i)%uint64(len(c.slots)), nil)
	}
}

// swap fills or clears a slot and keeps count.
func (c *cache) swap(slot uint64, e *cached) {
	old := c.slots[slot].Swap(e)
	if e != nil {
		c.bytes.Add(int64(len(e.bytes)))
	}
	if old != nil {
		c.bytes.Add(-int64(len(old.bytes)))
	}
}
