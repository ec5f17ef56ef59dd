package tokenserver

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/crypto/bcrypt"
)

// counting makes c count its comparisons, which are real.
func counting(c *checker) *atomic.Int64 {
	var runs atomic.Int64
	c.compare = func(hash, password []byte) error {
		runs.Add(1)
		return bcrypt.CompareHashAndPassword(hash, password)
	}
	return &runs
}

func newTestChecker(t testing.TB, now func() time.Time) *checker {
	t.Helper()
	m, err := newLoginMetrics(nil)
	if err != nil {
		t.Fatal(err)
	}
	return newChecker(now, m)
}

func cheapHash(t testing.TB, password string) string {
	t.Helper()
	h, err := bcrypt.GenerateFromPassword([]byte(password), bcrypt.MinCost)
	if err != nil {
		t.Fatal(err)
	}
	return string(h)
}

// TestCredentialsAreApart is T-SEC-26: nothing but the same four values has the same credential.
func TestCredentialsAreApart(t *testing.T) {
	c := newTestChecker(t, time.Now)
	type four struct {
		account, password, hash string
		revision                uint64
	}
	seen := make(map[credential]four)
	try := func(f four) {
		id := c.credential(f.account, f.password, f.hash, f.revision)
		if old, found := seen[id]; found && old != f {
			t.Fatalf("%v and %v share a credential", old, f)
		}
		seen[id] = f
	}
	for _, f := range []four{
		{"ab", "c", "h", 0}, {"a", "bc", "h", 0}, {"abc", "", "h", 0}, {"", "abc", "h", 0}, {"a", "b", "ch", 0}, {"ab", "ch", "", 0},
		{"a", "b\x00c", "h", 0}, {"a\x00b", "c", "h", 0}, {"a:b", "c", "h", 0}, {"a", "b:c", "h", 0}, {"ab", "c", "h", 1},
		{"a", "\x00\x00\x00\x00\x00\x00\x00\x01b", "h", 0}, {"h", "c", "ab", 0}, {"", "", "", 0}, {"", "", "", 1 << 63},
	} {
		try(f)
	}
	random := rand.New(rand.NewPCG(1, 2))
	text := func() string {
		b := make([]byte, random.IntN(4))
		for i := range b {
			b[i] = "ab:\x00"[random.IntN(4)]
		}
		return string(b)
	}
	pairs := 1_000_000
	if testing.Short() {
		pairs = 10_000
	}
	for range pairs {
		try(four{text(), text(), text(), uint64(random.IntN(2))})
	}
	other := newTestChecker(t, time.Now)
	if c.credential("a", "b", "h", 0) == other.credential("a", "b", "h", 0) {
		t.Error("two processes would have the same credentials")
	}
}

func TestCheckRemembersOnlyWhatWasProven(t *testing.T) {
	at := time.Unix(1_800_000_000, 0)
	c := newTestChecker(t, func() time.Time { return at })
	runs := counting(c)
	hash, other := cheapHash(t, "secret"), cheapHash(t, "secret")
	check := func(name string, wantRuns int64, want error, account, password, hash string, revision uint64) {
		t.Helper()
		before := runs.Load()
		if err := c.check(t.Context(), account, password, hash, revision); !errors.Is(err, want) {
			t.Errorf("%s: %v, want %v", name, err, want)
		}
		if n := runs.Load() - before; n != wantRuns {
			t.Errorf("%s: %d comparisons, want %d", name, n, wantRuns)
		}
	}
	check("first", 1, nil, "a", "secret", hash, 0)
	check("again", 0, nil, "a", "secret", hash, 0)
	check("wrong", 1, ErrBadCredentials, "a", "wrong", hash, 0)
	check("wrong again", 1, ErrBadCredentials, "a", "wrong", hash, 0)
	check("the hash as password", 1, ErrBadCredentials, "a", hash, hash, 0)
	check("another account", 1, nil, "b", "secret", hash, 0)
	check("another hash of the same password", 1, nil, "a", "secret", other, 0)
	check("another revision", 1, nil, "a", "secret", hash, 1)
	at = at.Add(provenFor - 1)
	check("just before the end", 0, nil, "a", "secret", hash, 0)
	at = at.Add(1)
	check("at the end", 1, nil, "a", "secret", hash, 0)
	check("and again", 0, nil, "a", "secret", hash, 0)
	check("a hash that is none", 1, bcrypt.ErrHashTooShort, "a", "secret", "x", 0)
}

