package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strconv"
	"syscall"
	"time"
)

// chaos ends the server again and again until the soak is over, mostly with SIGKILL, and starts it again. It is done when it has
// killed as often as it should.
func (s *soak) chaos(ctx context.Context, r *rand.Rand) error {
	killed := 0
	defer func() { s.verdict.note("kills", strconv.Itoa(killed)) }()
	for s.kills == 0 || killed < s.kills {
		wait := s.pause/8 + time.Duration(r.Int64N(int64(s.pause)+1))
		select {
		case <-s.over:
			return nil
		case <-time.After(wait):
		}
		var err error
		switch n := r.IntN(20); {
		case s.kills == 0 && n == 0:
			err = s.halt(r)
		case s.kills == 0 && n <= 2:
			err = s.again(ctx, syscall.SIGTERM)
		default:
			killed++
			err = s.again(ctx, syscall.SIGKILL)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// again ends the server with a signal and starts it.
func (s *soak) again(ctx context.Context, sig syscall.Signal) error {
	if err := s.server.end(sig); err != nil {
		return err
	}
	if err := s.server.start(ctx); err != nil {
		return fmt.Errorf("after %s: %w", sig, err)
	}
	return nil
}

// halt has the server stand still for longer than half the grace.
func (s *soak) halt(r *rand.Rand) error {
	if err := s.server.signal(syscall.SIGSTOP); err != nil {
		return err
	}
	_ = pause(s.ctx, grace/2+time.Duration(r.Int64N(int64(grace)))) // what stands still goes on in any case
	return s.server.signal(syscall.SIGCONT)
}

// pause waits so long, or until ctx is done, which is an error.
func pause(ctx context.Context, d time.Duration) error {
	wait := time.NewTimer(d)
	defer wait.Stop()
	select {
	case <-wait.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
