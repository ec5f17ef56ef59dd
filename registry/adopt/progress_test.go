package adopt

import (
	"errors"
	"strings"
	"testing"

	"gatehouse/registry/driver/drivertest"
	"gatehouse/registry/driver/inmemory"
	"gatehouse/registry/index"
	"gatehouse/registry/tree"
)

// TestProgress looks at a pass while it waits for a repository, after one has failed, and at its end.
func TestProgress(t *testing.T) {
	d, x, ctx := inmemory.New(), openIndex(t), t.Context()
	plant(t, d) // a, a/b and z
	arrived, goOn, broken := make(chan struct{}, 100), make(chan struct{}), errors.New("input/output error")
	waiting := drivertest.NewFaults(d, drivertest.Fault{Err: broken, Match: func(op drivertest.Op) bool {
		if !strings.HasPrefix(op.Path, tree.Repository("z")+"/_") {
			return false
		}
		arrived <- struct{}{}
		<-goOn
		return true
	}})
	a, clock := newAdopter(t, x, waiting)
	if p := a.Progress(); p != (Progress{}) {
		t.Errorf("before: %+v", p)
	}
	ended := make(chan error, 1)
	go func() { ended <- a.Pass(ctx, func(index.Adoption) {}) }()
	<-arrived
	if p := a.Progress(); p.Found != 3 || p.Read > 2 || p.Failure != nil {
		t.Errorf("while z is read: %+v", p)
	}
	close(goOn)
	if err := <-ended; !errors.Is(err, broken) {
		t.Fatalf("pass: %v", err)
	}
	if p := a.Progress(); p.Found != 3 || !p.Counted || p.Read != 2 || !errors.Is(p.Failure, broken) {
		t.Errorf("after a failure: %+v", p)
	}
	waiting.Set()
	clock.pass(retryTouchAfter)
	ok(t, a.Pass(ctx, func(index.Adoption) {}))
	if p := a.Progress(); p != (Progress{Found: 3, Counted: true, Read: 3}) {
		t.Errorf("at the end: %+v", p)
	}
}

func TestValidName(t *testing.T) {
	for name, want := range map[string]bool{
		"a": true, "team/app": true, "a.b/c__d/e-f": true, strings.Repeat("a", 255): true,
		"": false, "/": false, "a/": false, "/a": false, "a//b": false, "..": false, "a/../b": false, "_a": false, "a/_manifests": false,
		"A": false, "a b": false, "a\x00b": false, "a\n": false, "a:b": false, strings.Repeat("a", 256): false,
	} {
		if ValidName(name) != want {
			t.Errorf("%q: %v", name, !want)
		}
	}
}
