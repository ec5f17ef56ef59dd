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

	"golang.org/x/net/http2"

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

func TestServesEveryProtocol(t *testing.T) {
	for _, p := range []protocol{plain, h1, h2} {
		t.Run(string(p), func(t *testing.T) {
			d := serve(t, p, configs.Gateway{}, func(w http.ResponseWriter, r *http.Request) {
				_, _ = io.Copy(w, r.Body)
				_, _ = io.WriteString(w, r.Proto)
			})
			want := "HTTP/1.1"
			if p == h2 {
				want = "HTTP/2.0"
			}
			resp, body := d.do(d.client(p), d.request("PUT", "/v2/", strings.NewReader("hello ")))
			if resp.StatusCode != 200 || body != "hello "+want {
				t.Errorf("%d %q", resp.StatusCode, body)
			}
		})
	}
}

func TestNewRefuses(t *testing.T) {
	route := Route{Path: "/", Name: "n", Handler: http.HandlerFunc(ok)}
	for name, o := range map[string]Options{
		"no route":               {},
		"relative path":          {Routes: []Route{{Path: "v2/", Name: "n", Handler: route.Handler}}},
		"path twice":             {Routes: []Route{route, route}},
		"no handler":             {Routes: []Route{{Path: "/", Name: "n"}}},
		"no name":                {Routes: []Route{{Path: "/", Handler: route.Handler}}},
		"negative timeout":       {Routes: []Route{route}, Limits: configs.Gateway{BodyIdleTimeout: -1}},
		"negative header bytes":  {Routes: []Route{route}, Limits: configs.Gateway{MaxHeaderBytes: -1}},
		"negative drain timeout": {Routes: []Route{route}, DrainTimeout: -1},
	} {
		o.Logger = slog.New(slog.DiscardHandler)
		if _, err := New(o); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

// Documented defaults, for a section of the configuration that says nothing.
func TestDefaults(t *testing.T) {
	s, err := New(Options{Routes: []Route{{Path: "/", Name: "n", Handler: http.HandlerFunc(ok)}}, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	want := configs.Gateway{HeaderTimeout: 10 * time.Second, BodyIdleTimeout: time.Minute, KeepAliveTimeout: 2 * time.Minute, MaxHeaderBytes: 65536}
	if s.limit != want || s.drainFor != 10*time.Minute {
		t.Errorf("%+v, drain %s", s.limit, s.drainFor)
	}
	if s.http.ReadTimeout != 0 || s.http.WriteTimeout != 0 {
		t.Error("the whole of a request is limited")
	}
	if s.http.Handler == nil {
		t.Error("a nil handler serves http.DefaultServeMux")
	}
}

func TestListenSaysWhatToDo(t *testing.T) {
	d := serve(t, plain, configs.Gateway{}, ok)
	second, err := New(Options{Addr: d.Addr().String(), Routes: []Route{{Path: "/", Name: "n", Handler: http.HandlerFunc(ok)}}, Logger: d.log})
	if err != nil {
		t.Fatal(err)
	}
	if err := second.Run(t.Context()); err == nil || !strings.Contains(err.Error(), "http.addr") {
		t.Errorf("error %v", err)
	}
	if second.Addr() != nil {
		t.Error("address without a listener")
	}
}

func TestHeaderTooLarge(t *testing.T) {
	for _, p := range []protocol{plain, h1} {
		d := serve(t, p, configs.Gateway{}, ok)
		r := d.request("GET", "/v2/", nil)
		r.Header.Set("Authorization", "Bearer "+strings.Repeat("x", 60<<10))
		if resp, _ := d.do(d.client(p), r); resp.StatusCode != 200 {
			t.Errorf("%s: a header of 60 KiB: %d", p, resp.StatusCode)
		}
		r = d.request("GET", "/v2/", nil)
		r.Header.Set("Authorization", "Bearer "+strings.Repeat("x", 80<<10))
		if resp, _ := d.do(d.client(p), r); resp.StatusCode != http.StatusRequestHeaderFieldsTooLarge {
			t.Errorf("%s: a header of 80 KiB: %d", p, resp.StatusCode)
		}
	}
}

// ended reads a connection to its end and reports whether the server ended it.
func ended(c net.Conn) bool {
	_, err := io.Copy(io.Discard, c)
	return !errors.Is(err, os.ErrDeadlineExceeded)
}

func TestSlowHeaderIsCut(t *testing.T) {
	for _, p := range []protocol{plain, h1} {
		d := serve(t, p, configs.Gateway{HeaderTimeout: 300 * time.Millisecond}, ok)
		for _, sent := range []string{"", "GET /v2/ HT", "GET /v2/ HTTP/1.1\r\nHost: a\r\nX-Slow: "} {
			c := d.dial("http/1.1")
			_, _ = io.WriteString(c, sent)
			if !ended(c) {
				t.Errorf("%s: connection that sent %q is still open", p, sent)
			}
		}
	}
}

func TestStalledHandshakeIsCut(t *testing.T) {
	d := build(t, h1, http.HandlerFunc(ok), func(o *Options) {
		// The header timeout does not stretch the handshake.
		o.Limits.HeaderTimeout = time.Hour
		o.TLS.NextProtos = []string{"acme-tls/1"}
	})
	if d.handshake != maxHandshake {
		t.Errorf("handshake may take %s", d.handshake)
	}
	d.handshake = 500 * time.Millisecond
	d.start()
	for _, hello := range []string{"", "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"} {
		c, err := net.Dial("tcp", d.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		_ = c.SetDeadline(time.Now().Add(patience))
		_, _ = io.WriteString(c, hello)
		if !ended(c) {
			t.Errorf("connection that sent %q is still open", hello)
		}
	}
	// An ACME validator's handshake ends the connection by itself.
	if c := d.dial("acme-tls/1"); !ended(c) {
		t.Error("connection of an ACME validation is still open")
	}
}

// A deadline that the handshake's cap replaced must not survive the handshake.
func TestHandshakeCapEnds(t *testing.T) {
	client, server := net.Pipe()
	defer client.Close()
	c := &handshakeConn{Conn: server, until: time.Now().Add(-time.Second)}
	_ = c.SetReadDeadline(time.Now().Add(time.Hour))
	if _, err := c.Read(make([]byte, 1)); err == nil {
		t.Error("read beyond the cap")
	}
	_ = c.SetReadDeadline(time.Time{})
	_ = c.SetReadDeadline(time.Now().Add(time.Hour))
	go func() { _, _ = client.Write([]byte("x")) }()
	if _, err := c.Read(make([]byte, 1)); err != nil {
		t.Errorf("read after the handshake: %v", err)
	}
}

func TestHandshakeNoiseIsDebug(t *testing.T) {
	d := open(t, h1, http.HandlerFunc(ok), nil)
	c, err := net.Dial("tcp", d.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	_, _ = io.WriteString(c, "GET / HTTP/1.1\r\n\r\n")
	_, _ = io.Copy(io.Discard, c)
	_ = c.Close()
	wait(t, "the line", func() bool { return len(d.logs.with("http server")) == 1 })
	if line := d.logs.with("http server")[0]; line["level"] != "DEBUG" {
		t.Errorf("%v", line)
	}
	if _, err := (errorLog{d.log}).Write([]byte("http: Accept error: too many open files; retrying in 5ms\n")); err != nil {
		t.Error(err)
	}
	if lines := d.logs.with("http server"); lines[1]["level"] != "WARN" {
		t.Errorf("%v", lines[1])
	}
}

// Pins that net/http accepts and announces the windows, although its documentation calls 4 MiB the largest.
func TestHTTP2Settings(t *testing.T) {
	d := open(t, h2, http.HandlerFunc(ok), nil)
	c := d.dial("h2")
	if _, err := io.WriteString(c, http2.ClientPreface); err != nil {
		t.Fatal(err)
	}
	f := http2.NewFramer(c, c)
	if err := f.WriteSettings(); err != nil {
		t.Fatal(err)
	}
	var stream, streams, conn uint32
	for stream == 0 || conn == 0 {
		frame, err := f.ReadFrame()
		if err != nil {
			t.Fatal(err)
		}
		switch frame := frame.(type) {
		case *http2.SettingsFrame:
			if !frame.IsAck() {
				stream, _ = frame.Value(http2.SettingInitialWindowSize)
				streams, _ = frame.Value(http2.SettingMaxConcurrentStreams)
			}
		case *http2.WindowUpdateFrame:
			conn = frame.Increment + 65535
		}
	}
	if stream <= 1<<20 || stream != streamWindow || conn != connWindow || streams != maxStreams {
		t.Errorf("windows %d a stream, %d a connection; %d streams", stream, conn, streams)
	}
	if got := d.http.HTTP2; got.SendPingTimeout == 0 || got.WriteByteTimeout == 0 {
		t.Errorf("%+v", got)
	}
}
