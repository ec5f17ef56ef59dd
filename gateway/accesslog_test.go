package gateway

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"testing"

	"gatehouse/configs"
)

func TestAccessLog(t *testing.T) {
	for _, p := range []protocol{plain, h1, h2} {
		d := serve(t, p, configs.Gateway{}, func(w http.ResponseWriter, r *http.Request) {
			SetAccount(r.Context(), "somebody else")
			SetAccount(r.Context(), "alice")
			n, _ := io.Copy(io.Discard, r.Body)
			w.Header().Set("X-Request", RequestID(r.Context()))
			w.Header().Set("X-Peer", Peer(r.Context()).String())
			w.WriteHeader(202)
			w.WriteHeader(500) // too late
			_, _ = fmt.Fprint(w, n)
		})
		c := d.client(p)
		r := d.request("PATCH", "/v2/team/app/blobs/uploads/17?_state=CANARY1", strings.NewReader("12345"))
		r.Header.Set("Authorization", "Bearer CANARY2")
		r.Header.Set("Cookie", "CANARY3")
		r.Header.Set("User-Agent", strings.Repeat("é", 1000))
		r.Header.Set("X-Forwarded-For", "192.0.2.1") // what a client says is not where it is
		resp, _ := d.do(c, r)
		if peer := resp.Header.Get("X-Peer"); peer != "127.0.0.1" {
			t.Errorf("%s: the peer is %s", p, peer)
		}
		d.do(c, d.request("GET", "/v2/"+strings.Repeat("x", 5000), nil))
		lines := d.access(2)
		line := lines[0]
		proto := map[protocol]string{plain: "HTTP/1.1", h1: "HTTP/1.1", h2: "HTTP/2.0"}[p]
		for key, want := range map[string]any{
			"level": "INFO", "method": "PATCH", "path": "/v2/team/app/blobs/uploads/17", "status": 202.0, "in": 5.0, "out": 1.0,
			"proto": proto, "account": "alice", "request": resp.Header.Get("X-Request"),
		} {
			if line[key] != want {
				t.Errorf("%s: %s = %v, want %v", p, key, line[key], want)
			}
		}
		if agent := line["agent"].(string); len(agent) > maxUserAgent+len("…") || !strings.HasPrefix(agent, "éé") {
			t.Errorf("%s: agent %q", p, agent)
		}
		if line["duration"].(float64) <= 0 || !strings.HasPrefix(line["remote"].(string), "127.0.0.1:") || line["request"] == "" {
			t.Errorf("%s: %v", p, line)
		}
		if _, has := line["err"]; has {
			t.Errorf("%s: %v", p, line)
		}
		if lines[1]["request"] == line["request"] {
			t.Errorf("%s: two requests have one id", p)
		}
		if len(lines[1]["path"].(string)) > maxPath+len("…") {
			t.Errorf("%s: path is not bounded", p)
		}
		if strings.Contains(d.logs.String(), "CANARY") {
			t.Errorf("%s: secret in %s", p, d.logs)
		}
	}
}

// A name in the log is one attribute, whatever it is made of.
func TestAccessLogIsNotForged(t *testing.T) {
	d := serve(t, plain, configs.Gateway{}, func(w http.ResponseWriter, r *http.Request) {
		SetAccount(r.Context(), "eve\n{\"msg\":\"request\",\"status\":200}")
	})
	d.do(d.client(plain), d.request("GET", "/v2/%22%20status=200", nil))
	if lines := d.access(1); len(lines) != 1 || !strings.HasPrefix(lines[0]["account"].(string), "eve\n") {
		t.Errorf("%v", lines)
	}
}

func TestSetAccountOutsideOfARequest(t *testing.T) {
	SetAccount(context.Background(), "alice")
	if id := RequestID(context.Background()); id != "" {
		t.Errorf("id %q", id)
	}
	if peer := Peer(context.Background()); peer.IsValid() {
		t.Errorf("peer %s", peer)
	}
}

