package gc_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http/httptest"
	"os"
	"regexp"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"

	"gatehouse/registry/driver/drivertest"
	"gatehouse/registry/gc"
	"gatehouse/registry/index"
	"gatehouse/registry/index/kv"
	"gatehouse/registry/tree"
	"gatehouse/testbench"
)

// races are the races that collectors of registries have lost, with the tests that run them here, or why there is nothing to run.
// A test is named with its file, which is in this folder or below registry/.
var races = []struct{ race, tests string }{
	{"R1 a blob is uploaded, its manifest comes later", "interleave_test.go TestCollectingWhileClientsAct"},
	{"R2 HEAD, collection, PUT", "interleave_test.go TestCollectingWhileClientsAct, index/promises_test.go TestPromises"},
	{"R3 a mount while its source goes", "interleave_test.go TestClientsWhileCollecting"},
	{"R4 a manifest is put while what it names goes", "interleave_test.go TestCollectingWhileClientsAct"},
	{"R5 a puller holds the manifest that a tag had", "races_test.go TestReaders"},
	{"R6 the last tag goes, or comes back, under review", "interleave_test.go TestClientsWhileCollecting"},
	{"R7 an index of untagged children under review", "interleave_test.go TestClientsWhileCollecting"},
	{"R8 shared and nested children", "index/collect_test.go TestChildrenLiveWithTheirIndexes, loss_test.go TestLossSparseIndex"},
	{"R9 referrers before, with and after their subject", "index/collect_test.go TestReferrersLiveAndDieWithTheirSubject, interleave_test.go TestClientsWhileCollecting"},
	{"R10 a walk meets a deletion", "loss_test.go TestLossVanishedLink"},
	{"R11 an error is taken for an absence", "loss_test.go TestLossTransientError, faults_test.go TestEveryIndexOperationFails"},
	{"R12 seen is not looked at", "loss_test.go TestLossSparseIndex"},
	{"R13 types that are not known", "loss_test.go TestLossUnknownManifests"},
	{"R14 a cache outlives what it holds", "races_test.go TestNothingIsServedFromMemory"},
	{"R15 pushed again between the decision and the deletion, or before a late one", "interleave_test.go TestClientsWhileCollecting, s3_test.go TestLateDeletion, gc/model/late_test.go TestALateDeletionTakesNothing"},
	{"R16 two collectors", "control_test.go TestOneAtATime"},
	{"R17 a slow upload is purged by its age", "store/purge_test.go TestPurge"},
	{"R18 two requests of one upload", "uploads_test.go TestTwoWritersOfOneUpload"},
	{"R19 a digest is uploaded twice at once", "races_test.go TestPushingAndDeletingAtOnce"},
	{"R20 folders that empty and fill", "races_test.go TestPushingAndDeletingAtOnce"},
	{"R21 a crash between bytes and names", "faults_test.go TestCrashAnywhere, control_test.go TestCrashIsNoWrongStore"},
	{"R22 a crash in a push", "driver/filesystem/disk_linux_test.go TestPowerLoss, index/kv/bolt/crash_test.go TestPowerLossInACommit"},
	{"R23 the clock is set", "control_test.go TestClock, interleave_test.go TestClockSetWhileClientsAct"},
	{"R24 times long past", "loss_test.go TestLossOldTimes"},
	{"R25 pull-through insertions", "none: there is no pull-through"},
	{"R26 a blob is read while it is deleted", "races_test.go TestReadingWhatIsDeleted"},
	{"R27 a barrier in another replica's memory", "none: nothing is decided in memory; two processes never have the same index, see R16"},
	{"R28 a full disk", "storage_linux_test.go TestFullDisk, storage_linux_test.go TestFullIndex"},
	{"R29 copies that stand for others", "none: bytes are there once, under their digest"},
	{"R30 one digest in two roles, two digests of the same bytes", "index/collect_test.go TestSameDigestAsBlobAndManifest, index/collect_test.go TestBytesUnderAnotherDigest, loss_test.go TestLossSHA512"},
	{"R31 a manifest is put again that is on its way out", "interleave_test.go TestClientsWhileCollecting"},
	{"R32 one bad repository", "races_test.go TestOneBadRepository"},
}

