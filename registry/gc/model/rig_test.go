package model

import (
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"

	"gatehouse/registry/driver/inmemory"
	"gatehouse/registry/index"
	"gatehouse/registry/index/kv"
	"gatehouse/registry/index/kv/bolt"
	"gatehouse/registry/tree"
)

// tickTime is a tick in the real index: half of its settling time, which is settling ticks here.
const tickTime = 5 * time.Minute

// rig is a real index, and the tree's real projector, that take the model's steps.
type rig struct {
	testing.TB
	*Scenario
	file    string
	db      kv.DB
	index   *index.Index
	later   *index.Index // the same, with a clock at which everything is due
	clock   time.Time
	policy  index.Policy
	driver  *inmemory.Driver
	tickets [maxPushers]index.Ticket
	batch   []index.Event // the projector's, where it goes step by step
}

func newRig(t testing.TB, sc *Scenario, file string) *rig {
	r := &rig{TB: t, Scenario: sc, file: file, clock: time.Unix(1_700_000_000, 0), driver: inmemory.New()}
	r.policy = index.Policy{Grace: time.Duration(sc.Grace) * tickTime, Quarantine: time.Duration(sc.Quarantine) * tickTime}
	r.open()
	for _, image := range sc.Start {
		for i, d := range image.Items {
			ticket, err := r.index.Prepare(t.Context(), r.digest(d))
			r.ok(err)
			tags := []string{"v1"}
			if !image.Tag || i < len(image.Items)-1 {
				tags = nil
			}
			if sc.Contents[d].Manifest {
				err = r.index.PutManifest(t.Context(), ticket, repo(image.Repo), r.manifest(d), tags...)
			} else {
				err = r.index.LinkBlob(t.Context(), ticket, repo(image.Repo), size)
			}
			r.ok(err)
		}
	}
	r.ok(r.projector().Drain(t.Context()))
	r.clock = r.clock.Add(r.policy.Grace)
	return r
}

// open is what a process begins with.
func (r *rig) open() {
	r.Helper()
	var err error
	r.db, err = bolt.Open(r.file)
	r.ok(err)
	r.index, err = index.Open(r.Context(), r.db, func() time.Time { return r.clock })
	r.ok(err)
	r.index.SetGrace(r.policy.Grace)
	r.later, err = index.Open(r.Context(), r.db, func() time.Time { return r.clock.Add(1000 * time.Hour) })
	r.ok(err)
}

func (r *rig) ok(err error) {
	r.Helper()
	if err != nil {
		r.Fatal(err)
	}
}

const size = 5 // of all bytes

func repo(r uint8) string { return string('a' + rune(r)) }

func (r *rig) digest(d uint8) digest.Digest { return digest.FromString(r.Contents[d].Name) }

func (r *rig) manifest(d uint8) index.Manifest {
	m := index.Manifest{Digest: r.digest(d), MediaType: "application/vnd.oci.image.manifest.v1+json", Size: size}
	for _, need := range r.Contents[d].Needs {
		if r.Contents[need].Manifest {
			m.Manifests = append(m.Manifests, r.digest(need))
		} else {
			m.Blobs = append(m.Blobs, r.digest(need))
		}
	}
	if r.Contents[d].Subject >= 0 {
		m.Subject = r.digest(uint8(r.Contents[d].Subject))
	}
	return m
}

func (r *rig) projector() *tree.Projector {
	return tree.NewProjector(r.index, r.driver, slog.New(slog.DiscardHandler))
}

