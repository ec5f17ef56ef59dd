package main

import (
	"net/http"
	"slices"
	"time"

	"gatehouse/gateway"
	"gatehouse/tokenserver"
	"gatehouse/tokenserver/token"
	issuerkeys "gatehouse/tokenserver/trust"
)

// verifier is what the registry asks whether a token is real: token.Verifier for our own token server's, token.Foreign for an
// outside issuer's.
type verifier interface {
	Verify(raw string) (*token.Claims, error)
	VerifyExpired(raw string, within time.Duration) (*token.Claims, error)
}

// newVerifier returns what verifies tokens: against the keys of an outside issuer where the configuration names them, and then
// against nothing else; otherwise against own, the keys of our token server. Files of keys that cannot be used are an error
// here, and later leave the keys as they were; they are looked at as tokens come, so that nothing has to run for them.
func (s *server) newVerifier(own func() []token.PublicKey, expect func() (issuer, audience string, ok bool)) (verifier, error) {
	t := s.cfg.Auth.Token
	if !t.Outside() {
		return token.NewVerifier(own, expect, time.Now), nil
	}
	keys, err := issuerkeys.Open(issuerkeys.Options{
		Bundle: t.RootCertBundle, JWKS: t.JWKS, Algorithms: t.Algorithms(), Metrics: s.metrics, Logger: s.log,
	})
	if err != nil {
		return nil, err
	}
	return token.NewForeign(keys.Current, expect, time.Now), nil
}

// tokenRoutes is where our own token server answers: at the paths that clients know, for auth.token.autoredirect at its path too,
// and with its keys; nowhere where an outside issuer makes the tokens.
func (s *server) tokenRoutes() []gateway.Route {
	if s.auth == nil || s.cfg.Auth.Token.Outside() {
		return nil
	}
	var routes []gateway.Route
	prefix := s.cfg.HTTP.Prefix
	for _, below := range slices.Compact([]string{"", prefix}) { // what is in front may add the prefix to registry's paths only
		for _, path := range tokenserver.Paths {
			routes = append(routes, gateway.Route{Path: below + path, Name: "token", Handler: s.auth.tokens})
		}
		routes = append(routes,
			gateway.Route{Path: below + "/token/ca.pem", Name: "certificates", Handler: http.HandlerFunc(s.auth.keys.ServeCertificates)},
			gateway.Route{Path: below + "/.well-known/jwks.json", Name: "jwks", Handler: http.HandlerFunc(s.auth.tokens.ServeKeys)})
	}
	if path := s.cfg.Auth.Token.Redirect(); path != "" && len(s.cfg.Etcd.Endpoints) == 0 &&
		!slices.ContainsFunc(routes, func(r gateway.Route) bool { return r.Path == path }) {
		routes = append(routes, gateway.Route{Path: path, Name: "token", Handler: s.auth.tokens})
	}
	return routes
}
