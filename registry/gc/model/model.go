// Package model is the collector's protocol as a small state machine, and a search through all that can happen in it. Nothing
// imports it but its tests.
//
// # What is modelled
//
// A Scenario has a few digests (layers, manifests, indexes, a referrer), one or two repositories with a tag each, and actors that
// take turns in any order:
//
//   - pushers, docker's way: HEAD, else mount, else Prepare, write, LinkBlob; then the manifest: Complete, Prepare, write,
//     PutManifest. Each of these is a step of its own, and between two of them anything else may happen for any time: a client
//     that stalls is not a case of its own;
//   - a deleter of tags, manifests and blobs, and a reader that gets a manifest and comes back for what it names;
//   - the collector: Due, then Collect's transaction, then Store.Delete, then Deleted's transaction, until the tombstone is
//     forgotten; the scan for strays; the projector of the tree, which looks, writes and then forgets its events;
//   - the world: time in ticks, crashes at every point, a backend that fails to answer a deletion and may carry it out later.
//
// The records are the index's, with ages in ticks instead of times: names (links and manifests) with the time of their last
// promise and their place in the queues, tags, blobs with their state, the number they were condemned at, tombstones, the outbox.
// Who holds bytes and what needs a name is worked out from the names; that the index's own records of it (kindHolder,
// kindReference, kindReferrer) agree with them is Verify's to say, which the tests that drive the real index call after every
// step.
//
// A transaction of the index is one step, durable when it is done, since that is what package kv promises. Each step names the
// function that it stands for.
//
// # What is claimed
//
// Explore takes every step in every order from a scenario's start, breadth first, each state once, and looks at each state and
// each step (properties.go): acknowledged images stay whole, what can be seen is complete, a promise holds for half the grace
// time, a reader's for the quarantine, nothing comes back by itself, the tree leads to no bytes that are gone, two collectors never
// hold the same digest, crashing twice is crashing once; and from every state, when the clients go home, nothing is left
// that no tag needs (rest.go).
//
// Each protection of the real code is a switch (protections.go). With all of them there is no violation; without any one of
// them the tests demand one.
//
// # What is not modelled
//
// Uploads before they are complete; foreign layers; links to bytes under another digest; a digest that is both blob and manifest;
// restoring from quarantine; the breaker and pauses, which only ever keep the collector from working; a clock that jumps; removal
// of a repository, which is many deletions; the import of a tree, during which no collector runs; writes that a backend carries out
// late, which only add bytes to blobs. And it is small: up to four digests, two repositories, two pushers. It is no proof of the code; the
// tests tie the two together: they lead the real index along the model's steps and compare all that can be seen of it
// (conformance_test.go), also along the traces without a protection of the index, where it has to do something else.
//
// # How to read a trace
//
// A trace is the shortest way to a violation. Each line is a step, with who takes it; "tick" lets time pass, a tick is half the
// grace time in most scenarios. The last line says what is broken. Names are "repository/content"; the contents are in the
// scenario.
package model

// The size of a State. A scenario uses as much of it as it needs.
const (
	maxDigests = 4
	maxRepos   = 2
	maxPushers = 2
	maxItems   = 4
)

// Times that are constants in the real code, in ticks.
const (
	settling   = 2 // index.settling; a ticket lasts half of it
	lateDelete = 1 // gc.lateDelete
)

// Content is a digest and what it names.
type Content struct {
	Name     string
	Manifest bool    // else a layer
	Needs    []uint8 // layers of a manifest, children of an index
	Subject  int8    // a manifest, or none
}

// none is no subject, no repository and no place in a queue.
const none int8 = -100

// Plan is what a pusher pushes: contents in the order of need. The last is a manifest.
type Plan struct {
	Repo  uint8
	Items []uint8
	Tag   bool  // the last item is tagged
	From  int8  // where layers are mounted from, or none
	Times uint8 // how often it is pushed
}

// Image is what a repository has when a scenario starts: pushed long ago.
type Image struct {
	Repo  uint8
	Items []uint8
	Tag   bool // the last one
}

// Projection says how the tree follows.
type Projection uint8

// The ways.
const (
	NoTree    Projection = iota // nobody looks at the tree
	WholeTree                   // all events at a time, in one step
	StepTree                    // as the projector does it: look, write, forget
)

// Scenario is who does what, and with what.
type Scenario struct {
	Name       string
	Grace      int8 // Policy.Grace, in ticks; Policy.Untagged is no longer
	Quarantine int8 // Policy.Quarantine
	Contents   []Content
	Repos      uint8
	Start      []Image
	Plans      []Plan
	Deletions  uint8 // how many times the owner deletes something
	Unlinks    bool  // blobs too
	Kills      uint8 // how many crashes there are
	Outages    uint8 // how many times the backend fails
	Second     bool  // a second collector
	Tree       Projection
	S3         bool // deletions may be late
	Gap        bool // Due and Collect are two steps
	Scan       bool // strays are looked for
	Readers    bool
	Least      int // so many states it has, at least
}

// content returns what a digest is.
func (sc *Scenario) content(d uint8) *Content { return &sc.Contents[d] }

// needs reports whether a manifest names a digest.
func (sc *Scenario) needs(m, d uint8) bool {
	for _, n := range sc.Contents[m].Needs {
		if n == d {
			return true
		}
	}
	return false
}