// take takes a step that led from a state to the world's, and compares what the real code answered.
func (r *rig) take(s Step, before *State, w *world) {
	r.Helper()
	ctx := r.Context()
	switch s.By {
	case ByPusher:
		r.push(s.A, before, w.answer)
	case ByUntagger:
		r.ok(r.index.DeleteTag(ctx, repo(s.A), "v1", "owner"))
	case ByRemover:
		r.ok(r.index.DeleteManifest(ctx, repo(s.A), r.digest(s.B), "owner"))
	case ByUnlinker:
		r.ok(r.index.UnlinkBlob(ctx, repo(s.A), r.digest(s.B)))
	case ByReader:
		_, err := r.index.Manifest(ctx, repo(s.A), r.digest(s.B))
		r.ok(err)
	case ByDue:
		v := r.review(Class(s.B), s.C/maxDigests, s.C%maxDigests)
		due, err := r.index.Due(ctx, r.policy, 100)
		r.ok(err)
		if !slices.ContainsFunc(due, func(d index.Review) bool {
			return d.Class == v.Class && d.Repository == v.Repository && d.Digest == v.Digest
		}) {
			r.Fatalf("%v is not due: %v", v, due)
		}
		if !r.Gap {
			r.collect(v, w.answer)
		}
	case ByCollect:
		at := before.Collectors[s.A]
		r.collect(r.review(at.Class, at.Repo, at.Digest), w.answer)
	case ByResume:
		marked, err := r.index.Marked(ctx)
		r.ok(err)
		if !slices.ContainsFunc(marked, func(o index.Outcome) bool { return o.Digest == r.digest(s.B) }) {
			r.Fatalf("%s is not marked: %v", r.Contents[s.B].Name, marked)
		}
	case ByRecord:
		r.ok(r.index.Deleted(ctx, []digest.Digest{r.digest(before.Collectors[s.A].Digest)}))
	case BySee:
		if stored, err := r.index.Stored(ctx, r.digest(s.A)); err != nil || stored {
			r.Fatalf("stored: %v, %v", stored, err)
		}
	case ByStray:
		_, err := r.index.Stray(ctx, r.policy, []index.StoredBlob{{Digest: r.digest(s.A), Size: size}})
		r.ok(err)
	case ByProjector:
		r.project(before)
	case ByTime:
		r.clock = r.clock.Add(tickTime)
	case ByCrash:
		r.ok(r.db.Close())
		r.open()
		r.batch = nil
	}
}

// push takes a pusher's step.
func (r *rig) push(i uint8, before *State, answer string) {
	r.Helper()
	p, plan := before.Pushers[i], r.Plans[i]
	d, into := plan.Items[p.Item], repo(plan.Repo)
	dgst := r.digest(d)
	ctx, err := r.Context(), error(nil)
	switch manifest := r.Contents[d].Manifest; p.Phase {
	case Ask:
		if manifest {
			_, err = r.index.PromiseManifest(ctx, into, dgst)
		} else {
			_, err = r.index.Promise(ctx, into, dgst)
		}
	case Mount:
		err = r.index.Mount(ctx, into, repo(uint8(plan.From)), dgst)
	case Complete:
		err = r.index.Complete(ctx, into, r.manifest(d))
	case Prepare, PrepareAgain:
		r.tickets[i], err = r.index.Prepare(ctx, dgst)
		if s := before.Blobs[d].State; r.tickets[i].Stored != (s == Live || s == Condemned) {
			r.Fatalf("Stored is %v of %s, which is %s", r.tickets[i].Stored, r.Contents[d].Name, s)
		}
	case Write, Look:
		return
	default:
		if !manifest {
			err = r.index.LinkBlob(ctx, r.tickets[i], into, size)
			break
		}
		var tags []string
		if plan.Tag && int(p.Item) == len(plan.Items)-1 {
			tags = []string{"v1"}
		}
		err = r.index.PutManifest(ctx, r.tickets[i], into, r.manifest(d), tags...)
	}
	want := map[string]string{
		"200": "", "201": "", "complete": "", "a ticket": "", "404": "unknown", "202": "unknown", "400": "missing",
		"400, blob unknown": "missing", "collected": "collected", "collected: upload it again": "collected",
	}
	if kind, known := want[answer]; !known || kind != kindOf(err) {
		r.Fatalf("the model says %q, the index %v", answer, err)
	}
}

