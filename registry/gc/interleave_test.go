package gc_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"

	"gatehouse/registry/driver/drivertest"
	"gatehouse/registry/gc"
	"gatehouse/registry/index"
)

// scene is a client's work on things that the collector is after.
type scene struct {
	name  string
	setup func(*bench) // then everything that nothing needs is due
	act   func(*bench) // what a client does; in between, or while it does, all is collected
}

const layerContent, configContent = "the layer", "the config"

var (
	theLayer  = digest.FromString(layerContent)
	theConfig = digest.FromString(configContent)
	theImage  = imageOf(configContent, layerContent)
	theStray  = digest.FromString("stray")
)

// upload pushes a blob; false when the client was told to try again.
func (b *bench) upload(repo, content string) bool {
	b.Helper()
	d := digest.FromString(content)
	a := b.ask("POST", "/v2/"+repo+"/blobs/uploads/?digest="+string(d), content)
	if a.StatusCode != 201 && a.StatusCode != 503 {
		b.Errorf("upload to %s: %s: %s", repo, a.Status, a.body)
	}
	return a.StatusCode == 201
}

// push pushes an image as a client does: it asks for each blob and uploads what is not there. Where nothing took longer than half
// the grace time, a push that got so far must succeed.
func (b *bench) push(repo, tag string, contents ...string) {
	b.Helper()
	for range 5 {
		began, whole := b.clock.now(), true
		for _, content := range contents {
			if b.ask("HEAD", "/v2/"+repo+"/blobs/"+string(digest.FromString(content)), "").StatusCode != 200 {
				whole = b.upload(repo, content) && whole
			}
		}
		if !whole {
			continue
		}
		if b.try(repo, tag, imageOf(contents...)) {
			return
		}
		if b.clock.now().Round(0).Sub(began.Round(0)) < b.policy.Grace/2 { // by the wall clock, as all promises
			b.Errorf("%s:%s was refused, though all that it names was promised", repo, tag)
		}
	}
	b.Errorf("%s:%s could not be pushed", repo, tag)
}

