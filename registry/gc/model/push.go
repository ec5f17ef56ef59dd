package model

import "fmt"

// begin makes a pusher begin with an item: with HEAD, but for the manifest that is pushed in any case.
func (w *world) begin(p *Pusher, item uint8) {
	plan := w.planOf(p)
	p.Item, p.Saw, p.Ticket, p.Phase = item, sawNone, 0, Ask
	if int(item) == len(plan.Items)-1 {
		p.Phase = Complete
	}
}

// planOf returns the plan of one of the world's pushers.
func (w *world) planOf(p *Pusher) *Plan {
	for i := range w.Plans {
		if p == &w.Pushers[i] {
			return &w.Plans[i]
		}
	}
	panic("a pusher of another world")
}

// next makes a pusher go on behind an item, which it was just told is in the repository.
func (w *world) next(p *Pusher) {
	p.Promised[p.Item] = 1
	if plan := w.planOf(p); int(p.Item) < len(plan.Items)-1 {
		w.begin(p, p.Item+1)
		return
	}
	w.end(p)
}

// end ends a push, whether it went well or not.
func (w *world) end(p *Pusher) {
	*p = Pusher{Times: p.Times - 1}
	if p.Times > 0 {
		w.begin(p, 0)
		return
	}
	p.Phase = Over
}

// push takes the next step of a pusher. It reports whether there was one to take.
func (w *world) push(i uint8) bool {
	p, plan := &w.Pushers[i], &w.Plans[i]
	if p.Times == 0 {
		return false
	}
	d := plan.Items[p.Item]
	was := p.Phase
	var said string
	switch p.Phase {
	case Ask: // headBlob, findManifest
		if w.ask(plan.Repo, d) {
			said = "200"
			w.next(p)
			break
		}
		said, p.Phase = "404", w.afterAsk(plan, d)
	case Mount: // Registry.mount, Index.Mount
		if w.Names[plan.From][d].Has {
			said = "201"
			w.link(plan.Repo, d)
			w.next(p)
			break
		}
		said, p.Phase = "202", Prepare
	case Complete: // Registry.keepManifest: Index.Complete
		if w.complete(plan.Repo, d) || w.lacks(Completeness) {
			said, p.Phase = "complete", Prepare
			break
		}
		said = "400"
		w.end(p)
	case Prepare, PrepareAgain: // Registry.prepare: Index.Prepare
		if w.Blobs[d].State == Deleting {
			return false // it is asked again soon
		}
		said, p.Phase = "a ticket", p.Phase+1
		p.Ticket = 0
		p.Saw = [...]uint8{Unknown: sawNone, Live: sawBytes, Condemned: sawBytes, Gone: sawThis}[w.Blobs[d].State]
	case Write: // Upload.Commit, Store.Write
		said, p.Phase = "durable", Enter
		w.write(d)
	case Look: // Registry.keepBlob: Store.Has
		if said, p.Phase = "there", EnterAgain; w.Blobs[d].Bytes == noBytes {
			said = "not there: upload it again"
			w.begin(p, p.Item)
		}
	case Enter, EnterAgain:
		said = w.enter(p, plan, d)
	}
	w.answer = said
	if w.tell != nil {
		w.tell(fmt.Sprintf("pusher %d: %s %s: %s", i+1, w.verb(was, d), w.name(plan.Repo, d), said))
	}
	return true
}

// afterAsk is what comes after a 404.
func (w *world) afterAsk(plan *Plan, d uint8) Phase {
	switch {
	case w.content(d).Manifest:
		return Complete
	case plan.From >= 0:
		return Mount
	}
	return Prepare
}

// write makes bytes durable.
func (w *world) write(d uint8) {
	w.Blobs[d].Bytes = durableBytes
	if w.lacks(Durable) {
		w.Blobs[d].Bytes = volatileBytes
	}
}

// enter is Index.LinkBlob, or Index.PutManifest.
func (w *world) enter(p *Pusher, plan *Plan, d uint8) string {
	t := ticket{p.Saw, p.Ticket}
	entered, whole := true, true
	if w.content(d).Manifest {
		last := int(p.Item) == len(plan.Items)-1
		entered, whole = w.putManifest(plan.Repo, d, t, plan.Tag && last)
	} else if entered = w.store(d, t); entered {
		w.link(plan.Repo, d)
	}
	switch {
	case entered:
		w.next(p)
		return "201"
	case !whole:
		w.end(p)
		return "400, blob unknown"
	}
	switch {
	case p.Phase == EnterAgain:
		w.begin(p, p.Item)
		return "collected: upload it again"
	case w.content(d).Manifest: // the next attempt of keepManifest
		p.Phase, p.Saw, p.Ticket = Prepare, sawNone, 0
	default:
		p.Phase, p.Saw, p.Ticket = PrepareAgain, sawNone, 0
	}
	return "collected"
}

// verb is what a step of a pusher is called.
func (w *world) verb(phase Phase, d uint8) string {
	switch phase {
	case Ask:
		return "HEAD"
	case Mount:
		return "mount"
	case Complete:
		return "PUT manifest: look for what it needs,"
	case Prepare, PrepareAgain:
		return "Prepare"
	case Write:
		return "write bytes"
	case Look:
		return "look for bytes"
	}
	if w.content(d).Manifest {
		return "PutManifest"
	}
	return "LinkBlob"
}

// name is a name for people.
func (sc *Scenario) name(r, d uint8) string { return string('a'+rune(r)) + "/" + sc.Contents[d].Name }
