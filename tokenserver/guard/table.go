package guard

import (
	"math/rand/v2"
	"slices"
	"time"
)

const (
	// maxEntries bounds each table.
	maxEntries = 64 << 10
	// maxShare: an account has one part of so many of what is proven.
	maxShare = 16
	// sample is of how many entries the least has to go when a table is full.
	sample = 8
	// sweepEvery is how often, at most, all of a full table is looked at.
	sweepEvery = time.Minute
)

// table is a bounded map. When it is full, what is idle goes, else the least of a few that chance picks. So whoever wants an entry
// to go must fill the table with greater ones: one made by many wrong secrets is not driven out by many that have one each. It is
// not for several goroutines.
type table[T any] struct {
	limit   int
	idle    func(entry T, now time.Time) bool
	less    func(a, b T) bool
	gone    func(entry T) // nil: nobody wants to know
	entries map[digest]*slot[T]
	keys    []digest // of all entries, to pick from
	swept   time.Time
}

// slot is an entry, and where its key is in keys.
type slot[T any] struct {
	entry T
	at    int
}

func newTable[T any](limit int, idle func(T, time.Time) bool, less func(a, b T) bool) *table[T] {
	return &table[T]{limit: limit, idle: idle, less: less, entries: make(map[digest]*slot[T])}
}

func (t *table[T]) get(key digest) (entry T, found bool) {
	s, found := t.entries[key]
	if found {
		entry = s.entry
	}
	return entry, found
}

// put sets an entry, and makes room for it.
func (t *table[T]) put(key digest, entry T, now time.Time) {
	if s, found := t.entries[key]; found {
		s.entry = entry
		return
	}
	if len(t.keys) >= t.limit {
		t.sweep(now)
	}
	if len(t.keys) >= t.limit {
		t.drop(t.least())
	}
	t.entries[key] = &slot[T]{entry, len(t.keys)}
	t.keys = append(t.keys, key)
}

// sweep drops what is idle, if that was not done just before.
func (t *table[T]) sweep(now time.Time) {
	if now.Sub(t.swept) < sweepEvery {
		return
	}
	t.swept = now
	for _, k := range slices.Clone(t.keys) {
		if t.idle(t.entries[k].entry, now) {
			t.drop(k)
		}
	}
}

// least returns the key of the least of a few entries.
func (t *table[T]) least() digest {
	least := t.keys[rand.IntN(len(t.keys))]
	for range sample - 1 {
		if k := t.keys[rand.IntN(len(t.keys))]; t.less(t.entries[k].entry, t.entries[least].entry) {
			least = k
		}
	}
	return least
}

func (t *table[T]) drop(key digest) {
	s, found := t.entries[key]
	if !found {
		return
	}
	last := t.keys[len(t.keys)-1]
	t.keys[s.at], t.entries[last].at = last, s.at
	t.keys = t.keys[:len(t.keys)-1]
	delete(t.entries, key)
	if t.gone != nil {
		t.gone(s.entry)
	}
}
