package tokenserver

import (
	"context"
	"errors"
	"net/netip"
	"time"
)

var (
	// ErrBadCredentials is the one answer to credentials that prove nothing: unknown account, wrong password, account that may
	// not log in. Which of them it was is not said.
	ErrBadCredentials = errors.New("the account or the password is wrong")
	// ErrBusy means that too many passwords wait to be checked. The same credentials may succeed in a few seconds.
	ErrBusy = errors.New("too many logins at once; try again in a few seconds")
	// ErrNotReady means that issuer and service are not known yet, so that no token could be made or would be valid.
	ErrNotReady = errors.New("the token server has no configuration yet")
)

// Identity is who somebody has proved to be. The zero Identity is anonymous.
type Identity struct {
	Account string
	Groups  []string
	// Source names the Source that proved it, and is empty for the anonymous.
	Source string
	// Revision changes when what proved it does: the password, or the secret of a robot. Refresh tokens end with it. It tells nothing
	// of the secret.
	Revision string
	// Address is where the request came from. The Server sets it; it is the peer of the connection, never what a header says.
	Address netip.Addr
	// Own, where it is set, decides in place of the access rules: a robot's own scope.
	Own Authorizer
	// Until bounds the life of tokens. The zero time is no bound.
	Until time.Time
}

// Authenticator proves who somebody is. Implementations may be called from many goroutines at once, and at every request:
// clients send the password again for each token, so a repeated check has to be cheap.
type Authenticator interface {
	// Authenticate returns whom the credentials prove, and a nil error means proven: nothing else does. ErrBadCredentials is
	// for credentials that are wrong, at the same cost whether the account exists or not; ErrBusy asks to come back. Any
	// other error says that the backend could not tell; callers then refuse, and neither ask another backend nor go on
	// as anonymous. It returns soon after ctx is done. Errors never contain the password.
	Authenticate(ctx context.Context, account, password string) (Identity, error)
}

// Rechecker is an Authenticator that can say without a password how an identity is now that it proved some time ago.
type Rechecker interface {
	// Recheck returns the identity as it is now, its groups above all. Of who only Account, Source and Revision count.
	// ErrBadCredentials: there is no such account any more, or what proved it then would not now.
	Recheck(ctx context.Context, who Identity) (Identity, error)
}
