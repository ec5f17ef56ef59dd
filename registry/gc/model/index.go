package model

// world is a state in which a step is being taken. Its methods on names and blobs are package index's transactions.
type world struct {
	*Scenario
	State
	off    Protection
	policy bool         // a transaction of the collector: tx.policy
	blind  bool         // what needs what cannot be read, and that is taken for nothing
	damage string       // an error that says "the index is damaged"
	answer string       // of the step: to a pusher, or the verdict on a review
	tell   func(string) // is told what happens, for a trace; or nil
}

// lacks reports whether a protection is switched off.
func (w *world) lacks(p Protection) bool { return w.off&p != 0 }

// delay is Policy.delay.
func (w *world) delay(c Class) int8 {
	switch c {
	case OfCondemned:
		return w.Quarantine
	case OfGone:
		return settling
	}
	return w.Grace
}

// ticket is index.Ticket.
type ticket struct {
	saw uint8
	age int8
}

// store is tx.store. It reports whether the bytes were entered; else the answer is ErrCollected.
func (w *world) store(d uint8, t ticket) bool {
	b := &w.Blobs[d]
	switch b.State {
	case Live:
		return true
	case Condemned:
		if !w.lacks(Revival) {
			b.State, b.Age, b.Before = Live, 0, 0
		}
		return true
	case Deleting:
		if !w.lacks(Tickets) {
			return false
		}
	case Gone:
		if t.saw != sawThis && !w.lacks(Tickets) {
			return false
		}
	case Unknown:
		if t.saw != sawNone && t.saw != sawBytes && !w.lacks(Tickets) {
			return false
		}
	}
	if 2*t.age > settling && !w.lacks(Tickets) {
		return false
	}
	w.leaveGone(d)
	*b = Blob{State: Live, Bytes: b.Bytes, Late: b.Late, Unsure: b.Unsure}
	return true
}

// leaveGone makes the tombstone of a digest, if there is one, another one for those who saw it.
func (w *world) leaveGone(d uint8) {
	for i := range w.Plans {
		p := &w.Pushers[i]
		if p.Saw == sawThis && w.Plans[i].Items[p.Item] == d {
			p.Saw = sawOther
		}
	}
}

// link is tx.linkAt, for bytes under their own digest.
func (w *world) link(r, d uint8) {
	n := &w.Names[r][d]
	if n.Has {
		w.promise(n)
		return
	}
	*n = Name{Has: true, Queue: none, Orphan: none}
	w.settleName(r, d)
	w.event(nameEvent(r, d))
}

// promise is tx.promise where something is written or mounted that is there.
func (w *world) promise(n *Name) {
	if !w.lacks(UploadPromise) && !w.lacks(PromisesNotMTimes) {
		w.told(n)
	}
}

func (w *world) told(n *Name) { n.Last, n.Told = 0, w.lacks(PushPromise) }

// ask is Index.Promise and Index.PromiseManifest.
func (w *world) ask(r, d uint8) bool {
	n := &w.Names[r][d]
	if n.Has && 2*n.Last > w.Grace && !w.lacks(HeadPromise) && !w.lacks(PromisesNotMTimes) {
		w.told(n)
	}
	return n.Has
}

// complete is package index's complete.
func (w *world) complete(r, m uint8) bool {
	for _, d := range w.content(m).Needs {
		if !w.Names[r][d].Has {
			return false
		}
	}
	return true
}

// putManifest is Index.PutManifest. entered is false for ErrCollected, whole for *MissingError.
func (w *world) putManifest(r, m uint8, t ticket, tag bool) (entered, whole bool) {
	if !w.complete(r, m) && !w.lacks(Completeness) {
		return false, false
	}
	if n := &w.Names[r][m]; n.Has {
		w.promise(n)
	} else if !w.store(m, t) {
		return false, true
	} else {
		*n = Name{Has: true, Queue: none, Orphan: none}
		w.event(nameEvent(r, m))
	}
	if tag {
		w.move(r, m+1)
	}
	w.settleAround(r, m)
	return true, true
}

// move is tx.move.
func (w *world) move(r, to uint8) {
	old := w.Tags[r]
	if old == to {
		return
	}
	w.Tags[r] = to
	for _, d := range []uint8{old, to} {
		if d != 0 {
			w.settleName(r, d-1)
		}
	}
	w.event(tagEvent(r))
}

// remove is tx.removeLink and tx.removeManifest.
func (w *world) remove(r, d uint8) {
	w.Names[r][d] = Name{}
	if !w.lacks(EventFirst) {
		w.event(nameEvent(r, d))
	}
	w.release(d)
	if w.content(d).Manifest {
		w.settleAround(r, d)
	}
	if w.lacks(EventFirst) {
		w.event(nameEvent(r, d))
	}
}

// release is tx.release, after a name was removed.
func (w *world) release(d uint8) {
	b := &w.Blobs[d]
	if (w.blind || !w.held(d)) && b.State == Live {
		b.State, b.Age, b.Before = Condemned, 0, w.events()
	}
}

// held reports whether a name holds bytes.
func (w *world) held(d uint8) bool {
	for r := range w.Repos {
		if w.Names[r][d].Has {
			return true
		}
	}
	return false
}

// needed is linkNeeded and manifestNeeded.
func (w *world) needed(r, d uint8) bool {
	if w.blind {
		return false
	}
	c := w.content(d)
	if c.Manifest && (w.Tags[r] == d+1 || c.Subject >= 0 && w.Names[r][c.Subject].Has) {
		return true
	}
	return w.named(r, d)
}

// named reports whether a manifest of the repository names a digest: tx.unreferenced.
func (w *world) named(r, d uint8) bool {
	for m := range w.Contents {
		if w.Names[r][m].Has && w.needs(uint8(m), d) {
			return true
		}
	}
	return false
}

// settleName is settleLink and settleManifest.
func (w *world) settleName(r, d uint8) {
	n := &w.Names[r][d]
	if !n.Has {
		return
	}
	if w.needed(r, d) {
		n.Queue, n.Orphan = none, none
		return
	}
	if n.Queue == none {
		n.Queue = w.since(n)
	}
}

// since is tx.since: the age of the place in the queue of what something let go of.
func (w *world) since(n *Name) int8 {
	switch {
	case w.lacks(PromisesNotMTimes):
		return n.Last
	case !w.policy:
		return 0
	case w.lacks(ReaderTime):
		return w.Grace
	}
	return w.Grace - w.Quarantine
}

// settleAround is tx.settleAround.
func (w *world) settleAround(r, m uint8) {
	for _, d := range w.content(m).Needs {
		w.settleName(r, d)
	}
	w.settleName(r, m)
	gone := !w.Names[r][m].Has
	for d := range w.Contents {
		n := &w.Names[r][d]
		if w.Contents[d].Subject != int8(m) || !n.Has {
			continue
		}
		w.settleName(r, uint8(d))
		if gone && n.Queue != none && n.Orphan == none { // tx.settleReferrer
			n.Orphan = w.since(n)
		}
	}
}

// Events are about a name or a tag, in four bits; 0 is none.
func nameEvent(r, d uint8) uint64 { return uint64(1 + r*maxDigests + d) }
func tagEvent(r uint8) uint64     { return uint64(1 + maxRepos*maxDigests + r) }

// event is tx.event.
func (w *world) event(e uint64) {
	if w.Tree == NoTree {
		return
	}
	if w.Outbox>>60 != 0 {
		panic("the model's outbox is too small for scenario " + w.Name)
	}
	w.Outbox |= e << (4 * w.events())
}
