package main

import (
	"cmp"
	"slices"
	"time"
)

// change is what a step does to a register, or says of it.
type change int

const (
	sets    change = iota // the value takes the place of what is there
	clears                // something was there, and is no more
	clearsV               // the value is no more, if it was there
	reads                 // the value is there; "" is nothing
)

// step is an operation on one register, which took effect at one moment between its start and its end; or, where that is
// not sure, then or never.
type step struct {
	change
	value      string
	start, end time.Duration
	unsure     bool
	op         op
}

// apply returns what becomes of a state; false where the step cannot have happened in it.
func (s step) apply(state string) (string, bool) {
	switch s.change {
	case sets:
		return s.value, true
	case clears:
		return "", state != "" || s.unsure
	case clearsV:
		if state == s.value {
			return "", true
		}
		return state, true
	}
	return state, state == s.value
}

// maxPending is how many steps may be under way on a register at a time.
const maxPending = 64

// config is a way in which things may have happened so far: what the register holds, and which of the steps under way have had
// their effect.
type config struct {
	state string
	had   uint64
}

// linearize returns nil when there is an order of the steps, each at a moment between its start and its end, that explains all
// that was read: the register is linearizable. Else it returns the step that no order explains. A register that decays may
// lose its value at any time by itself, as what the collector takes.
//
// It goes through starts and ends in the order of time and keeps all ways in which things may have happened (G. Lowe, Testing
// for linearizability, 2017: just-in-time linearization). The steps under way at one moment are few.
func linearize(steps []step, decays bool) *step {
	type edge struct {
		at   time.Duration
		end  bool
		step int
	}
	var edges []edge
	for i, s := range steps {
		edges = append(edges, edge{s.start, false, i}, edge{s.end, true, i})
	}
	slices.SortStableFunc(edges, func(a, b edge) int { // at one moment starts come first: that allows more
		if c := cmp.Compare(a.at, b.at); c != 0 || a.end == b.end {
			return c
		}
		if b.end {
			return -1
		}
		return 1
	})
	var pending [maxPending]*step
	ways := map[config]bool{{}: true}
	for _, e := range edges {
		s := &steps[e.step]
		if !e.end {
			free := slices.Index(pending[:], nil)
			if free < 0 {
				return s // the harness has fewer clients than that
			}
			pending[free] = s
			continue
		}
		slot := slices.Index(pending[:], s)
		if ways = settle(ways, pending[:], slot, decays); len(ways) == 0 {
			return s
		}
		pending[slot] = nil
	}
	return nil
}

// settle returns the ways in which the step of a slot, which ends, has had its effect; or, where that is not sure, has not.
func settle(ways map[config]bool, pending []*step, slot int, decays bool) map[config]bool {
	after, seen := map[config]bool{}, map[config]bool{}
	bit := uint64(1) << slot
	var look func(config)
	look = func(c config) {
		if seen[c] {
			return
		}
		seen[c] = true
		if c.had&bit != 0 {
			after[config{c.state, c.had &^ bit}] = true
			return
		}
		if pending[slot].unsure {
			after[c] = true
		}
		if decays && c.state != "" {
			look(config{"", c.had})
		}
		for i, p := range pending {
			if p == nil || c.had&(1<<i) != 0 {
				continue
			}
			if state, ok := p.apply(c.state); ok {
				look(config{state, c.had | 1<<i})
			}
		}
	}
	for c := range ways {
		look(c)
	}
	return after
}
