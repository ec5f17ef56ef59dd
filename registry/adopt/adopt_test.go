package adopt

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"

	"gatehouse/registry/driver"
	"gatehouse/registry/driver/drivertest"
	"gatehouse/registry/driver/inmemory"
	"gatehouse/registry/index"
	"gatehouse/registry/index/indextest"
	"gatehouse/registry/index/kv/bolt"
	"gatehouse/registry/tree"
)

func ok(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func openIndex(t testing.TB) *index.Index {
	t.Helper()
	db, err := bolt.Open(filepath.Join(t.TempDir(), "index.db"))
	ok(t, err)
	t.Cleanup(func() { db.Close() })
	x, err := index.Open(t.Context(), db, time.Now)
	ok(t, err)
	return x
}

// clock is a clock that tests set.
type clock struct {
	mu sync.Mutex
	at time.Time
}

func (c *clock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.at
}

func (c *clock) pass(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.at = c.at.Add(d)
}

func newAdopter(t testing.TB, x *index.Index, d driver.Driver) (*Adopter, *clock) {
	t.Helper()
	c := &clock{at: time.Now()}
	a := New(x, d, c.now, slog.New(slog.DiscardHandler))
	ok(t, a.Start(t.Context()))
	return a, c
}

// planter writes a tree as distribution does.
type planter struct {
	t testing.TB
	driver.Driver
}

func (p planter) file(name, content string) {
	p.t.Helper()
	ok(p.t, p.WriteFile(p.t.Context(), name, []byte(content)))
}

func (p planter) blob(repo, content string) digest.Digest {
	p.t.Helper()
	d := digest.FromString(content)
	p.file(tree.Blob(d), content)
	p.file(tree.Layer(repo, d), string(d))
	return d
}

func (p planter) manifest(repo, document string, tags ...string) digest.Digest {
	p.t.Helper()
	d := digest.FromString(document)
	p.file(tree.Blob(d), document)
	p.file(tree.Revision(repo, d), string(d))
	for _, tag := range tags {
		p.file(tree.TagIndex(repo, tag, d), string(d))
		p.file(tree.TagCurrent(repo, tag), string(d))
	}
	return d
}

const oci = `"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json"`

// image plants an image of two blobs.
func (p planter) image(repo, name string, tags ...string) digest.Digest {
	p.t.Helper()
	config, layer := p.blob(repo, "config "+name), p.blob(repo, "layer "+name)
	return p.manifest(repo, fmt.Sprintf(`{%s,"config":{"mediaType":"c","digest":%q},"layers":[{"digest":%q}]}`, oci, config, layer), tags...)
}

// plant plants a tree with some of everything.
func plant(t testing.TB, d driver.Driver) {
	t.Helper()
	p := planter{t, d}
	first := p.image("a", "first", "v1", "latest")
	p.image("a", "second", "latest")
	p.manifest("a", fmt.Sprintf(`{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[{"digest":%q}]}`, first), "multi")
	p.manifest("a", fmt.Sprintf(`{%s,"config":{"mediaType":"c","digest":%q},"layers":[],"subject":{"digest":%q}}`, oci, p.blob("a", "{}"), first))
	long, short := digest.SHA512.FromString("long"), p.blob("a", "long")
	p.file(tree.Layer("a", long), string(short))
	p.image("a/b", "third", "v1")
	p.image("z", "fourth")
	p.file(tree.UploadData("a", "half"), "half")
}

func TestAdoption(t *testing.T) {
	d, x, ctx := inmemory.New(), openIndex(t), t.Context()
	plant(t, d)
	a, _ := newAdopter(t, x, d)
	if now, err := x.Adoption(ctx); now.State != index.AdoptionRunning || err != nil {
		t.Fatalf("adoption %+v, %v", now, err)
	}
	ok(t, a.Touch(ctx, "a", false))
	if names, _, err := x.Repositories(ctx, "", 10); !slices.Equal(names, []string{"a"}) || err != nil {
		t.Errorf("repositories %v, %v, want what was touched", names, err)
	}
	if m, err := x.Tagged(ctx, "a", "latest"); err != nil || len(m.Blobs) != 2 {
		t.Errorf("latest: %v, %v", m, err)
	}
	if moves, err := x.History(ctx, "a", "latest"); len(moves) != 2 || err != nil {
		t.Errorf("history %v, %v", moves, err)
	}
	if stored, size, err := x.Locate(ctx, "a", digest.SHA512.FromString("long")); stored != digest.FromString("long") || size != 4 || err != nil {
		t.Errorf("sha512: %s, %d, %v", stored, size, err)
	}
	ok(t, a.Run(ctx))
	now, err := x.Adoption(ctx)
	if err != nil || now.State != index.AdoptionDone || now.Repositories != 3 || now.Manifests != 6 || now.Tags != 4 || now.Findings != 0 {
		t.Errorf("adoption %+v, %v", now, err)
	}
	if names, _, err := x.Repositories(ctx, "", 10); !slices.Equal(names, []string{"a", "a/b", "z"}) || err != nil {
		t.Errorf("repositories %v, %v", names, err)
	}
	if events, err := x.Events(ctx, 1); len(events) != 0 || err != nil {
		t.Errorf("events %v, %v", events, err)
	}
	ok(t, x.Verify(ctx, func(record, problem string) { t.Errorf("%s: %s", record, problem) }))

	// When all is adopted the tree is left alone, here and after a restart.
	silent := drivertest.NewFaults(d, drivertest.Fault{Err: errors.New("looked at the tree")})
	again, _ := newAdopter(t, x, silent)
	ok(t, again.Touch(ctx, "new", true))
	ok(t, again.Run(ctx))
}

func TestNothingToAdopt(t *testing.T) {
	d, x, ctx := inmemory.New(), openIndex(t), t.Context()
	newAdopter(t, x, d)
	if now, err := x.Adoption(ctx); now.State != index.AdoptionDone || err != nil {
		t.Errorf("adoption %+v, %v", now, err)
	}
	if err := New(openIndex(t), drivertest.NewFaults(d, drivertest.Fault{Err: errors.New("no disk")}), time.Now, nil).Start(ctx); err == nil {
		t.Error("a storage that fails was taken for an empty one")
	}
}

// TestEveryReadFails lets each read of a repository fail once: nothing of it is in the index then, and all of it after the next
// try.
func TestEveryReadFails(t *testing.T) {
	d, ctx, broken := inmemory.New(), t.Context(), errors.New("input/output error")
	plant(t, d)
	whole := openIndex(t)
	a, _ := newAdopter(t, whole, d)
	ok(t, a.Run(ctx))
	want, err := whole.Contents(ctx, "a")
	ok(t, err)

	faults := drivertest.NewFaults(d)
	ok(t, readAll(ctx, faults))
	reads := faults.Seen()
	if reads < 30 {
		t.Fatalf("only %d reads", reads)
	}
	for k := range reads {
		faults.Set()
		x := openIndex(t)
		a, clock := newAdopter(t, x, faults)
		faults.Set(drivertest.Fault{Skip: k, Times: 1, Err: broken})
		if err := a.Touch(ctx, "a", k%2 == 0); !errors.Is(err, broken) {
			t.Fatalf("read %d failed and the touch said %v", k, err)
		}
		known, err := x.Knows(ctx, "a")
		ok(t, err)
		adopted, err := x.Adopted(ctx, "a")
		ok(t, err)
		if known || adopted {
			t.Fatalf("read %d failed: known %v, adopted %v", k, known, adopted)
		}
		if err := a.Touch(ctx, "a", false); !errors.Is(err, broken) {
			t.Fatalf("tried again at once: %v", err)
		}
		clock.pass(retryTouchAfter)
		ok(t, a.Touch(ctx, "a", false))
		if got, err := x.Contents(ctx, "a"); err != nil || !reflect.DeepEqual(got, want) {
			t.Fatalf("after read %d failed the index has %v, %v", k, got, err)
		}
	}
}

func readAll(ctx context.Context, d driver.Driver) error {
	_, _, err := Read(ctx, d, "a")
	return err
}

// TestPassGoesOn lets one repository fail: the others are adopted, and the next process does the rest, reading nothing twice.
func TestPassGoesOn(t *testing.T) {
	d, x, ctx := inmemory.New(), openIndex(t), t.Context()
	plant(t, d)
	broken := errors.New("input/output error")
	in := func(repo string) func(drivertest.Op) bool {
		return func(op drivertest.Op) bool { return strings.HasPrefix(op.Path, tree.Repository(repo)+"/_") }
	}
	a, _ := newAdopter(t, x, drivertest.NewFaults(d, drivertest.Fault{Match: in("a/b"), Err: broken}))
	if err := a.Pass(ctx, func(index.Adoption) {}); !errors.Is(err, broken) {
		t.Fatalf("pass: %v", err)
	}
	if now, err := x.Adoption(ctx); now.State != index.AdoptionRunning || now.Repositories != 2 || err != nil {
		t.Errorf("adoption %+v, %v", now, err)
	}
	next, _ := newAdopter(t, x, drivertest.NewFaults(d,
		drivertest.Fault{Match: in("a"), Err: errors.New("read twice")}, drivertest.Fault{Match: in("z"), Err: errors.New("read twice")}))
	ok(t, next.Run(ctx))
	if now, err := x.Adoption(ctx); now.State != index.AdoptionDone || now.Repositories != 3 || err != nil {
		t.Errorf("adoption %+v, %v", now, err)
	}
}

// TestNamesThatAreNotThere: a reader's names leave no trace; a writer's repository is not read from the tree any more, which
// by then has what was projected.
func TestNamesThatAreNotThere(t *testing.T) {
	d, x, ctx := inmemory.New(), openIndex(t), t.Context()
	plant(t, d)
	a, _ := newAdopter(t, x, d)
	for _, writes := range []bool{false, true} {
		ok(t, a.Touch(ctx, "new", writes))
		if adopted, err := x.Adopted(ctx, "new"); adopted != writes || err != nil {
			t.Errorf("writes %v: adopted %v, %v", writes, adopted, err)
		}
	}
	planter{t, d}.image("new", "deleted since", "v1")
	ok(t, a.Run(ctx))
	if known, err := x.Knows(ctx, "new"); known || err != nil {
		t.Errorf("known %v, %v: what was deleted came back", known, err)
	}
}

// TestManyTouch: all wait for one reading, and what is pushed behind it stays.
func TestManyTouch(t *testing.T) {
	d, x, ctx := inmemory.New(), openIndex(t), t.Context()
	plant(t, d)
	count := drivertest.NewFaults(d)
	a, _ := newAdopter(t, x, count)
	count.Set()
	ok(t, readAll(ctx, count))
	once := count.Seen()
	count.Set()
	var all sync.WaitGroup
	for i := range 20 {
		all.Go(func() {
			if err := a.Touch(ctx, "a", i%2 == 0); err != nil {
				t.Error(err)
			}
			if i%2 == 0 {
				if err := indextest.PutManifest(ctx, x, "a", index.Manifest{Digest: digest.FromString("pushed")}, "v1"); err != nil {
					t.Error(err)
				}
			} else if _, err := x.Tagged(ctx, "a", "multi"); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	if count.Seen() != once {
		t.Errorf("%d reads, one reading takes %d", count.Seen(), once)
	}
	ok(t, a.Run(ctx))
	if m, err := x.Tagged(ctx, "a", "v1"); m.Digest != digest.FromString("pushed") || err != nil {
		t.Errorf("v1 is %s, %v, want what was pushed", m.Digest, err)
	}
}

func TestAgain(t *testing.T) {
	d, x, ctx := inmemory.New(), openIndex(t), t.Context()
	plant(t, d)
	a, _ := newAdopter(t, x, d)
	ok(t, a.Run(ctx))
	ok(t, indextest.LinkBlob(ctx, x, "a", digest.FromString("layer third"), 11)) // not projected yet

	p := planter{t, d}
	moved := p.image("a", "moved", "v1")
	ok(t, d.Delete(ctx, tree.Tag("a", "multi")))
	ok(t, d.Delete(ctx, tree.Repository("z")))
	p.image("new", "new", "v1")
	ok(t, a.Again(ctx))
	if m, err := x.Tagged(ctx, "a", "v1"); m.Digest == moved || err != nil {
		t.Errorf("v1 is %s, %v before it was read", m.Digest, err)
	}
	ok(t, a.Touch(ctx, "z", false))
	if known, err := x.Knows(ctx, "z"); known || err != nil {
		t.Errorf("z is known: %v, %v", known, err)
	}
	ok(t, a.Run(ctx))
	if m, err := x.Tagged(ctx, "a", "v1"); m.Digest != moved || err != nil {
		t.Errorf("v1 is %s, %v, want %s", m.Digest, err, moved)
	}
	if _, err := x.Tagged(ctx, "a", "multi"); !errors.Is(err, index.ErrManifestUnknown) {
		t.Errorf("multi: %v", err)
	}
	if _, err := x.Blob(ctx, "a", digest.FromString("layer third")); err != nil {
		t.Errorf("what was acknowledged and not yet projected: %v", err)
	}
	if names, _, err := x.Repositories(ctx, "", 10); !slices.Equal(names, []string{"a", "a/b", "new"}) || err != nil {
		t.Errorf("repositories %v, %v", names, err)
	}
	ok(t, x.Verify(ctx, func(record, problem string) { t.Errorf("%s: %s", record, problem) }))
}
