package gc_test

import (
	"context"
	"errors"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"
	"unsafe"

	"github.com/opencontainers/go-digest"

	"gatehouse/registry"
	"gatehouse/registry/adopt"
	"gatehouse/registry/driver"
	"gatehouse/registry/driver/drivertest"
	"gatehouse/registry/driver/filesystem"
	"gatehouse/registry/gc"
	"gatehouse/registry/index"
	"gatehouse/registry/index/kv/bolt"
	"gatehouse/registry/store"
	"gatehouse/registry/tree"
)

func ok(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func wantErr(t testing.TB, got, want error) {
	t.Helper()
	if !errors.Is(got, want) {
		t.Errorf("error %v, want %v", got, want)
	}
}

// clock is a clock that tests turn.
type clock struct {
	mu   sync.Mutex
	at   time.Time     // with a monotonic reading
	skew time.Duration // by which the wall clock has been set wrong since
}

func (c *clock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return skewed(c.at, c.skew)
}

func (c *clock) pass(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.at = c.at.Add(d)
}

// set sets the wall clock forward or back, of which a monotonic reading knows nothing.
func (c *clock) set(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.skew += d
}

// skewed adds to the wall clock of a time, and not to its monotonic reading, as setting a machine's clock does. Package time
// has no way to say that; TestSkewedClock checks that this is one.
func skewed(t time.Time, d time.Duration) time.Time {
	t = t.Add(d)
	(*struct {
		wall uint64
		ext  int64
		loc  *time.Location
	})(unsafe.Pointer(&t)).ext -= int64(d)
	return t
}

func TestSkewedClock(t *testing.T) {
	a := time.Now()
	b := skewed(a, time.Hour)
	if b.Sub(a) != 0 || b.Round(0).Sub(a.Round(0)) != time.Hour {
		t.Fatalf("%v by the monotonic clock, %v by the wall's", b.Sub(a), b.Round(0).Sub(a.Round(0)))
	}
}

// bench is a registry on a disk with its collector, all of it real but for the clock and the faults that tests ask for, and what
// clients were told.
type bench struct {
	testing.TB
	ctx     context.Context // of requests
	policy  index.Policy
	adjust  func(*gc.Options) // of each collector that is made; may be nil
	clock   *clock
	root    string // of the storage
	path    string // of the index
	wrapped func(driver.Driver) driver.Driver
	log     *deletions

	driver   driver.Driver // what the registry and the collector use: wrapped faults
	faults   *drivertest.Faults
	db       *database
	index    *index.Index
	below    *index.Index // the same, below what db fails and counts
	store    *store.Store
	adopter  *adopt.Adopter
	registry *registry.Registry
	gc       *gc.Collector

	acked map[string]digest.Digest // by "repository:tag": what a client was told to be there
	loose map[string]digest.Digest // by "repository@digest": manifests without a tag that have to be there
	seen  map[digest.Digest]bool   // blobs that were on the disk at the last look
}

// newBench returns one over an empty folder.
func newBench(t testing.TB) *bench { return newBenchAt(t, folder(t), nil) }

// folder returns a new folder, in memory where the machine has such: these tests are about what is done, in which order, and fsync
// on a disk takes most of their time.
func folder(t testing.TB) string {
	t.Helper()
	const memory = "/dev/shm"
	if info, err := os.Stat(memory); err != nil || !info.IsDir() {
		return t.TempDir()
	}
	dir, err := os.MkdirTemp(memory, "gc-test-")
	ok(t, err)
	t.Cleanup(func() { ok(t, os.RemoveAll(dir)) })
	return dir
}

// newBenchAt returns one over a folder that may hold a tree of distribution's, with collectors made to order.
func newBenchAt(t testing.TB, root string, adjust func(*gc.Options)) *bench {
	t.Helper()
	b := prepareBench(t, root)
	b.adjust = adjust
	b.open()
	return b
}

func prepareBench(t testing.TB, root string) *bench {
	b := &bench{
		TB: t, ctx: t.Context(), root: root, path: filepath.Join(folder(t), "index.db"), clock: &clock{at: time.Now()},
		policy: index.Policy{Grace: time.Hour, Quarantine: time.Minute},
		log:    newDeletions(t),
		acked:  map[string]digest.Digest{}, loose: map[string]digest.Digest{}, seen: map[digest.Digest]bool{},
	}
	t.Cleanup(b.close)
	return b
}

// open starts the registry, as a new process does.
func (b *bench) open() {
	b.Helper()
	files, err := filesystem.New(b.root)
	ok(b, err)
	b.faults = drivertest.NewFaults(files)
	b.driver = b.faults
	if b.wrapped != nil {
		b.driver = b.wrapped(b.faults)
	}
	db, err := bolt.Open(b.path)
	ok(b, err)
	b.db = &database{DB: db}
	b.index, err = index.Open(b.Context(), b.db, b.clock.now)
	ok(b, err)
	b.index.SetGrace(b.policy.Grace)
	b.below, err = index.Open(b.Context(), db, b.clock.now)
	ok(b, err)
	log := slog.New(b.log)
	b.store = store.New(b.driver, b.clock.now, log)
	b.adopter = adopt.New(b.index, b.driver, b.clock.now, log)
	ok(b, b.adopter.Start(b.Context()))
	b.registry = registry.New(registry.Options{
		Index: b.index, Store: b.store, Secret: []byte("s"), Delete: true, Log: log, Adopt: b.adopter.Touch,
	})
	o := gc.Options{
		Index: b.index, Store: b.store, Driver: b.driver, Policy: b.policy, Interval: time.Hour, Now: b.clock.now, Log: log,
	}
	if b.adjust != nil {
		b.adjust(&o)
	}
	b.gc = gc.New(o)
}

// close ends the process, in order or not: what it was told to keep is on the disk.
func (b *bench) close() {
	if b.db != nil {
		b.db.DB.Close()
		b.faults.Close()
		b.db = nil
	}
}

// ended closes a bench that is not looked at again, and gives its room back.
func (b *bench) ended() {
	b.Helper()
	b.close()
	ok(b, os.RemoveAll(b.root))
	ok(b, os.RemoveAll(filepath.Dir(b.path)))
}

// reopen is a restart.
func (b *bench) reopen() {
	b.Helper()
	b.close()
	b.open()
}

// copied returns a bench of its own over a copy of all files, for one that is closed.
func (b *bench) copied() *bench {
	b.Helper()
	c := prepareBench(b.TB, folder(b.TB))
	ok(b, os.CopyFS(c.root, os.DirFS(b.root)))
	ok(b, os.CopyFS(filepath.Dir(c.path), os.DirFS(filepath.Dir(b.path))))
	c.policy, c.adjust, c.wrapped = b.policy, b.adjust, b.wrapped
	c.clock.at = b.clock.now()
	c.acked, c.loose, c.seen = maps.Clone(b.acked), maps.Clone(b.loose), maps.Clone(b.seen)
	c.open()
	return c
}

// adopt reads the whole tree.
func (b *bench) adopt() {
	b.Helper()
	ok(b, b.adopter.Run(b.Context()))
}

// drain lets the tree follow the index.
func (b *bench) drain() {
	b.Helper()
	ok(b, tree.NewProjector(b.index, b.driver, slog.New(b.log)).Drain(b.Context()))
}

// cycle runs one cycle, which must succeed, with the tree up to date before and after, and looks at everything then.
func (b *bench) cycle() gc.Report {
	b.Helper()
	return b.run(gc.Request{})
}

// scan is cycle with a comparison of store and index.
func (b *bench) scan() gc.Report {
	b.Helper()
	return b.run(gc.Request{Scan: true})
}

func (b *bench) run(r gc.Request) gc.Report {
	b.Helper()
	b.drain()
	report, err := b.gc.Cycle(b.Context(), r)
	if err != nil || report.Errors > 0 {
		b.Fatalf("cycle: %+v, %v", report, err)
	}
	b.drain()
	b.check()
	return report
}

// rest lets time pass and cycles run until nothing is left to do, and checks that what is on the disk then is what is needed.
func (b *bench) rest() {
	b.Helper()
	for range 20 {
		b.clock.pass(b.policy.Grace + b.policy.Quarantine + time.Hour)
		if report := b.scan(); report.Reviewed == 0 && report.Strays == 0 {
			if garbage := b.check(); len(garbage) > 0 {
				b.Errorf("nothing needs %v, and they are still there", garbage)
			}
			return
		}
	}
	b.Fatal("the collector finds work for ever")
}

// deletions is a log that counts the lines of bytes that were deleted, and keeps the last error.
type deletions struct {
	text slog.Handler

	mu   sync.Mutex
	gone map[digest.Digest]int // guarded by mu
	last string                // guarded by mu
}

func newDeletions(t testing.TB) *deletions {
	return &deletions{text: slog.NewTextHandler(t.Output(), nil), gone: map[digest.Digest]int{}}
}

func (l *deletions) Enabled(context.Context, slog.Level) bool { return true }
func (l *deletions) WithAttrs([]slog.Attr) slog.Handler       { return l }
func (l *deletions) WithGroup(string) slog.Handler            { return l }

func (l *deletions) Handle(ctx context.Context, r slog.Record) error {
	if r.Message == "blob deleted" || r.Level >= slog.LevelError {
		fields := map[string]string{}
		r.Attrs(func(a slog.Attr) bool {
			fields[a.Key] = a.Value.String()
			return true
		})
		l.mu.Lock()
		defer l.mu.Unlock()
		if r.Level >= slog.LevelError {
			l.last = fields["err"]
		} else if fields["cycle"] != "" && fields["reason"] != "" && fields["age"] != "" {
			l.gone[digest.Digest(fields["digest"])]++
		}
	}
	if r.Level < slog.LevelInfo {
		return nil
	}
	return l.text.Handle(ctx, r)
}

// lastError returns the error of the last line that has one.
func (l *deletions) lastError() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.last
}

func (l *deletions) lines() map[digest.Digest]int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return maps.Clone(l.gone)
}

var discard = slog.New(slog.DiscardHandler)
