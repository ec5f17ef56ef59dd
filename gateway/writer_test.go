package gateway

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/http2"

	"golang.org/x/net/http2/hpack"

	"gatehouse/configs"
)

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
				w.(http.Flusher).Flush()
				if _, err := w.Write(make([]byte, 1000)); err != nil {
					sent <- errors.Join(err, control.Flush())
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

// The same on HTTP/2, where a client that opens no window holds a stream with a single byte.
func TestClosedWindowAfterHandler(t *testing.T) {
	d := serve(t, h2, brisk, ok)
	c := d.dial("h2")
	if _, err := io.WriteString(c, http2.ClientPreface); err != nil {
		t.Fatal(err)
	}
	f := http2.NewFramer(c, c)
	if err := f.WriteSettings(http2.Setting{ID: http2.SettingInitialWindowSize, Val: 0}); err != nil {
		t.Fatal(err)
	}
	var block bytes.Buffer
	enc := hpack.NewEncoder(&block)
	for _, h := range []hpack.HeaderField{{Name: ":method", Value: "GET"}, {Name: ":scheme", Value: "https"}, {Name: ":authority", Value: "a"}, {Name: ":path", Value: "/v2/"}} {
		if err := enc.WriteField(h); err != nil {
			t.Fatal(err)
		}
	}
	if err := f.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: block.Bytes(), EndHeaders: true, EndStream: true}); err != nil {
		t.Fatal(err)
	}
	for {
		frame, err := f.ReadFrame()
		if err != nil {
			t.Fatal(err)
		}
		if reset, ok := frame.(*http2.RSTStreamFrame); ok && reset.StreamID == 1 {
			return
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
