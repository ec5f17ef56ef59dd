package guard

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

const (
	home     = "192.0.2.1"
	office   = "192.0.2.2"
	stranger = "203.0.113.1"
	right    = "the right one"
)

// bench is a Guard with a clock that is moved by hand, before accounts whose only right secret is right.
type bench struct {
	*Guard
	t  *testing.T
	at time.Time
}

func newBench(t *testing.T, o Options) *bench {
	t.Helper()
	b := &bench{t: t, at: time.Unix(1_800_000_000, 0)}
	o.Now = func() time.Time { return b.at }
	var err error
	if b.Guard, err = New(o); err != nil {
		t.Fatal(err)
	}
	return b
}

// try is a request. It returns how long the client is told to wait, 0 if the secret was looked at.
func (b *bench) try(account, secret, from string) time.Duration {
	addr := netip.MustParseAddr(from)
	wait := b.Before(account, secret, addr)
	if wait == 0 {
		b.After(account, secret, addr, secret == right)
	}
	return wait
}

// wrong tries so many secrets that were not tried before, each as soon as it may be. It returns how long that took.
func (b *bench) wrong(account, from string, n int) time.Duration {
	b.t.Helper()
	start := b.at
	for range n {
		secret := fmt.Sprint("guess ", rand.Uint64())
		for wait := b.try(account, secret, from); wait > 0; wait = b.try(account, secret, from) {
			b.at = b.at.Add(wait)
		}
	}
	return b.at.Sub(start)
}

func (b *bench) passes(what, account, secret, from string) {
	b.t.Helper()
	if wait := b.try(account, secret, from); wait != 0 {
		b.t.Errorf("%s: held up for %v", what, wait)
	}
}

func (b *bench) held(what, account, secret, from string) {
	b.t.Helper()
	if b.try(account, secret, from) == 0 {
		b.t.Errorf("%s: not held up", what)
	}
}

func TestDelayGrows(t *testing.T) {
	b := newBench(t, Options{})
	if took := b.wrong("alice", home, 5); took != 0 {
		t.Fatalf("five wrong secrets took %v", took)
	}
	b.passes("the sixth", "alice", "6", home)
	for i, want := range []time.Duration{1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300} {
		want *= time.Second
		if wait := b.try("alice", "x", home); wait != want {
			t.Errorf("delay %d is %v, want %v", i, wait, want)
		}
		b.at = b.at.Add(want - 1)
		b.held("just before the end", "alice", right, home)
		b.at = b.at.Add(1)
		if i == 4 {
			b.passes("the right one in its turn", "alice", right, home)
		}
		// what was forgotten meanwhile is made up for, so that each delay is of one more
		level := b.peek(b.attempt("alice", "", netip.MustParseAddr(home)).here).level(b.here(), b.at)
		b.wrong("alice", home, 7+i-level)
	}
}

// TestRepeatsCountOnce: containerd sends each attempt twice, a kubelet its stale secret for ever.
func TestRepeatsCountOnce(t *testing.T) {
	metrics := prometheus.NewRegistry()
	b := newBench(t, Options{Metrics: metrics})
	for range 1000 {
		b.passes("the stale secret", "ci", "stale", home)
		b.passes("the stale secret, twice", "ci", "stale", home)
		b.passes("the stale secret elsewhere", "ci", "stale", office)
		b.at = b.at.Add(5 * time.Minute)
	}
	b.passes("the right one", "ci", right, home)
	if n := value(t, metrics, "gatehouse_wrong_secrets_total"); n != 2 {
		t.Errorf("%v wrong secrets were counted, want one for each address", n)
	}
}

// TestFleetWithStaleSecrets: forty machines behind one address repeat a stale secret each; one more with the right one works.
func TestFleetWithStaleSecrets(t *testing.T) {
	b := newBench(t, Options{})
	for range 100 {
		for i := range 40 {
			b.passes("a stale secret", fmt.Sprint("machine-", i), "stale", home)
		}
		b.passes("a machine with the right one", "machine-x", right, home)
		b.at = b.at.Add(time.Minute)
	}
}

// TestStrangersCannotLockOut: they guess alice's password from a thousand addresses.
func TestStrangersCannotLockOut(t *testing.T) {
	b := newBench(t, Options{})
	b.passes("alice at home, before", "alice", right, home)
	for i := range 1000 {
		b.try("alice", fmt.Sprint("guess ", i), fmt.Sprintf("10.0.%d.%d", i/250, i%250))
		b.passes("alice at home, meanwhile", "alice", right, home)
	}
	b.held("another stranger's second guess", "alice", "guess", "10.1.1.1")
	b.passes("alice in the office, with the password she has proven", "alice", right, office)
	b.held("another stranger", "alice", "another guess", stranger)
	b.passes("another account", "bob", right, "10.0.0.1")
	b.at = b.at.Add(2 * knownFor)
	b.passes("alice at home, long after", "alice", right, home)
}

