package admin

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"

	"gatehouse/registry/adopt"
	"gatehouse/registry/driver/inmemory"
	"gatehouse/registry/index"
	"gatehouse/registry/index/kv/bolt"
)

func ok(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// logged is a log that tests read.
type logged struct {
	mu   sync.Mutex
	text bytes.Buffer // guarded by mu
}

func (l *logged) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(b)
}

func (l *logged) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

// bench is a server over an index of its own, with all handlers.
type bench struct {
	t        testing.TB
	index    *index.Index
	names    *Names
	readOnly *ReadOnly
	server   *Server
	log      *logged
	*Client  // in process
}

func newBench(t testing.TB) *bench {
	t.Helper()
	db, err := bolt.Open(filepath.Join(t.TempDir(), "index.db"))
	ok(t, err)
	t.Cleanup(func() { db.Close() })
	x, err := index.Open(t.Context(), db, time.Now)
	ok(t, err)
	b := &bench{t: t, index: x, readOnly: NewReadOnly(false), log: &logged{}}
	b.server = NewServer(slog.New(slog.NewTextHandler(b.log, nil)))
	b.names = &Names{Index: x, ReadOnly: b.readOnly.Enabled, Touch: func(context.Context, string, bool) error { return nil }}
	b.names.Register(b.server)
	b.readOnly.Register(b.server, true)
	RegisterAdoption(b.server, x, adopt.New(x, inmemory.New(), time.Now, slog.New(slog.DiscardHandler)), true)
	b.Client = NewClient(InProcess(b.server, "unix:tester"))
	return b
}

// push pushes an image of one layer.
func (b *bench) push(repo, name string, tags ...string) digest.Digest {
	b.t.Helper()
	ctx := b.t.Context()
	layer, m := digest.FromString(name+" layer"), index.Manifest{Digest: digest.FromString(name), MediaType: "m", Size: 100, PushedBy: "alice"}
	ticket, err := b.index.Prepare(ctx, layer)
	ok(b.t, err)
	ok(b.t, b.index.LinkBlob(ctx, ticket, repo, 1000))
	m.Blobs = []digest.Digest{layer}
	ticket, err = b.index.Prepare(ctx, m.Digest)
	ok(b.t, err)
	ok(b.t, b.index.PutManifest(ctx, ticket, repo, m, tags...))
	return m.Digest
}

// lines returns an answer in lines.
func lines[T any](t testing.TB, c *Client, method, path string, in any) (list []T, err error) {
	t.Helper()
	err = StreamOf(t.Context(), c, method, path, in, func(v T) error {
		list = append(list, v)
		return nil
	})
	return list, err
}

// wantStatus wants a refusal.
func wantStatus(t testing.TB, what string, err error, status int) {
	t.Helper()
	var refused *Error
	if !errors.As(err, &refused) || refused.Status != status || refused.Message == "" {
		t.Errorf("%s: %v, want a refusal with %d", what, err, status)
	}
}

// TestHostileRequests: whatever is asked that no verb asks is refused, as JSON, and changes nothing.
func TestHostileRequests(t *testing.T) {
	b := newBench(t)
	b.push("a", "one", "v1")
	long := strings.Repeat("x", maxBody)
	for _, c := range []struct {
		method, path, body string
		status             int
	}{
		{"GET", "/", "", 404},
		{"GET", "/v1/nowhere", "", 404},
		{"DELETE", "/v1/repositories", "", 405},
		{"POST", "/v1/readonly", `{"enabled":true}`, 405},
		{"GET", "/v1/repositories?prefx=a", "", 400},
		{"GET", "/v1/repositories?prefix=%zz", "", 400},
		{"GET", "/v1/repositories/A", "", 400},
		{"GET", "/v1/repositories/%2e%2e", "", 400},
		{"GET", "/v1/repositories/..%2Fetc", "", 400},
		{"GET", "/v1/repositories/a%00b", "", 400},
		{"GET", "/v1/repositories/_manifests", "", 400},
		{"GET", "/v1/repositories/unknown", "", 404},
		{"GET", "/v1/repositories/unknown/tags", "", 404},
		{"GET", "/v1/repositories/unknown/history", "", 404},
		{"GET", "/v1/repositories/a/history?tag=v9", "", 404},
		{"GET", "/v1/repositories/a/history?tag=v1%000", "", 400},
		{"GET", "/v1/repositories/a/history?tags=v1", "", 400},
		{"POST", "/v1/repositories/unknown/remove", `{}`, 404},
		{"POST", "/v1/repositories/a/remove", ``, 400},
		{"POST", "/v1/repositories/a/remove", `{"dryrn":true}`, 400},
		{"POST", "/v1/repositories/a/remove", `{"dryRun":"yes"}`, 400},
		{"POST", "/v1/repositories/a/remove", `{"dryRun":true}{}`, 400},
		{"POST", "/v1/repositories/a/remove", `{"dryRun":true}]`, 400},
		{"POST", "/v1/repositories/a/remove", `[]`, 400},
		{"POST", "/v1/repositories/a/remove", `{"x":"` + long + `"}`, 413},
		{"POST", "/v1/repositories/a/remove", strings.Repeat(" ", maxBody) + `{}`, 413},
		{"POST", "/v1/repositories/a/untag", `{"tags":[]}`, 400},
		{"POST", "/v1/repositories/a/untag", `{"tags":["v1"],"force":true}`, 400},
		{"POST", "/v1/repositories/a/untag", `{"tags":["v1","v2"]}`, 404},
		{"POST", "/v1/repositories/a/untag", `{"tags":["v1\u0000"]}`, 404},
		{"POST", "/v1/repositories/a/untag", `{"tags":[` + strings.TrimSuffix(strings.Repeat(`"v1",`, maxUntag+1), ",") + `]}`, 400},
		{"PUT", "/v1/readonly", `{}`, 400},
		{"PUT", "/v1/readonly", `{"enabled":1}`, 400},
		{"PUT", "/v1/readonly", `null`, 400},
	} {
		what := fmt.Sprintf("%s %.60s %.60s", c.method, c.path, c.body)
		r, err := http.NewRequestWithContext(t.Context(), c.method, "http://x"+c.path, strings.NewReader(c.body))
		if err != nil {
			t.Fatal(err)
		}
		answer, err := b.http.Do(r)
		ok(t, err)
		body, err := io.ReadAll(answer.Body)
		ok(t, errors.Join(err, answer.Body.Close()))
		var f failure
		if answer.StatusCode != c.status || json.Unmarshal(body, &f) != nil || f.Error == "" || f.Status != c.status {
			t.Errorf("%s: %s %s; want %d and why", what, answer.Status, body, c.status)
		}
	}
	if tag, err := b.index.TagState(t.Context(), "a", "v1"); tag.Name != "v1" || err != nil {
		t.Errorf("the tag is gone: %v", err)
	}
	if b.readOnly.Enabled() {
		t.Error("it is read-only")
	}
}

