// Package guard holds up who tries one secret after the other.
//
// What counts is a wrong secret that was not seen before: clients repeat a stale one for ever, each attempt of some is two, and none of
// them guesses. It counts for the account at the address that it came from, for the account everywhere, and for the address with
// every account. Each of the three forgets with time, and holds up by itself: table.go. Whom it holds up is what matters:
//
//   - The account at the address: everybody there.
//   - The account everywhere: addresses that have not proven it lately. So strangers cannot lock a user out of where he works.
//   - The address: accounts that were not proven there lately. So one of many behind an address cannot lock the others out.
//
// A held-up secret is not looked at: whoever got an answer for the right one only would go on guessing meanwhile. The exception is in
// Guard.trusted. Unknown accounts are treated as known ones are.
package guard

import (
	"cmp"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"math/bits"
	"net/netip"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"gatehouse/tokenserver"
)

const (
	defaultFree    = 5
	defaultMaximum = 5 * time.Minute
	// everywhere and together are by how much more is free, and is forgotten faster, of an account everywhere and of an address.
	everywhere = 4
	together   = 10
	// maxGuess is the length in bytes from which a secret is none that anybody guesses, but a token.
	maxGuess = 128
	// knownFor is how long an address is known to be an account's, and a secret to be right.
	knownFor = 7 * 24 * time.Hour
	// pendingFor is how long a secret is waited for that was let through. Those that could not be judged are never told of.
	pendingFor = time.Minute
)

// Options is what a Guard may be given. The zero value is ready to use.
type Options struct {
	// Free is how many wrong secrets an account may have at one address before it is held up. Default 5.
	Free int
	// Maximum is how long at most. One wrong secret is forgotten in twice that. Default 5m, at least 1s.
	Maximum time.Duration
	// Now is the clock. Default time.Now.
	Now func() time.Time
	// Metrics is where counters are registered; nil for nowhere.
	Metrics prometheus.Registerer
}

// Guard is a tokenserver.Guard. It keeps no secret, no account and no address, but keyed digests of them, a bounded number, and
// forgets all when the process ends.
type Guard struct {
	free    int
	maximum time.Duration
	now     func() time.Time
	metrics *metrics
	key     [sha256.Size]byte

	mu    sync.Mutex
	wrong *table[*record]
	// known has the accounts proven at an address, and the secrets proven.
	known *table[known]
	// share is how much of known each account has.
	share map[digest]int
}

// known is when something was proven last, and the account it is of.
type known struct {
	at      time.Time
	account digest
}

// digest stands for texts, and tells nothing of them without the key.
type digest [16]byte

var _ tokenserver.Guard = (*Guard)(nil)

