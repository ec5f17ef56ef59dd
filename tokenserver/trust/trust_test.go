package trust

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"encoding/pem"
	"fmt"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"gatehouse/tokenserver/token"
)

// Every kind of key verifies under both ids, from a bundle and from a JWK set, and under the set's kid.
func TestKeys(t *testing.T) {
	names := []string{"RSA", "P-256", "P-384", "P-521", "Ed25519"}
	bundle := newBench(t, selfSigned(t, names...), "")
	var keys []any
	for _, name := range names {
		keys = append(keys, jwkOf(t, name, map[string]any{"kid": "any text: " + name, "use": "sig", "key_ops": []string{"verify"}}))
	}
	set := newBench(t, "", jwkSet(t, keys...))
	for _, name := range names {
		t.Run(name, func(t *testing.T) {
			libtrust, thumbprint := ids(t, name)
			for _, id := range []string{libtrust, thumbprint} {
				if id == "" {
					continue
				}
				bundle.accept(t, good(t, name, id, nil))
				set.accept(t, good(t, name, id, nil))
			}
			raw := good(t, name, "any text: "+name, nil)
			set.accept(t, raw)
			bundle.refuse(t, raw)
		})
	}
	libtrust, _ := ids(t, "RSA")
	c := bundle.accept(t, good(t, "RSA", libtrust, nil))
	if c.Issuer != "i" || c.Audience != "s" || c.Subject != "alice" || c.Expires.Unix() != 1800000300 ||
		!token.Allows(c.Access, "repository", "a/b", "push") {
		t.Errorf("the claims are %+v", c)
	}
}

// The thumbprints that distribution 3.0.0 and 3.1.2 compute wrongly name no key.
func TestWrongThumbprints(t *testing.T) {
	b := newBench(t, selfSigned(t, "P-256"), "")
	b.refuse(t, good(t, "P-256", "xx0BcA-wMohw8atYDJOe6peGModklG2wRHBlXHMvl0M", nil)) // of the generator of P-256: 3.0.0
	short, point := shortKey(t)
	signers()["short"] = short
	b = newBench(t, selfSigned(t, "short"), "")
	sum := sha256.Sum256(fmt.Appendf(nil, `{"crv":"P-256","kty":"EC","x":"%s","y":"%s"}`, encode(point[2:33]), encode(point[33:])))
	_, right := ids(t, "short")
	if right == encode(sum[:]) {
		t.Fatal("the key has no leading zero")
	}
	b.accept(t, good(t, "short", right, nil))
	b.refuse(t, good(t, "short", encode(sum[:]), nil)) // without the leading zero: 3.1.2
}

// shortKey is a key whose X begins with a zero.
func shortKey(t *testing.T) (*ecdsa.PrivateKey, []byte) {
	for {
		k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		point, err := k.PublicKey.Bytes()
		if err != nil {
			t.Fatal(err)
		}
		if point[1] == 0 && point[33] != 0 {
			return k, point
		}
	}
}

