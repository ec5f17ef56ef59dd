// Package tokenserver answers who somebody is and what he may do, with a signed token (distribution's token
// specification, and its OAuth2 one).
//
// A request goes through request.go, which reads it, Server.issue, which asks the Authenticator, the Authorizer and the active key
// in this order, and response.go, which writes a token or a refusal. Sub-packages hold what can be put in their places.
// What a token says, and how a registry verifies it, is package token's.
package tokenserver

import (
	"cmp"
	"context"
	"crypto/rand"
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
	// minLifetime is what a request needs at least. Below 60 s clients take a token for longer-lived than it is (distribution's
	// token specification), and ask again after a refusal.
	minLifetime = 5 * time.Second
	// issuedBefore backdates iat: some verifiers allow for no difference between clocks.
	issuedBefore = 10 * time.Second
)

// Keys sign tokens and say what verifies them. Answers may differ from call to call, so callers ask each time.
type Keys interface {
	// Active returns the key that signs.
	Active() *token.Key
	// Public returns the keys that verify; the slice must not be modified.
	Public() []token.PublicKey
}

// Options is what a Server needs. Users, Rules, Keys, Auth and Logger are required.
type Options struct {
	Users Authenticator
	Rules Authorizer
	Keys  Keys
	// Auth is issuer and service of tokens, and may change at any time. While it holds nothing, all requests for tokens are
	// answered 503.
	Auth *configs.Value[configs.Token]
	// Refresh keeps refresh tokens; nil: there are none.
	Refresh Refresher
	// Guard holds up who tries secrets; nil: nobody.
	Guard Guard
	// Peer says who the other end of a connection has proved to be, by its certificate, for requests for a token that present
	// nothing else; false: nobody. Its errors are Authenticator's. nil: nobody, ever.
	Peer func(*http.Request) (Identity, bool, error)
	// Audit is told of every request that was answered; nil for nowhere.
	Audit func(context.Context, Event)
	// Lifetime of tokens, at least 5 s. Default 5m.
	Lifetime time.Duration
	// Now is the clock. Default time.Now.
	Now func() time.Time
	// Observe, if set, is told the account as soon as the credentials of a request have proven it.
	Observe func(ctx context.Context, account string)
	// RequestID, if set, is the access log's id of a request.
	RequestID func(context.Context) string
	// Metrics is where counters are registered; nil for nowhere.
	Metrics prometheus.Registerer
	Logger  *slog.Logger
}

// Server is the token server. It may be used from many goroutines, and has none of its own.
type Server struct {
	users     Authenticator
	rules     Authorizer
	keys      Keys
	auth      *configs.Value[configs.Token]
	refresh   Refresher
	guard     Guard
	peer      func(*http.Request) (Identity, bool, error)
	audit     func(context.Context, Event)
	lifetime  time.Duration
	now       func() time.Time
	observe   func(ctx context.Context, account string)
	requestID func(context.Context) string
	metrics   *serverMetrics
	log       *slog.Logger
}

// New returns the Server that o describes.
func New(o Options) (*Server, error) {
	if o.Users == nil || o.Rules == nil || o.Keys == nil || o.Auth == nil || o.Logger == nil {
		return nil, errors.New("the token server needs users, rules, keys, the names of issuer and service, and a logger")
	}
	o.Lifetime = cmp.Or(o.Lifetime, defaultLifetime)
	if o.Lifetime < minLifetime {
		return nil, fmt.Errorf("a token's lifetime of %v is too short; use %v at least", o.Lifetime, minLifetime)
	}
	o.defaults()
	metrics, err := newServerMetrics(o.Metrics)
	if err != nil {
		return nil, err
	}
	return &Server{users: o.Users, rules: o.Rules, keys: o.Keys, auth: o.Auth, refresh: o.Refresh, guard: o.Guard, peer: o.Peer,
		audit: o.Audit, lifetime: o.Lifetime, now: o.Now, observe: o.Observe, requestID: o.RequestID, metrics: metrics, log: o.Logger}, nil
}

// defaults fills in what may be left out.
func (o *Options) defaults() {
	if o.Refresh == nil {
		o.Refresh = never{}
	}
	if o.Guard == nil {
		o.Guard = open{}
	}
	if o.Audit == nil {
		o.Audit = func(context.Context, Event) {}
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Observe == nil {
		o.Observe = func(context.Context, string) {}
	}
	if o.RequestID == nil {
		o.RequestID = func(context.Context) string { return "" }
	}
}

// ServeHTTP answers GET, HEAD and POST for a token, at whatever path it is mounted. Every answer is JSON and not to be stored.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	event := Event{Way: "token", Address: peer(r)}
	answer, err := s.answer(w, r, &event)
	if err != nil {
		event.Refused = refusalFor(err).reason
	}
	s.record(r.Context(), event)
	if err != nil {
		s.refuse(w, r, err)
		return
	}
	s.metrics.issued.Inc()
	s.write(w, r, http.StatusOK, answer)
}

