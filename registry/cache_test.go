package registry

import (
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/opencontainers/go-digest"
)

func TestManifestCacheIsBounded(t *testing.T) {
	c := newManifestCache()
	var wg sync.WaitGroup
	for worker := range 4 {
		wg.Go(func() {
			for i := range 500 {
				content := fmt.Sprintf("%d %d %s", worker, i, strings.Repeat("x", 40<<10))
				d := digest.FromString(content)
				c.put(d, []byte(content))
				if b := c.get(d); b != nil && string(b) != content {
					t.Error("the cache gave the bytes of another manifest")
				}
			}
		})
	}
	wg.Wait()
	sum := int64(0)
	for i := range c.slots {
		if e := c.slots[i].Load(); e != nil {
			sum += int64(len(e.bytes))
		}
	}
	if sum != c.bytes.Load() || sum > maxCachedTotal || sum == 0 {
		t.Errorf("%d bytes are kept and %d counted, of %d at most", sum, c.bytes.Load(), maxCachedTotal)
	}
	large := digest.FromString("large")
	c.put(large, make([]byte, maxCached+1))
	if c.get(large) != nil {
		t.Error("a large manifest was kept")
	}
}