// TestRacesAreRun: each of the races has tests, and they are there.
func TestRacesAreRun(t *testing.T) {
	for i, r := range races {
		if !strings.HasPrefix(r.race, fmt.Sprintf("R%d ", i+1)) {
			t.Errorf("R%d is missing", i+1)
		}
		if strings.HasPrefix(r.tests, "none: ") {
			continue
		}
		for test := range strings.SplitSeq(r.tests, ", ") {
			file, name, _ := strings.Cut(test, " ")
			content, err := os.ReadFile(file)
			if err != nil {
				content, err = os.ReadFile("../" + file)
			}
			if err != nil || !regexp.MustCompile(`(?m)^func `+name+`\(`).Match(content) {
				t.Errorf("%s: there is no %s in %s: %v", r.race, name, file, err)
			}
		}
	}
}

// TestReaders: who has read a manifest comes back for its blobs as long as the quarantine lasts, when its tag has moved and it was
// collected meanwhile.
func TestReaders(t *testing.T) {
	b := newBench(t)
	d := b.image("a", "v1", configContent, layerContent)
	b.image("a", "v1", configContent, "another layer")
	b.clock.pass(b.policy.Grace)
	b.must(200, "GET", "/v2/a/manifests/"+string(d), "")
	if r := b.cycle(); r.Manifests != 1 {
		t.Errorf("%+v", r)
	}
	b.gone("a", d)
	for range 3 {
		b.must(200, "GET", "/v2/a/blobs/"+string(theLayer), "")
		b.clock.pass(b.policy.Quarantine/3 - 1)
		b.cycle()
	}
	b.clock.pass(b.policy.Quarantine)
	b.cycle()
	b.must(404, "GET", "/v2/a/blobs/"+string(theLayer), "")
	b.rest()
}

// TestNothingIsServedFromMemory: what is collected is gone at once, whatever was asked of it before, and what is pushed again is
// there at once.
func TestNothingIsServedFromMemory(t *testing.T) {
	b := newBench(t)
	for range 2 {
		d := b.image("a", "v1", configContent, layerContent)
		paths := []string{"/v2/a/manifests/v1", "/v2/a/manifests/" + string(d), "/v2/a/blobs/" + string(theLayer)}
		for _, path := range paths {
			b.must(200, "GET", path, "")
			b.must(200, "HEAD", path, "")
		}
		b.untag("a", "v1")
		b.rest()
		for _, path := range paths {
			b.must(404, "GET", path, "")
			b.must(404, "HEAD", path, "")
		}
		if len(b.stored()) != 0 {
			t.Errorf("stored are %v", b.stored())
		}
	}
}

// TestReadingWhatIsDeleted: a download that has begun ends well.
func TestReadingWhatIsDeleted(t *testing.T) {
	b := newBench(t)
	content := strings.Repeat("0123456789abcdef", 1<<16)
	d := b.blob("a", content)
	b.drain()
	server := httptest.NewServer(b.registry)
	defer server.Close()
	resp, err := server.Client().Get(server.URL + "/v2/a/blobs/" + string(d))
	ok(t, err)
	defer resp.Body.Close()
	first := make([]byte, 16)
	_, err = io.ReadFull(resp.Body, first)
	ok(t, err)
	b.rest()
	if len(b.stored()) != 0 {
		t.Fatalf("stored are %v", b.stored())
	}
	rest, err := io.ReadAll(resp.Body)
	if err != nil || string(first)+string(rest) != content {
		t.Errorf("%d bytes of %d, %v", 16+len(rest), len(content), err)
	}
}

// TestPushingAndDeletingAtOnce has clients push, pull and delete the same few images, which share all they can, while nothing has any
// grace and cycles run one after the other. Whoever was told that a push succeeded pulls all of it, unless he has deleted it.
func TestPushingAndDeletingAtOnce(t *testing.T) {
	b := prepareBench(t, folder(t))
	b.policy = index.Policy{Grace: time.Hour, Untagged: 0} // a promise lasts, all else goes at once
	b.open()
	const clients, rounds = 4, 40
	var acting, collecting sync.WaitGroup
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	var cycles, deleted atomic.Int32
	collecting.Go(func() { b.keepCollecting(ctx, &cycles, &deleted) })
	for i := range clients {
		acting.Go(func() {
			c := *b
			c.acked, c.loose = map[string]digest.Digest{}, map[string]digest.Digest{}
			repo := fmt.Sprint("r", i%2) // two clients in each
			for round := range rounds {
				tag := fmt.Sprint("t", i)
				c.keepPushing(repo, tag, configContent, layerContent, fmt.Sprint("layer ", round%3))
				c.served(repo, tag, c.acked[repo+":"+tag])
				if round == rounds-1 {
					return
				}
				c.untag(repo, tag)
				if round%4 > i { // some push again at once, others when it is being collected
					awaitCycles(t, &cycles, int32(i))
				}
			}
		})
	}
	acting.Wait()
	stop()
	if collecting.Wait(); deleted.Load() < rounds {
		t.Errorf("only %d blobs were deleted: this is no race", deleted.Load())
	}
	for i := range clients {
		b.acked[fmt.Sprint("r", i%2, ":t", i)] = digest.FromString(imageOf(configContent, layerContent, fmt.Sprint("layer ", (rounds-1)%3)))
	}
	b.drain()
	b.check()
	b.rest()
}