func TestProvenIsBounded(t *testing.T) {
	at := time.Unix(1_800_000_000, 0)
	c := newTestChecker(t, func() time.Time { return at })
	id := func(i int) credential { return c.credential(fmt.Sprint(i), "p", "h", 0) }
	for i := range 10 {
		c.remember(id(i))
	}
	at = at.Add(provenFor)
	for i := 10; i < maxProven+10; i++ {
		c.remember(id(i))
	}
	if len(c.proven) > maxProven {
		t.Errorf("%d entries", len(c.proven))
	}
	for i := 10; i < maxProven+10; i++ {
		if !c.isProven(id(i)) {
			t.Fatalf("entry %d went, although expired ones were there", i)
		}
	}
	c.remember(id(-1))
	if len(c.proven) > maxProven || !c.isProven(id(-1)) {
		t.Errorf("%d entries, newest there: %v", len(c.proven), c.isProven(id(-1)))
	}
}

// TestCheckIsBounded fills slots and queue with different checks of one address: the next one is turned away, an equal one joins, one
// of another address is served, and all that wait are in the end.
func TestCheckIsBounded(t *testing.T) {
	c := newTestChecker(t, time.Now)
	slots := c.turns.free
	release := make(chan struct{})
	var running, most atomic.Int64
	c.compare = func([]byte, []byte) error {
		n := running.Add(1)
		for old := most.Load(); n > old && !most.CompareAndSwap(old, n); old = most.Load() {
		}
		<-release
		running.Add(-1)
		return nil
	}
	total := slots + maxWaiting
	var waiters sync.WaitGroup
	var served atomic.Int64
	login := func(ctx context.Context, account string) {
		waiters.Go(func() {
			if err := c.check(ctx, account, "p", "h", 0); err != nil {
				t.Errorf("%s: %v", account, err)
				return
			}
			served.Add(1)
		})
	}
	for i := range total {
		login(t.Context(), fmt.Sprint(i))
	}
	until(t, func() bool { return running.Load() == int64(slots) && waiting(c.turns) == maxWaiting })
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second) // to fail instead of hanging
	defer cancel()
	if err := c.check(ctx, "one more", "p", "h", 0); !errors.Is(err, ErrBusy) {
		t.Errorf("beyond the queue: %v", err)
	}
	cancel()
	if err := c.check(ctx, "0", "p", "h", 0); !errors.Is(err, context.Canceled) {
		t.Errorf("a client that left: %v", err)
	}
	login(t.Context(), fmt.Sprint(total-1)) // waits with the one that is there
	login(withAddress(t.Context(), netip.MustParseAddr("192.0.2.1")), "elsewhere")
	until(t, func() bool { return waiting(c.turns) == maxWaiting+1 })
	close(release)
	waiters.Wait()
	if served.Load() != int64(total)+2 {
		t.Errorf("%d of %d served", served.Load(), total+2)
	}
	if most.Load() > int64(slots) {
		t.Errorf("%d comparisons at once, %d allowed", most.Load(), slots)
	}
	if waiting(c.turns) != 0 || c.turns.free != slots || len(c.turns.addresses) != 0 || len(c.turns.accounts) != 0 {
		t.Errorf("left behind: %+v", c.turns)
	}
}

// waiting is how many wait.
func waiting(of *turns) int {
	of.mu.Lock()
	defer of.mu.Unlock()
	return len(of.queue)
}

// until polls for a condition that must come.
func until(t testing.TB, condition func() bool) {
	t.Helper()
	deadline := time.After(20 * time.Second)
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for !condition() {
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatal("it did not come to pass within 20 s")
		}
	}
}
