package gateway

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"os"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/iotest"
	"time"

	"gatehouse/configs"
)

// brisk is limits for tests in which a client stalls, calm for those in which it must not be thought to, on a busy machine
// either.
var (
	brisk = configs.Gateway{BodyIdleTimeout: 100 * time.Millisecond}
	calm  = configs.Gateway{BodyIdleTimeout: 400 * time.Millisecond}
)

// busy is what a handler does for longer than the calm idle time.
func busy() { <-time.After(calm.BodyIdleTimeout + 50*time.Millisecond) }

// stalling is a request body that gives some bytes and then nothing until it is closed.
type stalling struct {
	given  io.Reader
	closed chan struct{}
	once   sync.Once
}

func newStalling(t *testing.T, given string) *stalling {
	s := &stalling{given: strings.NewReader(given), closed: make(chan struct{})}
	t.Cleanup(func() { _ = s.Close() }) // net/http's client leaves a body alone that it waits for
	return s
}

func (s *stalling) Read(p []byte) (int, error) {
	if n, err := s.given.Read(p); err == nil {
		return n, nil
	}
	<-s.closed
	return 0, io.ErrUnexpectedEOF
}

func (s *stalling) Close() error {
	s.once.Do(func() { close(s.closed) })
	return nil
}

func TestStalledBody(t *testing.T) {
	read := make(chan error, 1)
	handlers := map[string]http.HandlerFunc{
		"handler says nothing": func(w http.ResponseWriter, r *http.Request) {
			_, err := io.Copy(io.Discard, r.Body)
			read <- err
		},
		"handler says 500": func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Location", "/nowhere")
			_, err := io.Copy(io.Discard, r.Body)
			read <- err
			w.WriteHeader(500)
			_, _ = io.WriteString(w, "what happened?")
		},
		"handler reads again": func(w http.ResponseWriter, r *http.Request) {
			_, err := io.Copy(io.Discard, r.Body)
			if _, again := r.Body.Read(make([]byte, 1)); again == nil || again == io.EOF {
				err = fmt.Errorf("second read: %v", again)
			}
			_ = r.Body.Close()
			read <- err
		},
	}
	for _, p := range []protocol{plain, h1, h2} {
		for name, h := range handlers {
			for _, length := range []int64{-1, 100} {
				t.Run(fmt.Sprintf("%s/%s/length %d", p, name, length), func(t *testing.T) {
					d := serve(t, p, brisk, h)
					r := d.request("PATCH", "/v2/a/blobs/uploads/1", newStalling(t, "a part"))
					r.ContentLength = length
					resp, body := d.do(d.client(p), r)
					if resp.StatusCode != http.StatusRequestTimeout || ociCode(t, resp, body) != codeTimeout {
						t.Errorf("%d %s", resp.StatusCode, body)
					}
					if resp.Header.Get("Location") != "" || resp.Header.Get(versionHeader) != version {
						t.Errorf("header %v", resp.Header)
					}
					if p != h2 && !resp.Close {
						t.Error("what remains of the body would be taken for a request")
					}
					if err := receive(t, "the handler's read", read); !errors.Is(err, os.ErrDeadlineExceeded) {
						t.Errorf("handler read: %v", err)
					}
					line := d.access(1)[0]
					if line["status"] != 408.0 || line["in"] != 6.0 || line["err"] != "client stopped sending" {
						t.Errorf("log %v", line)
					}
				})
			}
		}
	}
}

// What has been said stays said.
func TestStalledBodyAfterAnswer(t *testing.T) {
	d := serve(t, h2, brisk, func(w http.ResponseWriter, r *http.Request) {
		w.WriteHeader(202)
		_ = http.NewResponseController(w).Flush()
		_, _ = io.Copy(io.Discard, r.Body)
	})
	if resp, _ := d.do(d.client(h2), d.request("PUT", "/v2/", newStalling(t, "a part"))); resp.StatusCode != 202 {
		t.Errorf("%d", resp.StatusCode)
	}
}

// ticking is a request body that gives a byte at each tick until it is over.
type ticking struct {
	tick *time.Ticker
	left int
}

func (b *ticking) Read(p []byte) (int, error) {
	if b.left == 0 {
		return 0, io.EOF
	}
	<-b.tick.C
	b.left--
	p[0] = 'x'
	return 1, nil
}

