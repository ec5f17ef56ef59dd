package gateway

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
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

// A client that reads nothing of a large answer is cut, whichever way the bytes go out.
func TestStalledReader(t *testing.T) {
	file := filepath.Join(t.TempDir(), "blob")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	const size = 1 << 30 // more than any socket buffer
	if err := os.Truncate(file, size); err != nil {
		t.Fatal(err)
	}
	sent := make(chan error, 1)
	for name, h := range map[string]http.HandlerFunc{
		"writes": func(w http.ResponseWriter, r *http.Request) {
			_, err := w.Write(make([]byte, size/8))
			sent <- err
		},
		"file": func(w http.ResponseWriter, r *http.Request) {
			f, err := os.Open(file)
			if err != nil {
				sent <- err
				return
			}
			defer f.Close()
			w.Header().Set("Content-Length", fmt.Sprint(size))
			_, err = io.Copy(w, f)
			sent <- err
		},
		"flushes": func(w http.ResponseWriter, r *http.Request) {
			control := http.NewResponseController(w)
			for {
				_, _ = w.Write(make([]byte, 1000))
				if err := control.Flush(); err != nil {
					sent <- err
					return
				}
			}
		},
	} {
		for _, p := range []protocol{plain, h1, h2} {
			t.Run(string(p)+"/"+name, func(t *testing.T) {
				d := serve(t, p, brisk, h)
				resp, err := d.client(p).Do(d.request("GET", "/v2/a/blobs/sha256:1", nil))
				if err != nil {
					t.Fatal(err)
				}
				defer resp.Body.Close()
				if err := receive(t, "the handler's write", sent); !errors.Is(err, os.ErrDeadlineExceeded) {
					t.Errorf("handler wrote: %v", err)
				}
				if line := d.access(1)[0]; line["err"] != "client stopped reading" || line["status"] != 200.0 || line["out"] == 0.0 {
					t.Errorf("log %v", line)
				}
				if n, err := io.Copy(io.Discard, resp.Body); err == nil {
					t.Errorf("the client takes %d bytes for the whole", n)
				}
			})
		}
	}
}

