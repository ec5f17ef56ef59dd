package token

import (
	"crypto/sha256"
	"encoding/binary"
	"sync/atomic"
	"time"
)

// Size of the cache. With the longest tokens that it takes it stays below 32 MiB, with usual ones around 4 MiB.
const (
	cacheSets = 1024
	cacheWays = 4
	maxCached = 4 << 10 // bytes of the longest token that is kept
)

// cache remembers the claims of verified tokens by the SHA-256 of the whole token. The hash chooses a set, any entry of
// the set may hold the token; each entry is replaced atomically, so that neither readers nor writers wait for anything.
// Only tokens with a valid signature get in, so nobody without one can push others out.
type cache struct {
	entries [cacheSets * cacheWays]atomic.Pointer[cached]
}

type cached struct {
	sum    [sha256.Size]byte
	claims *Claims
}

func (c *cache) set(sum *[sha256.Size]byte) []atomic.Pointer[cached] {
	first := int(binary.LittleEndian.Uint32(sum[:])%cacheSets) * cacheWays
	return c.entries[first : first+cacheWays]
}

// get returns the claims put under sum, or nil. They may have expired since.
func (c *cache) get(sum *[sha256.Size]byte) *Claims {
	set := c.set(sum)
	for i := range set {
		if e := set[i].Load(); e != nil && e.sum == *sum {
			return e.claims
		}
	}
	return nil
}

// put remembers claims in an entry that is free, expired at now, or else chosen by the hash.
func (c *cache) put(sum *[sha256.Size]byte, claims *Claims, now time.Time) {
	set := c.set(sum)
	victim := int(sum[4]) % cacheWays
	for i := range set {
		if e := set[i].Load(); e == nil || e.sum == *sum || !now.Before(e.claims.Expires.Add(Leeway)) {
			victim = i
			break
		}
	}
	set[victim].Store(&cached{sum: *sum, claims: claims})
}
