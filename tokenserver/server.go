// Package tokenserver answers who somebody is and what he may do, with a signed token (distribution's token
// specification, and its OAuth2 one).
//
// A request goes through request.go, which reads it, Server.issue, which asks the Authenticator (htpasswd.go), the
// Authorizer (rules.go) and the active key (keys.go) in this order, and response.go, which writes a token or a refusal.
// What a token says, and how a registry verifies it, is package token's.
package tokenserver

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"gatehouse/configs"
	"gatehouse/tokenserver/token"
)

const (
	defaultLifetime = 5 * time.Minute
	// minLifetime is what clients take a shorter one for.
	minLifetime = 60 * time.Second
	// issuedBefore backdates iat: some verifiers allow for no difference between clocks.
	issuedBefore = 10 * time.Second
)

// Options is what a Server needs. Users, Rules, Keys, Auth and Logger are required.
type Options struct {
	Users Authenticator
	Rules Authorizer
	Keys  *Keys
	// Auth is issuer and service of tokens, and may change at any time. While it holds nothing, all requests for tokens are
	// answered 503.
	Auth *configs.Value[configs.Token]
	// Lifetime of tokens, at least 60 s. Default 5m.
	Lifetime time.Duration
	// Now is the clock. Default time.Now.
	Now func() time.Time
	// Observe, if set, is told the account as soon as the credentials of a request have proven it.
	Observe func(ctx context.Context, account string)
	// Metrics is where counters are registered; nil for nowhere.
	Metrics prometheus.Registerer
	Logger  *slog.Logger
}

// Server is the token server. It may be used from many goroutines, and has none of its own.
type Server struct {
	users    Authenticator
	rules    Authorizer
	keys     *Keys
	auth     *configs.Value[configs.Token]
	lifetime time.Duration
	now      func() time.Time
	observe  func(ctx context.Context, account string)
	metrics  *serverMetrics
	log      *slog.Logger
}

// New returns the Server that o describes.
func New(o Options) (*Server, error) {
	if o.Users == nil || o.Rules == nil || o.Keys == nil || o.Auth == nil || o.Logger == nil {
		return nil, errors.New("the token server needs users, rules, keys, the names of issuer and service, and a logger")
	}
	if o.Lifetime == 0 {
		o.Lifetime = defaultLifetime
	}
	if o.Lifetime < minLifetime {
		return nil, fmt.Errorf("a token's lifetime of %v is too short; clients assume at least %v", o.Lifetime, minLifetime)
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Observe == nil {
		o.Observe = func(context.Context, string) {}
	}
	metrics, err := newServerMetrics(o.Metrics)
	if err != nil {
		return nil, err
	}
	return &Server{users: o.Users, rules: o.Rules, keys: o.Keys, auth: o.Auth, lifetime: o.Lifetime, now: o.Now,
		observe: o.Observe, metrics: metrics, log: o.Logger}, nil
}

// ServeHTTP answers GET and POST for a token, at whatever path it is mounted. Every answer is JSON and not to be stored.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	answer, err := s.answer(w, r)
	if err != nil {
		s.refuse(w, r, err)
		return
	}
	s.metrics.issued.Inc()
	s.write(w, r, http.StatusOK, answer)
}

func (s *Server) answer(w http.ResponseWriter, r *http.Request) (*answer, error) {
	// Before anything else, a password least of all, is looked at.
	auth, err := s.configuration()
	if err != nil {
		return nil, err
	}
	asked, err := readRequest(w, r)
	if err != nil {
		return nil, err
	}
	return s.issue(r.Context(), auth, asked)
}

// issue makes the token for what was asked. What may not be granted is left out of it, and that is no error. The token is
// for our own service, whatever name the client has for it: it may have read that in a challenge before the last change.
func (s *Server) issue(ctx context.Context, auth *configs.Token, asked *request) (*answer, error) {
	wanted, err := token.ParseScopes(asked.scopes)
	if err != nil {
		return nil, badScope(err.Error())
	}
	var who Identity
	if asked.presented {
		if who, err = s.authenticate(ctx, asked.account, asked.password); err != nil {
			return nil, err
		}
	}
	granted, err := s.rules.Authorize(ctx, who, wanted)
	if err != nil {
		return nil, fmt.Errorf("access could not be looked up: %w", err)
	}
	now := s.now()
	raw, err := s.keys.Active().Sign(token.Claims{
		Issuer: auth.Issuer, Audience: auth.Service, Subject: who.Account, Access: granted,
		IssuedAt: now.Add(-issuedBefore), NotBefore: now.Add(-token.Leeway), Expires: now.Add(s.lifetime),
	})
	switch {
	case errors.Is(err, token.ErrTooLarge):
		return nil, badScope("the scopes do not fit into one token; ask for fewer at once")
	case err != nil:
		return nil, err
	}
	return newAnswer(raw, s.lifetime, granted, asked.oauth), nil
}

// Authenticate is for a password that came without a token, as Basic on the registry itself: it returns the part of wanted
// that account may do, once password has proven it. ErrBadCredentials, or else an error that says nothing about them.
func (s *Server) Authenticate(ctx context.Context, account, password string, wanted []token.Access) ([]token.Access, error) {
	if _, err := s.configuration(); err != nil {
		return nil, err
	}
	who, err := s.authenticate(ctx, account, password)
	if err != nil {
		return nil, err
	}
	granted, err := s.rules.Authorize(ctx, who, wanted)
	if err != nil {
		return nil, fmt.Errorf("access could not be looked up: %w", err)
	}
	return granted, nil
}

func (s *Server) authenticate(ctx context.Context, account, password string) (Identity, error) {
	who, err := s.users.Authenticate(ctx, account, password)
	if err != nil {
		return Identity{}, err
	}
	if who.Account == "" {
		return Identity{}, errors.New("credentials were accepted, but prove no account")
	}
	s.observe(ctx, who.Account)
	return who, nil
}

// configuration returns the names of issuer and service, or ErrNotReady.
func (s *Server) configuration() (*configs.Token, error) {
	auth := s.auth.Load()
	if auth == nil || auth.Issuer == "" || auth.Service == "" {
		return nil, ErrNotReady
	}
	return auth, nil
}

// ServeKeys answers with the public keys as a JWK set, at /.well-known/jwks.json.
func (s *Server) ServeKeys(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		h.Set("Allow", "GET, HEAD")
		s.writeError(w, r, refusal{status: http.StatusMethodNotAllowed, code: "UNSUPPORTED", oauth: "invalid_request",
			message: "keys are read with GET"})
		return
	}
	data, err := token.MarshalJWKS(s.keys.Public())
	if err != nil {
		s.log.ErrorContext(r.Context(), "keys cannot be published", "err", err)
		s.writeError(w, r, internalError)
		return
	}
	h.Set("Content-Type", "application/json")
	// Short, so that a key is known everywhere soon after it is published.
	h.Set("Cache-Control", "public, max-age=300")
	s.send(w, r, http.StatusOK, data)
}
