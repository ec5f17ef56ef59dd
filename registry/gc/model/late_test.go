package model

import (
	"bytes"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"

	"gatehouse/registry/driver/s3"
	"gatehouse/registry/gc"
	"gatehouse/registry/index"
	"gatehouse/registry/index/kv/bolt"
	"gatehouse/registry/store"
	"gatehouse/registry/tree"
	"gatehouse/testbench"
)

// lateProxy stands before an S3 server. When it is armed, it keeps the next deletion, without an answer, until carryOut.
type lateProxy struct {
	*httptest.Server
	server string

	mu    sync.Mutex
	armed bool          // guarded by mu
	kept  *http.Request // guarded by mu
}

func newLateProxy(t *testing.T, server string) *lateProxy {
	p := &lateProxy{server: server}
	p.Server = httptest.NewServer(p)
	t.Cleanup(p.Close)
	return p
}

func (p *lateProxy) arm() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.armed = true
}

func (p *lateProxy) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	out, err := http.NewRequest(r.Method, p.server+r.URL.RequestURI(), bytes.NewReader(body))
	if err != nil {
		panic(http.ErrAbortHandler)
	}
	out.Host, out.Header, out.ContentLength = r.Host, r.Header.Clone(), int64(len(body)) // the signature covers them
	p.mu.Lock()
	keep := r.Method == http.MethodDelete && p.armed
	if keep {
		p.armed, p.kept = false, out
	}
	p.mu.Unlock()
	if keep {
		panic(http.ErrAbortHandler)
	}
	resp, err := http.DefaultTransport.RoundTrip(out)
	if err != nil {
		panic(http.ErrAbortHandler)
	}
	defer resp.Body.Close()
	for name, values := range resp.Header {
		w.Header()[name] = values
	}
	w.WriteHeader(resp.StatusCode)
	io.Copy(w, resp.Body)
}

// carryOut sends the deletion that was kept.
func (p *lateProxy) carryOut(t *testing.T) {
	t.Helper()
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.kept == nil {
		t.Fatal("nothing was deleted")
	}
	resp, err := http.DefaultTransport.RoundTrip(p.kept)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if resp.StatusCode >= 300 {
		t.Fatalf("the late deletion: %s", resp.Status)
	}
}

// TestALateDeletionTakesNothing is the model's trace without "no retries inside a delete", with real parts: a bucket that loses
// the answer to a deletion and carries it out later. Until it can be no more, nobody can push the same bytes; then everybody.
func TestALateDeletionTakesNothing(t *testing.T) {
	testbench.EachS3(t, func(t *testing.T, s *testbench.S3) {
		ctx, p, d := t.Context(), newLateProxy(t, s.Endpoint), digest.FromString("layer")
		ok := func(err error) {
			t.Helper()
			if err != nil {
				t.Fatal(err)
			}
		}
		driver, err := s3.New(ctx, s3.Options{
			AccessKey: s.AccessKey, SecretKey: s3.Secret(s.SecretKey), RegionEndpoint: p.URL, Bucket: s.NewBucket(),
		})
		ok(err)
		defer driver.Close()
		db, err := bolt.Open(filepath.Join(t.TempDir(), "index"))
		ok(err)
		defer db.Close()
		clock := time.Now()
		now, log := func() time.Time { return clock }, slog.New(slog.DiscardHandler)
		x, err := index.Open(ctx, db, now)
		ok(err)
		ok(x.StartAdoption(ctx))
		ok(x.FinishAdoption(ctx, nil))
		storage := store.New(driver, now, log)
		policy := index.Policy{Grace: time.Hour, Quarantine: time.Minute}
		collector := gc.New(gc.Options{Index: x, Store: storage, Driver: driver, Now: now, Log: log, Policy: policy})
		push := func() error {
			ticket, err := x.Prepare(ctx, d)
			if err == nil {
				ok(storage.Write(ctx, d, []byte("layer"), ticket.Stored))
				err = x.LinkBlob(ctx, ticket, "a", size)
			}
			return err
		}
		cycle := func() {
			_, err := collector.Cycle(ctx, gc.Request{})
			ok(err)
		}
		ok(push())
		ok(x.UnlinkBlob(ctx, "a", d))
		ok(tree.NewProjector(x, driver, log).Drain(ctx))
		clock = clock.Add(policy.Quarantine)
		p.arm()
		for range 2 { // the second finds the bytes deleted, and the first deletion may still be under way
			cycle()
			if err := push(); !errors.Is(err, index.ErrCollected) {
				t.Errorf("pushed while a deletion may be carried out: %v", err)
			}
		}
		p.carryOut(t)
		clock = clock.Add(time.Minute)
		cycle()
		ok(push())
		if stored, err := storage.Has(ctx, d, size); err != nil || !stored {
			t.Errorf("the bucket does not have what was pushed: %v", err)
		}
	})
}