// An algorithm has to fit the key, to be allowed, and to be the alg of the JWK.
func TestAlgorithms(t *testing.T) {
	all := []jwt.SigningMethod{jwt.SigningMethodRS256, jwt.SigningMethodRS384, jwt.SigningMethodRS512, jwt.SigningMethodPS256,
		jwt.SigningMethodPS384, jwt.SigningMethodPS512}
	libtrust, thumbprint := ids(t, "RSA")
	try := func(b *bench, kid, accepted string) {
		t.Helper()
		for _, m := range all {
			raw := sign(t, m, signers()["RSA"], map[string]any{"kid": kid}, toJSON(t, claims(nil)))
			if strings.Contains(accepted, m.Alg()) {
				b.accept(t, raw)
			} else {
				b.refuse(t, raw)
			}
		}
	}
	try(newBench(t, selfSigned(t, "RSA"), ""), libtrust, "RS256 RS384 RS512 PS256 PS384 PS512")
	try(newBench(t, selfSigned(t, "RSA"), "", "RS384", "PS256", "ES256"), libtrust, "RS384 PS256")
	pinned := newBench(t, "", jwkSet(t, jwkOf(t, "RSA", map[string]any{"kid": "k", "alg": "PS384"})))
	for _, kid := range []string{"k", libtrust, thumbprint} {
		try(pinned, kid, "PS384")
	}
	// One kid twice, each with its algorithm.
	twice := func(alg string) any { return jwkOf(t, "RSA", map[string]any{"kid": "k", "alg": alg}) }
	try(newBench(t, "", jwkSet(t, twice("PS384"), twice("RS256"))), "k", "PS384 RS256")
	// One kid for two keys: each may have signed.
	k := map[string]any{"kid": "k"}
	two := newBench(t, "", jwkSet(t, jwkOf(t, "P-256", k), jwkOf(t, "next", k), jwkOf(t, "RSA", k)))
	for _, name := range []string{"P-256", "next", "RSA"} {
		two.accept(t, good(t, name, "k", nil))
	}
	two.refuse(t, good(t, "evil", "k", nil))
	two.refuse(t, good(t, "evil RSA", "k", nil))
	none := newBench(t, selfSigned(t, "P-256"), "", "RS256")
	ecID, _ := ids(t, "P-256")
	none.refuse(t, good(t, "P-256", ecID, nil))
}

// What is in a set and is no key for us is passed over and named in the log; the rest is used.
func TestUnusableKeys(t *testing.T) {
	bad := map[string]any{
		"is for the use":               jwkOf(t, "RSA", map[string]any{"kid": "bad", "use": "enc"}),
		"key_ops have no verify":       jwkOf(t, "RSA", map[string]any{"kid": "bad", "key_ops": []string{"encrypt"}}),
		"does not fit a key":           jwkOf(t, "RSA", map[string]any{"kid": "bad", "alg": "ES256"}),
		`alg \"RSA-OAEP`:               jwkOf(t, "RSA", map[string]any{"kid": "bad", "alg": "RSA-OAEP"}),
		`alg \"HS256`:                  jwkOf(t, "RSA", map[string]any{"kid": "bad", "alg": "HS256"}),
		"1024 bits":                    jwkOf(t, "weak RSA", map[string]any{"kid": "bad"}),
		"no exponent":                  jwkOf(t, "RSA", map[string]any{"kid": "bad", "e": "AQAAAAE"}),
		"even or too small":            jwkOf(t, "RSA", map[string]any{"kid": "bad", "e": "AQ"}),
		"n is not base64url":           jwkOf(t, "RSA", map[string]any{"kid": "bad", "n": "=!"}),
		"curve":                        jwkOf(t, "P-224", map[string]any{"kid": "bad"}),
		"no point on its curve":        jwkOf(t, "P-256", map[string]any{"kid": "bad", "x": encode(make([]byte, 32))}),
		"no coordinate":                jwkOf(t, "P-256", map[string]any{"kid": "bad", "x": encode(make([]byte, 33))}),
		"no Ed25519":                   jwkOf(t, "Ed25519", map[string]any{"kid": "bad", "crv": "Ed448"}),
		`kty \"oct`:                    map[string]any{"kty": "oct", "kid": "bad", "k": "c2VjcmV0"},
		"cannot unmarshal number":      map[string]any{"kty": 1},
		"cannot unmarshal string into": "text",
	}
	for reason, key := range bad {
		t.Run(reason, func(t *testing.T) {
			b := newBench(t, "", jwkSet(t, key, jwkOf(t, "next", map[string]any{"kid": "good"})))
			b.accept(t, good(t, "next", "good", nil))
			if !strings.Contains(b.log.String(), "key of the issuer is not used") || !strings.Contains(b.log.String(), reason) {
				t.Errorf("the log does not say %q:\n%s", reason, b.log)
			}
			for _, name := range []string{"RSA", "P-256", "Ed25519"} {
				b.refuse(t, good(t, name, "bad", nil))
			}
			_, err := openBench(t, "", jwkSet(t, key))
			if err == nil || !strings.Contains(err.Error(), "has no key that tokens can be verified with") {
				t.Errorf("alone: %v", err)
			}
		})
	}
	weak := selfSigned(t, "weak RSA", "P-224")
	b := newBench(t, weak+selfSigned(t, "next"), "")
	libtrust, _ := ids(t, "weak RSA")
	b.refuse(t, sign(t, jwt.SigningMethodRS256, signers()["weak RSA"], map[string]any{"kid": libtrust}, toJSON(t, claims(nil))))
	_, err := openBench(t, weak, "")
	if err == nil || !strings.Contains(err.Error(), "1024 bits") {
		t.Errorf("alone: %v", err)
	}
}