// record writes what was decided, before anybody is told.
func (s *Server) record(ctx context.Context, e Event) {
	e.Time, e.RequestID = s.now(), s.requestID(ctx)
	s.audit(ctx, e)
}

func (s *Server) answer(w http.ResponseWriter, r *http.Request, e *Event) (*answer, error) {
	// Before anything else, a password least of all, is looked at.
	auth, err := s.configuration()
	if err != nil {
		return nil, err
	}
	asked, err := readRequest(w, r)
	if err != nil {
		return nil, err
	}
	asked.from, e.Claimed, e.Client = e.Address, asked.account, asked.client
	if !asked.presented && s.peer != nil {
		if asked.shown, err = s.shown(r); err != nil {
			return nil, err
		}
	}
	return s.issue(r.Context(), auth, asked, e)
}

// issue makes the token for what was asked. What may not be granted is left out of it, and that is no error. The token is
// for our own service, whatever name the client has for it: it may have read that in a challenge before the last change.
func (s *Server) issue(ctx context.Context, auth *configs.Token, asked *request, e *Event) (*answer, error) {
	wanted, err := token.ParseScopes(asked.scopes)
	if err != nil {
		return nil, badScope(err.Error())
	}
	e.Decisions = undecided(wanted)
	who := asked.shown
	who.Address = asked.from
	if asked.presented {
		who, e.Refresh, err = s.prove(ctx, auth.Service, asked.login)
		if e.Refresh != "" {
			e.Way = "refresh"
		}
		if err != nil {
			return nil, err
		}
	}
	e.Account, e.Source, e.Groups = who.Account, who.Source, who.Groups
	if e.Decisions, err = s.Decide(ctx, who, wanted); err != nil {
		return nil, err
	}
	answer, err := s.sign(auth, who, granted(e.Decisions), asked, e)
	switch {
	case err != nil:
		return nil, err
	case asked.refresh:
		answer.RefreshToken = asked.secret // the same one again (oauth.md)
	case asked.offline && who.Account != "" && e.Refresh == "":
		answer.RefreshToken, e.Refresh = s.keep(ctx, who, auth.Service, asked.client)
	}
	return answer, nil
}

// sign makes the token and the answer with it.
func (s *Server) sign(auth *configs.Token, who Identity, access []token.Access, asked *request, e *Event) (*answer, error) {
	now := s.now()
	e.Expires = now.Add(s.lifetime)
	if !who.Until.IsZero() && who.Until.Before(e.Expires) {
		e.Expires = who.Until
	}
	if e.Expires.Sub(now) < time.Second {
		return nil, ErrBadCredentials
	}
	key := s.keys.Active()
	e.KeyID, e.TokenID = key.Public().KeyID(), rand.Text()
	raw, err := key.Sign(token.Claims{
		Issuer: auth.Issuer, Audience: auth.Service, Subject: who.Account, Source: who.Source, Groups: who.Groups, Access: access, ID: e.TokenID,
		IssuedAt: now.Add(-issuedBefore), NotBefore: now.Add(-token.Leeway), Expires: e.Expires,
	})
	switch {
	case errors.Is(err, token.ErrTooLarge):
		return nil, tooManyScopes(len(e.Decisions))
	case err != nil:
		return nil, err
	}
	return newAnswer(raw, e.Expires.Sub(now), e.Decisions, asked.oauth)
}

// Decide is what an identity may do: by its own scope where it has one, else by the access rules.
func (s *Server) Decide(ctx context.Context, who Identity, wanted []token.Access) ([]Decision, error) {
	rules := s.rules
	if who.Own != nil {
		rules = who.Own
	}
	decisions, err := rules.Authorize(ctx, who, wanted)
	if err != nil {
		return nil, fmt.Errorf("access could not be looked up: %w", err)
	}
	return decisions, nil
}

// Authenticate is for a password that came without a token, as Basic on the registry itself: it returns who that is and the part
// of wanted that he may do. ErrBadCredentials, or else an error that says nothing about them.
func (s *Server) Authenticate(r *http.Request, account, password string, wanted []token.Access) (Identity, []token.Access, error) {
	ctx, e := r.Context(), Event{Way: "basic", Claimed: account, Address: peer(r), Decisions: undecided(wanted)}
	auth, err := s.configuration()
	if err != nil {
		return Identity{}, nil, err
	}
	who, name, err := s.prove(ctx, auth.Service, login{account: account, secret: password, from: e.Address})
	if err == nil {
		e.Account, e.Source, e.Groups, e.Refresh = who.Account, who.Source, who.Groups, name
		e.Decisions, err = s.Decide(ctx, who, wanted)
	}
	if err != nil {
		e.Refused = refusalFor(err).reason
		s.record(ctx, e)
		return Identity{}, nil, err
	}
	s.record(ctx, e)
	return who, granted(e.Decisions), nil
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
