package main

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"gatehouse/configs"
	"gatehouse/tokenserver"
	"gatehouse/tokenserver/clientcert"
	"gatehouse/tokenserver/ldap"
	"gatehouse/tokenserver/oidc"
	"gatehouse/tokenserver/refresh"
	"gatehouse/tokenserver/robots"
	"gatehouse/tokenserver/token"
)

// accounts is where accounts come from: robots, the file of users, workloads, a directory, certificates of clients.
type accounts struct {
	sources *tokenserver.Sources
	// now returns an account as it is now, by the name of its source; where a source is not in it, a token says all there is to know.
	now     map[string]func(ctx context.Context, account string) (tokenserver.Identity, error)
	refresh *refresh.Tokens // nil when there are none
	ldap    *ldap.Directory // nil when there is none
}

// newAccounts opens the sources that the configuration names and enters them into o. Without any it returns nil: accounts are
// somebody else's then.
func (s *server) newAccounts(o *tokenserver.Options) (*accounts, error) {
	c := s.cfg.TokenServer
	if s.cfg.Auth.Htpasswd == nil && c.LDAP == nil && len(c.OIDC) == 0 && c.ClientCertificates == nil && c.Access == nil || s.cfg.Auth.Token.Outside() {
		return nil, nil
	}
	a := &accounts{now: make(map[string]func(context.Context, string) (tokenserver.Identity, error))}
	bots := robots.Open(robotsDir(s.dataDir), time.Now, s.log)
	a.now["robot"] = func(_ context.Context, account string) (tokenserver.Identity, error) { return bots.Identify(account) }
	list := []tokenserver.Source{{Name: "robot", Authenticator: bots, Owns: bots.Owns}}
	// The first source that owns credentials judges them, alone.
	reserved := func(account string) bool { return bots.Owns(account, "") }
	var users *tokenserver.Htpasswd
	var err error
	if file := s.cfg.Auth.Htpasswd; file != nil {
		if users, err = tokenserver.OpenHtpasswd(file.Path, tokenserver.HtpasswdOptions{Metrics: s.metrics}, s.log); err != nil {
			return nil, err
		}
		reserved = func(account string) bool { return bots.Owns(account, "") || users.Knows(account) }
	}
	if len(c.OIDC) > 0 {
		issuers, err := oidc.New(c.OIDC, oidc.Options{Dir: filepath.Join(s.dataDir, "oidc"), Reserved: reserved, Metrics: s.metrics}, s.log)
		if err != nil {
			return nil, configError{err}
		}
		list = append(list, issuers.Source())
	}
	if users != nil {
		list = append(list, a.htpasswd(users, c.LDAP != nil))
	}
	if c.LDAP != nil {
		if a.ldap, err = ldap.New(*c.LDAP, ldap.Options{Reserved: reserved, Metrics: s.metrics}, s.log); err != nil {
			return nil, configError{err}
		}
		a.now["ldap"] = func(ctx context.Context, account string) (tokenserver.Identity, error) {
			return a.ldap.Recheck(ctx, tokenserver.Identity{Account: account})
		}
		list = append(list, a.ldap.Source())
	}
	if c.ClientCertificates != nil {
		shown, err := clientcert.New(*c.ClientCertificates, clientcert.Options{Reserved: reserved}, s.log)
		if err != nil {
			return nil, configError{err}
		}
		o.Peer = shown.Peer
	}
	a.sources = tokenserver.NewSources(list...)
	o.Users = a.sources
	return a, s.newRefresh(a, o)
}

// htpasswd is the file of users as one of several sources. Where there is a directory too, it has those that the file does not name.
func (a *accounts) htpasswd(users *tokenserver.Htpasswd, shared bool) tokenserver.Source {
	a.now["htpasswd"] = func(_ context.Context, account string) (tokenserver.Identity, error) {
		if !users.Knows(account) {
			return tokenserver.Identity{}, tokenserver.ErrBadCredentials
		}
		return tokenserver.Identity{Account: account}, nil
	}
	source := tokenserver.Source{Name: "htpasswd", Authenticator: users}
	if shared {
		source.Owns = func(account, _ string) bool { return users.Knows(account) }
	}
	return source
}

// newRefresh has the server make refresh tokens, unless it is not to.
func (s *server) newRefresh(a *accounts, o *tokenserver.Options) (err error) {
	if s.cfg.TokenServer.Refresh.Disabled {
		return nil
	}
	if a.refresh, err = newRefreshTokens(s.cfg, s.dataDir, s.log); err == nil {
		o.Refresh = a.refresh
	}
	return err
}

// identify returns whom a verified token names, as he is now. Any error is a no.
func (a *accounts) identify(ctx context.Context, who *token.Claims) (tokenserver.Identity, error) {
	if now := a.now[who.Source]; now != nil {
		return now(ctx, who.Subject)
	}
	return tokenserver.Identity{Account: who.Subject, Groups: slices.Clone(who.Groups), Source: who.Source}, nil
}

// identify says who an account is by name alone, for verbs: a robot with its own scope, a user of the directory with his groups. One that no
// source knows is itself, without groups: a token of another issuer may name it.
func (p *program) identify(ctx context.Context, cfg *configs.Config, account string) (tokenserver.Identity, error) {
	byName := tokenserver.Identity{Account: account}
	if strings.HasPrefix(account, robots.Prefix) {
		robot, err := robots.Open(robotsDir(cfg.DataDir()), time.Now, nil).Identify(account)
		if errors.Is(err, tokenserver.ErrBadCredentials) {
			return byName, configError{fmt.Errorf("there is no robot %q that could log in: gatehouse robot ls", account)}
		}
		return robot, err
	}
	if cfg.TokenServer.LDAP == nil || account == "" {
		return byName, nil
	}
	if file := cfg.Auth.Htpasswd; file != nil {
		users, err := tokenserver.OpenHtpasswd(file.Path, tokenserver.HtpasswdOptions{}, p.verbLog())
		if err != nil || users.Knows(account) {
			return byName, err
		}
	}
	directory, err := ldap.New(*cfg.TokenServer.LDAP, ldap.Options{}, p.verbLog())
	if err != nil {
		return byName, configError{err}
	}
	defer directory.Close()
	who, err := directory.Recheck(ctx, byName)
	if errors.Is(err, tokenserver.ErrBadCredentials) {
		return byName, nil
	}
	return who, err
}
