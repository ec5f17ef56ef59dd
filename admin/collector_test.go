package admin

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"

	"gatehouse/registry/driver/inmemory"
	"gatehouse/registry/gc"
	"gatehouse/registry/index"
	"gatehouse/registry/store"
	"gatehouse/registry/tree"
)

// collectorBench is a bench with a collector over an adopted index, and nothing that follows into the tree.
func collectorBench(t *testing.T) (*bench, *Collector) {
	t.Helper()
	b, log, ctx := newBench(t), slog.New(slog.DiscardHandler), t.Context()
	d := inmemory.New()
	c := &Collector{Server: true, Touch: b.names.Touch, GC: gc.New(gc.Options{
		Index: b.index, Driver: d, Store: store.New(d, time.Now, log), Now: time.Now, Log: log, ReadOnly: b.readOnly.Enabled,
		Policy: index.Policy{Grace: time.Hour, Quarantine: time.Minute, Untagged: index.KeepUntagged},
	})}
	ok(t, b.index.StartAdoption(ctx))
	ok(t, b.index.FinishAdoption(ctx, nil))
	b.names.WouldFree = c.WouldFree
	c.Register(b.server)
	return b, c
}

// settle does what a projector does about events.
func (b *bench) settle() {
	b.t.Helper()
	events, err := b.index.Events(b.t.Context(), 1000)
	ok(b.t, err)
	ok(b.t, b.index.Done(b.t.Context(), events))
}

func TestPolicyOfARequest(t *testing.T) {
	base := index.Policy{Grace: time.Hour, Quarantine: time.Minute, Untagged: time.Second}
	for _, c := range []struct {
		in   Policy
		want index.Policy
	}{
		{Policy{}, base},
		{Policy{Grace: "0s", Quarantine: "2h", Untagged: "3h"}, index.Policy{Quarantine: 2 * time.Hour, Untagged: 3 * time.Hour}},
		{Policy{Untagged: "keep"}, index.Policy{Grace: time.Hour, Quarantine: time.Minute, Untagged: index.KeepUntagged}},
	} {
		if got, err := c.in.over(base); err != nil || got != c.want {
			t.Errorf("%+v: %+v, %v; want %+v", c.in, got, err, c.want)
		}
	}
	for _, in := range []Policy{{Grace: "keep"}, {Quarantine: "-1s"}, {Untagged: "forever"}, {Untagged: "-1ns"}, {Grace: "1"}} {
		_, err := in.over(base)
		wantStatus(t, in.Grace+in.Quarantine+in.Untagged, err, 400)
	}
	if got := policyOf(index.Policy{Grace: time.Hour, Untagged: index.KeepUntagged}); got != (Policy{"1h0m0s", "0s", "keep"}) {
		t.Errorf("%+v", got)
	}
}

// TestRevision: the index counts with the digits of 16.
func TestRevision(t *testing.T) {
	for in, want := range map[string]string{"": "0", "000000000000000a": "10", "0000000000000010": "16", "00000000000001ff": "511"} {
		if got, err := decimal(in); err != nil || got != want {
			t.Errorf("%q: %q, %v; want %q", in, got, err, want)
		}
	}
	if got, err := decimal("damaged"); err == nil {
		t.Errorf("it is %q", got)
	}
}

