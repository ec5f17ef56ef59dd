package tokenserver

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"runtime"
	"sync"
	"time"

	"golang.org/x/crypto/bcrypt"
	"golang.org/x/sync/singleflight"
)

const (
	// provenFor is how long credentials that were checked are taken as proven.
	provenFor = 5 * time.Minute
	// maxProven bounds how many of them are remembered: 40 bytes each.
	maxProven = 4096
)

// credential stands for account, password, stored hash and configuration revision together: their HMAC under a key that
// only this process has. Nothing can be learned from it, and no two combinations share one.
type credential [sha256.Size]byte

// checker compares passwords with bcrypt hashes. It remembers what was proven, and nothing of what was not; equal checks
// at the same time are one, and only so many run at once, so that logins leave cores for everything else.
type checker struct {
	secret  [sha256.Size]byte
	now     func() time.Time
	compare func(hash, password []byte) error
	metrics *loginMetrics

	turns   *turns
	flights singleflight.Group

	mu     sync.Mutex
	proven map[credential]time.Time // until when
}

func newChecker(now func() time.Time, metrics *loginMetrics) *checker {
	c := &checker{now: now, compare: bcrypt.CompareHashAndPassword, metrics: metrics,
		turns: newTurns(max(1, runtime.GOMAXPROCS(0)/2)), proven: make(map[credential]time.Time)}
	rand.Read(c.secret[:])
	return c
}

// credential writes the length before each text, so that moving a character from one to the next makes another credential.
func (c *checker) credential(account, password, hash string, revision uint64) credential {
	mac := hmac.New(sha256.New, c.secret[:])
	text := make([]byte, 0, 256)
	for _, s := range [...]string{account, password, hash} {
		text = binary.BigEndian.AppendUint64(text, uint64(len(s)))
		text = append(text, s...)
	}
	mac.Write(binary.BigEndian.AppendUint64(text, revision))
	var sum credential
	mac.Sum(sum[:0])
	return sum
}

// check returns nil if password is the one that hash was made of, ErrBadCredentials if it is another, and ErrBusy if too many others
// of the same account or address wait. It gives up when ctx is done; the work goes on for those who wait for the same.
func (c *checker) check(ctx context.Context, account, password, hash string, revision uint64) error {
	id, who := c.credential(account, password, hash, revision), newParty(ctx, account)
	if c.isProven(id) {
		c.metrics.hits.Inc()
		return nil
	}
	for {
		own := false
		done := c.flights.DoChan(string(id[:]), func() (any, error) {
			own = true
			return nil, c.run(who, id, hash, password)
		})
		select {
		case result := <-done:
			if !own && errors.Is(result.Err, ErrBusy) {
				continue // it was another's share that was used up
			}
			return result.Err
		case <-ctx.Done():
			return fmt.Errorf("the password was not checked: %w", ctx.Err())
		}
	}
}

// run does the work when it is the turn of who.
func (c *checker) run(who party, id credential, hash, password string) error {
	// Whoever looked before the last flight landed, and came here after, finds its result.
	if c.isProven(id) {
		c.metrics.hits.Inc()
		return nil
	}
	if !c.turns.take(who) {
		return ErrBusy
	}
	defer c.turns.give()
	c.metrics.runs.Inc()
	err := c.compare([]byte(hash), []byte(password))
	switch {
	case err == nil:
		c.remember(id)
		return nil
	case errors.Is(err, bcrypt.ErrMismatchedHashAndPassword):
		return ErrBadCredentials
	default:
		return fmt.Errorf("the stored hash could not be compared with: %w", err)
	}
}

func (c *checker) isProven(id credential) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	until, found := c.proven[id]
	return found && c.now().Before(until)
}

// remember makes room if there is none: first what has expired goes, then any one.
func (c *checker) remember(id credential) {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := c.now()
	if len(c.proven) >= maxProven {
		for old, until := range c.proven {
			if !now.Before(until) {
				delete(c.proven, old)
			}
		}
	}
	for old := range c.proven {
		if len(c.proven) < maxProven {
			break
		}
		delete(c.proven, old)
	}
	c.proven[id] = now.Add(provenFor)
}
