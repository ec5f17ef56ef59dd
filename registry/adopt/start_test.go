package adopt

import (
	"fmt"
	"log/slog"
	"testing"
	"time"

	"gatehouse/registry/driver/drivertest"
	"gatehouse/registry/driver/inmemory"
	"gatehouse/registry/index"
)

// TestStartAndFirstTouchCostTheSame: how long the first answers take does not depend on how large the tree is. Starting asks the
// driver for the same as in a small tree, and so does the first request for a repository.
func TestStartAndFirstTouchCostTheSame(t *testing.T) {
	var start, touch []string
	for _, repositories := range []int{2, 500} {
		counter := drivertest.Count(inmemory.New())
		p := planter{t, counter}
		for i := range repositories {
			repo := fmt.Sprintf("team/app%03d", i)
			for j := range 5 {
				p.blob(repo, fmt.Sprint("layer ", i, j))
			}
		}
		x := openIndex(t)
		a := New(x, counter, time.Now, slog.New(slog.DiscardHandler))
		counter.Reset()
		ok(t, a.Start(t.Context()))
		start = append(start, counter.String())
		counter.Reset()
		ok(t, a.Touch(t.Context(), "team/app001", false))
		touch = append(touch, counter.String())
		if now, err := x.Adoption(t.Context()); err != nil || now.State != index.AdoptionRunning {
			t.Errorf("%d repositories: the adoption is %v, %v; want it under way", repositories, now.State, err)
		}
		if known, err := x.Adopted(t.Context(), "team/app001"); err != nil || !known {
			t.Errorf("%d repositories: the one that was asked for is adopted: %v, %v", repositories, known, err)
		}
	}
	if start[0] != start[1] || touch[0] != touch[1] {
		t.Errorf("starting: %s, and in a large tree %s; a touch: %s, and %s", start[0], start[1], touch[0], touch[1])
	}
}