var scenes = []scene{
	{"bytes that are condemned are pushed", func(b *bench) {
		b.blob("a", layerContent)
		b.must(202, "DELETE", "/v2/a/blobs/"+string(theLayer), "")
	}, func(b *bench) { b.push("a", "v1", configContent, layerContent) }},

	{"a blob that nothing needs is relied on", func(b *bench) {
		b.blob("a", layerContent)
		b.blob("a", configContent)
	}, func(b *bench) { b.push("a", "v1", configContent, layerContent) }},

	{"a blob that nothing needs is mounted", func(b *bench) { b.blob("b", layerContent) }, func(b *bench) {
		b.blob("a", configContent)
		began := b.clock.now()
		a := b.ask("POST", "/v2/a/blobs/uploads/?from=b&mount="+string(theLayer), "")
		if a.StatusCode != 201 && a.StatusCode != 202 {
			b.Errorf("mount: %s: %s", a.Status, a.body)
		}
		if !b.try("a", "v1", theImage) && a.StatusCode == 201 && b.clock.now().Sub(began) < b.policy.Grace/2 {
			b.Error("what was mounted is not there")
		}
	}},

	{"a blob that nothing needs is uploaded and mounted again", func(b *bench) {
		b.blob("a", configContent)
		b.blob("a", layerContent)
		b.blob("b", layerContent)
	}, func(b *bench) {
		began := b.clock.now()
		uploaded := b.upload("a", configContent)
		mounted := b.ask("POST", "/v2/a/blobs/uploads/?from=b&mount="+string(theLayer), "").StatusCode == 201
		if !b.try("a", "v1", theImage) && uploaded && mounted && b.clock.now().Sub(began) < b.policy.Grace/2 {
			b.Error("what was uploaded and mounted again is not there")
		}
	}},

	{"a manifest of blobs that nothing needs", func(b *bench) {
		b.blob("a", layerContent)
		b.blob("a", configContent)
	}, func(b *bench) { b.try("a", "v1", theImage) }},

	{"a manifest without a tag is tagged", func(b *bench) {
		b.forget("a", b.image("a", "", configContent, layerContent))
	}, func(b *bench) {
		if !b.try("a", "v1", theImage) {
			b.push("a", "v1", configContent, layerContent)
		}
	}},

	{"a manifest without a tag becomes a child", func(b *bench) {
		b.forget("a", b.image("a", "", configContent, layerContent))
	}, func(b *bench) {
		began, child := b.clock.now(), digest.FromString(theImage)
		promised := b.ask("HEAD", "/v2/a/manifests/"+string(child), "").StatusCode == 200
		if !b.try("a", "multi", indexOf(child)) && promised && b.clock.now().Sub(began) < b.policy.Grace/2 {
			b.Error("the child was promised")
		}
	}},

	{"a deleted subject comes back", func(b *bench) {
		d := b.image("a", "v1", configContent, layerContent)
		b.blob("a", "{}")
		b.put("a", "", imageWith(descriptor(digest.FromString("{}")), nil, subject(d)))
		b.forget("a", b.put("a", "", imageWith(descriptor(digest.FromString("{}")), nil, subject(d))))
		b.remove("a", d)
	}, func(b *bench) { b.push("a", "v1", configContent, layerContent) }},

	{"the last tags go, and one of them comes back", func(b *bench) {
		b.image("a", "v0", configContent, layerContent)
		b.image("b", "v1", configContent, layerContent)
		b.untag("b", "v1")
	}, func(b *bench) {
		b.untag("a", "v0")
		b.push("b", "v2", configContent, layerContent)
	}},

	{"bytes of a manifest are a layer", func(b *bench) {
		b.remove("a", b.image("a", "v1", configContent, layerContent))
	}, func(b *bench) { b.push("a", "v2", configContent, theImage) }},

	{"a repository is removed and pushed to", func(b *bench) {
		b.image("a", "v1", configContent, layerContent)
		b.image("a", "v2", configContent, "another layer")
	}, func(b *bench) {
		delete(b.acked, "a:v1")
		delete(b.acked, "a:v2")
		_, err := b.index.RemoveRepository(b.ctx, "a", "alice", func(index.Removal) error { return nil })
		ok(b, err)
		b.push("a", "v1", configContent, layerContent)
	}},
}

// atEachStep has a function called at each step of what is under way: an operation of the storage, or a transaction that begins,
// with its context. It does nothing else while that runs.
func (b *bench) atEachStep(at func(ctx context.Context, step string)) {
	b.atEachOperation(func(op drivertest.Op) { at(noContext, op.Name+" "+op.Path) })
	b.db.fail(func(ctx context.Context, op string) error {
		if ctx != nil {
			at(ctx, op)
		}
		return nil
	})
}

// atEachOperation is atEachStep for operations of the storage only.
func (b *bench) atEachOperation(at func(drivertest.Op)) {
	b.faults.Set(drivertest.Fault{Err: errors.New("never"), Match: func(op drivertest.Op) bool {
		at(op)
		return false
	}})
}

// works ends what atEachStep began, and all faults.
func (b *bench) works() {
	b.faults.Set()
	b.db.fail(nil)
}

// collectAll runs cycles until what is due is gone. Errors are the cycle's, which is to go on all the same.
func (b *bench) collectAll() {
	b.Helper()
	for range 3 {
		b.drain()
		if r, err := b.gc.Cycle(b.Context(), gc.Request{}); err != nil || r.Errors > 0 {
			b.Errorf("%+v, %v", r, err)
		}
	}
	b.drain()
}

// client marks the contexts of what a client has asked for.
type client struct{}

// patience is after how many looks at the index, with nothing else between, a client is taken to be waiting for the collector.
const patience = 10

