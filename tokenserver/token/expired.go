package token

import (
	"fmt"
	"time"
)

// VerifyExpired is Verify for what may go on after its token: it also takes a token whose time ran out at most within ago, and
// is as strict as Verify in everything else. The signature is checked before anything that the token says is looked at
// (CVE-2024-51744), so that a token which is forged and expired is forged. Who calls it has to know that the token was good when
// what goes on was begun. It remembers nothing; nor does it change what Verify does.
func (v *Verifier) VerifyExpired(raw string, within time.Duration) (*Claims, error) {
	if len(raw) > MaxSize {
		return nil, invalid("it is too long")
	}
	issuer, audience, ok := v.expect()
	if !ok || issuer == "" || audience == "" {
		return nil, invalid("no issuer and audience are known yet")
	}
	st := v.current(issuer, audience, v.keys())
	c, err := st.parse(v.parser, raw)
	return st.checkExpired(c, err, v.now(), within)
}

// VerifyExpired is Verifier's, for the tokens of an outside issuer.
func (f *Foreign) VerifyExpired(raw string, within time.Duration) (*Claims, error) {
	if len(raw) > MaxSize {
		return nil, invalid("it is too long")
	}
	issuer, audience, ok := f.expect()
	if !ok || issuer == "" || audience == "" {
		return nil, invalid("no issuer and audience are known yet")
	}
	st, now := f.current(issuer, audience, f.trust()), f.now()
	c, err := st.parse(f.parser, raw, now)
	return st.checkExpired(c, err, now, within)
}

// checkExpired is check for VerifyExpired: it takes what parse returned, and looks at a token that has expired as it was in its
// last moment.
func (st *state) checkExpired(c *Claims, err error, now time.Time, within time.Duration) (*Claims, error) {
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrInvalid, err)
	}
	end := c.Expires.Add(Leeway) // the first moment at which Verify refuses it
	switch {
	case !now.Before(end.Add(within)):
		return nil, invalid("it has expired, too long ago")
	case !now.Before(end):
		now = end.Add(-1)
	}
	if err := st.check(c, now); err != nil {
		return nil, err
	}
	return c, nil
}
