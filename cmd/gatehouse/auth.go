package main

import (
	"context"
	"errors"
	"net/http"
	"path/filepath"
	"strings"
	"time"

	"gatehouse/configs"
	"gatehouse/configs/etcd"
	"gatehouse/gateway"
	"gatehouse/registry"
	"gatehouse/tokenserver"
	"gatehouse/tokenserver/token"
)

// auth is the token server, and what the registry needs to believe it.
type auth struct {
	settings *configs.Value[configs.Token]
	tokens   *tokenserver.Server
	verifier *token.Verifier
	rules    tokenserver.Authorizer // nil when accounts are not this server's own
	etcd     *etcd.Source           // nil when there is none
}

// newAuth returns nil when the configuration says nothing of users: then everybody may do everything.
func (s *server) newAuth() (*auth, error) {
	cfg := s.cfg
	if cfg.Auth.Htpasswd == nil && cfg.Auth.Token == nil && len(cfg.Etcd.Endpoints) == 0 && cfg.TokenServer.Access == nil {
		return nil, nil
	}
	a := &auth{settings: new(configs.Value[configs.Token])}
	if err := s.settle(a); err != nil {
		return nil, err
	}
	keys, err := tokenserver.OpenKeys(filepath.Join(s.dataDir, "keys"), s.log)
	if err != nil {
		return nil, err
	}
	rules, err := tokenserver.NewRules(cfg.TokenServer.Access, cfg.TokenServer.Access == nil)
	if err != nil {
		return nil, configError{err}
	}
	o := tokenserver.Options{
		Users: nobody{}, Rules: rules, Keys: keys, Auth: a.settings, Lifetime: cfg.TokenServer.Lifetime,
		Observe: gateway.SetAccount, Metrics: s.metrics, Logger: s.log,
	}
	if cfg.Auth.Htpasswd != nil {
		if o.Users, err = tokenserver.OpenHtpasswd(cfg.Auth.Htpasswd.Path, tokenserver.HtpasswdOptions{Metrics: s.metrics}, s.log); err != nil {
			return nil, err
		}
		a.rules = rules
	}
	if a.tokens, err = tokenserver.New(o); err != nil {
		return nil, err
	}
	a.verifier = token.NewVerifier(keys.Public, a.expect, time.Now)
	return a, nil
}

// nobody is the Authenticator of a server without users: tokens come from the realm that etcd or the file names.
type nobody struct{}

func (nobody) Authenticate(context.Context, string, string) (tokenserver.Identity, error) {
	return tokenserver.Identity{}, tokenserver.ErrBadCredentials
}

// settle finds out what tokens and challenges say: from etcd where there is one, or what it said last, else from the file.
func (s *server) settle(a *auth) (err error) {
	if len(s.cfg.Etcd.Endpoints) == 0 {
		a.settings.Store(s.cfg.Auth.TokenOrDefault())
		return nil
	}
	a.etcd, err = etcd.New(etcd.Options{
		Endpoints: s.cfg.Etcd.Endpoints, Prefix: s.cfg.Etcd.Prefix,
		LastGoodFile: filepath.Join(s.dataDir, "lastgood", "auth-registry.json"),
		Metrics:      s.metrics, Logger: s.log,
	}, a.settings)
	return err
}

// expect is what a token must say to be one for this registry.
func (a *auth) expect() (issuer, audience string, ok bool) {
	t := a.settings.Load()
	if t == nil {
		return "", "", false
	}
	return t.Issuer, t.Service, true
}

// forRegistry is what the registry sees of all this.
func (a *auth) forRegistry(origin gateway.Origin) *registry.Auth {
	if a == nil {
		return nil
	}
	o := &registry.Auth{
		Verify: a.verifier.Verify,
		Basic: func(ctx context.Context, account, password string, wanted []token.Access) ([]token.Access, error) {
			granted, err := a.tokens.Authenticate(ctx, account, password, wanted)
			if errors.Is(err, tokenserver.ErrBadCredentials) {
				return nil, registry.ErrCredentials
			}
			return granted, err
		},
		Challenge: func(r *http.Request) (realm, service string, known bool) {
			t := a.settings.Load()
			if t == nil {
				return "", "", false
			}
			switch {
			case t.Realm == "":
				realm = origin.Base(r) + "/token"
			case strings.HasPrefix(t.Realm, "/"):
				realm = origin.Of(r) + t.Realm
			default:
				realm = t.Realm
			}
			return realm, t.Service, true
		},
	}
	if a.rules != nil {
		o.May = a.may
	}
	return o
}

// may asks the access rules about an account that a token or a password has proven. What cannot be told is no.
func (a *auth) may(ctx context.Context, account, repo, action string) bool {
	wanted := []token.Access{{Type: "repository", Name: repo, Actions: []string{action}}}
	granted, err := a.rules.Authorize(ctx, tokenserver.Identity{Account: account}, wanted)
	return err == nil && token.Allows(granted, "repository", repo, action)
}
