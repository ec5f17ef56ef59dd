package model

import (
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"testing"
)

// followed are the scenarios that the real index is led through: all, and one of which the real projector makes the tree.
func followed(t *testing.T) []*Scenario {
	whole := *scenario(t, "tree")
	whole.Name, whole.Tree = "whole tree", WholeTree
	return append(Scenarios(), &whole)
}

// TestTheIndexDoesWhatTheModelDoes leads the real index along the shortest way to each kind of step with each answer, in each
// scenario, and compares after each step.
func TestTheIndexDoesWhatTheModelDoes(t *testing.T) {
	for _, sc := range followed(t) {
		t.Run(sc.Name, func(t *testing.T) {
			traces := sc.cover()
			steps := 0
			for i, trace := range traces {
				steps += len(trace)
				run(t, sc, 0, filepath.Join(t.TempDir(), fmt.Sprint(i)), along(trace))
				if t.Failed() {
					return
				}
			}
			t.Logf("%d traces, %d steps", len(traces), steps)
		})
	}
}

// cover returns the shortest ways to each kind of step with each answer in each state of what it is about.
func (sc *Scenario) cover() (traces [][]Step) {
	type kind struct {
		by     Actor
		a, b   uint8
		phase  Phase
		answer string
		about  BlobState
	}
	seen := map[kind]bool{}
	s := &search{sc: sc, limit: 50_000, steps: sc.Steps(), seen: newSet(), rest: newRest(sc, 0)}
	s.watch = func(from int, step Step, w *world) {
		k := kind{by: step.By, a: step.A, answer: w.answer}
		before := &s.seen.states[from]
		switch step.By {
		case ByPusher:
			p := before.Pushers[step.A]
			k.phase, k.about = p.Phase, before.Blobs[sc.Plans[step.A].Items[p.Item]].State
		case ByDue, ByDelete:
			k.b = step.B
		}
		if !seen[k] {
			seen[k] = true
			traces = append(traces, append(s.path(from), step))
		}
	}
	start := sc.start()
	s.seen.add(&start)
	s.nodes = append(s.nodes, node{from: -1})
	for i := 0; i < len(s.nodes) && len(s.nodes) < s.limit-1000; i++ {
		s.visit(i)
	}
	return slices.DeleteFunc(traces, func(trace []Step) bool { // what another one begins with
		return slices.ContainsFunc(traces, func(other []Step) bool {
			return len(other) > len(trace) && slices.Equal(other[:len(trace)], trace)
		})
	})
}

// TestTheIndexDoesWhatTheModelDoesAtRandom leads the real index along random ways, and compares after each step.
func TestTheIndexDoesWhatTheModelDoesAtRandom(t *testing.T) {
	const walks, length = 8, 80
	for n, sc := range followed(t) {
		t.Run(sc.Name, func(t *testing.T) {
			steps := sc.Steps()
			for walk := range walks {
				random := rand.New(rand.NewPCG(uint64(n), uint64(walk)))
				taken := 0
				run(t, sc, 0, filepath.Join(t.TempDir(), fmt.Sprint(walk)), func(s *State) (Step, bool) {
					var can []Step
					for _, step := range steps {
						w := &world{Scenario: sc, State: *s}
						if w.take(step) && w.State != *s && (step.By != ByCrash || random.IntN(4) == 0) {
							can = append(can, step)
						}
					}
					if taken++; taken > length || len(can) == 0 {
						return Step{}, false
					}
					return can[random.IntN(len(can))], true
				})
				if t.Failed() {
					t.Fatalf("scenario %d, walk %d", n, walk)
				}
			}
		})
	}
}

// TestTheIndexHasTheProtections: along the shortest way to what is broken without a protection of the index, the real index
// does something else than the model without it.
func TestTheIndexHasTheProtections(t *testing.T) {
	for _, test := range needed {
		if test.off&^ofTheIndex != 0 {
			continue
		}
		t.Run(test.off.String()+"/"+test.broken.String(), func(t *testing.T) {
			sc := scenario(t, test.scenario)
			r := sc.Explore(test.off, test.broken, many)
			if r.Violation == nil {
				t.Fatal("nothing is broken")
			}
			w := &witness{TB: t}
			said := w.watch(func() { run(w, sc, test.off, filepath.Join(t.TempDir(), "index"), along(r.Violation.Steps)) })
			if len(said) == 0 {
				t.Error("the real index goes the same way")
			}
			t.Logf("%.200q", said)
		})
	}
}