// keepCollecting runs cycles without any grace until ctx is done, and counts them and what they delete.
func (b *bench) keepCollecting(ctx context.Context, cycles, deleted *atomic.Int32) {
	projector := tree.NewProjector(b.index, b.driver, discard)
	collector := gc.New(gc.Options{Index: b.index, Store: b.store, Driver: b.driver, Now: b.clock.now, Log: discard})
	for ctx.Err() == nil {
		err := projector.Drain(b.Context())
		r, cycle := collector.Cycle(b.Context(), gc.Request{})
		if err := errors.Join(err, cycle); err != nil || r.Errors > 0 {
			b.Errorf("%+v, %v", r, err)
			return
		}
		deleted.Add(int32(r.Deleted))
		cycles.Add(1)
	}
}

// awaitCycles waits until so many more cycles have ended.
func awaitCycles(t testing.TB, cycles *atomic.Int32, n int32) {
	n += cycles.Load()
	testbench.Eventually(t, time.Minute, "another cycle", func() error {
		if cycles.Load() < n {
			return errors.New("not yet")
		}
		return nil
	})
}

// keepPushing pushes until it succeeds: without grace, the collector may take what was uploaded before the manifest is there.
func (b *bench) keepPushing(repo, tag string, contents ...string) {
	for range 1000 {
		for _, content := range contents {
			b.upload(repo, content)
		}
		if b.try(repo, tag, imageOf(contents...)) {
			return
		}
	}
	b.Errorf("%s:%s could not be pushed", repo, tag)
}

// TestOneBadRepository is R32: records that cannot be read keep nothing else from being collected.
func TestOneBadRepository(t *testing.T) {
	for name, damaged := range map[string]func(key string) bool{
		"its manifest": func(key string) bool { return strings.HasPrefix(key, "m\x00bad\x00") },
		"its links":    func(key string) bool { return strings.HasPrefix(key, "l\x00bad\x00") },
		"its reviews":  func(key string) bool { return strings.HasPrefix(key, "v\x00") && strings.Contains(key, "\x00bad\x00") },
		"its bytes": func(key string) bool {
			return strings.HasPrefix(key, "b\x00") && strings.HasSuffix(key, string(digest.FromString("bad")))
		},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t)
			b.forget("bad", b.image("bad", "", "config bad", "bad"))
			b.blob("bad", "never named")
			for i := range 5 {
				b.forget(fmt.Sprint("a", i), b.image(fmt.Sprint("a", i), "", fmt.Sprint("config ", i), fmt.Sprint("layer ", i)))
			}
			b.image("z", "v1", configContent, layerContent)
			b.drain()
			b.damage(damaged)
			failed := 0
			for range 5 {
				b.clock.pass(b.policy.Grace + time.Hour)
				b.drain()
				r, err := b.gc.Cycle(t.Context(), gc.Request{})
				ok(t, err)
				failed += r.Errors
			}
			if failed == 0 {
				t.Error("nobody noticed")
			}
			stored := b.stored()
			for i := range 5 {
				if stored[digest.FromString(fmt.Sprint("layer ", i))] {
					t.Errorf("repository a%d was not collected", i)
				}
			}
			b.served("z", "v1", b.acked["z:v1"])
		})
	}
}

// damage writes garbage into records.
func (b *bench) damage(which func(key string) bool) {
	b.Helper()
	n := 0
	ok(b, b.db.DB.Update(b.Context(), func(w kv.Writer) error {
		for p, err := range w.Scan(nil, nil) {
			if err != nil {
				return err
			}
			if which(string(p.Key)) {
				n++
				if err := w.Put(p.Key, []byte("{")); err != nil {
					return err
				}
			}
		}
		return nil
	}))
	if n == 0 {
		b.Fatal("there is no such record")
	}
}

