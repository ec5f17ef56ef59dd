package model

// project is the next step of tree.Projector.
func (w *world) project() bool {
	switch {
	case w.Tree == NoTree || w.Outbox == 0:
		return false
	case w.Tree == WholeTree:
		for r := range w.Repos {
			w.followTree(r)
		}
		w.say("projector: the tree follows the index")
		w.done(w.events())
		return true
	}
	return w.projectStep()
}

// projectStep is Projector.Drain in steps. Events about the same are projected one after the other; the real one projects them
// once.
func (w *world) projectStep() bool {
	p := &w.Projector
	e := w.Outbox >> (4 * p.At) & 15
	switch {
	case p.Batch == 0: // Index.Events
		p.Batch = w.events()
		w.say("projector: takes %d events", p.Batch)
	case p.At == p.Batch: // Index.Done
		w.say("projector: Done with %d events", p.Batch)
		w.done(p.Batch)
		*p = Projector{}
	case !p.Looked: // Projector.project: Index.Locate, Manifest, Tagged
		p.Looked, p.Known = true, w.current(e)
		w.say("projector: looks up %s: %d", w.eventName(e), p.Known)
	default: // Driver.WriteFile, Driver.Delete
		w.writeTree(e, p.Known)
		w.say("projector: writes %s: %d", w.eventName(e), p.Known)
		p.At, p.Looked, p.Known = p.At+1, false, 0
	}
	return true
}

// current returns what the tree should say of what an event is about.
func (w *world) current(e uint64) uint8 {
	if r, ok := tagOf(e); ok {
		return w.Tags[r]
	}
	if r, d := nameOf(e); w.Names[r][d].Has {
		return 1
	}
	return 0
}

// writeTree writes or removes a link of the tree.
func (w *world) writeTree(e uint64, known uint8) {
	if r, ok := tagOf(e); ok {
		w.TreeTags[r] = known
		return
	}
	bit := uint16(1) << (e - 1)
	if w.TreeNames &^= bit; known != 0 {
		w.TreeNames |= bit
	}
}

// followTree makes the tree of a repository what the index has.
func (w *world) followTree(r uint8) {
	if w.Tree == NoTree {
		return
	}
	w.TreeTags[r] = w.Tags[r]
	for d := range w.Contents {
		e := nameEvent(r, uint8(d))
		w.writeTree(e, w.current(e))
	}
}

// done is Index.Done with the oldest events.
func (w *world) done(n uint8) {
	w.Outbox >>= 4 * n
	for d := range w.Contents {
		b := &w.Blobs[d]
		b.Before -= min(b.Before, n)
	}
}

// tagOf returns the repository of an event about a tag.
func tagOf(e uint64) (r uint8, ok bool) {
	const first = 1 + maxRepos*maxDigests
	return uint8(e - first), e >= first
}

// nameOf returns the name that an event is about.
func nameOf(e uint64) (r, d uint8) { return uint8(e-1) / maxDigests, uint8(e-1) % maxDigests }

func (w *world) eventName(e uint64) string {
	if r, ok := tagOf(e); ok {
		return "the tag of " + string('a'+rune(r))
	}
	return w.name(nameOf(e))
}