// scenery returns a bench in which all that nothing needs is due, and no bytes are kept in quarantine: so one collection goes all
// the way.
func (s scene) scenery(t testing.TB) *bench {
	b := prepareBench(t, folder(t))
	b.policy.Quarantine = 0
	b.open()
	s.setup(b)
	b.drain()
	b.clock.pass(b.policy.Grace)
	return b
}

// ends checks a bench, now and when all is collected, and again after a restart.
func (b *bench) ends() {
	b.Helper()
	b.works()
	b.drain()
	b.check()
	b.rest()
	b.reopen()
	b.check()
}

// TestClientsWhileCollecting has a client act at each step of a collection.
func TestClientsWhileCollecting(t *testing.T) {
	for _, s := range scenes {
		t.Run(s.name, func(t *testing.T) {
			for k, steps := 0, 1; k < steps; k += stride {
				steps = s.collecting(t, k)
			}
		})
	}
}

// collecting collects, and lets the client act at step k. It returns how many steps there were without it.
func (s scene) collecting(t *testing.T, k int) (steps int) {
	b := s.scenery(t)
	var n, looks atomic.Int32
	var once sync.Once
	waits, done := make(chan struct{}), make(chan struct{})
	act := func() {
		defer close(done)
		c := *b
		c.ctx = context.WithValue(b.ctx, client{}, true)
		s.act(&c)
	}
	b.atEachStep(func(ctx context.Context, step string) {
		if ctx != nil && ctx.Value(client{}) != nil && step == "View" {
			if looks.Add(1) == patience {
				once.Do(func() { close(waits) }) // it can only go on when we do
			}
			return
		}
		looks.Store(0)
		if ctx != nil && ctx.Value(client{}) != nil {
			return
		}
		if int(n.Add(1)) == k+1 {
			go act()
			select {
			case <-done:
			case <-waits:
			}
		}
	})
	b.collectAll()
	if steps = int(n.Load()); steps > k {
		<-done
	}
	b.ends()
	b.ended()
	if t.Failed() {
		t.Fatalf("at step %d of the collection", k)
	}
	return steps
}

// TestCollectingWhileClientsAct has everything collected at each step of what a client does: at once, and after it stood still
// for longer than any promise lasts.
func TestCollectingWhileClientsAct(t *testing.T) {
	for _, s := range scenes {
		for _, pause := range []time.Duration{0, 20 * time.Minute, 3 * time.Hour} {
			t.Run(fmt.Sprint(s.name, ", pause ", pause), func(t *testing.T) {
				for k, steps := 0, 1; k < steps; k += stride {
					steps = s.acting(t, k, func(b *bench) {
						b.clock.pass(pause)
						b.collectAll()
					})
				}
			})
		}
	}
}

// TestClockSetWhileClientsAct sets the wall clock ahead while a client acts, and in one case back again: what the collector remembers
// of deletions so that nobody enters bytes that are gone must not be forgotten by that.
func TestClockSetWhileClientsAct(t *testing.T) {
	for _, set := range [][]time.Duration{{30 * time.Minute}, {30 * time.Minute, -30 * time.Minute}, {3 * time.Hour}, {-3 * time.Hour}} {
		t.Run(fmt.Sprint(set), func(t *testing.T) {
			for k, steps := 0, 1; k < steps; k += stride {
				steps = scenes[0].acting(t, k, func(b *bench) {
					b.collectAll()
					for _, d := range set {
						b.clock.set(d)
						_ = b.attempt() // one cycle may be left out for it
					}
				})
			}
		})
	}
}

// acting lets the client act, and something happen at its step k.
func (s scene) acting(t *testing.T, k int, happen func(*bench)) (steps int) {
	b := s.scenery(t)
	n, collecting := 0, false
	b.atEachStep(func(context.Context, string) {
		if collecting {
			return
		}
		if n++; n == k+1 {
			collecting = true
			happen(b)
			collecting = false
		}
	})
	s.act(b)
	b.ends()
	b.ended()
	if t.Failed() {
		t.Fatalf("at step %d of what the client does", k)
	}
	return n
}