// TestHeldUpIsNoOracle: while the account is held up everywhere, the right secret passes from new addresses; a stranger has one guess
// at an address by that, and not one after the other.
func TestHeldUpIsNoOracle(t *testing.T) {
	b := newBench(t, Options{})
	b.passes("alice at home", "alice", right, home)
	for i := range 100 {
		b.try("alice", fmt.Sprint("guess ", i), fmt.Sprintf("10.0.0.%d", i))
	}
	b.held("a guess", "alice", "wrong", stranger)
	for range 100 {
		b.held("the right one, guessed after that", "alice", right, stranger)
	}
	b.held("the right one, from the same IPv6 network", "alice", "wrong", "2001:db8::1")
	b.held("the right one, from the same IPv6 network", "alice", right, "2001:db8::2")
}

// TestOneAddressHoldsUpNobodyElsewhere: however patient who guesses there is, and whatever is configured.
func TestOneAddressHoldsUpNobodyElsewhere(t *testing.T) {
	for _, o := range []Options{{}, {Free: 1}, {Free: 1, Maximum: time.Hour}, {Free: 20, Maximum: time.Second},
		{Free: 1, Maximum: time.Second},
		{Free: 3, Maximum: 10 * time.Minute}} {
		for _, pause := range []time.Duration{0, time.Minute, 9 * time.Minute, time.Hour} {
			b := newBench(t, o)
			for range 300 {
				b.wrong("alice", stranger, 1)
				if wait := b.try("alice", right, home); wait > 0 {
					t.Fatalf("%+v, pause %v: alice waits %v at home", o, pause, wait)
				}
				b.known = newBench(t, o).known // as if alice had never been there
				b.at = b.at.Add(pause)
			}
		}
	}
}

// TestOneOfManyBehindAnAddress: who guesses many accounts is held up, who was there before is not.
func TestOneOfManyBehindAnAddress(t *testing.T) {
	b := newBench(t, Options{})
	b.passes("bob", "bob", right, home)
	for i := range 200 {
		b.try(fmt.Sprint("account-", i), "123456", home)
	}
	b.held("one more account", "alice", "123456", home)
	b.held("one more account, rightly", "carol", right, home)
	b.passes("bob", "bob", right, home)
	b.passes("carol elsewhere", "carol", right, office)
	b.held("the same IPv6 network counts as one", "x", "y", sprayed(b))
}

// sprayed returns an address of an IPv6 network of which others have guessed.
func sprayed(b *bench) string {
	for i := range 200 {
		b.try(fmt.Sprint("account-", i), "654321", fmt.Sprintf("2001:db8::%x", i+1))
	}
	return "2001:db8::ffff:ffff"
}

// TestAllAtOnce: a thousand guesses at the same moment are not looked at before the first is found wrong.
func TestAllAtOnce(t *testing.T) {
	b := newBench(t, Options{})
	from := netip.MustParseAddr(stranger)
	var looked atomic.Int64
	var all sync.WaitGroup
	for i := range 1000 {
		all.Go(func() {
			if b.Before("alice", fmt.Sprint(i), from) == 0 {
				looked.Add(1)
			}
		})
	}
	all.Wait()
	if n := looked.Load(); n != defaultFree {
		t.Errorf("%d guesses are looked at, want %d", n, defaultFree)
	}
	for range 1000 { // one secret, a thousand times, is a fleet that starts
		if wait := b.Before("fleet", right, from); wait > 0 {
			t.Fatalf("held up for %v", wait)
		}
	}
	b.at = b.at.Add(pendingFor) // they could not be judged
	b.passes("later", "alice", right, stranger)
}

// TestUnknownAccountsAreTreatedAlike is T-SEC-15: what is held up does not tell whether an account is there.
func TestUnknownAccountsAreTreatedAlike(t *testing.T) {
	b := newBench(t, Options{})
	b.passes("alice is there", "alice", right, home)
	for i := range 40 {
		from := fmt.Sprintf("10.0.0.%d", i/8)
		if a, n := b.try("alice", fmt.Sprint(i), from), b.try("nobody", fmt.Sprint(i), from); a != n {
			t.Fatalf("attempt %d: %v for an account that is there, %v for one that is not", i, a, n)
		}
	}
}

// TestTokensAreNotGuessed: what many clients behind an address give as one account beside their own tokens is no account.
func TestTokensAreNotGuessed(t *testing.T) {
	for account, suffix := range map[string]string{"<token>": "", "": "", "ci-job": strings.Repeat("x", maxGuess)} {
		b := newBench(t, Options{})
		from := netip.MustParseAddr(home)
		for i := range 50 {
			if wait := b.Before(account, fmt.Sprint(i, suffix), from); wait > 0 {
				t.Fatalf("%q: token %d is held up for %v", account, i, wait)
			}
		}
		for i := range 51 {
			b.After(account, fmt.Sprint(i, suffix), from, false)
		}
		b.held("after so many wrong ones", account, "another"+suffix, home)
		b.passes("elsewhere", account, "another"+suffix, office)
	}
}

