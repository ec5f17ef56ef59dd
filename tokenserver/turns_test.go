package tokenserver

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"sync"
	"testing"
	"time"
)

// at is the context of a request from an address.
func at(t testing.TB, address string) context.Context {
	return withAddress(t.Context(), netip.MustParseAddr(address))
}

// crowd asks turns for slots, one after the other so that their order is known, and keeps who got one, in order.
type crowd struct {
	t      *testing.T
	turns  *turns
	mu     sync.Mutex
	served []string
	busy   []string
	all    sync.WaitGroup
}

// newCrowd returns a crowd before one slot that is taken.
func newCrowd(t *testing.T) *crowd {
	c := &crowd{t: t, turns: newTurns(1)}
	if !c.turns.take(party{}) {
		t.Fatal("no slot")
	}
	return c
}

// come has somebody wait; it returns when he does, or was sent away.
func (c *crowd) come(address, account string) {
	c.t.Helper()
	who := newParty(at(c.t, address), account)
	before, done := waiting(c.turns), make(chan struct{})
	sentAway := c.sentAway()
	c.all.Go(func() {
		defer close(done)
		ok := c.turns.take(who)
		c.mu.Lock()
		defer c.mu.Unlock()
		if !ok {
			c.busy = append(c.busy, address+" "+account)
			return
		}
		c.served = append(c.served, address+" "+account)
		go c.turns.give() // the next one comes only after this one is in the list
	})
	until(c.t, func() bool { return waiting(c.turns) == before+1 || c.sentAway() > sentAway })
}

func (c *crowd) sentAway() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.busy)
}

// release frees the slot and returns who had it after that.
func (c *crowd) release() []string {
	c.turns.give()
	c.all.Wait()
	return c.served
}

// position is how many were served before one.
func position(t *testing.T, served []string, who string) int {
	t.Helper()
	i := slices.Index(served, who)
	if i < 0 {
		t.Fatalf("%s was not served", who)
	}
	return i
}

func TestTurnsGoRoundTheAddresses(t *testing.T) {
	c := newCrowd(t)
	for i := range 4 {
		c.come("192.0.2.1", fmt.Sprint(i))
	}
	c.come("192.0.2.2", "x")
	c.come("192.0.2.2", "y")
	c.come("192.0.2.3", "z")
	want := []string{"192.0.2.1 0", "192.0.2.2 x", "192.0.2.3 z", "192.0.2.1 1", "192.0.2.2 y", "192.0.2.1 2", "192.0.2.1 3"}
	if got := c.release(); !slices.Equal(got, want) {
		t.Errorf("served %q\nwant   %q", got, want)
	}
}

func TestTurnsGoRoundTheAccountsOfAnAddress(t *testing.T) {
	c := newCrowd(t)
	for _, account := range []string{"a", "a", "a", "b", "b", "c"} {
		c.come("192.0.2.1", account)
	}
	want := []string{"192.0.2.1 a", "192.0.2.1 b", "192.0.2.1 c", "192.0.2.1 a", "192.0.2.1 b", "192.0.2.1 a"}
	if got := c.release(); !slices.Equal(got, want) {
		t.Errorf("served %q\nwant   %q", got, want)
	}
}

// TestFloodWaitsForItself: random logins from one address, on one account from many, and from a whole IPv6 network; somebody else is
// served among the first, and only the flood is sent away.
func TestFloodWaitsForItself(t *testing.T) {
	for name, flood := range map[string]func(i int) (address, account string){
		"one address":     func(i int) (string, string) { return "192.0.2.1", fmt.Sprint(i) },
		"one account":     func(i int) (string, string) { return fmt.Sprintf("192.0.2.%d", 100+i%8), "victim" },
		"one IPv6 /64":    func(i int) (string, string) { return fmt.Sprintf("2001:db8::%x", i+1), fmt.Sprint(i) },
		"eight addresses": func(i int) (string, string) { return fmt.Sprintf("192.0.2.%d", 100+i%8), fmt.Sprint(i) },
	} {
		t.Run(name, func(t *testing.T) {
			c := newCrowd(t)
			for i := range 2 * maxWaiting {
				c.come(flood(i))
			}
			floods := c.sentAway()
			c.come("192.0.2.2", "alice")
			c.come("2001:db8:0:1::1", "bob")
			for i := range maxQueue {
				c.come(flood(2*maxWaiting + i))
			}
			served := c.release()
			for _, who := range []string{"192.0.2.2 alice", "2001:db8:0:1::1 bob"} {
				if i := position(t, served, who); i > 10 {
					t.Errorf("%s was served after %d others", who, i)
				}
				if slices.Contains(c.busy, who) {
					t.Errorf("%s was sent away", who)
				}
			}
			if floods+len(c.busy) == 0 || len(served) > maxQueue {
				t.Errorf("%d of the flood were sent away, %d served", floods, len(served))
			}
		})
	}
}

