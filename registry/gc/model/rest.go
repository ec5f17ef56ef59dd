package model

import "slices"

// rest is I6: when the clients have gone home, time passes and the collector and the projector do what they do, nothing is left
// that no tag needs. It is looked at from every state, in one fair order of steps; what one state has shown holds for all
// that lead to it.
type rest struct {
	sc    *Scenario
	off   Protection
	steps []Step
	known *set // states from which nothing is left
}

func newRest(sc *Scenario, off Protection) *rest {
	r := &rest{sc: sc, off: off, known: newSet()}
	for _, s := range sc.Steps() {
		switch s.By {
		case ByDue, ByResume, ByRecord, BySee, ByStray, ByProjector:
			r.steps = append(r.steps, s)
		case ByCollect, ByDelete:
			if s.B == 0 {
				r.steps = append(r.steps, s)
			}
		}
	}
	slices.SortStableFunc(r.steps, func(a, b Step) int { // a cycle that has begun ends before another begins
		return order(a) - order(b)
	})
	return r
}

func order(s Step) int {
	if s.By == ByCollect || s.By == ByDelete || s.By == ByRecord {
		return 0
	}
	return 1
}

// longest is more steps than any state takes to come to rest.
const longest = 1000

// leaves returns what is left behind for ever by a state, or "".
func (r *rest) leaves(s State) string {
	sc := *r.sc
	sc.Scan = true
	w := &world{Scenario: &sc, State: s, off: r.off}
	w.Pushers, w.Reader, w.Deletes, w.Crashes, w.Faults = [maxPushers]Pusher{}, Reader{}, 0, 0, 0
	for i := range w.Plans {
		w.Pushers[i].Phase = Over
	}
	var way []State
	for range longest {
		if r.known.has(&w.State) {
			break
		}
		way = append(way, w.State)
		if r.step(w) {
			continue
		}
		before := w.State
		if w.tick(); w.State == before {
			if text := w.left(); text != "" {
				return text
			}
			break
		}
	}
	if len(way) == longest {
		return "the collector does not come to rest"
	}
	for i := range way {
		r.known.add(&way[i])
	}
	return ""
}

// step takes the first step that changes something for good.
func (r *rest) step(w *world) bool {
	for _, s := range r.steps {
		b := &w.Blobs[s.A]
		if s.By == ByResume {
			b = &w.Blobs[s.B]
		}
		switch {
		case s.By == ByResume && b.Bytes == noBytes && b.Unsure == 1: // deleted, and not yet believed
		case s.By == BySee && b.State == Gone: // seen, and left alone
		default:
			next := *w
			if next.take(s) && next.State != w.State {
				*w = next
				return true
			}
		}
	}
	return false
}

// left returns what is there and no tag needs.
func (w *world) left() string {
	var needed [maxDigests]bool
	for r := range w.Repos {
		reached := w.reached(r)
		for d := range w.Contents {
			needed[d] = needed[d] || reached[d]
			if w.Names[r][d].Has != reached[d] {
				return w.name(r, uint8(d)) + " stays, and no tag leads to it"
			}
			if w.Tree != NoTree && w.current(nameEvent(r, uint8(d))) != uint8(w.TreeNames>>(nameEvent(r, uint8(d))-1)&1) {
				return "the tree is not true of " + w.name(r, uint8(d))
			}
		}
	}
	for d, b := range w.Blobs[:len(w.Contents)] {
		want := Blob{}
		if needed[d] {
			want = Blob{State: Live, Bytes: durableBytes}
		}
		if b.Unsure = 0; b != want {
			return "of " + w.Contents[d].Name + " stays what nothing needs, " + b.State.String()
		}
	}
	if w.Outbox != 0 {
		return "events stay in the outbox"
	}
	return ""
}

// reached returns what the tag of a repository leads to: children, and what refers to a subject that is reached.
func (w *world) reached(r uint8) (reached [maxDigests]bool) {
	if w.Tags[r] != 0 {
		reached[w.Tags[r]-1] = true
	}
	for range w.Contents { // as often as the longest way is long
		for d, c := range w.Contents {
			if c.Subject >= 0 && reached[c.Subject] && w.Names[r][d].Has {
				reached[d] = true
			}
			for _, need := range c.Needs {
				reached[need] = reached[need] || reached[d]
			}
		}
	}
	return reached
}
