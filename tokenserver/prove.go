package tokenserver

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/netip"
)

// login is what somebody presents to say who he is.
type login struct {
	account, secret string
	// claimed is the parameter account, where clients repeat the name; "" says nothing.
	claimed string
	// refresh says that the secret is a refresh token and nothing else, as the grant type of that name does.
	refresh bool
	from    netip.Addr
}

// prove finds out who presents l. name is that of the refresh token, if it was one. Who presents something is never anonymous.
// What looks like a refresh token is shown to no source of accounts, so that none gets a secret to see which is not its own.
func (s *Server) prove(ctx context.Context, service string, l login) (who Identity, name string, err error) {
	if wait := s.guard.Before(l.account, l.secret, l.from); wait > 0 {
		return Identity{}, "", HeldUpError(wait)
	}
	switch {
	case s.refresh.Owns(l.secret):
		who, name, err = s.redeem(ctx, service, l)
	case l.refresh:
		err = ErrNoRefreshToken
	case l.claimed != "" && l.claimed != l.account:
		// One that names another account than it proves is confused, and would stay so.
		return Identity{}, "", otherAccount
	default:
		who, err = s.users.Authenticate(withAddress(ctx, l.from), l.account, l.secret)
	}
	if err == nil && who.Account == "" {
		err = errors.New("credentials were accepted, but prove no account")
	}
	if err == nil || errors.Is(err, ErrBadCredentials) {
		s.guard.After(l.account, l.secret, l.from, err == nil)
	}
	if err != nil {
		return Identity{}, name, err
	}
	who.Address = l.from
	s.observe(ctx, who.Account)
	return who, name, nil
}

// tokenAccount is what clients give as account beside a refresh token where they have to give one.
const tokenAccount = "<token>"

// redeem is prove for a refresh token: whom it was made for is asked about again, each time. A client may say whose it is, or
// nothing, or tokenAccount.
func (s *Server) redeem(ctx context.Context, service string, l login) (Identity, string, error) {
	who, name, err := s.refresh.Redeem(ctx, l.secret, service)
	switch {
	case errors.Is(err, ErrNoRefreshToken):
		return Identity{}, name, err
	case errors.Is(err, ErrBadCredentials):
		return Identity{}, name, fmt.Errorf("%w: %w", errRefreshTokenEnded, err)
	case err != nil:
		return Identity{}, name, err
	}
	for _, said := range [...]string{l.account, l.claimed} {
		if said != "" && said != tokenAccount && said != who.Account {
			return Identity{}, name, fmt.Errorf("another's refresh token: %w", ErrBadCredentials)
		}
	}
	r, ok := s.users.(Rechecker)
	if !ok {
		return Identity{}, name, errRefreshTokenEnded
	}
	if who, err = r.Recheck(ctx, who); errors.Is(err, ErrBadCredentials) {
		err = fmt.Errorf("%w: %w", errRefreshTokenEnded, err)
	}
	return who, name, err
}

// keep makes a refresh token for who, if his source could say later how he is then: else it would never be worth anything. What
// keeps it from being made is logged, and ends no login: clients go on with what they have.
func (s *Server) keep(ctx context.Context, who Identity, service, client string) (secret, name string) {
	r, ok := s.users.(Rechecker)
	if !ok {
		return "", ""
	}
	_, err := r.Recheck(ctx, who)
	if errors.Is(err, ErrBadCredentials) {
		return "", ""
	}
	if err == nil {
		secret, name, err = s.refresh.Issue(ctx, who, service, client)
	}
	if err != nil {
		s.log.ErrorContext(ctx, "refresh token could not be made; the client got a token without one", "account", who.Account, "err", err)
		return "", ""
	}
	return secret, name
}

// shown returns who the certificate of a connection proves, or the anonymous.
func (s *Server) shown(r *http.Request) (Identity, error) {
	who, ok, err := s.peer(r)
	switch {
	case err != nil:
		return Identity{}, err
	case !ok:
		return Identity{}, nil
	case who.Account == "":
		return Identity{}, errors.New("a connection was accepted, but proves no account")
	}
	s.observe(r.Context(), who.Account)
	return who, nil
}

// peer returns the address at the other end of the connection, or the zero Addr.
func peer(r *http.Request) netip.Addr {
	at, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil {
		return netip.Addr{}
	}
	return at.Addr().Unmap().WithZone("")
}
