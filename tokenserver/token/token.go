// Package token is what the token server and the registry agree on: the grammar of scopes, the claims of a token, the ids
// of keys, and how a token is signed and verified. It knows nothing of users, rules or HTTP, so that either side can be
// replaced by somebody else's.
//
// Start with Claims. A token server asks ParseScopes what a client wants and signs with Key.Sign; a registry asks
// Verifier.Verify what a token grants and Allows whether that is enough.
package token

import (
	"errors"
	"time"
)

// MaxSize is the length in bytes of the longest token that is signed or looked at: hundreds of repositories in one. Clients read
// answers of at most 64 KiB, and it has to fit into a request's header.
const MaxSize = 56 << 10

// Leeway is how far the clocks of issuer and verifier may be apart, as distribution's verifier has it.
const Leeway = 60 * time.Second

var (
	// ErrInvalid is what every refusal of a token wraps. The reason beside it is for logs; a client learns no more than this.
	ErrInvalid = errors.New("invalid token")
	// ErrTooLarge is a token that would be longer than MaxSize and was not signed.
	ErrTooLarge = errors.New("the token would be too large")
)

// Claims is what a token says (distribution's token specification, jwt.md). Times have the precision of a second.
type Claims struct {
	Issuer string
	// Subject is the account, and empty for an anonymous one.
	Subject string
	// Audience is one service: verifiers before distribution 3 refuse a list.
	Audience                     string
	Expires, NotBefore, IssuedAt time.Time
	// ID tells tokens apart in logs.
	ID     string
	Access []Access
	// Source says what proved the account, in the issuer's words, so that he can say how it is now.
	Source string
	// Groups are the account's when the token was made, for what its grants do not name (RFC 9068 section 2.2.3.1).
	Groups []string
}
