package model

// State is all that the actors know and have. It is comparable, and equal states behave alike: what makes no difference any
// more is forgotten. Ages are in ticks and stop growing where growing makes no difference.
type State struct {
	Names   [maxRepos][maxDigests]Name
	Tags    [maxRepos]uint8 // the tag's target, plus one
	Blobs   [maxDigests]Blob
	Pushers [maxPushers]Pusher
	Reader  Reader

	Collectors [2]Collector
	Seen       uint8 // digests of which a scan has seen bytes and no record, as bits

	Outbox    uint64 // events that are not done, four bits each, the oldest lowest
	Projector Projector
	TreeNames uint16 // links in the tree, as bits
	TreeTags  [maxRepos]uint8

	Deletes, Crashes, Faults uint8 // that are left
}

// Name is a link or a manifest of a repository.
type Name struct {
	Has    bool
	Told   bool // Last is of a promise, not of a push; kept only where it makes a difference
	Last   int8 // age of the last promise: linkRecord.Since, Manifest.PushedAt or promiseRecord.At, the youngest
	Queue  int8 // age of its place in the queue of Unreferenced or Untagged, or none; negative ages are places in the future
	Orphan int8 // in that of Orphaned
}

// BlobState is index.State, and "no record".
type BlobState uint8

// The states.
const (
	Unknown BlobState = iota
	Live
	Condemned
	Deleting
	Gone
)

var blobStates = []string{"unknown", "live", "condemned", "deleting", "gone"}

func (b BlobState) String() string { return blobStates[b] }

// What the disk has of a digest.
const (
	noBytes uint8 = iota
	volatileBytes
	durableBytes
)

// Blob is the record of a digest, and what the store has of it.
type Blob struct {
	State  BlobState
	Age    int8  // of its place in the queue of its state
	Before uint8 // events in the outbox that are older than blobRecord.Number
	Bytes  uint8
	Late   uint8 // age of a deletion that may still be carried out, plus one
	Unsure uint8 // age of Collector.unsure, plus one
}

// Phase is where a pusher is with an item.
type Phase uint8

// The phases. Each is the step that comes next.
const (
	Ask Phase = iota
	Mount
	Complete
	Prepare
	Write
	Enter
	PrepareAgain
	Look
	EnterAgain
	Over
)

// What a ticket saw of tombstones.
const (
	sawNone  uint8 = iota
	sawBytes       // none; index.Ticket.Stored
	sawThis        // the one that is there
	sawOther       // one that is not there any more
)

// Pusher is a client that pushes, with what the server holds for its request.
type Pusher struct {
	Times    uint8 // pushes that are left, this one too
	Item     uint8
	Phase    Phase
	Saw      uint8           // index.Ticket.gone
	Ticket   int8            // its age
	Promised [maxItems]uint8 // age of what it was told of its items, plus one
}

// Reader is a client that got a manifest.
type Reader struct {
	Manifest uint8 // plus one
	Repo     uint8
	Age      int8
}

// Stage is where a collector is.
type Stage uint8

// The stages. Idle is also between two cycles.
const (
	Idle Stage = iota
	Chosen
	ToDelete
	ToRecord
)

// Class is a queue that the collector empties, as index.Class.
type Class uint8

// The classes.
const (
	Unreferenced Class = iota // or Untagged, for a manifest
	Orphaned
	OfCondemned
	OfGone
)

// Collector is a collector at work.
type Collector struct {
	Stage  Stage
	Class  Class
	Repo   uint8
	Digest uint8
}

// Projector is the tree's projector at work.
type Projector struct {
	Batch  uint8 // events that it works on, the oldest
	At     uint8 // how many it has projected
	Looked bool  // the event at At was looked up
	Known  uint8 // and this is what was found
}

// events is how many events the outbox has.
func (s *State) events() (n uint8) {
	for o := s.Outbox; o != 0; o >>= 4 {
		n++
	}
	return n
}

// start returns the first state of a scenario.
func (sc *Scenario) start() State {
	w := world{Scenario: sc}
	for _, image := range sc.Start {
		for _, d := range image.Items {
			w.Blobs[d] = Blob{State: Live, Bytes: durableBytes}
			w.Names[image.Repo][d] = Name{Has: true, Last: sc.Grace, Queue: none, Orphan: none}
		}
		if image.Tag {
			w.Tags[image.Repo] = image.Items[len(image.Items)-1] + 1
		}
	}
	for r := range sc.Repos {
		for d := range sc.Contents {
			w.settleName(r, uint8(d))
		}
		w.followTree(r)
	}
	for range sc.Grace {
		w.tick()
	}
	for i, plan := range sc.Plans {
		w.Pushers[i] = Pusher{Times: plan.Times}
		w.begin(&w.Pushers[i], 0)
	}
	w.Deletes, w.Crashes, w.Faults = sc.Deletions, sc.Kills, sc.Outages
	return w.State
}
