package model

// Actor says who takes a step.
type Actor uint8

// The actors, with what A, B and C of their Step are.
const (
	ByPusher    Actor = iota // pusher
	ByUntagger               // repository
	ByRemover                // repository, manifest
	ByUnlinker               // repository, layer
	ByReader                 // repository, manifest
	ByDue                    // collector, class; repository and digest in C
	ByCollect                // collector; 1: blind
	ByResume                 // collector, digest
	ByDelete                 // collector, how
	ByRecord                 // collector
	BySee                    // digest
	ByStray                  // digest
	ByProjector              //
	ByTime                   //
	ByCrash                  // 0: volatile bytes are lost, 1: they are not, 2: a deletion is under way
	ByLate                   // digest
)

// Step is what one actor does, in one transaction of the index or one call of the store.
type Step struct {
	By      Actor
	A, B, C uint8
}

// target packs a repository and a digest.
func target(r, d uint8) uint8 { return r*maxDigests + d }

// take takes a step. It reports whether it can be taken; if not, w is of no use any more.
func (w *world) take(s Step) bool {
	switch s.By {
	case ByPusher:
		return w.push(s.A)
	case ByUntagger, ByRemover, ByUnlinker:
		return w.owner(s)
	case ByReader:
		return w.read(s.A, s.B)
	case ByDue:
		return w.choose(s.A, Class(s.B), s.C/maxDigests, s.C%maxDigests)
	case ByCollect:
		return w.collect(s.A, s.B == 1)
	case ByResume:
		return w.resume(s.A, s.B)
	case ByDelete:
		return w.delete(s.A, s.B)
	case ByRecord:
		return w.record(s.A)
	case BySee:
		return w.see(s.A)
	case ByStray:
		return w.stray(s.A)
	case ByProjector:
		return w.project()
	case ByTime:
		w.tick()
		w.say("tick")
		return true
	case ByCrash:
		return w.crash(s.A)
	case ByLate:
		return w.lateDeletion(s.A)
	}
	return false
}

// Steps returns all steps that somebody could take at some time, in the order in which they are tried.
func (sc *Scenario) Steps() (steps []Step) {
	add := func(by Actor, abc ...uint8) {
		s := Step{By: by}
		for i, field := range []*uint8{&s.A, &s.B, &s.C}[:len(abc)] {
			*field = abc[i]
		}
		steps = append(steps, s)
	}
	for i := range sc.Plans {
		add(ByPusher, uint8(i))
	}
	for d := range uint8(len(sc.Contents)) {
		add(ByLate, d)
		add(BySee, d)
		add(ByStray, d)
	}
	for r := range sc.Repos {
		add(ByUntagger, r)
		for d := range uint8(len(sc.Contents)) {
			if sc.Contents[d].Manifest {
				add(ByRemover, r, d)
				add(ByReader, r, d)
			} else {
				add(ByUnlinker, r, d)
			}
		}
	}
	for k := range sc.collectors() {
		add(ByCollect, k)
		add(ByCollect, k, 1)
		for how := range deletions {
			add(ByDelete, k, how)
		}
		add(ByRecord, k)
		for d := range uint8(len(sc.Contents)) {
			add(ByResume, k, d)
			add(ByDue, k, uint8(OfCondemned), d)
			add(ByDue, k, uint8(OfGone), d)
			for r := range sc.Repos {
				add(ByDue, k, uint8(Unreferenced), target(r, d))
				add(ByDue, k, uint8(Orphaned), target(r, d))
			}
		}
	}
	add(ByProjector)
	add(ByTime)
	for how := range uint8(3) {
		add(ByCrash, how)
	}
	return steps
}

// collectors is how many there are.
func (sc *Scenario) collectors() uint8 {
	if sc.Second {
		return 2
	}
	return 1
}

// owner is Index.DeleteTag, DeleteManifest and UnlinkBlob: what a repository's owner takes away was promised to nobody.
func (w *world) owner(s Step) bool {
	r, d := s.A, s.B
	if w.Deletes == 0 {
		return false
	}
	switch s.By {
	case ByUntagger:
		if w.Tags[r] == 0 {
			return false
		}
		w.say("owner: DELETE the tag of %s", w.name(r, w.Tags[r]-1))
		w.move(r, 0)
	case ByRemover, ByUnlinker:
		if !w.Names[r][d].Has || w.named(r, d) || s.By == ByUnlinker && !w.Unlinks {
			return false
		}
		w.say("owner: DELETE %s", w.name(r, d))
		if w.Tags[r] == d+1 {
			w.move(r, 0)
		}
		w.remove(r, d)
		w.forgive(r, d)
	}
	w.Deletes--
	return true
}

