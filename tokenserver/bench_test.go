package tokenserver

import (
	"context"
	"net/http/httptest"
	"testing"
)

// BenchmarkTokenCached is a GET for a token with credentials that were proven before, through the handler.
func BenchmarkTokenCached(b *testing.B) {
	h := newHouse(b)
	h.observe = func(context.Context, string) {}
	if w := h.serve(get("scope=repository:team/app:pull,push", "alice", "wonder:land")); w.Code != 200 {
		b.Fatal(w.Body)
	}
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		r := get("account=alice&service=registry.example&scope=repository:team/app:pull,push", "alice", "wonder:land")
		for pb.Next() {
			w := httptest.NewRecorder()
			if h.ServeHTTP(w, r); w.Code != 200 {
				b.Error(w.Body)
				return
			}
		}
	})
}