// TestGoneFromTheDisk is orphans the other way round: bytes that the index knows and the store has not are said, never the reason of a
// deletion, also where the whole folder is gone.
func TestGoneFromTheDisk(t *testing.T) {
	b := newBench(t)
	b.image("a", "v1", configContent, layerContent)
	b.drain()
	ok(t, os.RemoveAll(b.file("blobs/sha256", theLayer.Encoded()[:2])))
	for range 3 {
		r, err := b.gc.Cycle(t.Context(), gc.Request{Scan: true})
		if err != nil || r.Missing != 1 || r.Deleted+r.Condemned > 0 {
			t.Errorf("%+v, %v", r, err)
		}
		b.clock.pass(1000 * time.Hour)
	}
	b.push("a", "v1", configContent, "another layer")
	b.must(201, "POST", "/v2/a/blobs/uploads/?digest="+string(theLayer), layerContent) // HEAD says that it is there: the index knows it
	b.rest()
}

// TestAnotherStore: where too much is missing the collector stops.
func TestAnotherStore(t *testing.T) {
	b := newBenchAt(t, folder(t), func(o *gc.Options) { o.Breaker = gc.Breaker{Blobs: 2, Percent: 20} })
	b.image("a", "v1", configContent, layerContent)
	b.drain()
	ok(t, os.RemoveAll(b.file("blobs")))
	r, err := b.gc.Cycle(t.Context(), gc.Request{Scan: true})
	wantErr(t, err, gc.ErrTripped)
	if r.Missing != 3 || r.Deleted > 0 {
		t.Errorf("%+v", r)
	}
}

// TestStrays: bytes that the index does not know wait for grace and quarantine, and live when somebody comes to need them; what is
// damaged in the store is mended by pushing it.
func TestStrays(t *testing.T) {
	b := newBench(t)
	b.image("a", "v1", configContent)
	stray := b.stray("stray")
	b.stray("needed later")
	damaged := digest.FromString("needed whole")
	planter{t, b.root}.file("docker/registry/v2/blobs/sha256/"+damaged.Encoded()[:2]+"/"+damaged.Encoded()+"/data", "needed")
	b.drain()
	if r, err := b.gc.Cycle(t.Context(), gc.Request{Scan: true}); err != nil || r.Strays != 3 {
		t.Errorf("%+v, %v", r, err)
	}
	b.clock.pass(b.policy.Grace + b.policy.Quarantine - time.Second)
	b.image("a", "v2", configContent, "needed later", "needed whole")
	if r := b.scan(); r.Deleted+r.Strays != 0 {
		t.Errorf("%+v", r)
	}
	b.clock.pass(time.Second)
	if r := b.scan(); r.Deleted != 1 || b.stored()[stray] {
		t.Errorf("%+v", r)
	}
	b.rest()
}

// TestTombstones: that a digest was deleted is remembered for a while, and not for ever.
func TestTombstones(t *testing.T) {
	b := condemned(t, 5, nil)
	depth := func(want int) {
		t.Helper()
		queues, err := b.index.Queues(t.Context())
		ok(t, err)
		for _, q := range queues {
			if q.Class == index.Gone && q.Depth != want || q.Class != index.Gone && q.Depth != 0 {
				t.Errorf("%+v, want %d tombstones", q, want)
			}
		}
	}
	if r := b.cycle(); r.Deleted != 5 {
		t.Errorf("%+v", r)
	}
	depth(5)
	b.clock.pass(9 * time.Minute)
	b.cycle()
	depth(5)
	b.upload("a", "blob 0")
	b.clock.pass(time.Minute)
	b.cycle()
	queues, err := b.index.Queues(t.Context())
	ok(t, err)
	for _, q := range queues {
		if q.Class == index.Gone && q.Depth != 0 {
			t.Errorf("%+v", q)
		}
	}
}

// TestFailuresEndACycle: what fails a thousand times ails everything else too.
func TestFailuresEndACycle(t *testing.T) {
	b := condemned(t, 1100, nil)
	b.faults.Set(drivertest.Fault{Match: drivertest.On("Delete"), Err: errStruck})
	r, err := b.gc.Cycle(t.Context(), gc.Request{})
	if err == nil || !strings.Contains(err.Error(), "items failed") || r.Errors < 1000 || r.Deleted > 0 {
		t.Errorf("%+v, %v", r, err)
	}
	b.recovered()
}