// TestErrorsAreTold: what goes wrong in a handler comes to the verb, before the first line and behind it, and into the log.
func TestErrorsAreTold(t *testing.T) {
	b := newBench(t)
	b.server.Handle("GET /v1/test/early", func(http.ResponseWriter, *http.Request) error { return errors.New("no disk") })
	b.server.Handle("GET /v1/test/late", func(w http.ResponseWriter, r *http.Request) error {
		Note(r, slog.String("repo", "a"))
		return errors.Join(NewLines(w).Write(1), Errorf(409, "became read-only"))
	})
	wantStatus(t, "early", b.Call(t.Context(), "GET", "/v1/test/early", nil, nil), 500)
	list, err := lines[int](t, b.Client, "GET", "/v1/test/late", nil)
	if wantStatus(t, "late", err, 409); len(list) != 1 {
		t.Errorf("lines %v", list)
	}
	for _, want := range []string{
		"account=unix:tester method=GET path=/v1/test/early status=500 duration=", `err="no disk"`,
		"path=/v1/test/late status=409 ", ` repo=a err="became read-only"`,
	} {
		if !strings.Contains(b.log.String(), want) {
			t.Errorf("the log lacks %q:\n%s", want, b.log)
		}
	}
}

// TestStreams: lines arrive while the handler runs, over the socket and in process, and a verb that has enough ends it.
func TestStreams(t *testing.T) {
	b := newBench(t)
	next, returned := make(chan int), make(chan error, 1)
	b.server.Handle("GET /v1/test/numbers", func(w http.ResponseWriter, r *http.Request) error {
		lines := NewLines(w)
		for {
			select {
			case n := <-next:
				if err := lines.Write(n); err != nil {
					returned <- err
					return err
				}
			case <-r.Context().Done():
				returned <- r.Context().Err()
				return r.Context().Err()
			}
		}
	})
	path := filepath.Join(t.TempDir(), SocketName)
	b.serve(path)
	transport, err := Dial(t.Context(), path)
	ok(t, err)
	for name, c := range map[string]*Client{"in process": b.Client, "socket": NewClient(transport)} {
		enough := errors.New("enough")
		go func() { next <- 0 }()
		err := StreamOf(t.Context(), c, "GET", "/v1/test/numbers", nil, func(n int) error {
			if n == 3 {
				return enough
			}
			next <- n + 1 // only now: the handler waits for it
			return nil
		})
		if !errors.Is(err, enough) {
			t.Errorf("%s: %v", name, err)
		}
		if err := <-returned; err == nil {
			t.Errorf("%s: the handler went on for nobody", name)
		}
	}
}

// TestBrokenAnswers: an answer that ends too early is not taken for a short one.
func TestBrokenAnswers(t *testing.T) {
	path := filepath.Join(t.TempDir(), SocketName)
	l, err := net.Listen("unix", path)
	ok(t, err)
	defer l.Close()
	answers := make(chan string, 1)
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			if _, err := c.Read(make([]byte, 4096)); err == nil {
				_, _ = io.WriteString(c, <-answers)
			}
			c.Close()
		}
	}()
	transport, err := Dial(t.Context(), path)
	ok(t, err)
	transport.DisableKeepAlives = true
	for _, answer := range []string{
		"", "HTTP/1.1 200 OK\r\n", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n1\n\r\n",
		"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\n1\n", "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n1\n2",
		"HTTP/1.1 500 Internal Server Error\r\nContent-Length: 0\r\n\r\n", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nx\n",
	} {
		answers <- answer
		if list, err := lines[int](t, NewClient(transport), "GET", "/v1/numbers", nil); err == nil {
			t.Errorf("%q was taken for %v", answer, list)
		}
	}
}

// serve serves a socket until the test ends.
func (b *bench) serve(path string) {
	b.t.Helper()
	ok(b.t, b.server.Listen(path))
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- b.server.Run(ctx) }()
	b.t.Cleanup(func() {
		stop()
		ok(b.t, errors.Join(<-ended, b.server.Close()))
		if _, err := os.Lstat(path); err == nil {
			b.t.Errorf("%s was left behind", path)
		}
	})
}
