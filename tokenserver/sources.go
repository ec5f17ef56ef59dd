package tokenserver

import (
	"context"
	"fmt"
)

// Source is a place where accounts come from.
type Source struct {
	// Name is what Identity.Source says.
	Name string
	Authenticator
	// Owns reports whether credentials are this source's to judge, by their looks or because it knows the account. nil: all are.
	Owns func(account, password string) bool
}

// Sources is an Authenticator over several. The first that owns the credentials judges them, alone: when it is down the answer is
// that it is down, never what the next, weaker one has to say.
type Sources struct {
	list []Source
}

var (
	_ Authenticator = (*Sources)(nil)
	_ Rechecker     = (*Sources)(nil)
)

// NewSources returns the Authenticator over list, in this order. What none of them owns is wrong.
func NewSources(list ...Source) *Sources { return &Sources{list: list} }

// Authenticate is Authenticator's.
func (s *Sources) Authenticate(ctx context.Context, account, password string) (Identity, error) {
	for _, one := range s.list {
		if one.Owns != nil && !one.Owns(account, password) {
			continue
		}
		who, err := one.Authenticate(ctx, account, password)
		if err != nil {
			return Identity{}, err
		}
		who.Source = one.Name
		return who, nil
	}
	return Identity{}, ErrBadCredentials
}

// Recheck is Rechecker's: it asks the source that proved who. One that is not configured any more, or cannot say, proves nothing.
func (s *Sources) Recheck(ctx context.Context, who Identity) (Identity, error) {
	for _, one := range s.list {
		if one.Name != who.Source {
			continue
		}
		r, ok := one.Authenticator.(Rechecker)
		if !ok {
			break
		}
		now, err := r.Recheck(ctx, who)
		if err != nil {
			return Identity{}, err
		}
		if now.Account != who.Account || now.Revision != who.Revision {
			return Identity{}, ErrBadCredentials
		}
		now.Source = one.Name
		return now, nil
	}
	return Identity{}, fmt.Errorf("the source %q cannot check an account again: %w", who.Source, ErrBadCredentials)
}
