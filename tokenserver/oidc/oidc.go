// Package oidc takes tokens of other issuers as passwords (OpenID Connect Core section 2): a job of GitHub Actions or GitLab, or a pod of
// Kubernetes, logs in with the token that its platform gave it, so that nobody keeps a secret for it.
//
// issuer.go verifies a token, keys.go has the keys for that, fetch.go gets them, rule.go says who a token is.
package oidc

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"gatehouse/configs"
	"gatehouse/durable"
	"gatehouse/tokenserver"
)

// maxToken bounds a token in bytes. Those of GitHub, GitLab and Kubernetes have about 2 KiB.
const maxToken = 16 << 10

// Options completes New. The zero value is ready to use.
type Options struct {
	// Dir is where keys are kept for the time that their issuer is away. It is made. Empty: in memory only.
	Dir string
	// Reserved reports whether an account is another source's, so that no token becomes it. Default: none is.
	Reserved func(account string) bool
	// Now is the clock. Default time.Now.
	Now func() time.Time
	// Metrics is where counters are registered; nil for nowhere.
	Metrics prometheus.Registerer
}

// Issuers is an Authenticator of tokens. It may be used from many goroutines. A token that is not real, not for us, or that no rule
// knows is ErrBadCredentials, and why is logged; when the keys of its issuer could not be had, the error is another.
type Issuers struct {
	issuers  map[string]*issuer
	reserved func(string) bool
	metrics  *metrics
	log      *slog.Logger
}

var _ tokenserver.Authenticator = (*Issuers)(nil)

// New returns the Authenticator of tokens of these issuers, which were checked. None of them is asked yet. It fails for a file that
// cannot be read.
func New(list []configs.OIDC, o Options, log *slog.Logger) (*Issuers, error) {
	if o.Reserved == nil {
		o.Reserved = func(string) bool { return false }
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	m, err := newMetrics(o.Metrics)
	if err != nil {
		return nil, err
	}
	if o.Dir != "" {
		if err := durable.MkdirAll(o.Dir, 0o700); err != nil {
			return nil, fmt.Errorf("the folder for issuers' keys cannot be made: %w", err)
		}
	}
	s := &Issuers{issuers: make(map[string]*issuer, len(list)), reserved: o.Reserved, metrics: m, log: log}
	for i, c := range list {
		if s.issuers[c.Issuer], err = newIssuer(c, o, m, log); err != nil {
			return nil, fmt.Errorf("tokenserver.oidc[%d]: %w", i, err)
		}
	}
	return s, nil
}

// Source is the Issuers as one of several sources: it owns what looks like a token of one of them.
func (s *Issuers) Source() tokenserver.Source {
	return tokenserver.Source{Name: "oidc", Authenticator: s, Owns: s.Owns}
}

// Owns reports whether a password looks like a token of one of the issuers. Nothing of it is verified.
func (s *Issuers) Owns(_, password string) bool { return s.issuers[claimed(password)] != nil }

// Authenticate is Authenticator's. The account that was given decides nothing, but has to be the configured one where there is one.
func (s *Issuers) Authenticate(ctx context.Context, account, password string) (tokenserver.Identity, error) {
	i := s.issuers[claimed(password)]
	if i == nil {
		return tokenserver.Identity{}, tokenserver.ErrBadCredentials
	}
	who, err := s.authenticate(ctx, i, account, password)
	var no refusal
	switch {
	case err == nil:
		s.metrics.tokens.WithLabelValues(i.name, "accepted").Inc()
		return who, nil
	case asRefusal(err, &no):
		s.metrics.tokens.WithLabelValues(i.name, "refused").Inc()
		s.log.InfoContext(ctx, "token of another issuer is no login", "issuer", i.name, "err", no)
		return tokenserver.Identity{}, tokenserver.ErrBadCredentials
	default:
		s.metrics.tokens.WithLabelValues(i.name, "error").Inc()
		return tokenserver.Identity{}, fmt.Errorf("a token of %s cannot be verified: %w", i.name, err)
	}
}

// authenticate is Authenticate where refusals say why.
func (s *Issuers) authenticate(ctx context.Context, i *issuer, account, raw string) (tokenserver.Identity, error) {
	switch {
	case len(raw) > maxToken:
		return tokenserver.Identity{}, refuse("it is longer than %d bytes", maxToken)
	case i.login != "" && account != i.login:
		return tokenserver.Identity{}, refuse("the account beside it is not the one that tokenserver.oidc.login names")
	}
	claims, until, err := i.verify(ctx, raw)
	if err != nil {
		return tokenserver.Identity{}, err
	}
	who, err := i.identify(claims)
	if err != nil {
		return tokenserver.Identity{}, err
	}
	if s.reserved(who.Account) {
		return tokenserver.Identity{}, refuse("its account %q is another source's", who.Account)
	}
	who.Until = until
	return who, nil
}

// claimed is the issuer that a compact JWS (RFC 7515 section 3.1) says it has, or "". It may be anybody's invention.
func claimed(raw string) string {
	parts := strings.SplitN(raw, ".", 4)
	// Decoders skip ends of lines, and one token would have several spellings.
	if len(parts) != 3 || !strings.HasPrefix(raw, "eyJ") || strings.ContainsAny(raw, "\r\n") {
		return ""
	}
	payload, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err != nil {
		return ""
	}
	var claims struct {
		Issuer string `json:"iss"`
	}
	if json.Unmarshal(payload, &claims) != nil {
		return ""
	}
	return claims.Issuer
}