func TestCollectorRefusals(t *testing.T) {
	b, _ := collectorBench(t)
	ctx := t.Context()
	d := digest.FromString("nothing")
	for _, r := range []struct {
		method, path string
		body         any
		status       int
	}{
		{"GET", "/v1/gc/plan?until=soon", nil, 400},
		{"GET", "/v1/gc/plan?since=1h", nil, 400},
		{"GET", "/v1/gc/plan?untagged=-1h", nil, 400},
		{"GET", "/v1/gc/explain", nil, 400},
		{"GET", "/v1/gc/explain?digest=sha256:abc", nil, 400},
		{"GET", "/v1/gc/explain?digest=" + string(d) + "&repository=../a", nil, 400},
		{"GET", "/v1/gc/explain?digest=" + string(d) + "&repository=%00", nil, 400},
		{"GET", "/v1/gc/explain?digest=" + string(d), nil, 404},
		{"POST", "/v1/gc/run", nil, 400},
		{"POST", "/v1/gc/run", map[string]string{"graze": "1h"}, 400},
		{"POST", "/v1/gc/run", RunCollector{Policy: Policy{Grace: "1"}}, 400},
		{"POST", "/v1/gc/restore", Restore{"sha256:abc"}, 400},
		{"POST", "/v1/gc/restore", Restore{string(d)}, 409},
		{"GET", "/v1/gc/run", nil, 405},
	} {
		wantStatus(t, r.method+" "+r.path, b.Call(ctx, r.method, r.path, r.body, nil), r.status)
	}
	b.readOnly.Set(true)
	wantStatus(t, "run while read-only", b.Call(ctx, "POST", "/v1/gc/run", RunCollector{}, nil), 409)
	wantStatus(t, "restore while read-only", b.Call(ctx, "POST", "/v1/gc/restore", Restore{string(d)}, nil), 409)
	b.readOnly.Set(false)
	ok(t, b.Call(ctx, "POST", "/v1/gc/pause", nil, nil))
	var status CollectorStatus
	ok(t, b.Call(ctx, "GET", "/v1/gc", nil, &status))
	if status.Paused != "by unix:tester" || status.Held == "" || status.Policy.Untagged != "keep" || !status.Server {
		t.Errorf("%+v", status)
	}
	wantStatus(t, "run while paused", b.Call(ctx, "POST", "/v1/gc/run", RunCollector{}, nil), 409)
	ok(t, b.Call(ctx, "POST", "/v1/gc/resume", nil, nil))
	ok(t, b.Call(ctx, "POST", "/v1/gc/run", RunCollector{}, &CollectorProgress{}))
}

// TestNothingIsPlannedDuringAdoption: what nothing needs is not known before the tree is read.
func TestNothingIsPlannedDuringAdoption(t *testing.T) {
	b := newBench(t)
	d, log := inmemory.New(), slog.New(slog.DiscardHandler)
	c := &Collector{Touch: b.names.Touch, GC: gc.New(gc.Options{Index: b.index, Driver: d, Store: store.New(d, time.Now, log), Now: time.Now, Log: log})}
	c.Register(b.server)
	for _, path := range []string{"GET /v1/gc/plan", "GET /v1/gc/strays", "POST /v1/gc/run"} {
		method, path, _ := strings.Cut(path, " ")
		var body any
		if method == "POST" {
			body = RunCollector{}
		}
		wantStatus(t, path, b.Call(t.Context(), method, path, body, nil), 409)
	}
}

// TestRunOneAtATime: the collector that is at work is asked to work, which it does then; and a client that goes ends what it asked for.
func TestRunOneAtATime(t *testing.T) {
	b, c := collectorBench(t)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	for i := range 250 {
		b.push("a", string(rune('a'+i)), "v1") // one after the other loses the tag
	}
	b.settle()
	var seen int
	waits, second := make(chan struct{}), make(chan error, 1)
	err := StreamOf(ctx, b.Client, "POST", "/v1/gc/run", RunCollector{Policy: Policy{Grace: "0s", Untagged: "0s", Quarantine: "1h"}}, func(p CollectorProgress) error {
		if seen++; seen == 1 {
			go func() {
				var said []CollectorProgress
				err := StreamOf(t.Context(), b.Client, "POST", "/v1/gc/run", RunCollector{}, func(p CollectorProgress) error {
					if said = append(said, p); len(said) == 1 {
						close(waits)
					}
					return nil
				})
				if last := len(said) - 1; err == nil && (!said[0].Waits || said[0].Done || last == 0 || !said[last].Done || said[last].Waits) {
					err = fmt.Errorf("it said %+v", said)
				}
				second <- err
			}()
			<-waits
			return io.ErrUnexpectedEOF // the client goes
		}
		return nil
	})
	if !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("%v, after %d lines", err, seen)
	}
	ok(t, <-second)
	left := func() (n int) {
		queues, err := b.index.Queues(t.Context())
		ok(t, err)
		for _, q := range queues {
			if q.Class == index.Untagged {
				n = q.Depth
			}
		}
		return n
	}
	if n := left(); n == 0 || n >= 249 {
		t.Errorf("%d manifests are left by a run that was broken off", n)
	}
	list, err := lines[CollectorProgress](t, b.Client, "POST", "/v1/gc/run", RunCollector{Policy: Policy{Grace: "0s", Untagged: "0s", Quarantine: "1h"}})
	ok(t, err)
	if last := list[len(list)-1]; !last.Done || last.Number == "" || left() != 0 {
		t.Errorf("%+v; %d left", last, left())
	}
	if s, err := c.GC.Status(t.Context()); err != nil || s.Running != nil {
		t.Errorf("%+v, %v", s, err)
	}
}

