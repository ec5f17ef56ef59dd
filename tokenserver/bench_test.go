package tokenserver

import (
	"context"
	"net/http"
	"net/http/httptest"
	"net/url"
	"testing"
	"time"

	"gatehouse/tokenserver/token"
)

// BenchmarkSign is the signing of a token alone, which no token server can do without.
func BenchmarkSign(b *testing.B) {
	h := newHouse(b)
	key := h.keys.Active()
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			now := time.Now()
			_, err := key.Sign(token.Claims{Issuer: "house", Audience: "registry.example", Subject: "alice",
				IssuedAt: now, NotBefore: now, Expires: now.Add(time.Hour),
				Access: []token.Access{{Type: "repository", Name: "team/app", Actions: []string{"pull", "push"}}}})
			if err != nil {
				b.Error(err)
				return
			}
		}
	})
}

// BenchmarkTokenCached is a GET for a token with credentials that were proven before, through the handler.
func BenchmarkTokenCached(b *testing.B) {
	benchmarkToken(b, func() *http.Request {
		return get("account=alice&service=registry.example&scope=repository:team/app:pull,push", "alice", "wonder:land")
	})
}

// BenchmarkTokenAnonymous is the same without credentials.
func BenchmarkTokenAnonymous(b *testing.B) {
	benchmarkToken(b, func() *http.Request { return get("service=registry.example&scope=repository:team/app:pull") })
}

// BenchmarkTokenPost is containerd's POST, the making of the request included.
func BenchmarkTokenPost(b *testing.B) {
	h := newHouse(b)
	h.observe = func(context.Context, string) {}
	form := url.Values{"grant_type": {"password"}, "username": {"alice"}, "password": {"wonder:land"}, "client_id": {"containerd-client"},
		"service": {"registry.example"}, "scope": {"repository:team/app:pull,push"}}
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			if w := h.serve(post("", form)); w.Code != 200 {
				b.Error(w.Body)
				return
			}
		}
	})
}

func benchmarkToken(b *testing.B, request func() *http.Request) {
	h := newHouse(b)
	h.observe = func(context.Context, string) {}
	if w := h.serve(request()); w.Code != 200 {
		b.Fatal(w.Body)
	}
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		r := request()
		for pb.Next() {
			w := httptest.NewRecorder()
			if h.ServeHTTP(w, r); w.Code != 200 {
				b.Error(w.Body)
				return
			}
		}
	})
}
