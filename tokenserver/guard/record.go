package guard

import (
	"encoding/binary"
	"slices"
	"time"
)

const (
	// firstDelay is how long the first wrong secret holds up that is not free. Each next one doubles it.
	firstDelay = time.Second
	// seenFor is how long a wrong secret is the same one again: a job that runs once an hour repeats it, a job of every night counts.
	seenFor = 2 * time.Hour
	// maxSeen bounds how many wrong secrets are told apart in one record.
	maxSeen = 64
)

// limit is what is free to somebody.
type limit struct {
	free    int
	forget  time.Duration // one wrong secret in so long
	maximum time.Duration
}

// times is a limit for so many times as much.
func (l limit) times(n int) limit {
	return limit{free: l.free * n, forget: l.forget / time.Duration(n), maximum: l.maximum}
}

// record is what is known of the wrong secrets of somebody. The nil record is of nobody.
type record struct {
	// forgotten is when all wrong secrets will be: each puts it off by limit.forget.
	forgotten time.Time
	// until is when the next secret may be looked at.
	until   time.Time
	seen    []stamp // wrong secrets, by when they came last
	pending []stamp // secrets that are being looked at
}

// stamp is a secret at a time.
type stamp struct {
	secret uint64
	at     int64 // seconds since 1970
}

func newStamp(secret digest, now time.Time) stamp {
	return stamp{binary.BigEndian.Uint64(secret[:]), now.Unix()}
}

// fresh reports whether s is younger than age.
func (s stamp) fresh(age time.Duration, now time.Time) bool {
	return now.Unix()-s.at < int64(age/time.Second)
}

// find returns where the secret of s is in list, or -1.
func (s stamp) find(list []stamp) int {
	return slices.IndexFunc(list, func(o stamp) bool { return o.secret == s.secret })
}

// wait is how long r holds up.
func (r *record) wait(now time.Time) time.Duration {
	if r == nil {
		return 0
	}
	return max(0, r.until.Sub(now))
}

// guilty reports whether there was a wrong secret that is not forgotten.
func (r *record) guilty(now time.Time) bool { return r != nil && now.Before(r.forgotten) }

// idle reports whether there is nothing in r that matters.
func (r *record) idle(now time.Time) bool {
	old := func(list []stamp, age time.Duration) bool {
		return !slices.ContainsFunc(list, func(s stamp) bool { return s.fresh(age, now) })
	}
	return !r.guilty(now) && r.wait(now) == 0 && old(r.seen, seenFor) && old(r.pending, pendingFor)
}

// level is how many wrong secrets are not forgotten.
func (r *record) level(l limit, now time.Time) int {
	if !r.guilty(now) {
		return 0
	}
	return int((r.forgotten.Sub(now) + l.forget - 1) / l.forget)
}

// begin reports whether a secret may be looked at beside those that are, and notes it. One known to be wrong is no guess.
func (r *record) begin(secret digest, l limit, now time.Time) bool {
	r.pending = slices.DeleteFunc(r.pending, func(s stamp) bool { return !s.fresh(pendingFor, now) })
	s := newStamp(secret, now)
	if s.find(r.seen) >= 0 || s.find(r.pending) >= 0 {
		return true
	}
	if len(r.pending) >= max(1, l.free-r.level(l, now)) {
		return false
	}
	r.pending = append(r.pending, s)
	return true
}

// end is the end of begin, where it is known what came of it.
func (r *record) end(secret digest, now time.Time) {
	if i := newStamp(secret, now).find(r.pending); i >= 0 {
		r.pending = slices.Delete(r.pending, i, i+1)
	}
}

// add counts a wrong secret, and reports whether it is new.
func (r *record) add(secret digest, l limit, now time.Time) bool {
	s := newStamp(secret, now)
	again, i := false, s.find(r.seen)
	if i < 0 && len(r.seen) == maxSeen {
		i = 0
	} else if i >= 0 {
		again = r.seen[i].fresh(seenFor, now)
	}
	if i >= 0 {
		r.seen = slices.Delete(r.seen, i, i+1)
	}
	r.seen = append(r.seen, s)
	if again {
		return false
	}
	if !r.guilty(now) {
		r.forgotten = now
	}
	r.forgotten = r.forgotten.Add(l.forget)
	if over := r.level(l, now) - l.free; over > 0 {
		delay := l.maximum
		if over <= 20 { // more would not fit
			delay = min(delay, firstDelay<<(over-1))
		}
		r.until = now.Add(delay)
	}
	return true
}