func TestSlowBodyGoesOn(t *testing.T) {
	for _, p := range []protocol{plain, h1, h2} {
		t.Run(string(p), func(t *testing.T) {
			t.Parallel()
			d := serve(t, p, configs.Gateway{BodyIdleTimeout: 700 * time.Millisecond}, func(w http.ResponseWriter, r *http.Request) {
				n, err := io.Copy(io.Discard, r.Body)
				_, _ = fmt.Fprint(w, n, err)
			})
			tick := time.NewTicker(10 * time.Millisecond)
			defer tick.Stop()
			resp, body := d.do(d.client(p), d.request("PATCH", "/v2/", &ticking{tick, 140}))
			if resp.StatusCode != 200 || body != "140 <nil>" {
				t.Errorf("%d %s", resp.StatusCode, body)
			}
		})
	}
}

// A handler may be busy for longer than the idle time between two reads and two writes: an fsync is not the client's fault.
func TestBusyHandlerLosesNothing(t *testing.T) {
	for _, p := range []protocol{plain, h1, h2} {
		t.Run(string(p), func(t *testing.T) {
			t.Parallel()
			d := serve(t, p, calm, func(w http.ResponseWriter, r *http.Request) {
				buf := make([]byte, 3)
				_, err := io.ReadFull(r.Body, buf)
				busy()
				rest, err2 := io.ReadAll(r.Body)
				busy()
				_, _ = io.WriteString(w, string(buf)+string(rest))
				_ = http.NewResponseController(w).Flush()
				busy()
				_, _ = fmt.Fprint(w, err, err2, r.Context().Err())
			})
			r := d.request("PUT", "/v2/", strings.NewReader("abcdef"))
			if resp, body := d.do(d.client(p), r); resp.StatusCode != 200 || body != "abcdef<nil> <nil> <nil>" {
				t.Errorf("%d %s", resp.StatusCode, body)
			}
		})
	}
}

// The same where net/http reads the body that the handler leaves, and then watches for the client in the background.
func TestUnreadBodyAndBusyHandler(t *testing.T) {
	d := serve(t, h1, calm, func(w http.ResponseWriter, r *http.Request) {
		_, _ = w.Write(make([]byte, 64<<10))
		for range 3 {
			busy()
			_, _ = w.Write(make([]byte, 64<<10))
		}
		_, _ = fmt.Fprint(w, r.Context().Err())
	})
	_, body := d.do(d.client(h1), d.request("POST", "/v2/", strings.NewReader("small")))
	if !strings.HasSuffix(body, "\x00<nil>") || len(body) != 4*64<<10+5 {
		t.Errorf("%d bytes", len(body))
	}
}

// A handler may write a little before it reads: the deadline for net/http's own reading does not stay.
func TestWriteBeforeRead(t *testing.T) {
	for _, p := range []protocol{plain, h1, h2} {
		d := serve(t, p, calm, func(w http.ResponseWriter, r *http.Request) {
			_, _ = io.WriteString(w, "read ")
			busy()
			n, err := io.Copy(io.Discard, r.Body)
			_, _ = fmt.Fprint(w, n, err)
		})
		if _, body := d.do(d.client(p), d.request("PUT", "/v2/", strings.NewReader(strings.Repeat("x", 1<<20)))); body != "read 1048576 <nil>" {
			t.Errorf("%s: %q", p, body)
		}
	}
}

// Once the body has been read, net/http watches for the client in the background, and a deadline would end that.
func TestNoReadDeadlineAfterBody(t *testing.T) {
	for _, p := range []protocol{plain, h1} {
		spy := &deadlines{}
		d := serve(t, p, configs.Gateway{}, func(w http.ResponseWriter, r *http.Request) {
			x := w.(*exchange)
			spy.ResponseWriter, x.w = x.w, spy
			_, _ = io.Copy(io.Discard, r.Body)
			_, _ = io.Copy(w, strings.NewReader(strings.Repeat("x", 1<<20)))
		})
		d.do(d.client(p), d.request("PUT", "/v2/", strings.NewReader("small")))
		d.access(1)
		wait(t, "end of the request", func() bool { return d.active.Load() == 0 })
		if spy.reads != 0 || spy.writes != 1 {
			t.Errorf("%s: %d deadlines for reading, %d for writing", p, spy.reads, spy.writes)
		}
	}
}