// New returns a Guard that has seen nothing.
func New(o Options) (*Guard, error) {
	o.Free, o.Maximum = cmp.Or(o.Free, defaultFree), cmp.Or(o.Maximum, defaultMaximum)
	if o.Free < 1 || o.Maximum < firstDelay {
		return nil, fmt.Errorf("%d wrong secrets free and a delay of at most %v; use 1 and %v at least", o.Free, o.Maximum, firstDelay)
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	g := &Guard{free: o.Free, maximum: o.Maximum, now: o.Now, share: make(map[digest]int)}
	rand.Read(g.key[:])
	g.wrong = newTable(maxEntries, func(r *record, now time.Time) bool { return r.idle(now) },
		func(a, b *record) bool { return a.forgotten.Before(b.forgotten) })
	g.known = newTable(maxEntries, func(k known, now time.Time) bool { return now.Sub(k.at) >= knownFor },
		func(a, b known) bool { return a.at.Before(b.at) })
	g.known.gone = func(k known) {
		if g.share[k.account]--; g.share[k.account] <= 0 {
			delete(g.share, k.account)
		}
	}
	g.metrics = newMetrics(g.entries)
	return g, g.metrics.register(o.Metrics)
}

// attempt is what Before and After are told, as digests.
type attempt struct {
	secret                 digest // of the account and the secret
	account, address, here digest // the account, the address, the account at the address
	// token says that the secret is one, as what clients give as account beside it shows, or its length. Many have the same account
	// then, and nobody guesses, so that only the address counts.
	token bool
}

func (g *Guard) attempt(account, secret string, from netip.Addr) attempt {
	size := 32
	if from.Is6() {
		size = 64
	}
	network, _ := from.Prefix(size) // an error for the zero Addr only
	address := network.String()
	return attempt{
		secret: g.digest("secret", account, secret), account: g.digest("account", account), address: g.digest("address", address),
		here: g.digest("here", account, address), token: account == "" || account == "<token>" || len(secret) > maxGuess,
	}
}

// digest writes the length before each text, so that no others have the same.
func (g *Guard) digest(texts ...string) digest {
	mac := hmac.New(sha256.New, g.key[:])
	text := make([]byte, 0, 256)
	for _, s := range texts {
		text = binary.BigEndian.AppendUint64(text, uint64(len(s)))
		text = append(text, s...)
	}
	mac.Write(text)
	return digest(mac.Sum(nil))
}

// Before is Guard's. As many secrets as are still free are looked at together, or one, so that a thousand at once are not all looked
// at before the first is found wrong.
func (g *Guard) Before(account, secret string, from netip.Addr) time.Duration {
	a, now := g.attempt(account, secret, from), g.now()
	g.mu.Lock()
	defer g.mu.Unlock()
	here := g.peek(a.here)
	wait := here.wait(now)
	if wait == 0 && !g.isKnown(a.here, now) {
		wait = max(g.waitEverywhere(a, here, now), g.peek(a.address).wait(now))
	}
	if wait == 0 && !a.token && !g.record(a.here, now).begin(a.secret, g.here(), now) {
		wait = firstDelay
	}
	if wait > 0 {
		g.metrics.held.Inc()
	}
	return min(wait, g.maximum)
}

// After is Guard's.
func (g *Guard) After(account, secret string, from netip.Addr, proven bool) {
	a, now := g.attempt(account, secret, from), g.now()
	g.mu.Lock()
	defer g.mu.Unlock()
	if here, found := g.wrong.get(a.here); found {
		here.end(a.secret, now)
		if proven && here.idle(now) {
			g.wrong.drop(a.here)
		}
	}
	if proven {
		g.learn(a.here, a.account, now)
		g.learn(a.secret, a.account, now)
		return
	}
	g.blame(a, now)
	if !a.token {
		g.record(a.account, now).add(a.secret, g.everywhere(), now)
	}
}

// blame counts a wrong secret at its address.
func (g *Guard) blame(a attempt, now time.Time) {
	isNew := g.record(a.address, now).add(a.secret, g.here().times(together), now)
	if !a.token {
		isNew = g.record(a.here, now).add(a.secret, g.here(), now)
	}
	if isNew {
		g.metrics.wrong.Inc()
	}
}

// record returns the record of who, a new one if there is none.
func (g *Guard) record(who digest, now time.Time) *record {
	r, found := g.wrong.get(who)
	if !found {
		r = new(record)
		g.wrong.put(who, r, now)
	}
	return r
}

// peek is record for reading: nil if there is none.
func (g *Guard) peek(who digest) *record {
	r, _ := g.wrong.get(who)
	return r
}

// waitEverywhere is how long the account is held up at an address that is not known to be its own.
func (g *Guard) waitEverywhere(a attempt, here *record, now time.Time) time.Duration {
	wait := g.peek(a.account).wait(now)
	if a.token || wait > 0 && g.trusted(a, here, now) {
		return 0
	}
	return wait
}

// trusted is the exception to holding an account up everywhere: a secret that was proven lately passes. Strangers then cannot hold up
// the new machine of a user with the right password. Each address has one look: any other secret is blamed there as if it had been
// found wrong, and there is no next look until that is forgotten. It is no different for accounts that are not.
func (g *Guard) trusted(a attempt, here *record, now time.Time) bool {
	if here.guilty(now) {
		return false
	}
	if g.isKnown(a.secret, now) {
		return true
	}
	g.blame(a, now)
	return false
}

// here is the limit of an account at one address.
func (g *Guard) here() limit { return limit{free: g.free, forget: 2 * g.maximum, maximum: g.maximum} }

// everywhere is the limit of an account at all addresses. It is never reached from one address, where the account is held up before:
// after what is free there, each of the doublings lets one more through, and then fewer come than are forgotten.
func (g *Guard) everywhere() limit {
	l := g.here().times(everywhere)
	doublings := bits.Len64(uint64(g.maximum / firstDelay))
	l.free = max(l.free, g.free+doublings+1)
	return l
}

func (g *Guard) isKnown(what digest, now time.Time) bool {
	k, found := g.known.get(what)
	return found && now.Sub(k.at) < knownFor
}

// learn remembers that something was proven. An account has a share of what can be remembered, so that its owner cannot have the
// others' forgotten.
func (g *Guard) learn(what, account digest, now time.Time) {
	if _, found := g.known.get(what); !found {
		if g.share[account] >= maxEntries/maxShare {
			g.known.sweep(now)
		}
		if g.share[account] >= maxEntries/maxShare {
			return
		}
		g.share[account]++
	}
	g.known.put(what, known{now, account}, now)
}

// entries is how much is remembered.
func (g *Guard) entries() float64 {
	g.mu.Lock()
	defer g.mu.Unlock()
	return float64(len(g.wrong.entries) + len(g.known.entries))
}

// metrics counts what the guard sees and does.
type metrics struct {
	wrong, held prometheus.Counter
	entries     prometheus.GaugeFunc
}

func newMetrics(entries func() float64) *metrics {
	return &metrics{
		wrong: prometheus.NewCounter(prometheus.CounterOpts{Name: "gatehouse_wrong_secrets_total",
			Help: "Wrong secrets, each once for an account and an address however often it is repeated."}),
		held: prometheus.NewCounter(prometheus.CounterOpts{Name: "gatehouse_held_up_requests_total",
			Help: "Requests whose secret was not looked at, because of wrong ones before."}),
		entries: prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "gatehouse_guard_entries",
			Help: "Accounts and addresses that are remembered with wrong or proven secrets."}, entries),
	}
}

func (m *metrics) register(r prometheus.Registerer) error {
	if r == nil {
		return nil
	}
	if err := errors.Join(r.Register(m.wrong), r.Register(m.held), r.Register(m.entries)); err != nil {
		return fmt.Errorf("a metric of the guard could not be registered: %w", err)
	}
	return nil
}
