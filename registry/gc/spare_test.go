package gc_test

import (
	"os"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"

	"gatehouse/registry/gc"
	"gatehouse/registry/tree"
)

// TestSpare: what the tree leads to is not deleted because the index does not know it: perhaps the index was put back from a
// backup. A stranger lost the bytes of sixty acknowledged images so.
func TestSpare(t *testing.T) {
	b := newBench(t)
	b.image("a", "v1", configContent)
	b.drain()
	linked, long, revision, loose := b.stray("linked"), b.stray("long"), b.stray("revision"), b.stray("loose")
	for path, content := range map[string]digest.Digest{
		tree.Layer("a", linked):                                   "", // cut short by a crash
		tree.Layer("deep/in/b", digest.SHA512.FromString("long")): long,
		tree.Revision("a", revision):                              revision,
	} {
		ok(t, b.driver.WriteFile(t.Context(), path, []byte(content)))
	}
	for range 3 {
		r, err := b.gc.Cycle(t.Context(), gc.Request{Scan: true, Force: true})
		if err != nil || r.Spared != 3 {
			t.Errorf("%+v, %v", r, err)
		}
		b.clock.pass(1000 * time.Hour)
	}
	stored := b.stored()
	if !stored[linked] || !stored[long] || !stored[revision] || stored[loose] {
		t.Errorf("stored: linked %v, long %v, revision %v, loose %v", stored[linked], stored[long], stored[revision], stored[loose])
	}
}

// TestSpareWhatALostIndexKnew is the stranger's own way: an index that is younger than its tree.
func TestSpareWhatALostIndexKnew(t *testing.T) {
	b := newBench(t)
	b.image("a", "v1", configContent, layerContent)
	b.drain()
	before := b.stored()
	b.close()
	ok(t, os.Remove(b.path))
	b.open()
	ok(t, b.index.FinishAdoption(t.Context(), nil)) // as if it had been an index once
	for range 2 {
		_, err := b.gc.Cycle(t.Context(), gc.Request{Scan: true, Force: true})
		ok(t, err)
		b.clock.pass(1000 * time.Hour)
	}
	for d := range before {
		if !b.stored()[d] {
			t.Errorf("%s was deleted", d)
		}
	}
}