// TestFullPlaceMakesRoom: of an address that one account fills, another account gets its share; of a queue that is full, a new
// address. Who has as much as anybody is sent away himself.
func TestFullPlaceMakesRoom(t *testing.T) {
	c := newCrowd(t)
	for range maxWaiting {
		c.come("192.0.2.1", "victim")
	}
	c.come("192.0.2.1", "alice")
	if want := []string{"192.0.2.1 victim"}; !slices.Equal(c.busy, want) {
		t.Errorf("sent away: %q", c.busy)
	}
	for i := range maxQueue - maxWaiting {
		c.come(fmt.Sprintf("10.0.%d.%d", i/250, i%250), fmt.Sprint(i))
	}
	c.come("192.0.4.1", "bob")
	if want := []string{"192.0.2.1 victim", "192.0.2.1 victim"}; !slices.Equal(c.busy, want) {
		t.Errorf("sent away: %q", c.busy)
	}
	served := c.release()
	position(t, served, "192.0.2.1 alice")
	position(t, served, "192.0.4.1 bob")

	c = newCrowd(t)
	for i := range maxQueue {
		c.come(fmt.Sprintf("10.0.%d.%d", i/250, i%250), fmt.Sprint(i))
	}
	c.come("192.0.4.1", "bob")
	if want := []string{"192.0.4.1 bob"}; !slices.Equal(c.busy, want) {
		t.Errorf("sent away: %q", c.busy)
	}
	c.release()
}

// TestAccountIsBounded: logins with one account from many addresses leave most of the queue to others.
func TestAccountIsBounded(t *testing.T) {
	c := newCrowd(t)
	for i := range 2 * maxWaiting {
		c.come(fmt.Sprintf("192.0.2.%d", i%8), "victim")
	}
	if n := waiting(c.turns); n != maxWaiting {
		t.Errorf("%d wait, want %d", n, maxWaiting)
	}
	c.come("192.0.2.200", "victim") // its owner, who has none waiting there
	if got := c.release(); !slices.Contains(got, "192.0.2.200 victim") {
		t.Error("the owner of the account was not served")
	}
}

// TestBusyIsNotCatching: who asks for the same as one whose share is used up is judged by his own.
func TestBusyIsNotCatching(t *testing.T) {
	c := newTestChecker(t, time.Now)
	release := make(chan struct{})
	c.compare = func([]byte, []byte) error { <-release; return nil }
	for range c.turns.free {
		c.turns.take(party{})
	}
	var all sync.WaitGroup
	flood, other := at(t, "192.0.2.1"), at(t, "192.0.2.2")
	for range maxWaiting - 1 {
		all.Go(func() { c.turns.take(newParty(flood, "x")); c.turns.give() })
	}
	until(t, func() bool { return waiting(c.turns) == maxWaiting-1 })
	first, second := make(chan error, 1), make(chan error, 1)
	go func() { first <- c.check(flood, "x", "p", "h", 0) }()
	until(t, func() bool { return waiting(c.turns) == maxWaiting })
	joined := make(chan struct{})
	go func() { second <- c.check(waits{other, sync.OnceFunc(func() { close(joined) })}, "x", "p", "h", 0) }()
	<-joined
	c.turns.mu.Lock()
	c.turns.leave(len(c.turns.queue)-1, false) // as admit does for another
	c.turns.mu.Unlock()
	if err := <-first; !errors.Is(err, ErrBusy) {
		t.Errorf("the first: %v", err)
	}
	close(release)
	c.turns.give()
	if err := <-second; err != nil {
		t.Errorf("the second: %v", err)
	}
	all.Wait()
}

// waits is a context that tells when somebody waits for its end.
type waits struct {
	context.Context
	tell func()
}

func (w waits) Done() <-chan struct{} {
	w.tell()
	return w.Context.Done()
}

func TestPartiesAreNetworks(t *testing.T) {
	for _, pair := range []struct {
		a, b string
		same bool
	}{
		{"192.0.2.1", "192.0.2.1", true}, {"192.0.2.1", "192.0.2.2", false},
		{"2001:db8::1", "2001:db8::ffff:1:2:3", true}, {"2001:db8::1", "2001:db8:0:1::1", false},
	} {
		if got := newParty(at(t, pair.a), "x") == newParty(at(t, pair.b), "x"); got != pair.same {
			t.Errorf("%s and %s are the same: %v", pair.a, pair.b, got)
		}
	}
	if newParty(t.Context(), "x") != newParty(withAddress(t.Context(), netip.Addr{}), "x") {
		t.Error("no address is another than the zero one")
	}
}
