package token

import (
	"errors"
	"strings"
	"testing"
	"time"
)

// TestVerifyExpired: a token is taken to the last moment of its grace, and neither another issuer's, audience's or key's, nor
// one that never was good.
func TestVerifyExpired(t *testing.T) {
	const within = time.Hour
	b := newBench(t)
	raw := b.sign(t, b.claims())
	begun := b.at
	for _, tt := range []struct {
		after time.Duration
		ok    bool
	}{
		{0, true},
		{300*time.Second + Leeway - 1, true},
		{300*time.Second + Leeway, true}, // Verify refuses it from here on
		{300*time.Second + Leeway + within - 1, true},
		{300*time.Second + Leeway + within, false},
		{1000 * time.Hour, false},
	} {
		b.at = begun.Add(tt.after)
		c, err := b.VerifyExpired(raw, within)
		if (err == nil) != tt.ok || (c != nil) != tt.ok || err != nil && !errors.Is(err, ErrInvalid) {
			t.Errorf("%v after it was made: %v, %v, want it taken: %v", tt.after, c, err, tt.ok)
		}
		if tt.after >= 300*time.Second+Leeway {
			b.mustRefuse(t, raw) // whatever VerifyExpired said
		}
	}
	b.at = begun.Add(time.Hour)
	refuse := func(name, raw string) {
		t.Helper()
		if c, err := b.VerifyExpired(raw, within); !errors.Is(err, ErrInvalid) || c != nil {
			t.Errorf("%s: %v, %v, want ErrInvalid and no claims", name, c, err)
		}
	}
	for name, change := range map[string]func(*Claims){
		"another issuer":        func(c *Claims) { c.Issuer = "x" },
		"another audience":      func(c *Claims) { c.Audience = "x" },
		"never good":            func(c *Claims) { c.NotBefore = c.Expires.Add(2*Leeway + time.Second) },
		"not good yet":          func(c *Claims) { c.Expires, c.NotBefore = c.Expires.Add(10*time.Hour), begun.Add(5*time.Hour) },
		"of a time without end": func(c *Claims) { c.Expires = time.Unix(0, 0) },
	} {
		at := b.at
		b.at = begun
		c := b.claims()
		b.at = at
		change(&c)
		refuse(name, b.sign(t, c))
	}
	refuse("too long", strings.Repeat("x", MaxSize+1))
	b.keys = []PublicKey{newTestKey(t).Public()}
	refuse("a key that is gone", raw)
	b.keys = []PublicKey{b.key.Public(), newTestKey(t).Public()}
	if _, err := b.VerifyExpired(raw, within); err != nil {
		t.Errorf("a key beside the active one: %v", err)
	}
	b.known = false
	refuse("nothing is known yet", raw)
}

// TestExpiredAndForged is T-SEC-24 (CVE-2024-51744) for what takes expired tokens: one that is also forged has no claims.
func TestExpiredAndForged(t *testing.T) {
	b := newBench(t)
	good := b.sign(t, b.claims())
	b.at = b.at.Add(time.Hour)
	if _, err := b.VerifyExpired(good, 24*time.Hour); err != nil {
		t.Fatal(err) // what follows would prove nothing
	}
	parts := strings.Split(good, ".")
	c := b.claims()
	c.Subject, c.Expires = "mallory", b.at.Add(-time.Minute-Leeway)
	other, err := newTestKey(t).Sign(c)
	if err != nil {
		t.Fatal(err)
	}
	others := strings.Split(other, ".")
	for name, raw := range map[string]string{
		"another's signature":         parts[0] + "." + parts[1] + "." + others[2],
		"another's payload":           parts[0] + "." + others[1] + "." + parts[2],
		"our kid, all of another's":   parts[0] + "." + others[1] + "." + others[2],
		"a key of nobody's":           other,
		"no signature":                parts[0] + "." + parts[1] + ".",
		"no signature, and alg none":  "eyJhbGciOiJub25lIn0." + parts[1] + ".",
		"a signature of another size": parts[0] + "." + parts[1] + "." + parts[2][:10],
	} {
		if got, err := b.VerifyExpired(raw, 24*time.Hour); !errors.Is(err, ErrInvalid) || got != nil || strings.Contains(err.Error(), "expired") {
			t.Errorf("%s: %v, %v, want ErrInvalid for its signature and no claims", name, got, err)
		}
	}
}

// TestForeignVerifyExpired: an outside issuer's tokens have the same grace, and no other.
func TestForeignVerifyExpired(t *testing.T) {
	b := newBench(t)
	trust, err := NewTrust([]TrustedKey{{Key: ec(b.key)}}, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	f := NewForeign(func() *Trust { return trust }, func() (string, string, bool) { return b.issuer, b.audience, b.known },
		func() time.Time { return b.at })
	raw := b.sign(t, b.claims())
	stranger, err := newTestKey(t).Sign(b.claims())
	if err != nil {
		t.Fatal(err)
	}
	for after, ok := range map[time.Duration]bool{0: true, time.Hour: true, 2 * time.Hour: false} {
		b.at = time.Unix(1_800_000_000, 0).Add(after)
		if c, err := f.VerifyExpired(raw, time.Hour); (err == nil) != ok || (c != nil) != ok {
			t.Errorf("%v after it was made: %v, %v, want it taken: %v", after, c, err, ok)
		}
		if c, err := f.VerifyExpired(stranger, time.Hour); !errors.Is(err, ErrInvalid) || c != nil {
			t.Errorf("a key that is not trusted, %v after: %v, %v", after, c, err)
		}
		if _, err := f.Verify(raw); (err == nil) != (after == 0) {
			t.Errorf("Verify, %v after: %v", after, err)
		}
	}
}
