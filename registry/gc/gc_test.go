package gc_test

import (
	"context"
	"fmt"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"gatehouse/registry/driver/drivertest"
	"gatehouse/registry/gc"
	"gatehouse/registry/index/kv"
	"gatehouse/registry/tree"
	"gatehouse/testbench"
)

// TestCycle: what nothing needs goes when its time has come, and not before; what is needed stays.
func TestCycle(t *testing.T) {
	b := newBench(t)
	b.image("a", "latest", "config", "layer", "base")
	b.image("b", "latest", "config", "base")
	b.blob("a", "never named")
	b.clock.pass(59 * time.Minute)
	if r := b.cycle(); r.Reviewed != 0 {
		t.Errorf("%+v", r)
	}
	b.clock.pass(time.Minute)
	if r := b.cycle(); r.Links != 1 || r.Condemned != 1 || r.Deleted != 0 {
		t.Errorf("%+v", r)
	}
	b.clock.pass(time.Minute)
	if r := b.cycle(); r.Deleted != 1 || r.Bytes != int64(len("never named")) {
		t.Errorf("%+v", r)
	}
	b.untag("a", "latest")
	b.rest() // the layer goes, the base stays
	if stored := b.stored(); len(stored) != 3 {
		t.Errorf("left are %v", stored)
	}
	b.untag("b", "latest")
	b.rest()
	if stored := b.stored(); len(stored) != 0 {
		t.Errorf("left are %v", stored)
	}
}

// TestChecks: the check of these tests sees what it is for.
func TestChecks(t *testing.T) {
	for name, c := range map[string]struct {
		spoil func(*bench)
		want  string
	}{
		"nothing":  {func(*bench) {}, ""},
		"lost":     {func(b *bench) { b.lose(theLayer) }, "which is not on the disk"},
		"no line":  {func(b *bench) { planter{b, b.root}.drop(tree.BlobFolder(digest.FromString("never named"))) }, "no line in the log says so"},
		"damaged":  {func(b *bench) { planter{b, b.root}.file(tree.Blob(theLayer), "other bytes") }, "holds other bytes"},
		"untagged": {func(b *bench) { b.must(202, "DELETE", "/v2/a/manifests/v1", "") }, "has to be"},
		"no link":  {func(b *bench) { planter{b, b.root}.drop(tree.Layer("a", theLayer)) }, "fsck"},
		"no bytes": {func(b *bench) { planter{b, b.root}.file(tree.Layer("b", theStray), string(theStray)) }, "leads to"},
		"an index that does not agree": {func(b *bench) {
			ok(b, b.db.DB.Update(b.Context(), func(w kv.Writer) error {
				return w.Delete([]byte("u\x00" + string(theLayer) + "\x00a\x00" + string(theLayer)))
			}))
		}, "index: "},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t)
			b.image("a", "v1", configContent, layerContent)
			b.blob("a", "never named")
			b.drain()
			if garbage := b.check(); len(garbage) != 1 {
				t.Errorf("garbage is %v", garbage)
			}
			c.spoil(b)
			w := &witness{TB: t}
			b.TB = w
			b.check()
			if said := strings.Join(w.said, "\n"); c.want == "" && said != "" || !strings.Contains(said, c.want) {
				t.Errorf("it says %q, not %q", said, c.want)
			}
		})
	}
}

// witness is a test that remembers what is said of it, and goes on.
type witness struct {
	testing.TB
	said []string
}

func (w *witness) Errorf(format string, args ...any) {
	w.said = append(w.said, fmt.Sprintf(format, args...))
}
func (w *witness) FailNow()     {}
func (w *witness) Failed() bool { return len(w.said) > 0 }

// TestRun: cycles follow each other until the end, what stands in the way of one is no end.
func TestRun(t *testing.T) {
	b := newBenchAt(t, folder(t), func(o *gc.Options) { o.Interval = time.Millisecond })
	b.image("a", "v1", configContent)
	b.must(202, "DELETE", "/v2/a/blobs/"+string(b.blob("a", "blob")), "")
	b.drain()
	ok(t, b.gc.Pause(t.Context(), "alice"))
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- b.gc.Run(ctx) }()
	b.clock.pass(b.policy.Quarantine)
	ok(t, b.gc.Resume(t.Context()))
	testbench.Eventually(t, time.Minute, "the blob is deleted", func() error {
		s, err := b.gc.Status(t.Context())
		if err == nil && (s.Deleted != 1 || s.DeletedBytes != 4) {
			err = fmt.Errorf("%+v", s)
		}
		return err
	})
	stop()
	ok(t, <-done)
	b.check()
}

// TestStatus: how far a cycle is can be seen while it runs.
func TestStatus(t *testing.T) {
	b := condemned(t, 250, nil)
	var last gc.Report
	b.atEachOperation(func(drivertest.Op) {
		s, err := b.gc.Status(t.Context())
		if err != nil {
			t.Error(err)
			return
		}
		mu.Lock()
		defer mu.Unlock()
		if s.Running != nil && s.Running.Deleted > last.Deleted {
			last = *s.Running
		}
	})
	_, err := b.gc.Cycle(t.Context(), gc.Request{})
	ok(t, err)
	b.works()
	if last.Deleted == 0 || last.Deleted%gc.Batch != 0 {
		t.Errorf("%+v", last)
	}
	s, err := b.gc.Status(t.Context())
	if err != nil || s.Running != nil || s.Held != "" || s.Deleted != 250 || s.LastCycle.IsZero() || s.Policy != b.policy {
		t.Errorf("%+v, %v", s, err)
	}
}

func TestMetrics(t *testing.T) {
	registry := prometheus.NewRegistry()
	b := prepareBench(t, folder(t))
	b.adjust = func(o *gc.Options) {
		var err error
		o.Metrics, err = gc.NewMetrics(registry, o.Index)
		ok(t, err)
		o.Breaker = gc.Breaker{Blobs: 2}
	}
	b.open()
	b.image("a", "v1", configContent, layerContent)
	b.must(202, "DELETE", "/v2/a/blobs/"+string(b.blob("a", "1234")), "")
	b.must(202, "DELETE", "/v2/a/blobs/"+string(b.blob("a", "revived")), "")
	b.blob("a", "revived")
	b.stray("stray")
	b.drain()
	b.clock.pass(b.policy.Quarantine)
	b.scan()
	metrics := func(want ...string) {
		t.Helper()
		w := httptest.NewRecorder()
		promhttp.HandlerFor(registry, promhttp.HandlerOpts{}).ServeHTTP(w, httptest.NewRequest("GET", "/metrics", nil))
		for _, line := range want {
			if !strings.Contains(w.Body.String(), "\ngatehouse_gc_"+line+"\n") {
				t.Errorf("%s is not in\n%s", line, w.Body)
			}
		}
	}
	metrics("cycles_total 1", "deleted_total 1", "deleted_bytes_total 4", "strays_total 1", "revived_total 1", "errors_total 0", "breaker 0",
		"paused 0", `queue_depth{class="unreferenced"} 1`, `queue_depth{class="condemned"} 1`, `queue_depth{class="gone"} 1`,
		`reviewed_total{class="condemned",verdict="marked"} 1`, "missing_blobs 0")
	b.lose(theLayer)
	_, err := b.gc.Cycle(t.Context(), gc.Request{Scan: true})
	ok(t, err)
	metrics("missing_blobs 1")
	ok(t, b.gc.Pause(t.Context(), "alice"))
	_, err = b.gc.Cycle(t.Context(), gc.Request{})
	wantErr(t, err, gc.ErrPaused)
	metrics("paused 1", "breaker 0")
}
