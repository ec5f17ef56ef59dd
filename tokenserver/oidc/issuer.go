package oidc

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"
	"github.com/go-jose/go-jose/v4"

	"gatehouse/configs"
)

// leeway is how far the issuer's clock may be ahead of ours.
const leeway = time.Minute

// algorithms are those with a key of two halves, whatever an issuer says of itself. Neither none nor an HMAC is among them.
var algorithms = []jose.SignatureAlgorithm{
	jose.RS256, jose.RS384, jose.RS512, jose.PS256, jose.PS384, jose.PS512, jose.ES256, jose.ES384, jose.ES512, jose.EdDSA,
}

// refusal is why a token is no login. It is for the log, and never quotes the token.
type refusal struct{ why string }

// Error is what is logged.
func (r refusal) Error() string { return r.why }

// refuse makes a refusal.
func refuse(format string, args ...any) error { return refusal{fmt.Sprintf(format, args...)} }

// asRefusal is errors.As.
func asRefusal(err error, no *refusal) bool { return errors.As(err, no) }

// issuer is one of those whose tokens are taken.
type issuer struct {
	name, audience, login string
	keys                  *keys
	rules                 []rule
	now                   func() time.Time
}

// newIssuer compiles the rules, and reads keys that are in a file.
func newIssuer(c configs.OIDC, o Options, m *metrics, log *slog.Logger) (*issuer, error) {
	i := &issuer{name: c.Issuer, audience: c.Audience, login: c.Login, now: o.Now}
	for _, r := range c.Rules {
		compiled, err := newRule(r)
		if err != nil {
			return nil, err
		}
		i.rules = append(i.rules, compiled)
	}
	var err error
	i.keys, err = newKeys(c, o, m, log)
	return i, err
}

// verify returns what a token says, and when it ends. It is real: the issuer's key signed it, for the audience, and its time has
// come and not gone. What a token says of where its key is (jwk, jku, x5c, x5u) is not looked at. Its errors are refusals,
// or say that the keys could not be had.
func (i *issuer) verify(ctx context.Context, raw string) (claims map[string]any, until time.Time, err error) {
	// Before a key is looked for, what no key could make good.
	jws, err := jose.ParseSignedCompact(raw, algorithms)
	if err != nil {
		return nil, until, refuse("it is no token, or its algorithm is none that is taken")
	}
	header := jws.Signatures[0].Protected
	if _, ok := header.ExtraHeaders["crit"]; ok {
		return nil, until, refuse("its header has crit, which nobody needs to read here (RFC 7515 section 4.1.11)")
	}
	found, err := i.keys.find(ctx, header.KeyID)
	if err != nil {
		return nil, until, err
	}
	verifier := oidc.NewVerifier(i.name, keySet(found), &oidc.Config{
		ClientID: i.audience, SupportedSigningAlgs: algorithmNames(), SkipExpiryCheck: true, // times are checked below, strictly
	})
	token, err := verifier.Verify(ctx, raw)
	if err != nil {
		return nil, until, refuse("%v", err)
	}
	if token.Issuer != i.name { // go-oidc takes two spellings of Google's
		return nil, until, refuse("its issuer is spelt otherwise")
	}
	var payload json.RawMessage
	if err := token.Claims(&payload); err != nil {
		return nil, until, refuse("its claims cannot be read")
	}
	if claims, err = decodeClaims(payload); err != nil {
		return nil, until, refuse("its claims cannot be read")
	}
	until, err = i.checkTimes(claims)
	return claims, until, err
}

// decodeClaims reads claims, with numbers as they are written.
func decodeClaims(payload []byte) (claims map[string]any, err error) {
	d := json.NewDecoder(bytes.NewReader(payload))
	d.UseNumber()
	err = d.Decode(&claims)
	return claims, err
}

