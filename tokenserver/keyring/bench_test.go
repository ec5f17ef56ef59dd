package keyring

import (
	"testing"
	"time"
)

// BenchmarkVerifyWarm is what a request costs whose token was seen before, with a key in each state.
func BenchmarkVerifyWarm(b *testing.B) {
	k := newBench(b)
	k.o.Now = nil
	k.at = time.Now()
	k.open()
	k.rotate(Rotation{Now: true})
	k.rotate(Rotation{})
	k.ring.tick()
	raw := k.sign()
	if _, err := k.trusted.Verify(raw); err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := k.trusted.Verify(raw); err != nil {
			b.Fatal(err)
		}
	}
}
