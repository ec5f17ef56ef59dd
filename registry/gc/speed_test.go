package gc_test

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"

	"gatehouse/registry/gc"
	"gatehouse/registry/index"
	"gatehouse/registry/tree"
)

// latencies are how long requests took.
type latencies struct {
	mu    sync.Mutex
	taken map[string][]time.Duration // guarded by mu
}

func (l *latencies) measure(what string, do func()) {
	began := time.Now()
	do()
	took := time.Since(began)
	l.mu.Lock()
	defer l.mu.Unlock()
	l.taken[what] = append(l.taken[what], took)
}

// report reports the 99th percentile of each kind, in milliseconds.
func (l *latencies) report(b *testing.B) {
	for what, taken := range l.taken {
		slices.Sort(taken)
		b.ReportMetric(float64(taken[len(taken)*99/100])/1e6, "ms-p99-"+what)
	}
}

// BenchmarkPushAndPullWithCollector has clients push, pull and delete images on a disk, by short turns without the collector and
// while it deletes garbage, so that what else the machine does falls on both. It says how long a push of an image with a layer
// of its own, and a pull of one, take.
func BenchmarkPushAndPullWithCollector(b *testing.B) {
	for name, rate := range map[string]int{"unlimited": 0, "100 a second": 100} {
		b.Run(name, func(b *testing.B) { benchPushAndPull(b, rate) })
	}
}

func benchPushAndPull(b *testing.B, rate int) {
	const clients, turns, rounds, garbage = 4, 10, 10, 500
	t := prepareBench(b, b.TempDir())
	t.path = b.TempDir() + "/index.db"
	t.log.text = discard.Handler()
	t.adjust = func(o *gc.Options) { o.Rate = rate }
	t.open()
	l := &latencies{taken: map[string][]time.Duration{}}
	n, deleted := 0, 0
	act := func(mode string) {
		n++
		var group sync.WaitGroup
		for i := range clients {
			group.Go(func() {
				c := *t
				c.acked, c.loose = map[string]digest.Digest{}, map[string]digest.Digest{}
				repo := fmt.Sprint("r", i)
				for round := range rounds {
					tag, content := fmt.Sprint("t", round), fmt.Sprintf("layer %d of %d in %d %s", round, i, n, mode)
					l.measure("push-"+mode, func() { c.push(repo, tag, configContent, content) })
					l.measure("pull-"+mode, func() { c.served(repo, tag, c.acked[repo+":"+tag]) })
					c.untag(repo, tag)
				}
			})
		}
		group.Wait()
	}
	for b.Loop() {
		for range turns {
			t.heap(garbage, fmt.Sprint(n))
			ctx, stop := context.WithCancel(b.Context())
			var background sync.WaitGroup
			background.Go(func() { _ = tree.NewProjector(t.index, t.driver, discard).Run(ctx) })
			act("off")
			background.Go(func() {
				r, err := t.gc.Cycle(ctx, gc.Request{})
				if err != nil && ctx.Err() == nil || r.Errors > 0 {
					b.Errorf("%+v, %v: %s", r, err, t.log.lastError())
				}
				deleted += r.Deleted
			})
			act("on")
			stop()
			background.Wait()
		}
	}
	l.report(b)
	b.ReportMetric(float64(deleted)/float64(b.N), "deleted/op")
}

// BenchmarkCycle deletes 10,000 blobs of 1 KiB on a disk in one cycle: bytes, names and records, all durable.
func BenchmarkCycle(b *testing.B) {
	const blobs = 10_000
	for b.Loop() {
		b.StopTimer()
		t := prepareBench(b, b.TempDir())
		t.path = b.TempDir() + "/index.db"
		t.log.text = discard.Handler()
		t.open()
		t.heap(blobs, "")
		b.StartTimer()
		r, err := t.gc.Cycle(b.Context(), gc.Request{})
		if err != nil || r.Deleted != blobs || r.Errors > 0 {
			b.Fatalf("%+v, %v", r, err)
		}
	}
	b.ReportMetric(float64(blobs*b.N)/b.Elapsed().Seconds(), "blobs/s")
}

// heap adds blobs that are due to be deleted, of 1 KiB each.
func (b *bench) heap(blobs int, name string) {
	b.Helper()
	b.drain()
	var strays []index.StoredBlob
	for i := range blobs {
		content := fmt.Sprintf("%-1024s", fmt.Sprint(name, " ", i))
		d := digest.FromString(content)
		planter{b, b.root}.file(tree.Blob(d), content)
		strays = append(strays, index.StoredBlob{Digest: d, Size: 1024})
	}
	for chunk := range slices.Chunk(strays, 500) {
		_, err := b.index.Stray(b.Context(), b.policy, chunk)
		ok(b, err)
	}
	b.clock.pass(b.policy.Grace + b.policy.Quarantine)
}