// At the start a file must be there and good; the error says what is wrong.
func TestBadFilesAtStart(t *testing.T) {
	private := string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: []byte("x")}))
	garbage := string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: []byte("x")}))
	for _, test := range []struct{ bundle, jwks, want string }{
		{"", "", "needs a bundle of certificates or a JWK set"},
		{"\n", "", "has no key"},
		{"# no PEM", "", "has no key"},
		{private, "", "PEM block 1 is no certificate"},
		{selfSigned(t, "RSA") + garbage, "", "PEM block 2 is no certificate that can be read"},
		{"", " ", "it is no JWK set"},
		{"", "[]", "it is no JWK set"},
		{"", "{}", "has no key"},
		{"", `{"keys":[]}`, "has no key"},
		{"", `{"keys":null}`, "has no key"},
		{"", jwkSet(t, jwkOf(t, "RSA", nil)) + "x", "it is no JWK set"},
		{selfSigned(t, "RSA"), "{", "it is no JWK set"},
		{"\n", jwkSet(t, jwkOf(t, "RSA", nil)), "has no key"},
		{strings.Repeat("\n", maxFile+1), "", "larger than"},
	} {
		if _, err := openBench(t, test.bundle, test.jwks); err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%.40q, %.40q: %v, want %q", test.bundle, test.jwks, err, test.want)
		}
	}
	b := newBench(t, selfSigned(t, "RSA"), "")
	for _, path := range []string{b.bundle + "x", t.TempDir()} {
		if _, err := Open(Options{JWKS: path, Logger: b.set.log}); err == nil || !strings.Contains(err.Error(), path) {
			t.Errorf("%s: %v", path, err)
		}
	}
}

// A key that is added is believed within a second, one that is removed no longer; a file that is bad changes nothing and is
// told of once.
func TestChanges(t *testing.T) {
	b := newBench(t, selfSigned(t, "P-256"), jwkSet(t, jwkOf(t, "RSA", map[string]any{"kid": "k"})))
	first, _ := ids(t, "P-256")
	next, _ := ids(t, "next")
	old, fresh, other := good(t, "P-256", first, nil), good(t, "next", next, nil), good(t, "RSA", "k", nil)
	b.accept(t, old)
	b.refuse(t, fresh)
	was := b.set.Current()

	write(t, b.bundle, selfSigned(t, "P-256", "next"))
	b.refuse(t, fresh) // it is not looked at before a second has passed
	b.at = b.at.Add(time.Second)
	b.accept(t, fresh)
	b.accept(t, old)
	b.accept(t, other)
	if b.set.Current() == was {
		t.Error("the keys are the same value")
	}

	// Touched only: what was verified is not forgotten.
	was = b.set.Current()
	if err := os.Chtimes(b.bundle, b.at, b.at); err != nil {
		t.Fatal(err)
	}
	b.at = b.at.Add(time.Second)
	if b.set.Current() != was {
		t.Error("a file with the same content made other keys")
	}

	for _, bad := range []string{"", selfSigned(t, "weak RSA"), "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"} {
		b.log.Reset()
		write(t, b.bundle, bad)
		was := b.set.Current()
		for range 3 {
			b.at = b.at.Add(time.Second)
			b.accept(t, fresh)
			b.accept(t, other)
		}
		if n := strings.Count(b.log.String(), "they stay as they were"); n != 1 || b.set.Current() != was {
			t.Errorf("%q is told of %d times:\n%s", bad, n, b.log)
		}
	}
	if err := os.Remove(b.bundle); err != nil {
		t.Fatal(err)
	}
	// The other file is followed all the same.
	write(t, b.jwks, jwkSet(t, jwkOf(t, "Ed25519", map[string]any{"kid": "k"})))
	b.at = b.at.Add(time.Second)
	b.accept(t, good(t, "Ed25519", "k", nil))
	b.refuse(t, other)
	b.accept(t, fresh)

	write(t, b.bundle, selfSigned(t, "next"))
	b.at = b.at.Add(time.Second)
	b.accept(t, fresh)
	b.refuse(t, old) // it was verified before, and no key for it is left
	for name, want := range map[string]float64{
		"gatehouse_issuer_keys": 2, "gatehouse_issuer_key_reads_total failed": 4, "gatehouse_issuer_key_reads_total ok": 5,
	} {
		if got := b.metric(t, name); got != want {
			t.Errorf("%s is %v, want %v", name, got, want)
		}
	}
}