// The last bytes are flushed by net/http after the handler, without the handler's write deadline.
func TestStalledReaderAfterHandler(t *testing.T) {
	d := serve(t, plain, brisk, func(w http.ResponseWriter, r *http.Request) {
		_, _ = w.Write(make([]byte, 1000)) // stays in net/http's buffer
	})
	c := d.dial()
	// Requests one after the other, answers unread, until both sockets are full and the server stands in its flush.
	line := strings.Repeat("GET / HTTP/1.1\r\nHost: a\r\n\r\n", 1000)
	for {
		_ = c.SetWriteDeadline(time.Now().Add(patience))
		if _, err := io.WriteString(c, line); err != nil {
			if errors.Is(err, os.ErrDeadlineExceeded) {
				t.Fatal("connection is still open")
			}
			return // cut
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

// A file must go out by sendfile over plain HTTP: net hands it to the kernel only as *io.LimitedReader over a file.
func TestFileIsHandedThrough(t *testing.T) {
	const size = 3*largePiece + 17
	file := filepath.Join(t.TempDir(), "blob")
	content := make([]byte, size)
	for i := range content {
		content[i] = byte(i * i >> 8)
	}
	if err := os.WriteFile(file, content, 0o600); err != nil {
		t.Fatal(err)
	}
	for name, copyTo := range map[string]func(w io.Writer, f *os.File) (int64, error){
		"io.Copy":  func(w io.Writer, f *os.File) (int64, error) { return io.Copy(w, f) },
		"io.CopyN": func(w io.Writer, f *os.File) (int64, error) { return io.CopyN(w, f, size) },
		"section": func(w io.Writer, f *os.File) (int64, error) {
			return io.Copy(w, io.NewSectionReader(f, 0, size))
		},
	} {
		for _, p := range []protocol{plain, h1, h2} {
			t.Run(string(p)+"/"+name, func(t *testing.T) {
				var pieces []*io.LimitedReader
				d := serve(t, p, configs.Gateway{}, func(w http.ResponseWriter, r *http.Request) {
					f, err := os.Open(file)
					if err != nil {
						t.Error(err)
						return
					}
					defer f.Close()
					w.Header().Set("Content-Length", fmt.Sprint(size))
					x := w.(*exchange)
					x.w = &spy{ResponseWriter: x.w, pieces: &pieces}
					if n, err := copyTo(w, f); n != size || err != nil {
						t.Errorf("copied %d: %v", n, err)
					}
				})
				_, body := d.do(d.client(p), d.request("GET", "/v2/", nil))
				if body != string(content) {
					t.Error("content differs")
				}
				if handed := p == plain && name != "section"; handed != (len(pieces) > 1) {
					t.Errorf("%d pieces handed to net/http", len(pieces))
				}
				for i, piece := range pieces {
					if !sendable(piece.R) || piece.N > largePiece || i == 0 && piece.N > pieceSize {
						t.Errorf("piece %d: %d bytes of %T", i, piece.N, piece.R)
					}
				}
				if line := d.access(1)[0]; line["out"] != float64(size) {
					t.Errorf("log %v", line)
				}
			})
		}
	}
}

// spy records what net/http's ReadFrom is given.
type spy struct {
	http.ResponseWriter
	pieces *[]*io.LimitedReader
}

func (s *spy) Unwrap() http.ResponseWriter { return s.ResponseWriter }

func (s *spy) ReadFrom(r io.Reader) (int64, error) {
	piece := *r.(*io.LimitedReader)
	*s.pieces = append(*s.pieces, &piece)
	return s.ResponseWriter.(io.ReaderFrom).ReadFrom(r)
}

// A source that is slow is not a client that is slow, and one that fails is not a client that left.
func TestSlowSource(t *testing.T) {
	for _, p := range []protocol{plain, h1, h2} {
		d := serve(t, p, calm, func(w http.ResponseWriter, r *http.Request) {
			tick := time.NewTicker(calm.BodyIdleTimeout + 50*time.Millisecond)
			defer tick.Stop()
			_, err := io.Copy(w, &ticking{tick, 2})
			_, _ = fmt.Fprint(w, err)
			_, err = w.(io.ReaderFrom).ReadFrom(io.MultiReader(strings.NewReader("y"), failing{}))
			_, _ = fmt.Fprint(w, err)
		})
		if _, body := d.do(d.client(p), d.request("GET", "/v2/", nil)); body != "xx<nil>ydisk on fire" {
			t.Errorf("%s: %q", p, body)
		}
		if line := d.access(1)[0]; line["status"] != 200.0 {
			t.Errorf("%s: log %v", p, line)
		}
	}
}

type failing struct{}

func (failing) Read([]byte) (int, error) { return 0, errors.New("disk on fire") }

func TestSpoofableHeadersAreDropped(t *testing.T) {
	seen := make(chan http.Header, 1)
	for _, p := range []protocol{plain, h1, h2} {
		d := serve(t, p, configs.Gateway{}, func(w http.ResponseWriter, r *http.Request) { seen <- r.Header.Clone() })
		r := d.request("GET", "/v2/", nil)
		for _, name := range []string{
			"Forwarded", "X-Forwarded-For", "X-Forwarded-Host", "X-Forwarded-Proto", "X-Forwarded-Port", "X-Forwarded-Prefix",
			"X-Forwarded-Anything", "x-forwarded-for", "X-Real-Ip", "True-Client-Ip", "X_Forwarded_For", "X_Real-Ip",
		} {
			r.Header[name] = []string{"evil.example"}
		}
		r.Header.Set("Authorization", "Bearer t")
		r.Header.Set("X-Meta", "kept")
		d.do(d.client(p), r)
		got := receive(t, "request", seen)
		for name, values := range got {
			if strings.Contains(strings.Join(values, " "), "evil") {
				t.Errorf("%s: %s reaches the handler", p, name)
			}
		}
		if got.Get("Authorization") == "" || got.Get("X-Meta") == "" {
			t.Errorf("%s: too much is dropped: %v", p, got)
		}
	}
}

// The list of hop-by-hop headers must not take others away, and an upgrade is not offered.
func TestUpgradeIsStripped(t *testing.T) {
	d := serve(t, plain, configs.Gateway{}, func(w http.ResponseWriter, r *http.Request) {
		_, _ = fmt.Fprint(w, r.Header.Get("Upgrade"), r.Header.Get("Http2-Settings"), r.Header.Get("X-Meta"))
	})
	c := d.dial()
	_, _ = io.WriteString(c, "GET /v2/ HTTP/1.1\r\nHost: a\r\nConnection: Upgrade, HTTP2-Settings, X-Meta\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\nX-Meta: kept\r\n\r\n")
	resp, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if body, err := io.ReadAll(resp.Body); err != nil || resp.StatusCode != 200 || string(body) != "kept" {
		t.Errorf("%d %q %v", resp.StatusCode, body, err)
	}
}

// The guard's clock, without a network.
func TestGuard(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cuts := 0
		x := &exchange{server: &Server{limit: configs.Gateway{BodyIdleTimeout: time.Minute}}}
		g := &guard{x: x, cut: func(*exchange) { cuts++ }, stall: errStalledBody}
		operation := func(d time.Duration) (begun, ended error) {
			if err := g.begin(0); err != nil {
				return err, nil
			}
			time.Sleep(d)
			synctest.Wait()
			return nil, g.end()
		}
		// Any number of operations, any pause between them, as long as each is in time.
		for range 5 {
			if b, e := operation(time.Minute - 1); b != nil || e != nil {
				t.Fatal(b, e)
			}
			time.Sleep(time.Hour)
		}
		if cuts != 0 {
			t.Fatalf("%d cuts", cuts)
		}
		if b, e := operation(time.Minute); b != nil || e != errStalledBody || cuts != 1 {
			t.Fatal(b, e, cuts)
		}
		if b, _ := operation(0); b != errStalledBody {
			t.Fatal(b)
		}
		if !g.finish() || !g.stalled() {
			t.Fatal("stall forgotten")
		}

		// Extra time is the operation's own.
		g = &guard{x: x, cut: func(*exchange) { cuts++ }, stall: errStalledBody}
		_ = g.begin(time.Hour)
		time.Sleep(time.Hour + time.Minute - 1)
		if err := g.end(); err != nil {
			t.Fatal(err)
		}

		// A timer that comes late finds another operation in flight: its own deadline counts. And none after finish.
		cuts = 0
		g = &guard{x: x, cut: func(*exchange) { cuts++ }, stall: errStalledBody}
		_ = g.begin(0)
		g.fire()
		_ = g.end()
		g.fire()
		_ = g.begin(0)
		if g.finish() {
			t.Fatal("finished is not stalled")
		}
		time.Sleep(time.Hour)
		g.fire()
		synctest.Wait()
		if b, _ := operation(0); b != errFinished || cuts != 0 || g.stalled() {
			t.Fatal(b, cuts)
		}
	})
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

// drop closes a connection without a goodbye.
func drop(c net.Conn) {
	if tcp, ok := c.(*net.TCPConn); ok {
		_ = tcp.SetLinger(0)
	}
	_ = c.Close()
}

// gone waits for the end of a request's context.
func gone(ctx context.Context) { <-ctx.Done() }
