package trust

import (
	"encoding/base64"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

// chained is a token of a signer with x5c and no kid.
func chained(t *testing.T, name string, exp int64, chain ...[]byte) string {
	t.Helper()
	var list []string
	for _, der := range chain {
		list = append(list, base64.StdEncoding.EncodeToString(der))
	}
	return sign(t, methodOf(name), signers()[name], map[string]any{"x5c": list}, toJSON(t, claims(map[string]any{"exp": exp})))
}

// Only a CA is in the bundle; what it signed is believed while the certificates are valid, and the leaf's key alone.
func TestChains(t *testing.T) {
	const exp = 1800000300
	b := newBench(t, selfSigned(t, "RSA"), "")
	leaf := func(from, until int64) []byte { return certificate(t, "P-256", "RSA", false, from, until) }
	issued := func(name, by string) []byte { return certificate(t, name, by, false, 1799999000, 1800001000) }
	between := func(ca bool, until int64) []byte { return certificate(t, "next", "RSA", ca, 1700000000, until) }
	b.accept(t, chained(t, "P-256", exp, issued("P-256", "RSA")))
	b.accept(t, chained(t, "P-256", exp, issued("P-256", "RSA"), between(true, 1900000000)))
	b.accept(t, chained(t, "P-384", exp, issued("P-384", "next"), between(true, 1900000000)))
	for name, raw := range map[string]string{
		"expired":               chained(t, "P-256", exp, leaf(1799990000, 1799999999)),
		"not valid yet":         chained(t, "P-256", exp, leaf(1800000100, 1800001000)),
		"intermediate missing":  chained(t, "P-384", exp, issued("P-384", "next")),
		"intermediate expired":  chained(t, "P-384", exp, issued("P-384", "next"), between(true, 1799990000)),
		"intermediate is no CA": chained(t, "P-384", exp, issued("P-384", "next"), between(false, 1900000000)),
		"key of another":        chained(t, "evil", exp, issued("P-256", "RSA")),
		"key of the CA":         chained(t, "RSA", exp, issued("P-256", "RSA")),
		"leaf too weak":         chained(t, "weak RSA", exp, issued("weak RSA", "RSA")),
		"leaf second":           chained(t, "P-256", exp, issued("evil", "RSA"), issued("P-256", "RSA")),
		"too many":              chained(t, "P-256", exp, issued("P-256", "RSA"), leaf(1, 2), leaf(1, 2), leaf(1, 2), leaf(1, 2), leaf(1, 2)),
		"no DER":                chained(t, "P-256", exp, []byte("x")),
	} {
		t.Run(name, func(t *testing.T) { b.refuse(t, raw) })
	}
	for name, header := range map[string]any{
		"a text": base(issued("P-256", "RSA")), "empty": []string{}, "null": nil, "numbers": []int{1}, "base64url": []string{"-_8="},
		"an object": map[string]any{},
	} {
		t.Run("x5c "+name, func(t *testing.T) {
			h := map[string]any{"x5c": header}
			if header == nil {
				h["x5c"] = []any{nil}
			}
			b.refuse(t, sign(t, jwt.SigningMethodES256, signers()["P-256"], h, toJSON(t, claims(nil))))
		})
	}
	// A kid that is trusted does not make up for a chain that is not, as in distribution.
	libtrust, _ := ids(t, "RSA")
	header := map[string]any{"kid": libtrust, "x5c": []string{base(certificate(t, "RSA", "evil", false, 1700000000, 1900000000))}}
	b.refuse(t, sign(t, jwt.SigningMethodRS256, signers()["RSA"], header, toJSON(t, claims(nil))))
	// Without a bundle nobody could have signed a chain, and the kid decides.
	set := newBench(t, "", jwkSet(t, jwkOf(t, "RSA", nil)))
	set.accept(t, sign(t, jwt.SigningMethodRS256, signers()["RSA"], header, toJSON(t, claims(nil))))
	set.refuse(t, chained(t, "P-256", exp, issued("P-256", "RSA")))
}

// A chain is not believed for longer than its certificates are valid, also by who remembers the token.
func TestChainEnds(t *testing.T) {
	b := newBench(t, selfSigned(t, "RSA"), "")
	raw := chained(t, "P-256", 1800009999, certificate(t, "P-256", "RSA", false, 1799999000, 1800001000))
	b.accept(t, raw)
	b.at = time.Unix(1800000999, 0)
	b.accept(t, raw)
	b.at = time.Unix(1800001001, 0)
	if c, err := b.Verify(raw); err == nil {
		t.Errorf("accepted: %+v", c)
	}
	if c, err := b.VerifyExpired(raw, time.Hour); err == nil {
		t.Errorf("accepted as one that has expired: %+v", c)
	}
}

// A certificate in the bundle that has expired is no root, but its key has its ids: LAIN's has expired in 2016.
func TestExpiredRoot(t *testing.T) {
	b := newBench(t, selfSigned(t, "P-256"), "")
	write(t, b.bundle, pemOf(certificate(t, "RSA", "RSA", true, 1400000000, 1500000000)))
	b.at = b.at.Add(time.Second)
	libtrust, thumbprint := ids(t, "RSA")
	b.accept(t, good(t, "RSA", libtrust, nil))
	b.accept(t, good(t, "RSA", thumbprint, nil))
	b.refuse(t, chained(t, "P-256", 1800000300, certificate(t, "P-256", "RSA", false, 1799999000, 1800001000)))
	b.refuse(t, chained(t, "RSA", 1800000300, certificate(t, "RSA", "RSA", true, 1400000000, 1500000000)))
}