// deadlines counts the deadlines that are set.
type deadlines struct {
	http.ResponseWriter
	reads, writes int
}

func (d *deadlines) SetReadDeadline(t time.Time) error {
	d.reads++
	return http.NewResponseController(d.ResponseWriter).SetReadDeadline(t)
}

func (d *deadlines) SetWriteDeadline(t time.Time) error {
	d.writes++
	return http.NewResponseController(d.ResponseWriter).SetWriteDeadline(t)
}

// While net/http sends the first bytes and the client takes its time, the background's read is left alone.
func TestUnreadBodyAndSlowReader(t *testing.T) {
	limits := configs.Gateway{BodyIdleTimeout: 2 * time.Second} // net/http may read on for half of it
	for _, p := range []protocol{plain, h1} {
		t.Run(string(p), func(t *testing.T) {
			t.Parallel()
			const size = 32 << 20
			sent := make(chan error, 1)
			d := serve(t, p, limits, func(w http.ResponseWriter, r *http.Request) {
				w.Header().Set("Content-Length", fmt.Sprint(size))
				_, err := w.Write(make([]byte, size))
				if err == nil {
					err = r.Context().Err()
				}
				sent <- err
			})
			resp, err := d.client(p).Do(d.request("POST", "/v2/", strings.NewReader("small")))
			if err != nil {
				t.Fatal(err)
			}
			defer resp.Body.Close()
			<-time.After(limits.BodyIdleTimeout * 5 / 8)
			if n, err := io.Copy(io.Discard, resp.Body); n != size || err != nil {
				t.Errorf("%d bytes: %v", n, err)
			}
			if err := receive(t, "handler", sent); err != nil {
				t.Error(err)
			}
		})
	}
}

// A stall is the stream's affair on HTTP/2, and the connection goes on.
func TestStalledBodyKeepsConnection(t *testing.T) {
	d := serve(t, h2, brisk, func(w http.ResponseWriter, r *http.Request) { _, _ = io.Copy(io.Discard, r.Body) })
	c := d.client(h2)
	if resp, _ := d.do(c, d.request("PUT", "/v2/", newStalling(t, "a part"))); resp.StatusCode != 408 {
		t.Errorf("%d", resp.StatusCode)
	}
	reused := false
	trace := &httptrace.ClientTrace{GotConn: func(i httptrace.GotConnInfo) { reused = i.Reused }}
	r := d.request("GET", "/v2/", nil)
	if resp, _ := d.do(c, r.WithContext(httptrace.WithClientTrace(t.Context(), trace))); resp.StatusCode != 200 || !reused {
		t.Errorf("%d, connection reused: %t", resp.StatusCode, reused)
	}
}

// A client that sends a part of a body nobody wants, then waits, gets its answer and is sent away: net/http's own reading
// on, before the answer and after the handler, has a deadline.
func TestUnwantedBodyDoesNotHold(t *testing.T) {
	for _, p := range []protocol{plain, h1} {
		for name, h := range map[string]http.HandlerFunc{
			"small answer": func(w http.ResponseWriter, r *http.Request) {
				w.WriteHeader(401)
				_, _ = io.WriteString(w, "no")
			},
			"large answer": func(w http.ResponseWriter, r *http.Request) {
				w.Header().Set("Content-Length", "131072")
				w.WriteHeader(401)
				_, _ = w.Write(make([]byte, 128<<10))
			},
			"panic": func(w http.ResponseWriter, r *http.Request) {
				w.WriteHeader(401)
				panic(http.ErrAbortHandler)
			},
			"closed by the handler": func(w http.ResponseWriter, r *http.Request) {
				_ = r.Body.Close()
				w.WriteHeader(401)
			},
		} {
			t.Run(string(p)+"/"+name, func(t *testing.T) {
				d := serve(t, p, brisk, h)
				c := d.dial("http/1.1")
				_, _ = io.WriteString(c, "PUT /v2/ HTTP/1.1\r\nHost: a\r\nContent-Length: 1000\r\n\r\na part")
				answer, err := io.ReadAll(c)
				if errors.Is(err, os.ErrDeadlineExceeded) {
					t.Fatal("connection is still open")
				}
				want := "HTTP/1.1 401 "
				switch name {
				case "panic":
					want = ""
				case "closed by the handler": // that is a read which stalled
					want = "HTTP/1.1 408 "
				}
				if got := string(answer[:min(len(answer), len(want))]); got != want {
					t.Errorf("answer %q", got)
				}
			})
		}
	}
}

