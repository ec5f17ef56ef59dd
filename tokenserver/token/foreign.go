package token

import (
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"time"
	"unsafe"

	"github.com/golang-jwt/jwt/v5"
)

// maxChain bounds how many certificates of an x5c header are looked at: a leaf, and what stands between it and a root.
const maxChain = 5

// Foreign tells real tokens of an outside issuer from others: docker_auth's, Keycloak's, Harbor's, LAIN's console's. It reads
// what distribution 3 reads beyond our own form: an audience that is a list, times with a fraction, x5c. A token is real when
// a key of the Trust signed it with an algorithm that the key is trusted for, for the issuer and the audience expected now,
// and its time has come and not gone. A key that a token brings along in jwk, or points to with jku or x5u, is not read.
//
// Its methods may be called from many goroutines. A token that was verified before is found again without a lock and
// without an allocation.
type Foreign struct {
	trust  func() *Trust
	expect func() (issuer, audience string, ok bool)
	now    func() time.Time
	parser *jwt.Parser
	state  atomic.Pointer[foreignState]
}

// foreignState is one combination of issuer, audience and Trust, and what was verified under it; see state.
type foreignState struct {
	state
	trust *Trust
}

// NewForeign returns a Foreign that asks trust and expect at each token: both must be quick and may change their answers at
// any time; trust never returns nil. While expect says !ok, or either name is empty, no token is valid.
func NewForeign(trust func() *Trust, expect func() (issuer, audience string, ok bool), now func() time.Time) *Foreign {
	return &Foreign{
		trust: trust, expect: expect, now: now,
		// Strict: otherwise one token has several spellings. Claims are checked by check, at cache hits too.
		parser: jwt.NewParser(jwt.WithStrictDecoding(), jwt.WithoutClaimsValidation(), jwt.WithValidMethods(ForeignAlgorithms())),
	}
}

// Verify returns the claims of raw, a compact JWS. Audience is the expected one, which the token's list has; Expires is no later
// than the certificates of x5c allow. The claims are shared and must not be modified. Every error wraps ErrInvalid, says why for
// the log, never quotes the token, and comes without claims.
func (f *Foreign) Verify(raw string) (*Claims, error) {
	if len(raw) > MaxSize {
		return nil, invalid("it is too long")
	}
	issuer, audience, ok := f.expect()
	if !ok || issuer == "" || audience == "" {
		return nil, invalid("no issuer and audience are known yet")
	}
	st, now := f.current(issuer, audience, f.trust()), f.now()
	// The bytes of raw without a copy: Sum256 only reads them.
	sum := sha256.Sum256(unsafe.Slice(unsafe.StringData(raw), len(raw)))
	c := st.verified.get(&sum)
	known := c != nil
	if !known {
		var err error
		if c, err = st.parse(f.parser, raw, now); err != nil {
			return nil, fmt.Errorf("%w: %w", ErrInvalid, err)
		}
	}
	if err := st.check(c, now); err != nil {
		return nil, err
	}
	if !known && len(raw) <= maxCached {
		st.verified.put(&sum, c, now)
	}
	return c, nil
}

// current returns the state for what is expected now, a new one if that has changed.
func (f *Foreign) current(issuer, audience string, trust *Trust) *foreignState {
	old := f.state.Load()
	if old != nil && old.issuer == issuer && old.audience == audience && old.trust == trust {
		return old
	}
	st := &foreignState{trust: trust}
	st.issuer, st.audience = issuer, audience
	// Whoever loses the race has a state as good as the winner's, only with a cache of its own.
	f.state.CompareAndSwap(old, st)
	return st
}

// parse returns the claims of a token that a trusted key signed. Nothing is said yet about issuer and times.
func (st *foreignState) parse(parser *jwt.Parser, raw string, now time.Time) (*Claims, error) {
	// The decoder skips line breaks, so that they have to be found here.
	if strings.ContainsAny(raw, "\r\n") {
		return nil, errors.New("it contains a line break")
	}
	var (
		w     foreignWire
		until time.Time // when the certificates of x5c end; zero without
	)
	_, err := parser.ParseWithClaims(raw, &w, func(t *jwt.Token) (_ any, err error) {
		if err := checkHeader(t.Header); err != nil {
			return nil, err
		}
		var keys []trustedKey
		if keys, until, err = st.trust.find(t.Header, now); err != nil {
			return nil, err
		}
		return st.trust.fitting(keys, t.Header["alg"])
	})
	if err != nil {
		return nil, err
	}
	return w.claims(st.audience, until)
}

// checkHeader refuses headers that ask for what we do not do.
func checkHeader(header map[string]any) error {
	if typ, found := header["typ"]; found {
		if s, ok := typ.(string); !ok || !strings.EqualFold(s, "JWT") {
			return errors.New("its typ is not JWT")
		}
	}
	// RFC 7515 section 4.1.11: what crit lists must be understood, and we understand no extension. The others change how a
	// payload is read (RFC 7516, RFC 7797).
	for _, name := range [...]string{"crit", "zip", "enc", "b64"} {
		if _, found := header[name]; found {
			return fmt.Errorf("its header has %s", name)
		}
	}
	return nil
}

// find returns the keys that a header names, and until when they may be used so, as distribution 3 finds them: a header with
// x5c is decided by its chain alone, where there are roots; otherwise the kid, that of jwk if there is no other, names a key
// that is trusted already.
func (t *Trust) find(header map[string]any, now time.Time) (keys []trustedKey, until time.Time, err error) {
	if chain, found := header["x5c"]; found && t.roots != nil {
		key, until, err := t.leaf(chain, now)
		return []trustedKey{key}, until, err
	}
	kid, _ := header["kid"].(string)
	if jwk, ok := header["jwk"].(map[string]any); ok && kid == "" {
		kid, _ = jwk["kid"].(string)
	}
	keys = t.byID[kid]
	if kid == "" || len(keys) == 0 {
		return nil, time.Time{}, errors.New("no trusted key has its kid")
	}
	return keys, time.Time{}, nil
}

// leaf returns the key of the first certificate of an x5c header (RFC 7515 section 4.1.6), if the others lead from it to a root
// at now, and when that ends. Key usages do not count, as in distribution.
func (t *Trust) leaf(header any, now time.Time) (key trustedKey, until time.Time, err error) {
	list, _ := header.([]any)
	if len(list) == 0 || len(list) > maxChain {
		return key, until, fmt.Errorf("its x5c is no list of one to %d certificates", maxChain)
	}
	certs, between := make([]*x509.Certificate, len(list)), x509.NewCertPool()
	for i, item := range list {
		text, _ := item.(string)
		der, err := base64.StdEncoding.Strict().DecodeString(text)
		if err != nil {
			return key, until, errors.New("its x5c is not base64")
		}
		if certs[i], err = x509.ParseCertificate(der); err != nil {
			return key, until, errors.New("its x5c has something that is no certificate")
		}
		if i > 0 {
			between.AddCert(certs[i])
		}
	}
	chains, err := certs[0].Verify(x509.VerifyOptions{
		Roots: t.roots, Intermediates: between, CurrentTime: now, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageAny},
	})
	if err != nil {
		return key, until, fmt.Errorf("its x5c leads to no trusted certificate: %w", err)
	}
	for _, chain := range chains {
		end := chain[0].NotAfter
		for _, c := range chain[1:] {
			if c.NotAfter.Before(end) {
				end = c.NotAfter
			}
		}
		if end.After(until) {
			until = end
		}
	}
	algorithms, err := Algorithms(certs[0].PublicKey)
	return trustedKey{certs[0].PublicKey, algorithms}, until, err
}