// forgive takes back what anybody was promised of a name.
func (w *world) forgive(r, d uint8) {
	for i, plan := range w.Plans {
		for item, of := range plan.Items {
			if plan.Repo == r && of == d {
				w.Pushers[i].Promised[item] = 0
			}
		}
	}
	if w.Reader.Manifest != 0 && w.Reader.Repo == r && w.needs(w.Reader.Manifest-1, d) {
		w.Reader = Reader{}
	}
}

// read is getManifest. What it says is good for readerTime.
func (w *world) read(r, m uint8) bool {
	if !w.Readers || w.Reader.Manifest != 0 || !w.Names[r][m].Has {
		return false
	}
	w.Reader = Reader{Manifest: m + 1, Repo: r}
	w.say("reader: GET %s", w.name(r, m))
	return true
}

// readerTime is how long what a manifest names can be read after the manifest.
func (sc *Scenario) readerTime() int8 { return min(sc.Quarantine, sc.Grace) }

// tick lets time pass.
func (w *world) tick() {
	for r := range w.Repos {
		for d := range w.Contents {
			if n := &w.Names[r][d]; n.Has {
				n.Last = min(n.Last+1, w.Grace)
				older(&n.Queue, w.Grace)
				older(&n.Orphan, w.Grace)
				n.Told = n.Told && n.Last < w.Grace
			}
		}
	}
	for d := range w.Contents {
		b := &w.Blobs[d]
		switch b.State {
		case Condemned:
			older(&b.Age, w.Quarantine)
		case Gone:
			older(&b.Age, settling)
		}
		if b.Late++; b.Late == 1 || b.Late > lateDelete {
			b.Late = 0
		}
		if b.Unsure > 0 {
			b.Unsure = min(b.Unsure+1, lateDelete+1)
		}
	}
	for i := range w.Plans {
		p := &w.Pushers[i]
		if p.Phase == Write || p.Phase == Enter || p.Phase == Look || p.Phase == EnterAgain {
			p.Ticket = min(p.Ticket+1, settling/2+1)
		}
		for item := range p.Promised {
			if told := &p.Promised[item]; *told > 0 {
				if *told++; 2*int8(*told-1) >= w.Grace {
					*told = 0
				}
			}
		}
	}
	if reader := &w.Reader; reader.Manifest != 0 {
		if reader.Age++; reader.Age >= w.readerTime() {
			*reader = Reader{}
		}
	}
}

func older(age *int8, most int8) {
	if *age != none {
		*age = min(*age+1, most)
	}
}

// crash ends the process: requests under way, tickets and all that the collector and the projector remember.
func (w *world) crash(how uint8) bool {
	if w.Crashes == 0 {
		return false
	}
	w.Crashes--
	asking, lost := false, false
	for k := range w.Collectors {
		at := &w.Collectors[k]
		if at.Stage == ToDelete && w.S3 {
			asking = true
			if how == 2 {
				w.Blobs[at.Digest].Late = 1
			}
		}
	}
	for d := range w.Contents {
		if b := &w.Blobs[d]; b.Bytes == volatileBytes {
			lost = true
			if b.Bytes = durableBytes; how == 0 {
				b.Bytes = noBytes
			}
		}
	}
	if how == 1 && !lost || how == 2 && !asking {
		return false
	}
	w.say("crash%s", []string{"", ", and bytes that were not durable survive", ", and a deletion that was asked for may yet be carried out"}[how])
	w.restart()
	return true
}

// restart is what a process begins with.
func (w *world) restart() {
	for d := range w.Contents {
		b := &w.Blobs[d]
		if b.Unsure = 0; b.State == Deleting && w.S3 {
			b.Unsure = 1 // resume: the process before may have asked for it
		}
	}
	w.Collectors, w.Seen, w.Projector = [2]Collector{}, 0, Projector{}
	for i := range w.Plans {
		switch p := &w.Pushers[i]; p.Phase {
		case Write, Enter, PrepareAgain, Look, EnterAgain:
			w.begin(p, p.Item) // its request failed
		}
	}
}

// lateDeletion carries out a deletion that was asked for before.
func (w *world) lateDeletion(d uint8) bool {
	b := &w.Blobs[d]
	if b.Late == 0 {
		return false
	}
	b.Late, b.Bytes = 0, noBytes
	w.say("backend: the deletion of %s that was not answered is carried out", w.Contents[d].Name)
	return true
}
