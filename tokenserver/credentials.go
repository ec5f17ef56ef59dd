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
	"sync/atomic"
	"time"

	"golang.org/x/crypto/bcrypt"
	"golang.org/x/sync/singleflight"
)

const (
	// provenFor is how long credentials that were checked are taken as proven.
	provenFor = 5 * time.Minute
	// maxProven bounds how many of them are remembered: 40 bytes each.
	maxProven = 4096
	// maxWaiting bounds how many different checks wait for a core: some seconds of work.
	maxWaiting = 64
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

	slots   chan struct{}
	waiting atomic.Int64
	flights singleflight.Group

	mu     sync.Mutex
	proven map[credential]time.Time // until when
}

func newChecker(now func() time.Time, metrics *loginMetrics) *checker {
	c := &checker{now: now, compare: bcrypt.CompareHashAndPassword, metrics: metrics,
		slots: make(chan struct{}, max(1, runtime.GOMAXPROCS(0)/2)), proven: make(map[credential]time.Time)}
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

// check returns nil if password is the one that hash was made of, ErrBadCredentials if it is another, and ErrBusy if too
// many others wait. It gives up when ctx is done; the work goes on for those who wait for the same.
func (c *checker) check(ctx context.Context, account, password, hash string, revision uint64) error {
	id := c.credential(account, password, hash, revision)
	if c.isProven(id) {
		c.metrics.hits.Inc()
		return nil
	}
	done := c.flights.DoChan(string(id[:]), func() (any, error) {
		// Whoever looked before the last flight landed, and came here after, finds its result.
		if c.isProven(id) {
			c.metrics.hits.Inc()
			return nil, nil
		}
		err := c.run(hash, password)
		if err == nil {
			c.remember(id)
		}
		return nil, err
	})
	select {
	case result := <-done:
		return result.Err
	case <-ctx.Done():
		return fmt.Errorf("the password was not checked: %w", ctx.Err())
	}
}

// run does the work when a slot is free.
func (c *checker) run(hash, password string) error {
	select {
	case c.slots <- struct{}{}:
	default:
		if c.waiting.Add(1) > maxWaiting {
			c.waiting.Add(-1)
			return ErrBusy
		}
		c.slots <- struct{}{}
		c.waiting.Add(-1)
	}
	defer func() { <-c.slots }()
	c.metrics.runs.Inc()
	err := c.compare([]byte(hash), []byte(password))
	switch {
	case err == nil:
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
