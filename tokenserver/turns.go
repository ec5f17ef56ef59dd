package tokenserver

import (
	"context"
	"net/netip"
	"slices"
	"sync"
)

const (
	// maxWaiting bounds how many checks of one address wait for a core, and of one account: some seconds of work. It bounds nobody
	// else's wait, who comes after a turn of each address. maxQueue bounds all together.
	maxWaiting = 128
	maxQueue   = 512
)

// addressKey is the key of the address that a request came from, in its context.
type addressKey struct{}

// withAddress returns a context that says where a request came from.
func withAddress(ctx context.Context, from netip.Addr) context.Context {
	return context.WithValue(ctx, addressKey{}, from)
}

// addressFrom returns what withAddress was given, or the zero Addr.
func addressFrom(ctx context.Context) netip.Addr {
	from, _ := ctx.Value(addressKey{}).(netip.Addr)
	return from
}

// party is who wants work done: an account, at an address. Who has an IPv6 address has all of its /64.
type party struct {
	address netip.Prefix
	account string
}

func newParty(ctx context.Context, account string) party {
	from, bits := addressFrom(ctx), 32
	if from.Is6() {
		bits = 64
	}
	address, _ := from.Prefix(bits) // an error for the zero Addr only, whose prefix is the zero one
	return party{address, account}
}

// waiter is one who waits.
type waiter struct {
	party
	turn chan bool // gets true for a slot, false for none
}

// turns hands out slots, in turns: first to address after address, of one address to account after account, of one account in the
// order of coming. So a flood has to wait for itself, and others wait for a turn of each address that waits, however much is behind.
// It may be used from many goroutines.
type turns struct {
	mu    sync.Mutex
	free  int
	queue []*waiter // in the order of coming
	// Those who wait, by when they came or had their last turn.
	addresses map[netip.Prefix]uint64
	accounts  map[party]uint64 // each at its address
	clock     uint64
}

func newTurns(slots int) *turns {
	return &turns{free: slots, addresses: make(map[netip.Prefix]uint64), accounts: make(map[party]uint64)}
}

// take waits for a slot, or returns false at once or later: when who has more waiting than its share of a place that is full.
// Whoever got a slot gives it back.
func (t *turns) take(who party) bool {
	t.mu.Lock()
	if t.free > 0 { // then nobody waits
		t.free--
		t.mu.Unlock()
		return true
	}
	if !t.admit(who) {
		t.mu.Unlock()
		return false
	}
	w := &waiter{who, make(chan bool, 1)}
	t.queue = append(t.queue, w)
	t.clock++
	if _, waits := t.addresses[who.address]; !waits {
		t.addresses[who.address] = t.clock
	}
	if _, waits := t.accounts[who]; !waits {
		t.accounts[who] = t.clock
	}
	t.mu.Unlock()
	return <-w.turn
}

// give gives a slot back, to the one whose turn it is.
func (t *turns) give() {
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.queue) == 0 {
		t.free++
		return
	}
	next := 0
	for i, w := range t.queue {
		if t.before(w, t.queue[next]) {
			next = i
		}
	}
	w := t.queue[next]
	t.clock++
	t.addresses[w.address], t.accounts[w.party] = t.clock, t.clock
	t.leave(next, true)
}

// before reports whether a's turn is before b's, of whom b came first.
func (t *turns) before(a, b *waiter) bool {
	if a.address != b.address {
		return t.addresses[a.address] < t.addresses[b.address]
	}
	return t.accounts[a.party] < t.accounts[b.party]
}

// leave ends the wait of the i-th in the queue.
func (t *turns) leave(i int, slot bool) {
	w := t.queue[i]
	t.queue = slices.Delete(t.queue, i, i+1)
	if !slices.ContainsFunc(t.queue, func(o *waiter) bool { return o.address == w.address }) {
		delete(t.addresses, w.address)
	}
	if !slices.ContainsFunc(t.queue, func(o *waiter) bool { return o.party == w.party }) {
		delete(t.accounts, w.party)
	}
	w.turn <- slot
}

// admit reports whether there is room for who, and makes it at the cost of those who have more.
func (t *turns) admit(who party) bool {
	account := func(w *waiter) party { return party{account: w.account} }
	address := func(w *waiter) party { return party{address: w.address} }
	return t.room(maxWaiting, who, func(w *waiter) bool { return w.address == who.address }, account) &&
		t.room(maxWaiting, who, func(w *waiter) bool { return w.account == who.account }, address) &&
		t.room(maxQueue, who, func(*waiter) bool { return true }, address)
}

// room is admit for those in the queue that place chooses, of whom there may be so many: share tells who of them counts as one.
// The one with most of it loses what came last of its greatest party, if who has less even with one more.
func (t *turns) room(limit int, who party, place func(*waiter) bool, share func(*waiter) party) bool {
	count, each, all := make(map[party]int), make(map[party]int), 0
	for _, w := range t.queue {
		if place(w) {
			all++
			count[share(w)]++
			each[w.party]++
		}
	}
	if all < limit {
		return true
	}
	last := -1
	for i, w := range t.queue {
		if !place(w) {
			continue
		}
		if last < 0 || count[share(w)] > count[share(t.queue[last])] ||
			share(w) == share(t.queue[last]) && each[w.party] >= each[t.queue[last].party] {
			last = i
		}
	}
	if last < 0 || count[share(t.queue[last])] <= count[share(&waiter{party: who})]+1 {
		return false
	}
	t.leave(last, false)
	return true
}