func TestRefusedUploadSendsNoBody(t *testing.T) {
	for _, p := range []protocol{plain, h1} {
		d := serve(t, p, configs.Gateway{}, func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(401) })
		sent := newStalling(t, "")
		r := d.request("PUT", "/v2/", sent)
		r.Header.Set("Expect", "100-continue")
		r.ContentLength = 1 << 30
		if resp, _ := d.do(d.client(p), r); resp.StatusCode != 401 {
			t.Errorf("%d", resp.StatusCode)
		}
		if line := d.access(1)[0]; line["in"] != 0.0 || line["status"] != 401.0 {
			t.Errorf("log %v", line)
		}
	}
}

func TestStalledBodyWithExpect(t *testing.T) {
	for _, p := range []protocol{plain, h1} {
		d := serve(t, p, brisk, func(w http.ResponseWriter, r *http.Request) { _, _ = io.Copy(io.Discard, r.Body) })
		c := d.dial("http/1.1")
		_, _ = io.WriteString(c, "PUT /v2/ HTTP/1.1\r\nHost: a\r\nContent-Length: 1000\r\nExpect: 100-continue\r\n\r\n")
		answer, err := io.ReadAll(c)
		if err != nil || !strings.HasPrefix(string(answer), "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 408 ") {
			t.Errorf("%s: %v %q", p, err, answer)
		}
	}
}

// On HTTP/2 the body's error can come sooner than the end of the context.
func TestDisconnectedBeforeContext(t *testing.T) {
	for err, want := range map[error]bool{
		io.ErrUnexpectedEOF:                                true,
		errors.New("client disconnected"):                  true,
		&net.OpError{Op: "read", Err: syscall.ECONNRESET}:  true,
		fmt.Errorf("wrapped: %w", net.ErrClosed):           true,
		errors.New("malformed chunked encoding"):           false,
		io.EOF:                                             false,
		fmt.Errorf("too late: %w", os.ErrDeadlineExceeded): false,
		&http.MaxBytesError{Limit: 1}:                      false,
	} {
		x := &exchange{server: &Server{limit: calm}, r: &http.Request{}}
		x.reads = guard{x: x, stall: errStalledBody}
		x.body = body{x: x, from: io.NopCloser(iotest.ErrReader(err))}
		if _, got := x.body.Read(make([]byte, 1)); got != err || x.gone.Load() != want {
			t.Errorf("%v: read says %v, client gone: %t", err, got, x.gone.Load())
		}
	}
}

// A handler's own deadline stays as it is.
func TestHandlerDeadlineIsKept(t *testing.T) {
	for _, p := range []protocol{plain, h1, h2} {
		read := make(chan error, 1)
		d := serve(t, p, configs.Gateway{}, func(w http.ResponseWriter, r *http.Request) {
			_ = http.NewResponseController(w).SetReadDeadline(time.Now().Add(20 * time.Millisecond))
			_, err := io.Copy(io.Discard, r.Body)
			read <- err
			w.WriteHeader(400)
		})
		resp, _ := d.do(d.client(p), d.request("PUT", "/v2/", newStalling(t, "a part")))
		if err := receive(t, "read", read); !errors.Is(err, os.ErrDeadlineExceeded) || resp.StatusCode != 400 {
			t.Errorf("%s: %d %v", p, resp.StatusCode, err)
		}
		if line := d.access(1)[0]; line["status"] != 400.0 {
			t.Errorf("%s: log %v", p, line)
		}
	}
}

// A body that somebody still reads after the handler has returned must not reach the connection's next request.
func TestBodyAfterHandler(t *testing.T) {
	kept := make(chan io.ReadCloser, 1)
	d := serve(t, h1, configs.Gateway{}, func(w http.ResponseWriter, r *http.Request) { kept <- r.Body })
	d.do(d.client(h1), d.request("PUT", "/v2/", strings.NewReader("abc")))
	body := <-kept
	if n, err := body.Read(make([]byte, 1)); n != 0 || err != errFinished {
		t.Errorf("%d %v", n, err)
	}
	if err := body.Close(); err != nil {
		t.Error(err)
	}
}
