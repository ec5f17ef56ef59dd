package model

import "hash/maphash"

// set is a set of states, in the order in which they came.
type set struct {
	states []State
	slots  []slot // a power of two of them
	seed   maphash.Seed
}

// slot is where a state is found: a part of its hash, and one plus its number.
type slot struct {
	hash   uint32
	number int32
}

func newSet() *set { return &set{slots: make([]slot, 1<<12), seed: maphash.MakeSeed()} }

func (s *set) len() int { return len(s.states) }

// find returns the slot of a state, or the one that it would have.
func (s *set) find(state *State) (*slot, uint32) {
	hash := maphash.Comparable(s.seed, *state)
	mask := uint64(len(s.slots) - 1)
	for i := hash & mask; ; i = (i + 1) & mask {
		at := &s.slots[i]
		if at.number == 0 || at.hash == uint32(hash>>32) && s.states[at.number-1] == *state {
			return at, uint32(hash >> 32)
		}
	}
}

func (s *set) has(state *State) bool {
	at, _ := s.find(state)
	return at.number != 0
}

// add reports whether the state was not there.
func (s *set) add(state *State) bool {
	at, hash := s.find(state)
	if at.number != 0 {
		return false
	}
	s.states = append(s.states, *state)
	*at = slot{hash, int32(len(s.states))}
	if 2*len(s.states) > len(s.slots) {
		s.grow()
	}
	return true
}

func (s *set) grow() {
	s.slots = make([]slot, 2*len(s.slots))
	for n := range s.states {
		at, hash := s.find(&s.states[n])
		*at = slot{hash, int32(n + 1)}
	}
}
