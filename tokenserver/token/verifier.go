package token

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"time"
	"unsafe"

	"github.com/golang-jwt/jwt/v5"
)

// Verifier tells real tokens from others. A token is real when a key of ours signed it with that key's one algorithm, for
// the issuer and the audience expected now, and its time has come and not gone. Keys are found by kid, the libtrust id or
// the RFC 7638 thumbprint, and in no other way: a key or certificate that a token brings along or points to is not read.
//
// Its methods may be called from many goroutines. A token that was verified before is found again without a lock and
// without an allocation.
type Verifier struct {
	keys   func() []PublicKey
	expect func() (issuer, audience string, ok bool)
	now    func() time.Time
	parser *jwt.Parser
	state  atomic.Pointer[state]
}

// state is one combination of issuer, audience and keys, and what was verified under it. A change of any of them starts a
// new state, so nothing is remembered across it.
type state struct {
	issuer, audience string
	keys             []PublicKey
	byID             map[string]PublicKey
	verified         cache
}

// NewVerifier returns a Verifier that asks keys and expect at each token: both must be quick and may change their answers at
// any time, the slice of keys must not be modified. While expect says !ok, or either name is empty, no token is valid.
func NewVerifier(keys func() []PublicKey, expect func() (issuer, audience string, ok bool), now func() time.Time) *Verifier {
	return &Verifier{
		keys: keys, expect: expect, now: now,
		// Strict: otherwise one token has several spellings. Claims are checked by check, at cache hits too.
		parser: jwt.NewParser(jwt.WithStrictDecoding(), jwt.WithoutClaimsValidation(),
			jwt.WithValidMethods([]string{ES256, RS256, EdDSA})), // key pins the one of the key
	}
}

// Verify returns the claims of raw, a compact JWS. They are shared and must not be modified. Every error wraps ErrInvalid,
// says why for the log, never quotes the token, and comes without claims.
func (v *Verifier) Verify(raw string) (*Claims, error) {
	if len(raw) > MaxSize {
		return nil, invalid("it is too long")
	}
	issuer, audience, ok := v.expect()
	if !ok || issuer == "" || audience == "" {
		return nil, invalid("no issuer and audience are known yet")
	}
	st, now := v.current(issuer, audience, v.keys()), v.now()
	// The bytes of raw without a copy: Sum256 only reads them.
	sum := sha256.Sum256(unsafe.Slice(unsafe.StringData(raw), len(raw)))
	if c := st.verified.get(&sum); c != nil {
		if err := st.check(c, now); err != nil {
			return nil, err
		}
		return c, nil
	}
	c, err := st.parse(v.parser, raw)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrInvalid, err)
	}
	if err := st.check(c, now); err != nil {
		return nil, err
	}
	if len(raw) <= maxCached {
		st.verified.put(&sum, c, now)
	}
	return c, nil
}

// current returns the state for what is expected now, a new one if that has changed.
func (v *Verifier) current(issuer, audience string, keys []PublicKey) *state {
	old := v.state.Load()
	if old != nil && old.issuer == issuer && old.audience == audience && slices.Equal(old.keys, keys) {
		return old
	}
	st := &state{issuer: issuer, audience: audience, keys: slices.Clone(keys), byID: make(map[string]PublicKey, 2*len(keys))}
	for _, k := range keys {
		st.byID[k.keyID], st.byID[k.thumbprint] = k, k
	}
	// Whoever loses the race has a state as good as the winner's, only with a cache of its own.
	v.state.CompareAndSwap(old, st)
	return st
}

// parse returns the claims of a token that one of our keys signed. Nothing is said yet about issuer, audience and times.
func (st *state) parse(parser *jwt.Parser, raw string) (*Claims, error) {
	// The decoder skips line breaks, so that they have to be found here.
	if strings.ContainsAny(raw, "\r\n") {
		return nil, errors.New("it contains a line break")
	}
	var w wire
	if _, err := parser.ParseWithClaims(raw, &w, st.key); err != nil {
		return nil, err
	}
	c, ok := w.claims()
	if !ok {
		return nil, errors.New("it has no expiry, or a time that is none")
	}
	return c, nil
}

// key returns the key that a token's header names, if the header asks for nothing that we do not do.
func (st *state) key(t *jwt.Token) (any, error) {
	kid, _ := t.Header["kid"].(string)
	k, ok := st.byID[kid]
	switch {
	case !ok:
		return nil, errors.New("no key of ours has its kid")
	case t.Header["alg"] != k.algorithm:
		return nil, errors.New("its algorithm is not the one of its key")
	}
	if err := checkHeader(t.Header); err != nil {
		return nil, err
	}
	return k.Material(), nil
}

// check says whether c is for this issuer and audience, and for now.
func (st *state) check(c *Claims, now time.Time) error {
	switch {
	case c.Issuer != st.issuer:
		return invalid("another issuer made it")
	case c.Audience != st.audience:
		return invalid("it is for another audience")
	case !now.Before(c.Expires.Add(Leeway)):
		return invalid("it has expired")
	case now.Before(c.NotBefore.Add(-Leeway)):
		return invalid("it is not valid yet")
	}
	return nil
}

// invalid is ErrInvalid with a reason.
func invalid(reason string) error { return fmt.Errorf("%w: %s", ErrInvalid, reason) }