// kindOf sorts the index's errors.
func kindOf(err error) string {
	switch {
	case err == nil:
		return ""
	case errors.Is(err, index.ErrCollected):
		return "collected"
	case errors.As(err, new(*index.MissingError)):
		return "missing"
	case errors.Is(err, index.ErrBlobUnknown), errors.Is(err, index.ErrManifestUnknown), errors.Is(err, index.ErrNameUnknown):
		return "unknown"
	}
	return err.Error()
}

// review is an item of the real queue.
func (r *rig) review(c Class, in, d uint8) index.Review {
	v := index.Review{Repository: repo(in), Digest: r.digest(d)}
	switch {
	case c == OfCondemned:
		v.Class, v.Repository = index.Condemned, ""
	case c == OfGone:
		v.Class, v.Repository = index.Gone, ""
	case c == Orphaned:
		v.Class = index.Orphaned
	case r.Contents[d].Manifest:
		v.Class = index.Untagged
	default:
		v.Class = index.Unreferenced
	}
	return v
}

// collect takes one review, and compares the verdicts.
func (r *rig) collect(v index.Review, verdict string) {
	r.Helper()
	outcomes, err := r.index.Collect(r.Context(), r.policy, []index.Review{v})
	r.ok(err)
	if got := string(outcomes[0].Verdict); !strings.Contains(verdict, got) {
		r.Fatalf("the model says %q of %s %s %s, the index %q", verdict, v.Class, v.Repository, v.Digest, got)
	}
}

// project takes the projector's step: all of it, or, where the model looks at each, those that are the index's.
func (r *rig) project(before *State) {
	r.Helper()
	if r.Tree == WholeTree {
		r.ok(r.projector().Drain(r.Context()))
		return
	}
	var err error
	switch p := before.Projector; {
	case p.Batch == 0:
		r.batch, err = r.index.Events(r.Context(), 1000)
	case p.At == p.Batch:
		err = r.index.Done(r.Context(), r.batch)
	}
	r.ok(err)
}

// close ends the use of the index.
func (r *rig) close() { r.ok(r.db.Close()) }

// run takes steps from the start in both, the model without the protections in off, and compares them after each.
func run(t testing.TB, sc *Scenario, off Protection, file string, choose func(*State) (Step, bool)) {
	t.Helper()
	r := newRig(t, sc, file)
	defer r.close()
	state := sc.start()
	var trace []string
	defer func() {
		if t.Failed() {
			t.Log(strings.Join(trace, "\n"))
		}
	}()
	for r.compare(&state); !t.Failed(); r.compare(&state) {
		step, more := choose(&state)
		if !more {
			return
		}
		w := &world{Scenario: sc, State: state, off: off, tell: func(line string) { trace = append(trace, line) }}
		if !w.take(step) {
			t.Fatalf("%v cannot be taken", step)
		}
		r.take(step, &state, w)
		state = w.State
	}
}

// along returns a choice of steps: these.
func along(steps []Step) func(*State) (Step, bool) {
	return func(*State) (step Step, more bool) {
		if len(steps) == 0 {
			return step, false
		}
		step, steps = steps[0], steps[1:]
		return step, true
	}
}

// witness is a test that is expected to fail.
type witness struct {
	testing.TB
	said []string
}

// errOver is what a witness ends with.
var errOver = errors.New("over")

func (w *witness) Failed() bool                   { return len(w.said) > 0 }
func (w *witness) Log(...any)                     {}
func (w *witness) Errorf(format string, a ...any) { w.said = append(w.said, fmt.Sprintf(format, a...)) }
func (w *witness) Fatalf(format string, a ...any) { w.Errorf(format, a...); panic(errOver) }
func (w *witness) Fatal(a ...any)                 { w.Fatalf("%s", fmt.Sprint(a...)) }

// watch returns what a run that is expected to fail says.
func (w *witness) watch(run func()) (said []string) {
	defer func() {
		if failed := recover(); failed != nil && failed != errOver {
			panic(failed)
		}
		said = w.said
	}()
	run()
	return nil
}