// metric is the value of a metric, named with its label if it has one.
func (b *bench) metric(t *testing.T, name string) float64 {
	t.Helper()
	families, err := b.metrics.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			full := f.GetName()
			for _, l := range m.GetLabel() {
				full += " " + l.GetValue()
			}
			if full == name {
				return m.GetGauge().GetValue() + m.GetCounter().GetValue()
			}
		}
	}
	t.Fatalf("there is no metric %s", name)
	return 0
}

// A clock that was set back does not keep a change out.
func TestClockSetBack(t *testing.T) {
	b := newBench(t, selfSigned(t, "P-256"), "")
	next, _ := ids(t, "next")
	write(t, b.bundle, selfSigned(t, "next"))
	b.at = b.at.Add(-time.Hour)
	write(t, b.bundle, selfSigned(t, "next"))
	b.accept(t, good(t, "next", next, map[string]any{"nbf": nil}))
}

// A token that is known costs nothing, also while other goroutines read the files again.
func TestWarm(t *testing.T) {
	b := newBench(t, selfSigned(t, "RSA"), "")
	libtrust, _ := ids(t, "RSA")
	raw := good(t, "RSA", libtrust, nil)
	b.accept(t, raw)
	if n := testing.AllocsPerRun(100, func() { _, _ = b.Verify(raw) }); n > 0 {
		t.Errorf("%v allocations", n)
	}
}

// While a file is written again and again, and caught half-written, a key that is always in it is always believed.
func TestConcurrentChanges(t *testing.T) {
	bundles := []string{selfSigned(t, "P-256"), selfSigned(t, "P-256", "next"), selfSigned(t, "P-256")[:100]}
	b := newBench(t, bundles[0], "")
	var ticks atomic.Int64 // each look at the clock is a second later, so that the file is always due
	b.set.now = func() time.Time { return time.Unix(1800000000+ticks.Add(1), 0) }
	libtrust, _ := ids(t, "P-256")
	raw := good(t, "P-256", libtrust, nil)
	stop, seen := make(chan struct{}), make(chan int, 4)
	for range cap(seen) {
		go func() {
			n := 0
			for ; ; n++ {
				select {
				case <-stop:
					seen <- n
					return
				default:
				}
				if _, err := b.Verify(raw); err != nil {
					t.Errorf("refused: %v", err)
				}
			}
		}()
	}
	for i := range 200 {
		write(t, b.bundle, bundles[i%len(bundles)])
	}
	close(stop)
	for range cap(seen) {
		if n := <-seen; n == 0 {
			t.Error("a goroutine verified nothing")
		}
	}
}
