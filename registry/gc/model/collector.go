package model

import "fmt"

// What comes of a call of Store.Delete.
const (
	deleted      uint8 = iota // carried out, and answered
	failed                    // not carried out
	answerLost                // carried out, and not answered
	late                      // carried out later, or never; and not answered
	repeatedLate              // late at first; then asked again inside the call, carried out, and answered
	deletions
)

var deletionNames = []string{
	"done", "fails, and nothing happened", "fails, and the bytes are gone", "fails, and may yet be carried out",
	"done at the second attempt; the first may yet be carried out",
}

// mayStart reports whether a collector may begin a cycle: Collector.Cycle's lock, and the one on the index's file.
func (w *world) mayStart(k uint8) bool {
	return w.lacks(Exclusion) || w.Collectors[1-k].Stage == Idle
}

// place returns the place in a queue of a name or a digest, nil when it is not in it.
func (w *world) place(c Class, r, d uint8) *int8 {
	n, b := &w.Names[r][d], &w.Blobs[d]
	switch {
	case c == Unreferenced && n.Has && n.Queue != none:
		return &n.Queue
	case c == Orphaned && n.Has && n.Orphan != none:
		return &n.Orphan
	case c == OfCondemned && b.State == Condemned, c == OfGone && b.State == Gone:
		return &b.Age
	}
	return nil
}

// due is Index.Due, for one item.
func (w *world) due(c Class, r, d uint8) bool {
	at := w.place(c, r, d)
	return at != nil && *at >= w.delay(c)
}

// choose is Index.Due. Where nothing can come between, Collect follows in the same step.
func (w *world) choose(k uint8, c Class, r, d uint8) bool {
	at := &w.Collectors[k]
	if at.Stage != Idle || !w.mayStart(k) || !w.due(c, r, d) {
		return false
	}
	if c == OfCondemned && !w.waits(d) && w.lacks(MarkFirst) {
		w.Blobs[d].Bytes = noBytes
		w.say("collector %d: Store.Delete %s, before anything is marked", k+1, w.Contents[d].Name)
	} else if w.Gap {
		w.say("collector %d: Due names %s", k+1, w.item(c, r, d))
	}
	*at = Collector{Stage: Chosen, Class: c, Repo: r, Digest: d}
	if w.Gap {
		return true
	}
	return w.collect(k, false)
}

// collect is Index.Collect with one review.
func (w *world) collect(k uint8, blind bool) bool {
	at := &w.Collectors[k]
	if at.Stage != Chosen {
		return false
	}
	c, r, d := at.Class, at.Repo, at.Digest
	*at = Collector{}
	if blind {
		if !w.lacks(ErrorsOfIndex) || w.Faults == 0 {
			return false
		}
		w.Faults--
	}
	w.policy, w.blind = true, blind
	verdict := ""
	switch c {
	case Unreferenced, Orphaned:
		verdict = w.collectName(c, r, d)
	case OfCondemned:
		verdict = w.mark(at, d)
	case OfGone:
		verdict = "dropped"
		if w.due(c, r, d) {
			verdict = "forgotten"
			w.forget(d)
		}
	}
	w.policy, w.blind = false, false
	if blind {
		verdict += ", without being able to read what needs it"
	}
	w.answer = verdict
	if w.tell != nil {
		w.say("collector %d: Collect %s: %s", k+1, w.item(c, r, d), verdict)
	}
	return true
}

// collectName is collectLink and collectManifest, behind the look at the queue in tx.collect.
func (w *world) collectName(c Class, r, d uint8) string {
	n := &w.Names[r][d]
	if !w.lacks(NeedAgain) {
		if !w.due(c, r, d) {
			return "dropped or postponed"
		}
		if w.needed(r, d) {
			n.Queue, n.Orphan = none, none
			return "dropped"
		}
	}
	if !n.Has {
		return "dropped"
	}
	if at := w.place(c, r, d); at != nil && n.Last < w.Grace && w.spares(n, d) { // tx.postpone
		*at = n.Last
		return "postponed: it was promised"
	}
	w.remove(r, d)
	return "removed"
}

// spares reports whether a name's last promise counts.
func (w *world) spares(n *Name, d uint8) bool {
	return !w.lacks(PromisesNotMTimes) && (n.Told || !w.lacks(PushPromise) || !w.content(d).Manifest)
}

// waits reports whether the tree may still lead to condemned bytes, as tx.mark sees it.
func (w *world) waits(d uint8) bool { return w.Blobs[d].Before > 0 && !w.lacks(OutboxWait) }

// mark is tx.mark, behind the look at the queue in tx.collect.
func (w *world) mark(at *Collector, d uint8) string {
	b := &w.Blobs[d]
	if w.lacks(HoldersAgain) {
		if b.State != Live && b.State != Condemned {
			return "dropped"
		}
	} else {
		if !w.due(OfCondemned, 0, d) {
			return "dropped"
		}
		if w.held(d) && !w.blind {
			w.damage = w.Contents[d].Name + " is condemned and held"
			return "the index is damaged"
		}
	}
	if w.waits(d) {
		return "waiting for the tree"
	}
	b.State, b.Age, b.Before = Deleting, 0, 0
	*at = Collector{Stage: ToDelete, Digest: d}
	if w.lacks(MarkFirst) || w.lacks(BytesFirst) {
		at.Stage = ToRecord
	}
	return "marked"
}

