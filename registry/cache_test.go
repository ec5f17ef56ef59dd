package registry

import (
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/opencontainers/go-digest"
)

// TestSmallBlobsFromMemory: what is in memory is served where the index says so, in ranges too, and was true when it was read.
func TestSmallBlobsFromMemory(t *testing.T) {
	h := newHarness(t, nil)
	d := h.blob("a", "0123456789")
	path := "/v2/a/blobs/" + string(d)
	file := fmt.Sprintf("docker/registry/v2/blobs/sha256/%s/%s/data", d.Encoded()[:2], d.Encoded())
	write := func(content string) {
		if err := h.driver.WriteFile(t.Context(), file, []byte(content)); err != nil {
			t.Fatal(err)
		}
	}
	write("012345678X")
	h.want(h.do("GET", path, nil), 500, codeUnknown)
	write("0123456789")
	for range 2 {
		if a := h.want(h.do("GET", path, nil), 200); string(a.body) != "0123456789" {
			t.Errorf("body %q", a.body)
		}
		a := h.want(h.do("GET", path, nil, "Range: bytes=2-4"), 206)
		h.wantHeader(a, "Content-Range", "bytes 2-4/10")
		if string(a.body) != "234" {
			t.Errorf("range: %q", a.body)
		}
	}
	h.want(h.do("GET", "/v2/b/blobs/"+string(d), nil), 404, codeBlobUnknown)
	h.want(h.do("DELETE", path, nil), 202)
	h.want(h.do("GET", path, nil), 404, codeBlobUnknown)
}

func TestCacheIsBounded(t *testing.T) {
	c := newCache()
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
