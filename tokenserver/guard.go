package tokenserver

import (
	"net/netip"
	"time"
)

// Guard holds up who tries one secret after the other. Implementations may be called from many goroutines at once.
type Guard interface {
	// Before returns how long a client has to wait until its next secret is looked at, 0 for not at all.
	Before(account, secret string, from netip.Addr) time.Duration
	// After is told of a secret that was looked at. A secret that could not be judged is neither.
	After(account, secret string, from netip.Addr, proven bool)
}

// open is the Guard that holds nobody up.
type open struct{}

func (open) Before(string, string, netip.Addr) time.Duration { return 0 }
func (open) After(string, string, netip.Addr, bool)          {}

// HeldUpError is the error of a login that was not looked at, and has to wait so long.
type HeldUpError time.Duration

func (HeldUpError) Error() string { return "too many wrong secrets; wait before the next" }
