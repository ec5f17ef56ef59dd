package index

import (
	"sync"
	"time"
)

// A transaction carries the time of its begin, and clients see the old state until its end. What it lets go of is promised to
// stay readable from then, so the collector waits for as much longer as transactions took lately.

// slowness remembers how long transactions took. Safe for concurrent use.
type slowness struct {
	mu sync.Mutex
	// seen holds those that no later one has outdone, so took falls from one to the next.
	seen []span // guarded by mu
}

// span is a transaction that took so long and ended then.
type span struct {
	ended time.Time
	took  time.Duration
}

// maxSpans bounds what is remembered. Beyond it the last one stands for all that follow.
const maxSpans = 100

// cutOff is how long a transaction is taken to have lasted at most that an end of the process cut off from its answer.
const cutOff = 10 * time.Second

// note enters a transaction.
func (s *slowness) note(ended time.Time, took time.Duration) {
	if took <= 0 {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	n := len(s.seen)
	for n > 0 && s.seen[n-1].took <= took {
		n--
	}
	if s.seen = s.seen[:n]; n == maxSpans {
		s.seen[n-1].ended = ended
		return
	}
	s.seen = append(s.seen, span{ended, took})
}

// longest returns how long a transaction took that ended since a time. What ended before is forgotten, as far as nobody asks
// about an earlier time.
func (s *slowness) longest(since time.Time) time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, one := range s.seen {
		if one.ended.After(since) {
			return one.took
		}
	}
	return 0
}

// Resumed says that a process before this one served clients, who may just have read what its last transaction let go of.
func (x *Index) Resumed() { x.slow.note(x.now(), cutOff) }

// late is how much longer than a policy says a class waits now.
func (x *Index) late(p Policy, c Class, now time.Time) time.Duration {
	if p.Quarantine == 0 || c == Deleting || c == Gone {
		return 0
	}
	return x.slow.longest(now.Add(-p.Quarantine))
}
