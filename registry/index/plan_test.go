package index

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
)

// planned returns the plan, readable and sorted.
func (b *bench) planned() (steps []string, last time.Time) {
	b.Helper()
	ok(b, b.Plan(b.Context(), b.policy, b.clock.Add(1<<40*time.Microsecond), func(s Step) error {
		switch s.Class {
		case Condemned, Deleting:
			steps = append(steps, "bytes "+b.name(s.Digest))
		default:
			steps = append(steps, fmt.Sprintf("%s %s %s", s.Class, s.Repository, b.name(s.Digest)))
		}
		if s.Due.Before(last) {
			b.Errorf("%+v is planned after something later", s)
		}
		last = s.Due
		return nil
	}))
	slices.Sort(steps)
	return steps, last
}

// TestPlanIsWhatIsDone compares plans of random repositories with what is collected then.
func TestPlanIsWhatIsDone(t *testing.T) {
	for seed := range uint64(20) {
		b := newBench(t)
		random := rand.New(rand.NewPCG(seed, 1))
		b.policy.Untagged = []time.Duration{KeepUntagged, 0, 3 * time.Hour}[seed%3]
		for range 30 {
			repo := []string{"a", "b"}[random.IntN(2)]
			switch random.IntN(6) {
			case 0:
				b.link(repo, fmt.Sprint("blob ", random.IntN(5)))
			case 1, 2:
				image(t, b.Index, repo, fmt.Sprint("image ", random.IntN(4)), []string{fmt.Sprint("blob ", random.IntN(5)), fmt.Sprint("blob ", random.IntN(5))},
					[]string{"v1", "v2"}[:random.IntN(3)]...)
			case 3:
				_ = b.DeleteTag(t.Context(), repo, "v1", "alice")
			case 4:
				_ = b.DeleteManifest(t.Context(), repo, dgst(fmt.Sprint("image ", random.IntN(4))), "alice")
			case 5:
				n := random.IntN(4)
				if _, err := b.Manifest(t.Context(), repo, dgst(fmt.Sprint("image ", n))); err == nil {
					b.put(repo, Manifest{Digest: dgst(fmt.Sprint("index ", n)), Manifests: []digest.Digest{dgst(fmt.Sprint("image ", n))}, Size: 1}, "v3")
				}
			}
			b.clock = b.clock.Add(time.Duration(random.IntN(20)) * time.Minute)
		}
		want, last := b.planned()
		var got []string
		for b.clock.Before(last) {
			b.clock = b.clock.Add(time.Second * 30)
			got = append(got, b.collect()...)
		}
		slices.Sort(got)
		if !slices.Equal(got, want) {
			t.Errorf("seed %d: planned\n%q\ndone\n%q", seed, want, got)
		}
		if rest, _ := b.planned(); len(rest) > 0 {
			t.Errorf("seed %d: then still planned: %q", seed, rest)
		}
	}
}

func TestFreed(t *testing.T) {
	b := newBench(t)
	ctx := t.Context()
	image(t, b.Index, "a", "m 1", []string{"config", "layer"}, "v1", "also")
	image(t, b.Index, "a", "m 2", []string{"config", "layer 2"}, "v2")
	image(t, b.Index, "b", "m 2", []string{"config", "layer 2"}, "v2")
	b.link("a", "stray")
	want := func(f Freed, err error, blobs, manifests int, bytes int64) {
		t.Helper()
		if want := (Freed{Blobs: blobs, Manifests: manifests, Bytes: bytes}); err != nil || f != want {
			t.Errorf("%+v, %v; want %+v", f, err, want)
		}
	}
	tags := func(p Policy, tags ...string) (Freed, error) { return b.FreedByTags(ctx, p, "a", tags) }
	f, err := tags(b.policy, "v1")
	want(f, err, 0, 0, 0)
	f, err = tags(b.policy, "v1", "also", "nowhere")
	want(f, err, 2, 1, 3+5) // the manifest and a layer; b needs the config
	f, err = tags(b.policy, "v2")
	want(f, err, 0, 1, 0)
	f, err = tags(Policy{Untagged: KeepUntagged}, "v1", "also")
	want(f, err, 0, 0, 0)
	f, err = b.FreedByRepository(ctx, Policy{Grace: time.Hour, Untagged: KeepUntagged}, "a")
	want(f, err, 3, 2, 3+5+5)
	f, err = b.FreedByRepository(ctx, b.policy, "nowhere")
	want(f, err, 0, 0, 0)
	if _, err := b.Tagged(ctx, "a", "v1"); err != nil {
		t.Errorf("asking changed something: %v", err)
	}
	b.verify()
}
