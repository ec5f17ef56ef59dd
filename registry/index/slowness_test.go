package index

import (
	"context"
	"math/rand/v2"
	"testing"
	"time"

	"gatehouse/registry/index/kv"
)

func TestSlowness(t *testing.T) {
	var s slowness
	start := time.Unix(1_800_000_000, 0)
	if got := s.longest(start); got != 0 {
		t.Fatalf("nothing took %v", got)
	}
	// Whatever is asked, the answer is no less than what took longest since, and exactly that while few are remembered.
	r := rand.New(rand.NewPCG(1, 2))
	var all []span
	for i := range 3000 {
		at := start.Add(time.Duration(i) * time.Second)
		one := span{at, time.Duration(r.IntN(1000)) * time.Millisecond}
		if i > 2000 { // a long descent, of which not all is remembered
			one.took = time.Duration(3000-i) * time.Millisecond
		}
		s.note(one.ended, one.took)
		all = append(all, one)
		since := at.Add(-time.Duration(r.IntN(200)) * time.Second)
		var want time.Duration
		for _, o := range all {
			if o.ended.After(since) {
				want = max(want, o.took)
			}
		}
		if got := s.longest(since); got < want || len(s.seen) < maxSpans && got != want {
			t.Fatalf("after %d: longest since %v is %v, want %v", i, since, got, want)
		}
	}
	if len(s.seen) > maxSpans {
		t.Errorf("%d are remembered", len(s.seen))
	}
}

// slowDB is a kv.DB whose commits take their time: it passes on the clock before anybody sees what was written.
type slowDB struct {
	kv.DB
	took time.Duration
	pass func(time.Duration)
}

func (d *slowDB) Update(ctx context.Context, fn func(kv.Writer) error) error {
	return d.DB.Update(ctx, func(w kv.Writer) error {
		defer func() { d.pass(d.took) }()
		return fn(w)
	})
}

func TestSlowCommitsShortenNoPromise(t *testing.T) {
	b := newBench(t)
	slow := &slowDB{DB: b.db, pass: func(d time.Duration) { b.clock = b.clock.Add(d) }}
	b.db = slow
	image(t, b.Index, "a", "m", []string{"layer"}, "latest")
	ok(t, b.DeleteTag(t.Context(), "a", "latest", "alice"))
	b.pass(time.Hour)
	due, err := b.Due(t.Context(), b.policy, 1)
	ok(t, err)
	slow.took = 40 * time.Second // until then a client may read the manifest, and come back for the layer within a minute
	outcomes, err := b.Collect(t.Context(), b.policy, due)
	ok(t, err)
	if slow.took = 0; len(outcomes) != 1 || outcomes[0].Verdict != Removed {
		t.Fatal(outcomes)
	}
	b.pass(59 * time.Second)
	b.want(b.collect())
	b.pass(time.Second)
	b.want(b.collect(), "bytes m", "unreferenced a layer")
	b.pass(time.Minute)
	b.want(b.collect(), "bytes layer")
}

func TestResumed(t *testing.T) {
	b := newBench(t)
	b.link("a", "layer")
	b.pass(time.Hour)
	b.want(b.collect(), "unreferenced a layer")
	b.pass(time.Minute - time.Second)
	b.Resumed() // the transaction may have ended just now
	b.pass(time.Second)
	b.want(b.collect())
	b.pass(cutOff - time.Second)
	b.want(b.collect())
	b.pass(time.Second)
	b.want(b.collect(), "bytes layer")
}
