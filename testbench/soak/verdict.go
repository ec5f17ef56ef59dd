package main

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"
)

// class is what kind of promise was broken.
type class string

const (
	lost     class = "lost"           // I1, I2: something that must be there is not
	broken   class = "promise_broken" // I3, I4
	leaked   class = "leaked"         // I6
	wrong    class = "wrong_bytes"    // I11
	disorder class = "disorder"       // I5, I12: what was deleted came back, or a tag had a history that is none
	unlogged class = "unlogged"       // I8
	defect   class = "defects"        // of fsck, after a clean stop
	failure  class = "errors"         // a 5xx, no answer, or an error in the log, without a reason
)

var classes = []class{lost, broken, leaked, wrong, disorder, unlogged, defect, failure}

// violation is a broken promise, and where to look.
type violation struct {
	class class
	repo  string
	names []string // tags and digests
	at    time.Duration
	text  string
}

// shown is how many violations are told with their history, and how long each history is.
const (
	shown      = 8
	shownLines = 40
)

// verdict collects what was broken. Safe for concurrent use.
type verdict struct {
	history *history
	first   chan struct{} // closed by the first violation

	mu    sync.Mutex
	found map[class]int
	list  []violation
	notes map[string]string
}

func newVerdict(h *history) *verdict {
	return &verdict{history: h, first: make(chan struct{}), found: map[class]int{}, notes: map[string]string{}}
}

// violate enters a broken promise.
func (v *verdict) violate(x violation) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if len(v.list) == 0 {
		close(v.first)
	}
	v.found[x.class]++
	if x.at == 0 {
		x.at = v.history.now()
	}
	v.list = append(v.list, x)
}

// note enters a figure that the verdict line tells beside the promises.
func (v *verdict) note(key, value string) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.notes[key] = value
}

// good reports whether no promise was broken.
func (v *verdict) good() bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	return len(v.list) == 0
}

// line is the verdict in one line.
func (v *verdict) line() string {
	v.mu.Lock()
	defer v.mu.Unlock()
	fields := []string{"cycles=" + v.notes["cycles"], "acked=" + v.notes["acked"]}
	for _, c := range classes {
		fields = append(fields, fmt.Sprintf("%s=%d", c, v.found[c]))
	}
	for _, key := range slices.Sorted(maps.Keys(v.notes)) {
		if key != "cycles" && key != "acked" && key != "seed" {
			fields = append(fields, key+"="+v.notes[key])
		}
	}
	return strings.Join(append(fields, "seed="+v.notes["seed"]), " ")
}

// explain tells the first violations with what was done to the tag or digest before, and what the server logged of it. The history
// of each class is told for its own sake: one cause has many faces.
func (v *verdict) explain(w io.Writer, log *serverLog) {
	v.mu.Lock()
	list := slices.Clone(v.list)
	v.mu.Unlock()
	told := map[class]int{}
	for i, x := range list {
		if told[x.class]++; told[x.class] > shown {
			continue
		}
		fmt.Fprintf(w, "\n%d. %s: %s %s: %s\n", i+1, x.class, x.repo, strings.Join(x.names, " "), x.text)
		for _, o := range v.history.about(x.repo, x.names, x.at, shownLines) {
			fmt.Fprintln(w, "    ", o)
		}
		for _, line := range log.about(x.names, x.at, shownLines) {
			fmt.Fprintln(w, "    ", line)
		}
	}
	if len(list) > 0 {
		fmt.Fprintf(w, "\n%d in all\n", len(list))
	}
}
