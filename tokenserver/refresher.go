package tokenserver

import (
	"context"
	"fmt"
)

var (
	// ErrNoRefreshToken is what was never a refresh token: cut, mistyped, or something else. It is an ErrBadCredentials.
	ErrNoRefreshToken = fmt.Errorf("this is no refresh token, or a part of one: %w", ErrBadCredentials)
	// errRefreshTokenEnded is one that may have been good once. It is an ErrBadCredentials.
	errRefreshTokenEnded = fmt.Errorf("the refresh token is not valid any more: %w", ErrBadCredentials)
)

// Refresher keeps refresh tokens (RFC 6749 section 1.5): secrets that stand for a password after it was proven once. Implementations
// may be called from many goroutines at once.
type Refresher interface {
	// Owns reports whether a secret looks like a refresh token, so that nothing else is asked about it.
	Owns(secret string) bool
	// Issue makes one for who, a service and the client that asked. It is on disk when Issue returns. name tells it apart in lists
	// and logs. An empty secret and a nil error: there are none.
	Issue(ctx context.Context, who Identity, service, client string) (secret, name string, err error)
	// Redeem returns whom a secret was made for: Account, Source and Revision, to be checked again. ErrBadCredentials when it is
	// unknown, has expired, was revoked, or is for another service; ErrNoRefreshToken, which is one too, when it never was one. It
	// may be used again, by any client: docker's parts hand theirs on to each other.
	Redeem(ctx context.Context, secret, service string) (who Identity, name string, err error)
}

// never is the Refresher of a server without refresh tokens.
type never struct{}

func (never) Owns(string) bool { return false }
func (never) Issue(context.Context, Identity, string, string) (secret, name string, err error) {
	return "", "", nil
}
func (never) Redeem(context.Context, string, string) (Identity, string, error) {
	return Identity{}, "", ErrNoRefreshToken
}