// TestRecordsCannotBeWiped: the table is full of others, and more come; those held up stay so.
func TestRecordsCannotBeWiped(t *testing.T) {
	b := newBench(t, Options{})
	b.wrong("alice", stranger, 12)
	before := b.try("alice", "x", stranger)
	for i := range 2 * maxEntries {
		a := attempt{here: b.digest("here", fmt.Sprint(i)), address: b.digest("address", fmt.Sprint(i)), secret: b.digest("x"), token: true}
		b.blame(a, b.at)
	}
	if wait := b.try("alice", "x", stranger); wait != before || wait == 0 {
		t.Errorf("held up for %v, %v before the flood", wait, before)
	}
	if n := len(b.Guard.wrong.entries); n > maxEntries || n != len(b.Guard.wrong.keys) {
		t.Errorf("%d entries, %d keys", n, len(b.Guard.wrong.keys))
	}
}

// TestOneAccountCannotCrowdOut: its owner logs in from everywhere; others stay known.
func TestOneAccountCannotCrowdOut(t *testing.T) {
	b := newBench(t, Options{})
	b.passes("bob at home", "bob", right, home)
	insider := b.digest("account", "insider")
	for i := range 2 * maxEntries {
		b.learn(b.digest(fmt.Sprint(i)), insider, b.at)
	}
	if n := len(b.known.entries); n > maxEntries/maxShare+2 {
		t.Errorf("%d entries", n)
	}
	if !b.isKnown(b.attempt("bob", right, netip.MustParseAddr(home)).here, b.at) {
		t.Error("bob is forgotten at home")
	}
	b.at = b.at.Add(knownFor)
	b.passes("the insider, when the old ones have expired", "insider", right, home)
	if !b.isKnown(b.attempt("insider", right, netip.MustParseAddr(home)).here, b.at) || b.share[insider] != 2 {
		t.Errorf("the share of the insider is %d", b.share[insider])
	}
}

// TestRecordIsBounded: however many secrets, few are told apart.
func TestRecordIsBounded(t *testing.T) {
	b := newBench(t, Options{})
	b.wrong("alice", stranger, 3*maxSeen)
	r := b.peek(b.attempt("alice", "", netip.MustParseAddr(stranger)).here)
	if len(r.seen) != maxSeen || len(r.pending) != 0 {
		t.Errorf("%d seen, %d pending", len(r.seen), len(r.pending))
	}
}

func TestNothingIsKeptThatCanBeRead(t *testing.T) {
	b := newBench(t, Options{})
	b.try("canary-account", "canary-secret", home)
	b.try("canary-account", right, home)
	if text := fmt.Sprintf("%+v %+v", b.Guard.wrong, b.known); strings.Contains(text, "canary") || strings.Contains(text, home) {
		t.Errorf("memory holds %s", text)
	}
	if newBench(t, Options{}).digest("x") == b.digest("x") {
		t.Error("two processes have the same digests")
	}
	if b.digest("ab", "c") == b.digest("a", "bc") {
		t.Error("two pairs have the same digest")
	}
}

func TestForgets(t *testing.T) {
	b := newBench(t, Options{})
	b.wrong("alice", home, 10)
	b.at = b.at.Add(10 * 10 * time.Minute)
	if took := b.wrong("alice", home, 5); took != 0 {
		t.Errorf("five wrong secrets after all were forgotten took %v", took)
	}
}

func TestMetrics(t *testing.T) {
	r := prometheus.NewRegistry()
	b := newBench(t, Options{Metrics: r})
	for i := range 6 {
		b.try("alice", fmt.Sprint(i), home)
	}
	b.held("the seventh", "alice", "6", home)
	for name, want := range map[string]float64{"gatehouse_wrong_secrets_total": 6,
		"gatehouse_held_up_requests_total": 1, "gatehouse_guard_entries": 3} {
		if got := value(t, r, name); got != want {
			t.Errorf("%s is %v, want %v", name, got, want)
		}
	}
	if _, err := New(Options{Metrics: r}); err == nil {
		t.Error("metrics were registered twice")
	}
	for _, o := range []Options{{Free: -1}, {Maximum: time.Millisecond}, {Maximum: -1}} {
		if _, err := New(o); err == nil {
			t.Errorf("%+v is accepted", o)
		}
	}
}

// value reads a metric without labels.
func value(t *testing.T, r *prometheus.Registry, name string) float64 {
	t.Helper()
	families, err := r.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() == name {
			m := f.GetMetric()[0]
			return m.GetCounter().GetValue() + m.GetGauge().GetValue()
		}
	}
	t.Fatalf("there is no metric %s", name)
	return 0
}