// resume is gc's resume: what is marked and not finished.
func (w *world) resume(k, d uint8) bool {
	at := &w.Collectors[k]
	if at.Stage != Idle || !w.mayStart(k) || w.Blobs[d].State != Deleting {
		return false
	}
	*at = Collector{Stage: ToDelete, Digest: d}
	w.say("collector %d: resume the deletion of %s", k+1, w.Contents[d].Name)
	return true
}

// delete is gc's delete and deleted, with one digest.
func (w *world) delete(k, how uint8) bool {
	at := &w.Collectors[k]
	d := at.Digest
	b := &w.Blobs[d]
	if at.Stage != ToDelete || !w.may(how) {
		return false
	}
	w.say("collector %d: Store.Delete %s: %s", k+1, w.Contents[d].Name, deletionNames[how])
	if how != deleted {
		w.Faults--
	}
	if how == late || how == repeatedLate {
		b.Late = 1
	}
	if how != failed && how != late {
		b.Bytes = noBytes
	}
	if how != deleted && how != repeatedLate && !w.lacks(ErrorsOfStore) {
		*at = Collector{}
		if w.S3 {
			b.Unsure = 1
		}
		return true
	}
	if b.Unsure > 0 && b.Unsure-1 < lateDelete && !w.lacks(Settling) {
		*at = Collector{} // a later cycle asks again
		return true
	}
	b.Unsure = 0
	at.Stage = ToRecord
	if b.State != Deleting && w.lacks(BytesFirst) {
		*at = Collector{}
	}
	return true
}

// may reports whether a call of Store.Delete can end so in the scenario.
func (w *world) may(how uint8) bool {
	switch {
	case how == deleted:
		return true
	case w.Faults == 0:
		return false
	case how == repeatedLate:
		return w.S3 && w.lacks(NoRetries)
	case how == late:
		return w.S3
	}
	return true
}

// record is Index.Deleted with one digest.
func (w *world) record(k uint8) bool {
	at := &w.Collectors[k]
	if at.Stage != ToRecord {
		return false
	}
	d := at.Digest
	*at = Collector{}
	if w.lacks(BytesFirst) {
		*at = Collector{Stage: ToDelete, Digest: d}
	}
	b := &w.Blobs[d]
	if b.State != Deleting {
		w.damage = w.Contents[d].Name + " was deleted and is " + b.State.String()
		w.say("collector %d: Deleted %s: the index is damaged", k+1, w.Contents[d].Name)
		return true
	}
	w.say("collector %d: Deleted %s", k+1, w.Contents[d].Name)
	*b = Blob{State: Gone, Bytes: b.Bytes, Late: b.Late, Unsure: b.Unsure}
	if w.lacks(Tombstones) {
		w.forget(d)
	}
	return true
}

// forget removes a tombstone.
func (w *world) forget(d uint8) {
	w.leaveGone(d)
	b := &w.Blobs[d]
	*b = Blob{Bytes: b.Bytes, Late: b.Late, Unsure: b.Unsure}
}

// see is gc's scanFolder, up to the look whether a digest that was listed is known by now.
func (w *world) see(d uint8) bool {
	b := &w.Blobs[d]
	bit := uint8(1) << d
	if !w.Scan || w.lacks(OrphanScan) || w.Seen&bit != 0 || b.Bytes == noBytes || b.State != Unknown && b.State != Gone {
		return false
	}
	w.Seen |= bit
	w.say("scan: the store has %s, which the index does not know", w.Contents[d].Name)
	return true
}

// stray is Index.Stray with one digest.
func (w *world) stray(d uint8) bool {
	bit := uint8(1) << d
	if w.Seen&bit == 0 {
		return false
	}
	w.Seen &^= bit
	b := &w.Blobs[d]
	if w.lacks(StrayQuarantine) {
		b.Bytes = noBytes
		w.say("scan: %s is deleted", w.Contents[d].Name)
		return true
	}
	if b.State == Unknown {
		b.State, b.Age, b.Before = Condemned, -w.Grace, w.events()
		if w.lacks(StrayGrace) {
			b.Age = 0
		}
	}
	w.say("scan: Stray %s, which is %s now", w.Contents[d].Name, b.State)
	return true
}

// item is an item of a queue for people.
func (w *world) item(c Class, r, d uint8) string {
	switch {
	case c == OfCondemned:
		return "condemned " + w.Contents[d].Name
	case c == OfGone:
		return "tombstone of " + w.Contents[d].Name
	case c == Orphaned:
		return "orphaned " + w.name(r, d)
	case w.content(d).Manifest:
		return "untagged " + w.name(r, d)
	}
	return "unreferenced " + w.name(r, d)
}

// say tells what happens, where somebody listens.
func (w *world) say(format string, args ...any) {
	if w.tell != nil {
		w.tell(fmt.Sprintf(format, args...))
	}
}
