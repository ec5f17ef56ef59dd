package model

import "fmt"

// Property is what has to hold, with the number that the design's invariants have.
type Property uint16

// The properties.
const (
	Whole    Property = 1 << iota // I1, I2: what a tag leads to is there, with its bytes; and so is whatever the index names
	Steady                        // I1: only a client moves a tag
	Promised                      // I3: what a client was told of stays for half the grace time
	Readable                      // I4: what a manifest names stays for the quarantine after it was read
	Dead                          // I5: only a push makes a name
	Clean                         // I6: what no tag needs goes in the end
	TrueTree                      // the tree leads to no bytes that are gone
	Alone                         // I10: two collectors never work on one digest
	Recovers                      // I15: beginning anew twice is beginning anew once
	Welcome                       // bytes that nobody knew of are entered while their ticket lasts, where nobody deletes
	Sound                         // the index agrees with itself, and nothing takes it for damaged
	properties
)

var propertyNames = []string{
	"whole (I1, I2)", "steady (I1)", "promised (I3)", "readable (I4)", "dead (I5)", "clean (I6)", "true tree", "alone (I10)",
	"recovers (I15)", "welcome", "sound",
}

// String is the name of one property.
func (p Property) String() string {
	for i, name := range propertyNames {
		if p == 1<<i {
			return name
		}
	}
	return fmt.Sprintf("properties %b", uint16(p))
}

// Violation is a property that does not hold, and the shortest way to that.
type Violation struct {
	Property Property
	Text     string
	Steps    []Step
	Trace    []string
}

// look returns the first of the properties that a state lacks.
func (w *world) look(of Property) *Violation {
	for _, check := range []struct {
		Property
		broken func() string
	}{
		{Whole, w.notWhole}, {Promised, w.notPromised}, {Readable, w.notReadable}, {TrueTree, w.notTrue}, {Alone, w.notAlone},
		{Sound, w.notSound},
	} {
		if of&check.Property == 0 {
			continue
		}
		if text := check.broken(); text != "" {
			return &Violation{Property: check.Property, Text: text}
		}
	}
	return nil
}

// lookAt returns the first of the properties that a step lacks, which led from a state to the world's.
func (w *world) lookAt(before *State, s Step, of Property) *Violation {
	push := s.By == ByPusher
	for r := range w.Repos {
		if of&Steady != 0 && before.Tags[r] != w.Tags[r] && !push && s.By != ByUntagger && s.By != ByRemover {
			return &Violation{Property: Steady, Text: fmt.Sprintf("the tag of %c moved", 'a'+rune(r))}
		}
		for d := range w.Contents {
			if of&Dead != 0 && !push && w.Names[r][d].Has && !before.Names[r][d].Has {
				return &Violation{Property: Dead, Text: w.name(r, uint8(d)) + " came back"}
			}
		}
	}
	if of&Recovers != 0 && s.By == ByCrash {
		again := *w
		if again.restart(); again.State != w.State {
			return &Violation{Property: Recovers, Text: "a second crash changes what the first left"}
		}
	}
	if of&Sound != 0 && w.damage != "" {
		return &Violation{Property: Sound, Text: "the index is taken for damaged: " + w.damage}
	}
	return nil
}

// notWhole looks at all names and at what tags lead to.
func (w *world) notWhole() string {
	for r := range w.Repos {
		if t := w.Tags[r]; t != 0 && !w.Names[r][t-1].Has {
			return "a tag leads to " + w.name(r, t-1) + ", which is not there"
		}
		for d := range w.Contents {
			if !w.Names[r][d].Has {
				continue
			}
			if w.Blobs[d].Bytes == noBytes {
				return w.name(r, uint8(d)) + " is there, and its bytes are gone"
			}
			if !w.complete(r, uint8(d)) {
				return w.name(r, uint8(d)) + " is there, and not all that it needs"
			}
		}
	}
	return ""
}

func (w *world) notPromised() string {
	for i, plan := range w.Plans {
		for item, d := range plan.Items {
			if w.Pushers[i].Promised[item] > 0 && !w.Names[plan.Repo][d].Has {
				return fmt.Sprintf("pusher %d was promised %s", i+1, w.name(plan.Repo, d))
			}
		}
	}
	return ""
}

func (w *world) notReadable() string {
	if w.Reader.Manifest == 0 {
		return ""
	}
	m := w.Reader.Manifest - 1
	for _, d := range w.content(m).Needs {
		if !w.Names[w.Reader.Repo][d].Has {
			return "who has read " + w.name(w.Reader.Repo, m) + " cannot read " + w.Contents[d].Name
		}
	}
	return ""
}

func (w *world) notTrue() string {
	for r := range w.Repos {
		if t := w.TreeTags[r]; t != 0 && w.Blobs[t-1].Bytes == noBytes {
			return "the tree's tag leads to " + w.name(r, t-1) + ", whose bytes are gone"
		}
		for d := range w.Contents {
			if w.TreeNames>>(nameEvent(r, uint8(d))-1)&1 != 0 && w.Blobs[d].Bytes == noBytes {
				return "the tree leads to " + w.name(r, uint8(d)) + ", whose bytes are gone"
			}
		}
	}
	return ""
}

func (w *world) notAlone() string {
	a, b := w.Collectors[0], w.Collectors[1]
	if a.Stage >= ToDelete && b.Stage >= ToDelete && a.Digest == b.Digest {
		return "two collectors are deleting " + w.Contents[a.Digest].Name
	}
	return ""
}

// notSound is what Index.Verify says.
func (w *world) notSound() string {
	for d := range w.Contents {
		b, held := w.Blobs[d], w.held(uint8(d))
		if held != (b.State == Live) {
			return fmt.Sprintf("%s is %s, and held is %v", w.Contents[d].Name, b.State, held)
		}
		for r := range w.Repos {
			n := w.Names[r][d]
			if !n.Has {
				continue
			}
			if needed := w.needed(r, uint8(d)); needed == (n.Queue != none) || needed && n.Orphan != none {
				return fmt.Sprintf("%s is needed: %v, and in the queues: %d, %d", w.name(r, uint8(d)), needed, n.Queue, n.Orphan)
			}
		}
	}
	return ""
}