func TestClientGone(t *testing.T) {
	started := make(chan struct{}, 1)
	for name, h := range map[string]http.HandlerFunc{
		"while the handler thinks": func(w http.ResponseWriter, r *http.Request) {
			started <- struct{}{}
			gone(r.Context())
		},
		"while the handler thinks, and answers": func(w http.ResponseWriter, r *http.Request) {
			started <- struct{}{}
			gone(r.Context())
			w.WriteHeader(500)
		},
		"while it sends": func(w http.ResponseWriter, r *http.Request) {
			_, _ = io.ReadFull(r.Body, make([]byte, 1))
			started <- struct{}{}
			_, err := io.Copy(io.Discard, r.Body)
			if err == nil || errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("read %v", err)
			}
			http.Error(w, "bad upload", 400)
		},
		"while it reads": func(w http.ResponseWriter, r *http.Request) {
			w.WriteHeader(200)
			_ = http.NewResponseController(w).Flush()
			started <- struct{}{}
			for {
				if _, err := w.Write(make([]byte, 1<<20)); err != nil {
					panic(http.ErrAbortHandler)
				}
			}
		},
	} {
		for _, p := range []protocol{plain, h1, h2} {
			t.Run(string(p)+"/"+name, func(t *testing.T) {
				d := serve(t, p, configs.Gateway{}, h)
				ctx, cancel := context.WithCancel(t.Context())
				defer cancel()
				client := d.client(p)
				var body io.Reader
				part := newStalling(t, "a part")
				if strings.HasSuffix(name, "sends") {
					body = part
				}
				r := d.request("PUT", "/v2/", body).WithContext(ctx)
				left := make(chan struct{})
				go func() {
					defer close(left)
					resp, err := client.Do(r)
					if err == nil {
						<-ctx.Done()
						_ = resp.Body.Close()
					}
				}()
				receive(t, "request", started)
				cancel()
				_ = part.Close()
				receive(t, "client", left)
				if line := d.access(1)[0]; line["status"] != 499.0 || line["err"] != "client went away" {
					t.Errorf("log %v", line)
				}
			})
		}
	}
}

// The connection breaks instead of being closed.
func TestConnectionBreaks(t *testing.T) {
	for _, p := range []protocol{plain, h1, h2} {
		started := make(chan struct{})
		d := serve(t, p, configs.Gateway{}, func(w http.ResponseWriter, r *http.Request) {
			_, _ = io.ReadFull(r.Body, make([]byte, 1))
			close(started)
			_, _ = io.Copy(io.Discard, r.Body)
			w.WriteHeader(400)
		})
		client := d.client(p)
		conns := make(chan net.Conn, 1)
		transport := client.Transport.(*http.Transport)
		transport.DialContext = func(ctx context.Context, network, addr string) (net.Conn, error) {
			c, err := new(net.Dialer).DialContext(ctx, network, addr)
			if err == nil {
				conns <- c
			}
			return c, err
		}
		failed := make(chan error, 1)
		part := newStalling(t, "a part")
		go func() {
			_, err := client.Do(d.request("PUT", "/v2/", part))
			failed <- err
		}()
		receive(t, "request", started)
		drop(receive(t, "connection", conns))
		_ = part.Close()
		if err := receive(t, "client", failed); err == nil {
			t.Errorf("%s: an answer over a broken connection", p)
		}
		if line := d.access(1)[0]; line["status"] != 499.0 {
			t.Errorf("%s: log %v", p, line)
		}
	}
}

// Nonsense in a body is the client's fault, but it has not left.
func TestMalformedBodyIsNot499(t *testing.T) {
	d := serve(t, plain, configs.Gateway{}, func(w http.ResponseWriter, r *http.Request) {
		_, err := io.Copy(io.Discard, r.Body)
		if err == nil {
			t.Error("nonsense is accepted")
		}
		w.WriteHeader(400)
	})
	if status, _, _ := raw(t, d, "PUT /v2/ HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n"); status != 400 {
		t.Errorf("%d", status)
	}
	if line := d.access(1)[0]; line["status"] != 400.0 {
		t.Errorf("log %v", line)
	}
}

func TestHeadCountsNoBytes(t *testing.T) {
	for _, p := range []protocol{plain, h1, h2} {
		d := serve(t, p, configs.Gateway{}, func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Length", "5")
			_, _ = io.Copy(w, strings.NewReader("12345"))
		})
		if resp, body := d.do(d.client(p), d.request("HEAD", "/v2/", nil)); resp.ContentLength != 5 || body != "" {
			t.Errorf("%s: %d %q", p, resp.ContentLength, body)
		}
		if line := d.access(1)[0]; line["out"] != 0.0 || line["status"] != 200.0 {
			t.Errorf("%s: log %v", p, line)
		}
	}
}

