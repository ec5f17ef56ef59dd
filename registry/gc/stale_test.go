package gc_test

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"

	"gatehouse/registry/gc"
	"gatehouse/registry/tree"
)

// TestStale: while the tree has a name that the index lacks nothing is collected, and nothing finished; the storage is asked once, and
// again after it failed, and after a comparison has found such a name.
func TestStale(t *testing.T) {
	news, broken, asked := "repositories/a/_layers/x", errors.New("input/output error"), 0
	var fails error
	b := condemned(t, 3, func(o *gc.Options) {
		o.Newer = func(context.Context) (string, error) { asked++; return news, fails }
	})
	for range 2 {
		if _, err := b.gc.Cycle(t.Context(), gc.Request{Force: true}); !errors.Is(err, gc.ErrStale) || !strings.Contains(err.Error(), news) {
			t.Fatalf("the cycle ended with %v", err)
		}
	}
	if s, err := b.gc.Status(t.Context()); err != nil || !strings.Contains(s.Held, "gatehouse adopt --again") || s.Deleted != 0 {
		t.Errorf("%+v, %v", s, err)
	}
	if err := b.gc.Finish(t.Context(), digest.FromString("blob 0")); !errors.Is(err, gc.ErrStale) {
		t.Errorf("a deletion was finished: %v", err)
	}
	news, fails = "", broken
	if _, err := b.gc.Cycle(t.Context(), gc.Request{}); !errors.Is(err, broken) {
		t.Errorf("the tree could not be read, and the cycle ended with %v", err)
	}
	fails, asked = nil, 0
	if r := b.cycle(); r.Deleted != 3 || asked != 1 {
		t.Errorf("%+v, asked %d times", r, asked)
	}
	b.cycle()
	if s, err := b.gc.Status(t.Context()); err != nil || s.Held != "" || asked != 1 {
		t.Errorf("%+v, %v, asked %d times", s, err, asked)
	}
	d := digest.FromString("unknown to the index")
	p := planter{b, b.root}
	p.file(tree.Blob(d), "unknown to the index")
	p.file(tree.Layer("a", d), string(d))
	if r, err := b.gc.Cycle(t.Context(), gc.Request{Scan: true}); err != nil || r.Spared != 1 {
		t.Fatalf("%+v, %v", r, err)
	}
	if _, err := b.gc.Cycle(t.Context(), gc.Request{}); err != nil || asked != 2 {
		t.Errorf("asked %d times after the index turned out to lack a name, %v", asked, err)
	}
}

// TestPushingWaits: bytes of a push under way wait, and hold up no others, however many they are.
func TestPushingWaits(t *testing.T) {
	pushing := true
	b := condemned(t, 3*gc.Batch, func(o *gc.Options) {
		n := map[digest.Digest]bool{}
		o.Pushing = func(d digest.Digest) bool {
			if len(n) < 2*gc.Batch {
				n[d] = true
			}
			return pushing && n[d]
		}
	})
	if r := b.cycle(); r.Deleted != gc.Batch {
		t.Errorf("%+v", r)
	}
	pushing = false
	if r := b.cycle(); r.Deleted != 2*gc.Batch {
		t.Errorf("afterwards %+v", r)
	}
}

// TestLost: a comparison tells of what the store turns out not to have.
func TestLost(t *testing.T) {
	var lost []digest.Digest
	b := condemned(t, 0, func(o *gc.Options) { o.Lost = func(d digest.Digest) { lost = append(lost, d) } })
	b.cycle()
	for d := range b.stored() {
		b.lose(d)
		if _, err := b.gc.Cycle(t.Context(), gc.Request{Scan: true, Force: true}); err != nil {
			t.Fatal(err)
		}
		if len(lost) != 1 || lost[0] != d {
			t.Errorf("lost are %v, want %s", lost, d)
		}
		return
	}
	t.Error("nothing is stored")
}
