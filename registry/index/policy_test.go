package index

import (
	"testing"
	"time"
)

// TestAtOnce: what waits under a patient policy, also for a time to come, does not under one without grace and quarantine. Without
// quarantine only, bytes that somebody may be about to enter wait for the grace time.
func TestAtOnce(t *testing.T) {
	b := newBench(t)
	b.policy.Grace, b.policy.Quarantine = time.Minute, time.Hour
	image(t, b.Index, "a", "m", []string{"layer"}, "v1")
	ok(t, b.DeleteTag(t.Context(), "a", "v1", "alice"))
	_, err := b.Stray(t.Context(), b.policy, []StoredBlob{{dgst("stray"), 5}})
	ok(t, err)
	b.pass(time.Minute)
	b.want(b.collect(), "untagged a m")
	if e, err := b.Explain(t.Context(), b.policy, dgst("layer"), ""); err != nil || !e.Uses[0].Due.Equal(b.clock.Add(time.Hour)) {
		t.Errorf("%+v, %v", e, err)
	}
	_, err = b.Stray(t.Context(), b.policy, []StoredBlob{{dgst("layer 2"), 5}})
	ok(t, err)
	b.policy.Quarantine = 0
	b.want(b.collect(), "bytes m", "bytes stray")
	b.policy.Grace, b.policy.Quarantine = 0, time.Nanosecond // then what the manifest needed is readable for the quarantine
	b.want(b.collect())
	b.policy.Quarantine = 0
	if steps, last := b.planned(); len(steps) != 3 || !last.Equal(b.clock) {
		t.Errorf("planned %q until %s", steps, last.Sub(b.clock))
	}
	if e, err := b.Explain(t.Context(), b.policy, dgst("layer 2"), ""); err != nil || !e.Due.Equal(b.clock) {
		t.Errorf("%+v, %v", e, err)
	}
	b.want(b.collect(), "bytes layer", "bytes layer 2", "unreferenced a layer")
}