// checkTimes returns when the claims end: exp is required, nbf and iat are not.
func (i *issuer) checkTimes(claims map[string]any) (until time.Time, err error) {
	now := i.now()
	until, ok := numericDate(claims["exp"])
	if !ok {
		return until, refuse("its claim exp is missing, or no time")
	}
	if !now.Before(until) {
		return until, refuse("it ended at %s", until.UTC().Format(time.RFC3339))
	}
	for _, name := range []string{"nbf", "iat"} {
		value, ok := claims[name]
		if !ok {
			continue
		}
		at, ok := numericDate(value)
		if !ok {
			return until, refuse("its claim %s is no time", name)
		}
		if now.Add(leeway).Before(at) {
			return until, refuse("its claim %s is yet to come: %s", name, at.UTC().Format(time.RFC3339))
		}
	}
	return until, nil
}

// numericDate reads seconds since 1970 (RFC 7519 section 2), which may have a fraction; it is cut off.
func numericDate(value any) (time.Time, bool) {
	number, ok := value.(json.Number)
	if !ok {
		return time.Time{}, false
	}
	seconds, err := number.Float64()
	if err != nil || math.IsNaN(seconds) || seconds < 0 || seconds > 1<<40 {
		return time.Time{}, false
	}
	return time.Unix(int64(seconds), 0), true
}

// algorithmNames are the algorithms as go-oidc takes them.
func algorithmNames() []string {
	names := make([]string, len(algorithms))
	for i, a := range algorithms {
		names[i] = string(a)
	}
	return names
}

// keySet is go-oidc's KeySet over the keys that a token may be signed with.
type keySet []jose.JSONWebKey

// VerifySignature is KeySet's. A key is tried only with an algorithm that is its own.
func (s keySet) VerifySignature(_ context.Context, raw string) ([]byte, error) {
	jws, err := jose.ParseSignedCompact(raw, algorithms)
	if err != nil {
		return nil, errors.New("it is no token")
	}
	algorithm := jws.Signatures[0].Protected.Algorithm
	for _, key := range s {
		if !fits(algorithm, key) {
			continue
		}
		if payload, err := jws.Verify(key.Key); err == nil {
			return payload, nil
		}
	}
	return nil, errors.New("no key of the issuer signed it")
}

// fits reports whether a key is for an algorithm: by what it says, and by what it is.
func fits(algorithm string, key jose.JSONWebKey) bool {
	if key.Algorithm != "" && key.Algorithm != algorithm {
		return false
	}
	switch k := key.Key.(type) {
	case *rsa.PublicKey:
		return strings.HasPrefix(algorithm, "RS") || strings.HasPrefix(algorithm, "PS")
	case *ecdsa.PublicKey:
		curves := map[string]int{string(jose.ES256): 256, string(jose.ES384): 384, string(jose.ES512): 521}
		return curves[algorithm] == k.Curve.Params().BitSize
	case ed25519.PublicKey:
		return algorithm == string(jose.EdDSA)
	}
	return false
}

// parseKeys reads a JWK set (RFC 7517 section 5): of what is in it the public keys that verify signatures. Others are left out, as the
// RFC wants. A set without any is an error.
func parseKeys(data []byte) ([]jose.JSONWebKey, error) {
	var set struct {
		Keys []json.RawMessage `json:"keys"`
	}
	if err := json.Unmarshal(data, &set); err != nil {
		return nil, errors.New("the answer is no JWK set")
	}
	var usable []jose.JSONWebKey
	for _, raw := range set.Keys {
		var key jose.JSONWebKey
		if json.Unmarshal(raw, &key) != nil || !key.Valid() || (key.Use != "" && key.Use != "sig") {
			continue
		}
		if k, ok := key.Key.(*rsa.PublicKey); ok && k.N.BitLen() < 2048 {
			continue
		}
		// Secrets and private keys, which have no business there, fit nothing.
		if slices.ContainsFunc(algorithms, func(a jose.SignatureAlgorithm) bool { return fits(string(a), key) }) {
			usable = append(usable, key)
		}
	}
	switch {
	case len(usable) == 0:
		return nil, errors.New("the JWK set has no key that could verify a token")
	case len(usable) > maxKeys:
		return nil, fmt.Errorf("the JWK set has more than %d keys", maxKeys)
	}
	return usable, nil
}