// TestCollectorLists: the plan with its total, what is marked, strays, and what removing would free.
func TestCollectorLists(t *testing.T) {
	b, c := collectorBench(t)
	ctx := t.Context()
	d := b.push("team/app", "one", "v1", "v2")
	two := b.push("team/app", "two", "v2")
	untag := func() (out Untagged) {
		ok(t, b.Call(ctx, "POST", RepositoryPath("team/app", "/untag"), Untag{Tags: []string{"v1"}, DryRun: true}, &out))
		return out
	}
	if w := untag().WouldFree; w.Bytes != 0 || *w.IfUntagged != 1100 {
		t.Errorf("%+v", w)
	}
	c.GC.Policy.Untagged = 0
	if w := untag().WouldFree; w.Bytes != 1100 || w.IfUntagged != nil {
		t.Errorf("%+v", w)
	}
	var removed RemovedRepository
	ok(t, b.Call(ctx, "POST", RepositoryPath("team/app", "/remove"), RemoveRepository{DryRun: true}, &removed))
	if removed.WouldFree.Bytes != 2200 {
		t.Errorf("%+v", removed.WouldFree)
	}
	ok(t, b.index.DeleteTag(ctx, "team/app", "v1", "alice"))
	plan, err := lines[PlanStep](t, b.Client, "GET", "/v1/gc/plan", nil)
	ok(t, err)
	var classes []string
	for _, s := range plan {
		classes = append(classes, string(s.Class))
	}
	if want := []string{"untagged", "unreferenced", "condemned", "condemned", ""}; !slices.Equal(classes, want) {
		t.Errorf("%q, want %q", classes, want)
	}
	if total := plan[len(plan)-1].Total; *total != (PlanTotal{Links: 1, Manifests: 1, Blobs: 2, Bytes: 1100}) || plan[0].Digest != d {
		t.Errorf("%+v", total)
	}
	if now, err := lines[PlanStep](t, b.Client, "GET", "/v1/gc/plan?until=0s", nil); err != nil || len(now) != 1 {
		t.Errorf("due now: %+v, %v", now, err)
	}
	marked, err := lines[Marked](t, b.Client, "GET", "/v1/gc/manifests", nil)
	ok(t, err)
	if len(marked) != 3 || marked[0].Repository != "team/app" || !slices.Contains([]digest.Digest{marked[1].Manifest, marked[2].Manifest}, two) || len(marked[1].References) != 1 {
		t.Errorf("%+v", marked)
	}
	stray := digest.FromString("stray")
	ok(t, c.GC.Driver.WriteFile(ctx, tree.Blob(stray), []byte("stray")))
	strays, err := lines[index.StoredBlob](t, b.Client, "GET", "/v1/gc/strays", nil)
	if ok(t, err); len(strays) != 1 || strays[0] != (index.StoredBlob{Digest: stray, Size: 5}) {
		t.Errorf("%+v", strays)
	}
	var e index.Explanation
	ok(t, b.Call(ctx, "GET", "/v1/gc/explain?digest="+string(two), nil, &e))
	if n, err := strconv.Atoi(e.Revision); err != nil || n == 0 || strconv.Itoa(n) != e.Revision {
		t.Errorf("revision %q is no number for people: %v", e.Revision, err)
	}
	if text, err := json.Marshal(e); err != nil || !strings.Contains(string(text), `"path":[{"kind":"tag","tag":"v2"}`) {
		t.Errorf("%s, %v", text, err)
	}
}
