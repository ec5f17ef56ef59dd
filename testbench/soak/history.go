package main

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"
)

// kind is what an operation is.
type kind string

const (
	headBlob       kind = "HEAD blob"
	getBlob        kind = "GET blob"
	upload         kind = "upload"
	mount          kind = "mount"
	deleteBlob     kind = "DELETE blob"
	putManifest    kind = "PUT manifest"
	getManifest    kind = "GET manifest"
	headManifest   kind = "HEAD manifest"
	deleteManifest kind = "DELETE manifest"
	getTag         kind = "GET tag"
	deleteTag      kind = "DELETE tag"
	referrers      kind = "GET referrers"
	session        kind = "upload session" // a step of an upload that names no digest yet
)

// outcome is what its client knows of an operation.
type outcome string

const (
	running outcome = "running"
	done    outcome = "done"    // 2xx
	refused outcome = "refused" // 4xx: it had no effect
	unknown outcome = "unknown" // no answer, or 5xx: it may have had its effect
)

// op is an operation as its client saw it. Times are since the soak began.
type op struct {
	actor      string
	kind       kind
	repo       string
	tag        string // of putManifest, where it sets one, getTag and deleteTag
	digest     string // what was pushed, asked for or, by getTag, found
	start, end time.Duration
	outcome    outcome
	status     int
	note       string // what a refusal said
}

func (o op) String() string {
	name := o.repo
	if o.tag != "" {
		name += ":" + o.tag
	}
	if o.digest != "" {
		name += " " + short(o.digest)
	}
	s := fmt.Sprintf("%9.3f–%9.3f  %-11s %-15s %s: %s", o.start.Seconds(), o.end.Seconds(), o.actor, o.kind, name, o.outcome)
	if o.status != 0 {
		s += fmt.Sprintf(" %d", o.status)
	}
	return s + " " + o.note
}

// short returns enough of a digest to tell it from others.
func short(digest string) string {
	_, hex, _ := strings.Cut(digest, ":")
	return hex[:min(len(hex), 12)]
}

// span is a time in which the server was made to end, from the signal until it was gone.
type span struct{ from, to time.Duration }

// history is all that the clients did, outside the server and its storage. An operation is in it before its request is
// sent: whoever looks back at a moment finds everything that was under way then. Safe for concurrent use.
type history struct {
	began time.Time

	mu   sync.Mutex
	ops  []op
	ends []span // of the server
}

func newHistory() *history { return &history{began: time.Now()} }

// now is the time since the soak began.
func (h *history) now() time.Duration { return time.Since(h.began) }

// begin enters an operation that is about to be sent.
func (h *history) begin(o op) (id int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	o.start, o.outcome, o.end = h.now(), running, forever
	h.ops = append(h.ops, o)
	return len(h.ops) - 1
}

// forever is later than all that happens.
const forever = time.Duration(1<<63 - 1)

// finish enters how an operation ended, and returns it.
func (h *history) finish(id int, change func(*op)) op {
	h.mu.Lock()
	defer h.mu.Unlock()
	o := &h.ops[id]
	o.end = h.now()
	change(o)
	return *o
}

// ended enters that the server was made to end.
func (h *history) ended(s span) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.ends = append(h.ends, s)
}

// latest returns until when an operation may have had its effect: no process outlives its end.
func (h *history) latest(o op) time.Duration {
	if o.outcome == done || o.outcome == refused {
		return o.end
	}
	for _, s := range h.ends { // in the order of time
		if s.to >= o.end && o.outcome == unknown {
			return s.to
		}
	}
	return forever
}

// any reports whether an operation that is for something may have had its effect in a time. Refused ones had none.
func (h *history) any(from, to time.Duration, match func(op) bool) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, o := range h.ops {
		if o.outcome != refused && o.start <= to && match(o) && h.latest(o) >= from {
			return true
		}
	}
	return false
}

// all returns a copy of the operations, with their effects' latest time as the end of those whose answer is unknown.
func (h *history) all() []op {
	h.mu.Lock()
	defer h.mu.Unlock()
	list := slices.Clone(h.ops)
	for i, o := range list {
		list[i].end = h.latest(o)
	}
	return list
}

// count returns how many operations match.
func (h *history) count(match func(op) bool) (n int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, o := range h.ops {
		if match(o) {
			n++
		}
	}
	return n
}

// unexplained returns the operations without an answer, or with a 5xx, of which no end of the server is the reason.
func (h *history) unexplained() (list []op) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, o := range h.ops {
		ending := func(s span) bool { return o.start <= s.to+time.Second && s.from <= o.end }
		if o.outcome == unknown && !slices.ContainsFunc(h.ends, ending) {
			list = append(list, o)
		}
	}
	return list
}

// about returns the last n operations on a repository's tag or digest, up to a moment: what a person reads to understand.
func (h *history) about(repo string, names []string, until time.Duration, n int) (list []op) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, o := range slices.Backward(h.ops) {
		if len(list) == n {
			break
		}
		named := o.tag != "" && slices.Contains(names, o.tag) || o.digest != "" && slices.Contains(names, o.digest)
		if named && (repo == "" || o.repo == repo) && o.start <= until {
			list = append(list, o)
		}
	}
	slices.Reverse(list)
	return list
}
