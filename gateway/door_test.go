package gateway

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/big"
	"net"
	"net/http"
	"os"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"gatehouse/configs"
)

// patience is how long a test waits for what must happen; no test waits so long when all is well.
const patience = 20 * time.Second

// door is a running Server and what a test needs around it.
type door struct {
	*Server
	t    testing.TB
	pool *x509.CertPool
	logs *logs
	base string // scheme://host:port
	// stop ends Run and returns its error; a test that does not call it expects nil.
	stop func() error
}

// protocol is how a test's client speaks.
type protocol string

const (
	plain protocol = "http/1.1 without tls"
	h1    protocol = "http/1.1"
	h2    protocol = "h2"
)

// open runs a Server over h on a free port until the test ends, then checks that no goroutine is left. p says whether it
// speaks TLS; change adjusts the options.
func open(t testing.TB, p protocol, h http.Handler, change func(*Options)) *door {
	t.Helper()
	return build(t, p, h, change).start()
}

// build is open without running it yet.
func build(t testing.TB, p protocol, h http.Handler, change func(*Options)) *door {
	t.Helper()
	d := &door{t: t, logs: &logs{}, base: "http://"}
	o := Options{
		Addr:      "127.0.0.1:0",
		Routes:    []Route{{Path: "/", Name: "test", Handler: h}},
		AccessLog: true, DrainTimeout: patience,
		Logger: slog.New(slog.NewJSONHandler(d.logs, &slog.HandlerOptions{Level: slog.LevelDebug})),
	}
	if p != plain {
		d.base = "https://"
		o.TLS, d.pool = throwAwayTLS(t)
	}
	if change != nil {
		change(&o)
	}
	s, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	d.Server = s
	return d
}

// start is the rest of open.
func (d *door) start() *door {
	t := d.t
	t.Helper()
	before := runtime.NumGoroutine()
	if err := d.Listen(); err != nil {
		t.Fatal(err)
	}
	d.base += d.Addr().String()
	ctx, cancel := context.WithCancel(context.Background())
	ran := make(chan error, 1)
	go func() { ran <- d.Run(ctx) }()
	stopped := false
	d.stop = sync.OnceValue(func() error { stopped = true; cancel(); return <-ran })
	t.Cleanup(func() {
		if !stopped {
			if err := d.stop(); err != nil {
				t.Errorf("Run: %v", err)
			}
		}
		wait(t, "goroutines back to baseline", func() bool { return runtime.NumGoroutine() <= before })
	})
	return d
}

// serve is open for a handler function and limits.
func serve(t testing.TB, p protocol, limits configs.Gateway, h http.HandlerFunc) *door {
	t.Helper()
	return open(t, p, h, func(o *Options) { o.Limits = limits })
}

// throwAwayTLS makes a self-signed certificate for 127.0.0.1.
func throwAwayTLS(t testing.TB) (*tls.Config, *x509.CertPool) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		DNSNames: []string{"localhost"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AddCert(cert)
	return &tls.Config{
		Certificates:                []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}},
		DynamicRecordSizingDisabled: true,
	}, pool
}

// client returns an HTTP client that speaks p and nothing else, with connections of its own.
func (d *door) client(p protocol) *http.Client {
	protocols := new(http.Protocols)
	protocols.SetHTTP1(p != h2)
	protocols.SetHTTP2(p == h2)
	transport := &http.Transport{
		TLSClientConfig:       &tls.Config{RootCAs: d.pool},
		Protocols:             protocols,
		ExpectContinueTimeout: patience,
	}
	// Before the server's own cleanup, which counts goroutines.
	d.t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
}

// dial opens a raw connection, over TLS with the given ALPN where the server has it.
func (d *door) dial(alpn ...string) net.Conn {
	d.t.Helper()
	c, err := net.Dial("tcp", d.Addr().String())
	if err != nil {
		d.t.Fatal(err)
	}
	if d.pool != nil {
		tc := tls.Client(c, &tls.Config{RootCAs: d.pool, ServerName: "localhost", NextProtos: alpn})
		if err := tc.Handshake(); err != nil {
			d.t.Fatal(err)
		}
		c = tc
	}
	d.t.Cleanup(func() { _ = c.Close() })
	_ = c.SetDeadline(time.Now().Add(patience))
	return c
}

// do sends a request and returns the answer's status, header and body.
func (d *door) do(c *http.Client, r *http.Request) (*http.Response, string) {
	d.t.Helper()
	resp, err := c.Do(r)
	if err != nil {
		d.t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		d.t.Fatal(err)
	}
	return resp, string(body)
}

// request makes a request for a path of the door.
func (d *door) request(method, path string, body io.Reader) *http.Request {
	d.t.Helper()
	r, err := http.NewRequest(method, d.base+path, body)
	if err != nil {
		d.t.Fatal(err)
	}
	return r
}

// wait polls until ok, and fails the test when it does not become so.
func wait(t testing.TB, what string, ok func() bool) {
	t.Helper()
	deadline := time.Now().Add(patience)
	for !ok() {
		if time.Now().After(deadline) {
			buf := make([]byte, 1<<20)
			t.Fatalf("waited in vain: %s\n%s", what, buf[:runtime.Stack(buf, true)])
		}
		<-time.After(2 * time.Millisecond)
	}
}

// receive takes a value from c, or fails the test.
func receive[T any](t testing.TB, what string, c <-chan T) T {
	t.Helper()
	select {
	case v := <-c:
		return v
	case <-time.After(patience):
		t.Fatalf("waited in vain: %s", what)
		panic("unreachable")
	}
}

// logs collects log lines.
type logs struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (l *logs) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(p)
}

func (l *logs) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.String()
}

// with returns the lines with the message.
func (l *logs) with(message string) (lines []map[string]any) {
	for line := range strings.Lines(l.String()) {
		var m map[string]any
		if err := json.Unmarshal([]byte(line), &m); err != nil {
			panic(fmt.Sprintf("%v: %s", err, line))
		}
		if m["msg"] == message {
			lines = append(lines, m)
		}
	}
	return lines
}

// access waits for n lines of the access log.
func (d *door) access(n int) []map[string]any {
	d.t.Helper()
	wait(d.t, fmt.Sprintf("%d lines in the access log", n), func() bool { return len(d.logs.with("request")) >= n })
	return d.logs.with("request")
}

// ociCode returns the code of an error answer in the OCI specification's form.
func ociCode(t testing.TB, resp *http.Response, body string) string {
	t.Helper()
	var e struct {
		Errors []struct{ Code, Message string }
	}
	if err := json.Unmarshal([]byte(body), &e); err != nil || len(e.Errors) != 1 || e.Errors[0].Message == "" {
		t.Fatalf("answer %d is no OCI error (%v): %q", resp.StatusCode, err, body)
	}
	if ct := resp.Header.Get("Content-Type"); ct != "application/json" {
		t.Errorf("Content-Type %q", ct)
	}
	return e.Errors[0].Code
}

func ok(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "ok") }

// drop closes a connection without a goodbye.
func drop(c net.Conn) {
	if tcp, ok := c.(*net.TCPConn); ok {
		_ = tcp.SetLinger(0)
	}
	_ = c.Close()
}

// gone waits for the end of a request's context.
func gone(ctx context.Context) { <-ctx.Done() }

// ended reads a connection to its end and reports whether the server ended it.
func ended(c net.Conn) bool {
	_, err := io.Copy(io.Discard, c)
	return !errors.Is(err, os.ErrDeadlineExceeded)
}