func TestInformationalStatusIsNotTheAnswer(t *testing.T) {
	for _, p := range []protocol{plain, h1, h2} {
		d := serve(t, p, configs.Gateway{}, func(w http.ResponseWriter, r *http.Request) {
			w.WriteHeader(http.StatusEarlyHints)
			w.WriteHeader(404)
		})
		if resp, _ := d.do(d.client(p), d.request("GET", "/v2/", nil)); resp.StatusCode != 404 {
			t.Errorf("%s: %d", p, resp.StatusCode)
		}
		if line := d.access(1)[0]; line["status"] != 404.0 {
			t.Errorf("%s: log %v", p, line)
		}
	}
}

func TestAccessLogOff(t *testing.T) {
	for name, change := range map[string]func(*Options){
		"by setting": func(o *Options) { o.AccessLog = false },
		"by level": func(o *Options) {
			o.Logger = slog.New(levelHandler{o.Logger.Handler(), slog.LevelWarn})
		},
	} {
		done := make(chan struct{})
		d := open(t, plain, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { ok(w, r); close(done) }), change)
		d.do(d.client(plain), d.request("GET", "/v2/", nil))
		receive(t, "handler", done)
		if err := d.stop(); err != nil {
			t.Error(err)
		}
		if lines := d.logs.with("request"); len(lines) != 0 {
			t.Errorf("%s: %v", name, lines)
		}
	}
}

// levelHandler drops what is below a level.
type levelHandler struct {
	slog.Handler
	level slog.Level
}

func (h levelHandler) Enabled(_ context.Context, l slog.Level) bool { return l >= h.level }

func TestPanic(t *testing.T) {
	for _, p := range []protocol{plain, h1, h2} {
		t.Run(string(p), func(t *testing.T) {
			var h http.HandlerFunc
			d := serve(t, p, configs.Gateway{}, func(w http.ResponseWriter, r *http.Request) { h(w, r) })
			c := d.client(p)

			h = func(w http.ResponseWriter, r *http.Request) {
				w.Header().Set("Docker-Content-Digest", "sha256:1")
				panic(errors.New("boom"))
			}
			resp, body := d.do(c, d.request("PUT", "/v2/x", strings.NewReader("body")))
			if resp.StatusCode != 500 || ociCode(t, resp, body) != codeUnknown || strings.Contains(body, "boom") {
				t.Errorf("%d %s", resp.StatusCode, body)
			}
			if resp.Header.Get("Docker-Content-Digest") != "" || resp.Header.Get(versionHeader) != version {
				t.Errorf("header %v", resp.Header)
			}
			line := d.logs.with("handler panicked")[0]
			if line["level"] != "ERROR" || line["err"] != "boom" || !strings.Contains(line["stack"].(string), "TestPanic") || line["request"] != d.access(1)[0]["request"] {
				t.Errorf("%v", line)
			}
			if line := d.access(1)[0]; line["status"] != 500.0 {
				t.Errorf("%v", line)
			}

			// Once the answer has begun, the client must not take what it got for the whole.
			h = func(w http.ResponseWriter, r *http.Request) {
				_, _ = w.Write(make([]byte, 100<<10))
				panic("boom")
			}
			resp, err := c.Do(d.request("GET", "/v2/", nil))
			if err != nil {
				t.Fatal(err)
			}
			if n, err := io.Copy(io.Discard, resp.Body); err == nil {
				t.Errorf("client is content with %d bytes", n)
			}
			_ = resp.Body.Close()
			if line := d.access(2)[1]; line["status"] != 200.0 || line["err"] != "aborted" {
				t.Errorf("%v", line)
			}
			if n := len(d.logs.with("handler panicked")); n != 2 {
				t.Errorf("%d panics logged", n)
			}

			h = func(w http.ResponseWriter, r *http.Request) { panic(http.ErrAbortHandler) }
			if resp, err := c.Do(d.request("PUT", "/v2/", strings.NewReader("not repeated"))); err == nil {
				t.Errorf("answer %d", resp.StatusCode)
			}
			lines := d.access(3)
			if line := lines[2]; line["status"] != 500.0 || line["err"] != "aborted" {
				t.Errorf("%v", line)
			}
			if n := len(d.logs.with("handler panicked")); n != 2 {
				t.Errorf("an abort is logged as a panic")
			}

			h = ok
			if resp, _ := d.do(c, d.request("GET", "/v2/", nil)); resp.StatusCode != 200 {
				t.Errorf("afterwards: %d", resp.StatusCode)
			}
			wait(t, "no request in flight", func() bool { return d.active.Load() == 0 })
		})
	}
}
