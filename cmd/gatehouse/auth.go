package main

import (
	"context"
	"errors"
	"net/http"
	"path/filepath"
	"strings"

	"gatehouse/configs"
	"gatehouse/configs/etcd"
	"gatehouse/gateway"
	"gatehouse/registry"
	"gatehouse/tokenserver"
	"gatehouse/tokenserver/access"
	"gatehouse/tokenserver/keyring"
	"gatehouse/tokenserver/token"
)

// auth is the token server, and what the registry needs to believe it.
type auth struct {
	settings *configs.Value[configs.Token]
	keys     *keyring.Ring
	tokens   *tokenserver.Server
	verifier verifier
	accounts *accounts     // nil when they are not this server's own
	rules    *access.Rules // what those may do
	etcd     *etcd.Source  // nil when there is none
}

// newAuth returns nil when the configuration says nothing of users: then everybody may do everything.
func (s *server) newAuth() (*auth, error) {
	cfg := s.cfg
	if cfg.Auth.Htpasswd == nil && cfg.Auth.Token == nil && len(cfg.Etcd.Endpoints) == 0 && cfg.TokenServer.Access == nil {
		return nil, nil // sources of accounts other than htpasswd want access rules
	}
	a := &auth{settings: new(configs.Value[configs.Token])}
	if err := s.settle(a); err != nil {
		return nil, err
	}
	signing := keyOptions(cfg, s.dataDir, s.log)
	signing.Metrics = s.metrics
	keys, err := keyring.Open(signing)
	if err != nil {
		return nil, err
	}
	a.keys = keys
	if a.rules, err = access.New(cfg.TokenServer.Access, cfg.TokenServer.Access == nil); err != nil {
		return nil, configError{err}
	}
	o := tokenserver.Options{
		Users: nobody{}, Rules: a.rules, Keys: keys, Auth: a.settings, Lifetime: cfg.TokenServer.Lifetime,
		Observe: gateway.SetAccount, Metrics: s.metrics, Logger: s.log,
	}
	if a.accounts, err = s.newAccounts(&o); err != nil {
		return nil, err
	}
	if err := s.protect(&o); err != nil {
		return nil, err
	}
	if a.tokens, err = tokenserver.New(o); err != nil {
		return nil, err
	}
	if a.verifier, err = s.newVerifier(keys.Public, a.expect); err != nil {
		return nil, err
	}
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
		Verify:  a.verifier.Verify,
		Expired: func(raw string) (*token.Claims, error) { return a.verifier.VerifyExpired(raw, registry.ContinueFor) },
		Basic: func(r *http.Request, account, password string, wanted []token.Access) (*token.Claims, error) {
			who, granted, err := a.tokens.Authenticate(r, account, password, wanted)
			var held tokenserver.HeldUpError
			switch {
			case errors.Is(err, tokenserver.ErrBadCredentials):
				return nil, registry.ErrCredentials
			case errors.As(err, &held):
				return nil, registry.WaitError(held)
			}
			return &token.Claims{Subject: who.Account, Source: who.Source, Groups: who.Groups, Access: granted}, err
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
	if a.accounts != nil {
		o.May, o.Why = a.may, a.why
	}
	return o
}

// identify returns whom a verified token, or a password that came without one, names, as he is now.
func (a *auth) identify(ctx context.Context, who *token.Claims) (tokenserver.Identity, error) {
	if who.Subject == "" {
		return tokenserver.Identity{Address: gateway.Peer(ctx)}, nil
	}
	identity, err := a.accounts.identify(ctx, who)
	identity.Address = gateway.Peer(ctx)
	return identity, err
}

// may asks what decides about an account that a token or a password has proven. What cannot be told is no.
func (a *auth) may(ctx context.Context, who *token.Claims) func(repo, action string) bool {
	identity, err := a.identify(ctx, who)
	if err != nil {
		return func(string, string) bool { return false }
	}
	return a.rules.For(identity)
}

// why is what a rule has to say to who was refused.
func (a *auth) why(ctx context.Context, who *token.Claims, wanted []token.Access) string {
	identity, err := a.identify(ctx, who)
	if err != nil {
		return ""
	}
	decisions, err := a.tokens.Decide(ctx, identity, wanted)
	if err != nil {
		return ""
	}
	for _, d := range decisions {
		if d.Message != "" {
			return d.Message
		}
	}
	return ""
}
