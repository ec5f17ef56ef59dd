package gateway

import (
	"bufio"
	"crypto/tls"
	"fmt"
	"io"
	"log"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// blob returns a handler that serves a file of size bytes as the registry does.
func blob(t testing.TB, size int64) http.Handler {
	t.Helper()
	file := filepath.Join(t.TempDir(), "blob")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(file, size); err != nil {
		t.Fatal(err)
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		f, err := os.Open(file)
		if err != nil {
			http.Error(w, err.Error(), 500)
			return
		}
		defer f.Close()
		w.Header().Set("Content-Type", "application/octet-stream")
		w.Header().Set("Content-Length", fmt.Sprint(size))
		_, _ = io.CopyN(w, f, size)
	})
}

// bare serves h by net/http alone, and returns a function that connects to it: what the chain is compared with.
func bare(b *testing.B, p protocol, h http.Handler) func() net.Conn {
	b.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	srv := &http.Server{Handler: h, ErrorLog: log.New(io.Discard, "", 0)}
	d := &door{t: b}
	if p == plain {
		go func() { _ = srv.Serve(l) }()
	} else {
		srv.TLSConfig, d.pool = throwAwayTLS(b)
		go func() { _ = srv.ServeTLS(l, "", "") }()
	}
	b.Cleanup(func() { _ = srv.Close() })
	d.Server = &Server{listener: l}
	return func() net.Conn { return d.dial("http/1.1") }
}

// chain serves h by the whole chain, its log formatted and thrown away.
func chain(b testing.TB, p protocol, h http.Handler, accessLog bool) func() net.Conn {
	b.Helper()
	d := open(b, p, h, func(o *Options) {
		o.AccessLog = accessLog
		o.Logger = slog.New(slog.NewJSONHandler(io.Discard, nil))
		o.Metrics = prometheus.NewRegistry()
	})
	return func() net.Conn { return d.dial("http/1.1") }
}

// get sends a request over c and reads the answer of size bytes, without allocating.
func get(t testing.TB, c net.Conn, in *bufio.Reader, size int64) {
	if _, err := c.Write([]byte("GET /v2/a/blobs/1 HTTP/1.1\r\nHost: a\r\nUser-Agent: docker/28.0\r\n\r\n")); err != nil {
		t.Fatal(err)
	}
	for {
		line, err := in.ReadSlice('\n')
		if err != nil {
			t.Fatal(err)
		}
		if len(line) <= 2 {
			break
		}
	}
	for size > 0 {
		n, err := in.Discard(int(min(size, 32<<10)))
		if err != nil {
			t.Fatal(err)
		}
		size -= int64(n)
	}
}

// benchmark measures one connection's requests for size bytes.
func benchmark(b *testing.B, dial func() net.Conn, size int64) {
	c := dial()
	_ = c.SetDeadline(time.Time{}) // as long as the benchmark wants
	in := bufio.NewReaderSize(c, 64<<10)
	get(b, c, in, size)
	b.SetBytes(size)
	b.ReportAllocs()
	for b.Loop() {
		get(b, c, in, size)
	}
}

func BenchmarkDownload64MiB(b *testing.B) {
	const size = 64 << 20
	for _, p := range []protocol{plain, h1} {
		b.Run("bare/"+string(p), func(b *testing.B) { benchmark(b, bare(b, p, blob(b, size)), size) })
		b.Run("chain/"+string(p), func(b *testing.B) { benchmark(b, chain(b, p, blob(b, size), true), size) })
	}
}

func BenchmarkSmallRequest(b *testing.B) {
	h := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { _, _ = io.WriteString(w, "{}") })
	for _, p := range []protocol{plain, h1} {
		b.Run("bare/"+string(p), func(b *testing.B) { benchmark(b, bare(b, p, h), 2) })
		b.Run("chain/"+string(p), func(b *testing.B) { benchmark(b, chain(b, p, h, false), 2) })
		b.Run("chain and log/"+string(p), func(b *testing.B) { benchmark(b, chain(b, p, h, true), 2) })
	}
}

func BenchmarkOrigin(b *testing.B) {
	o := Origin{TLS: true, Covers: func(string) bool { return true }}
	r := &http.Request{Host: "registry.example.com:5000"}
	b.ReportAllocs()
	for b.Loop() {
		o.Of(r)
	}
}

// What the server allocates while it sends a blob does not grow with it: over TLS not at all, over plain HTTP by the few
// that a sendfile costs in package net. The rest of the process is counted too, and under the race detector a pool drops some
// of what it is given, so there is slack; one allocation for each 32 KiB would be 32 for a MiB.
func TestAllocationsDoNotGrow(t *testing.T) {
	for p, perMiB := range map[protocol]uint64{plain: 6, h1: 0} {
		sent := make(chan uint64, 1)
		allocations := func(mib int64) uint64 {
			serve := blob(t, mib<<20)
			h := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				var before, after runtime.MemStats
				runtime.ReadMemStats(&before)
				serve.ServeHTTP(w, r)
				runtime.ReadMemStats(&after)
				sent <- after.Mallocs - before.Mallocs
			})
			c := chain(t, p, h, true)()
			_, _ = io.WriteString(c, "GET /v2/ HTTP/1.1\r\nHost: a\r\n\r\n")
			if tc, ok := c.(*tls.Conn); ok {
				c = tc.NetConn() // reading records allocates; the bytes of the wire do not
			}
			buf := make([]byte, 64<<10)
			for n := int64(0); n < mib<<20; {
				m, err := c.Read(buf)
				if err != nil {
					t.Fatal(err)
				}
				n += int64(m)
			}
			return receive(t, "handler", sent)
		}
		if small, large := allocations(1), allocations(64); large > small+64*(perMiB+20) {
			t.Errorf("%s: %d allocations for 1 MiB, %d for 64 MiB", p, small, large)
		}
	}
}
