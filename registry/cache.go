package registry

import (
	"hash/maphash"
	"sync/atomic"

	"github.com/opencontainers/go-digest"
)

// manifestCache holds the bytes of manifests that were read lately, without a lock: a digest has one slot, and who comes
// last has it. Bytes never change, so a cached answer is never old; whether a repository may still give it is the index's to
// say.
type manifestCache struct {
	seed  maphash.Seed
	slots [4096]atomic.Pointer[cached]
	bytes atomic.Int64
}

type cached struct {
	digest digest.Digest
	bytes  []byte
}

const (
	maxCached      = 64 << 10 // larger manifests are not kept
	maxCachedTotal = 32 << 20
)

func newManifestCache() *manifestCache { return &manifestCache{seed: maphash.MakeSeed()} }

func (c *manifestCache) slot(d digest.Digest) uint64 {
	return maphash.String(c.seed, string(d)) % uint64(len(c.slots))
}

// get returns the bytes of a manifest, or nil. They must not be modified.
func (c *manifestCache) get(d digest.Digest) []byte {
	if e := c.slots[c.slot(d)].Load(); e != nil && e.digest == d {
		return e.bytes
	}
	return nil
}

// put keeps the bytes of a manifest, unless they are large. Without room for them the slots that follow are cleared.
func (c *manifestCache) put(d digest.Digest, b []byte) {
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
func (c *manifestCache) swap(slot uint64, e *cached) {
	old := c.slots[slot].Swap(e)
	if e != nil {
		c.bytes.Add(int64(len(e.bytes)))
	}
	if old != nil {
		c.bytes.Add(-int64(len(old.bytes)))
	}
}
