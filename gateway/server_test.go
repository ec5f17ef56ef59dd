package gateway

import (
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/http2"

	"gatehouse/configs"
)

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
