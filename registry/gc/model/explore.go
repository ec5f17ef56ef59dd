package model

import (
	"fmt"
	"slices"
)

// Result is what a search found.
type Result struct {
	States    int
	Steps     int // that were taken
	Depth     int // of the state that is farthest from the start
	Rested    int // states in which only the collector works, from which nothing is left behind
	Violation *Violation
}

// String is a line about it.
func (r Result) String() string {
	return fmt.Sprintf("%d states, %d steps, depth %d, %d states at rest", r.States, r.Steps, r.Depth, r.Rested)
}

// node is how a state was reached.
type node struct {
	from  int32
	depth int32
	step  Step
}

// search is a search under way.
type search struct {
	sc    *Scenario
	off   Protection
	of    Property
	limit int
	steps []Step
	seen  *set
	nodes []node
	rest  *rest
	taken int

	scratch world
	watch   func(from int, step Step, w *world) // is told of each step that is taken; or nil
}

// Explore goes through all states of a scenario without the protections in off, breadth first, until one of the properties does
// not hold or nothing is left. More than limit states are a panic: a scenario that is too large says nothing.
func (sc *Scenario) Explore(off Protection, of Property, limit int) Result {
	s := &search{sc: sc, off: off, of: of, limit: limit, steps: sc.Steps(), seen: newSet(), rest: newRest(sc, off)}
	start := sc.start()
	s.seen.add(&start)
	s.nodes = append(s.nodes, node{from: -1})
	if v := s.world(0).look(of); v != nil {
		return s.result(0, v)
	}
	for i := 0; i < len(s.nodes); i++ {
		if v := s.visit(i); v != nil {
			return s.result(i, v)
		}
	}
	return s.result(0, nil)
}

// visit looks at a state, and takes all steps that can be taken from it.
func (s *search) visit(i int) *Violation {
	if s.of&Clean != 0 {
		if text := s.rest.leaves(s.seen.states[i]); text != "" {
			return &Violation{Property: Clean, Text: text}
		}
	}
	for _, step := range s.steps {
		w := s.world(i)
		if !w.take(step) {
			continue
		}
		s.taken++
		if s.watch != nil {
			s.watch(i, step, w)
		}
		v := s.refused(w, i, step)
		if v == nil {
			v = w.lookAt(&s.seen.states[i], step, s.of)
		}
		if s.seen.add(&w.State) {
			s.nodes = append(s.nodes, node{from: int32(i), depth: s.nodes[i].depth + 1, step: step})
			if v == nil {
				v = w.look(s.of)
			}
		}
		if v != nil {
			v.Steps = append(v.Steps, step)
			return v
		}
		if len(s.nodes) > s.limit {
			panic(fmt.Sprintf("scenario %s has more than %d states", s.sc.Name, s.limit))
		}
	}
	return nil
}

// world returns a copy of a state in which a step can be taken. The copy before is of no use any more.
func (s *search) world(i int) *world {
	s.scratch = world{Scenario: s.sc, State: s.seen.states[i], off: s.off}
	return &s.scratch
}

// refused looks at an upload that is refused.
func (s *search) refused(w *world, i int, step Step) (v *Violation) {
	if s.of&Welcome == 0 || step.By != ByPusher || s.sc.Deletions > 0 || len(s.sc.Plans) > 1 {
		return nil
	}
	before, after := s.seen.states[i].Pushers[step.A], w.Pushers[step.A]
	if before.Phase == Enter && after.Phase == PrepareAgain && before.Saw == sawNone && 2*before.Ticket <= settling {
		return &Violation{Property: Welcome, Text: "bytes were written with a ticket that lasts, and refused"}
	}
	return nil
}

// result ends the search at a state.
func (s *search) result(i int, v *Violation) Result {
	r := Result{States: len(s.nodes), Steps: s.taken, Depth: int(s.nodes[len(s.nodes)-1].depth), Rested: s.rest.known.len(), Violation: v}
	if v == nil {
		return r
	}
	v.Steps = append(s.path(i), v.Steps...)
	v.Trace = s.sc.Replay(s.off, v.Steps)
	v.Trace = append(v.Trace, v.Property.String()+" is broken: "+v.Text)
	return r
}

// path returns the steps that led to a state.
func (s *search) path(i int) (steps []Step) {
	for ; i > 0; i = int(s.nodes[i].from) {
		steps = append(steps, s.nodes[i].step)
	}
	slices.Reverse(steps)
	return steps
}

// Replay takes steps from the start and returns what they say.
func (sc *Scenario) Replay(off Protection, steps []Step) (lines []string) {
	w := &world{Scenario: sc, State: sc.start(), off: off, tell: func(line string) { lines = append(lines, line) }}
	for _, step := range steps {
		if !w.take(step) {
			panic(fmt.Sprintf("%s: step %d, %v, cannot be taken", sc.Name, len(lines), step))
		}
	}
	return lines
}
