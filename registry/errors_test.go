package registry

import (
	"fmt"
	"net/http"
	"testing"

	"gatehouse/registry/driver"
	"gatehouse/registry/index/kv"
)

// TestNoSpace: a full disk is the server's trouble and passes, whether it is the bytes or their names that have no room.
func TestNoSpace(t *testing.T) {
	for _, err := range []error{driver.ErrNoSpace, kv.ErrNoSpace} {
		h := http.Header{}
		status, list := explain(h, route{}, fmt.Errorf("push: %w", err))
		if status != http.StatusInsufficientStorage || len(list) != 1 || list[0].Code != "UNAVAILABLE" || h.Get("Retry-After") == "" {
			t.Errorf("%v: status %d, %v, retry after %q", err, status, list, h.Get("Retry-After"))
		}
	}
}
