package trust

import (
	"bytes"
	"compress/flate"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"math/big"
	mathrand "math/rand/v2"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"gatehouse/tokenserver/token"
)

// hostile is a verifier that trusts the certificates of RSA and P-256, and the JWK "k", which is Ed25519.
func hostile(t testing.TB) *bench {
	t.Helper()
	return newBench(t, selfSigned(t, "RSA", "P-256"), jwkSet(t, jwkOf(t, "Ed25519", map[string]any{"kid": "k"})))
}

func base(der []byte) string { return base64.StdEncoding.EncodeToString(der) }

// TestForgedHeaders is T-SEC-04: nothing that a header brings along or points to makes the attacker's key a trusted one.
func TestForgedHeaders(t *testing.T) {
	b := hostile(t)
	const from, until = 1700000000, 1900000000
	ours, thumbprint := ids(t, "P-256")
	evils, _ := ids(t, "evil")
	jwk := func(kid string) map[string]any { return jwkOf(t, "evil", map[string]any{"kid": kid}) }
	self := func(name string) string { return base(certificate(t, name, name, true, from, until)) }
	issued := func(name, by string) string { return base(certificate(t, name, by, false, from, until)) }
	for name, header := range map[string]map[string]any{
		"right kid, wrong key":           {"kid": ours},
		"right thumbprint, wrong key":    {"kid": thumbprint},
		"kid of the JWK set, wrong key":  {"kid": "k"},
		"kid missing":                    {},
		"kid empty":                      {"kid": ""},
		"kid a number":                   {"kid": 1},
		"kid a list":                     {"kid": []string{ours}},
		"kid of the other key":           {"kid": evils},
		"kid a path":                     {"kid": "../../etc/passwd"},
		"jwk with our kid":               {"kid": ours, "jwk": jwk(ours)}, // CVE-2025-24976
		"jwk with our kid, alone":        {"jwk": jwk(ours)},
		"jwk with its own kid":           {"kid": evils, "jwk": jwk(evils)},
		"jwk without kid":                {"jwk": jwkOf(t, "evil", nil)},
		"jwk with x5c":                   {"jwk": jwkOf(t, "evil", map[string]any{"x5c": []string{self("evil")}})},
		"jwk a text":                     {"kid": ours, "jwk": "x"},
		"jku":                            {"kid": ours, "jku": "http://127.0.0.1:1/jwks.json"},
		"x5u":                            {"kid": ours, "x5u": "http://127.0.0.1:1/cert.pem"},
		"x5c self-signed":                {"kid": ours, "x5c": []string{self("evil")}},
		"x5c self-signed, no kid":        {"x5c": []string{self("evil")}},
		"x5c of another CA":              {"kid": ours, "x5c": []string{issued("evil", "next"), self("next")}},
		"x5c of another CA of our name":  {"kid": ours, "x5c": []string{impostor(t, "evil", "evil"), impostor(t, "P-256", "next")}},
		"x5c of our key, signed by evil": {"kid": ours, "x5c": []string{issued("P-256", "evil")}},
		"x5c our certificate":            {"kid": ours, "x5c": []string{self("P-256")}},
		"x5c ours behind evil's":         {"kid": ours, "x5c": []string{self("evil"), self("P-256")}},
		"x5t":                            {"kid": evils, "x5t": "x", "x5t#S256": "x"},
		"alg missing":                    {"kid": ours, "alg": nil},
		"alg a number":                   {"kid": ours, "alg": 256},
		"alg lower-case":                 {"kid": ours, "alg": "es256"},
		"alg ES384":                      {"kid": ours, "alg": "ES384"},
		"alg RS256":                      {"kid": ours, "alg": "RS256"},
		"alg EdDSA":                      {"kid": ours, "alg": "EdDSA"},
		"alg none":                       {"kid": ours, "alg": "none"},
	} {
		t.Run(name, func(t *testing.T) {
			b.refuse(t, sign(t, jwt.SigningMethodES256, signers()["evil"], header, toJSON(t, claims(nil))))
		})
	}
	t.Run("not read beside a good kid", func(t *testing.T) {
		b.accept(t, good(t, "P-256", ours, nil))
		for _, header := range []map[string]any{{"kid": ours, "jwk": jwk("x"), "jku": "!", "x5u": 1}, {"jwk": jwk(ours)}} {
			b.accept(t, sign(t, jwt.SigningMethodES256, signers()["P-256"], header, toJSON(t, claims(nil)))) // of jwk the kid alone
		}
	})
}

// impostor is a certificate of a signer's key by a CA that has the name of a trusted one, and another key.
func impostor(t *testing.T, subject, name string) string {
	t.Helper()
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: subject}, NotBefore: time.Unix(1700000000, 0),
		NotAfter: time.Unix(1900000000, 0), IsCA: true, BasicConstraintsValid: true}
	parent := &x509.Certificate{Subject: pkix.Name{CommonName: "P-256"}}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, signers()[name].Public(), signers()["next"])
	if err != nil {
		t.Fatal(err)
	}
	return base(der)
}

// TestConfusedAlgorithms is the rest of T-SEC-04: what is public is no secret for an HMAC, and none is no algorithm.
func TestConfusedAlgorithms(t *testing.T) {
	b := hostile(t)
	pub := signers()["RSA"].Public().(*rsa.PublicKey)
	der, err := x509.MarshalPKIXPublicKey(pub)
	if err != nil {
		t.Fatal(err)
	}
	libtrust, _ := ids(t, "RSA")
	for name, secret := range map[string][]byte{
		"the PEM": pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}), "the DER": der, "the modulus": pub.N.Bytes(),
		"the certificate": []byte(selfSigned(t, "RSA")), "the kid": []byte(libtrust), "nothing": {},
	} {
		for _, alg := range []string{"HS256", "HS384", "HS512", "none", "None", "NONE", "RS256", "ES256", ""} {
			t.Run(name+" as "+alg, func(t *testing.T) {
				b.refuse(t, sign(t, jwt.SigningMethodHS256, secret, map[string]any{"kid": libtrust, "alg": alg}, toJSON(t, claims(nil))))
			})
		}
	}
	for _, alg := range []string{"none", "RS256", ""} {
		head := encode([]byte(toJSON(t, map[string]any{"typ": "JWT", "alg": alg, "kid": libtrust})))
		b.refuse(t, head+"."+encode([]byte(toJSON(t, claims(nil))))+".")
	}
	// HMACs may be configured for distribution, and still mean nothing.
	b = newBench(t, selfSigned(t, "RSA"), "", "HS256", "RS256", "none")
	b.refuse(t, sign(t, jwt.SigningMethodHS256, []byte(selfSigned(t, "RSA")), map[string]any{"kid": libtrust}, toJSON(t, claims(nil))))
	b.refuse(t, sign(t, jwt.SigningMethodNone, jwt.UnsafeAllowNoneSignatureType, map[string]any{"kid": libtrust}, toJSON(t, claims(nil))))
	b.accept(t, good(t, "RSA", libtrust, nil))
}

// TestHeadersThatChangeTheMeaning: even a signature of the issuer does not make up for these.
func TestHeadersThatChangeTheMeaning(t *testing.T) {
	b := hostile(t)
	for name, header := range map[string]map[string]any{
		"crit": {"crit": []string{"exp"}}, "crit empty": {"crit": []string{}}, "crit null": {"crit": json.RawMessage("null")},
		"b64": {"b64": false, "crit": []string{"b64"}}, "b64 without crit": {"b64": true}, "zip": {"zip": "DEF"}, "enc": {"enc": "A128GCM"},
		"typ of other use": {"typ": "refresh+jwt"}, "typ a number": {"typ": 1},
	} {
		t.Run(name, func(t *testing.T) {
			header["kid"] = "k"
			b.refuse(t, sign(t, jwt.SigningMethodEdDSA, signers()["Ed25519"], header, toJSON(t, claims(nil))))
		})
	}
	for _, typ := range []any{nil, "jwt"} {
		b.accept(t, sign(t, jwt.SigningMethodEdDSA, signers()["Ed25519"], map[string]any{"kid": "k", "typ": typ}, toJSON(t, claims(nil))))
	}
}

// TestClaimsOfOtherTypes is T-SEC-22, with signatures of the issuer: an audience may be a list and a time have a fraction.
func TestClaimsOfOtherTypes(t *testing.T) {
	b := hostile(t)
	const iss, aud, exp = `"iss":"i"`, `"aud":"s"`, `"exp":1800000300`
	token := func(payload string) string {
		return sign(t, jwt.SigningMethodEdDSA, signers()["Ed25519"], map[string]any{"kid": "k"}, payload)
	}
	accept := func(name, payload string) { t.Run(name, func(t *testing.T) { b.accept(t, token(payload)) }) }
	refuse := func(name, payload string) { t.Run(name, func(t *testing.T) { b.refuse(t, token(payload)) }) }
	accept("plain", "{"+iss+","+aud+","+exp+"}")
	for _, v := range []string{`["s"]`, `["s","t"]`, `["t","s"]`, `["t",null,"s"]`} {
		accept("aud "+v, "{"+iss+`,"aud":`+v+","+exp+"}")
	}
	for _, v := range []string{`[]`, `["t"]`, `[["s"]]`, `["s",1]`, `[null]`, `null`, `1`, `true`, `{}`, `{"s":1}`, `""`, `"S"`,
		`"s "`, `"s\u0000"`, `"ss"`, `"t"`, `"t,s"`, `"t s"`} {
		refuse("aud "+v, "{"+iss+`,"aud":`+v+","+exp+"}")
	}
	refuse("aud missing", "{"+iss+","+exp+"}")
	for _, v := range []string{`["i"]`, `null`, `1`, `""`, `"I"`, `"i/"`, `"j"`} {
		refuse("iss "+v, `{"iss":`+v+","+aud+","+exp+"}")
	}
	refuse("iss missing", "{"+aud+","+exp+"}")
	for _, v := range []string{`1800000300.5`, `1.8000003e9`, `1800000300.999999999999`, `253402300799`} {
		accept("exp "+v, "{"+iss+","+aud+`,"exp":`+v+"}")
	}
	for _, v := range []string{`"1800000300"`, `"1800000300.5"`, `1e300`, `1e309`, `1e99999999999`, `-1`, `-1800000300`, `-0`, `-1e-300`, `0`,
		`0.9`, `1e-300`, `null`, `true`, `[1800000300]`, `{}`, `9223372036854775807`, `9223372036854775808`, `253402300800`,
		`18446744073709551615`, `""`, `"never"`, `"NaN"`, `"Infinity"`, `NaN`, `Infinity`, `+1`, `0x7fffffff`} {
		refuse("exp "+v, "{"+iss+","+aud+`,"exp":`+v+"}")
	}
	refuse("exp missing", "{"+iss+","+aud+"}")
	for _, claim := range []string{"nbf", "iat"} {
		for _, v := range []string{`1799999990`, `1799999990.75`, `1.79999999e9`, `null`, `0`} {
			accept(claim+" "+v, "{"+iss+","+aud+","+exp+`,"`+claim+`":`+v+"}")
		}
		for _, v := range []string{`"1"`, `1e300`, `-1`, `-0.5`, `true`, `[]`, `9223372036854775807`, `253402300800`} {
			refuse(claim+" "+v, "{"+iss+","+aud+","+exp+`,"`+claim+`":`+v+"}")
		}
	}
	refuse("nbf later", "{"+iss+","+aud+","+exp+`,"nbf":1800000061.5}`)
	refuse("nbf at the end of time", "{"+iss+","+aud+","+exp+`,"nbf":253402300799}`)
	for _, v := range []string{`"repository:a:pull"`, `1`, `{}`, `["repository:a:pull"]`, `[{"type":1}]`, `[{"actions":"*"}]`,
		`[{"name":["a"]}]`, `[[]]`} {
		refuse("access "+v, "{"+iss+","+aud+","+exp+`,"access":`+v+"}")
	}
	for _, v := range []string{`null`, `"x"`, `1`, `[]`, `{}`, ``, `{`} {
		refuse("payload "+v, v)
	}
	refuse("sub a number", "{"+iss+","+aud+","+exp+`,"sub":1}`)
	refuse("text behind", "{"+iss+","+aud+","+exp+"}{}")
	accept("claims of others", "{"+iss+","+aud+","+exp+`,"groups":"x","roles":{"a":1},"azp":1,"sub":null,"access":null}`)
	all := b.accept(t, token("{"+iss+","+aud+","+exp+`,"access":[null,{"type":"repository","name":"a","actions":["*"]}]}`))
	if len(all.Access) != 2 || all.Access[1].Actions[0] != "*" {
		t.Errorf("access is %+v", all.Access)
	}
}

// TestDots is T-SEC-23: what a refusal costs does not grow with the number of dots.
func TestDots(t *testing.T) {
	b := hostile(t)
	allocated := func(raw string) uint64 {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		_, _ = b.Verify(raw)
		runtime.ReadMemStats(&after)
		return after.TotalAlloc - before.TotalAlloc
	}
	for _, size := range []int{1, 2, 3, 100, token.MaxSize, token.MaxSize + 1, 1 << 20} {
		raw := strings.Repeat(".", size)
		b.refuse(t, raw)
		if n := allocated(raw); n > 64<<10 {
			t.Errorf("%d dots: %d bytes allocated", size, n)
		}
	}
	long := "eyJ" + strings.Repeat("A", 1<<20) + ".e30.e30"
	b.refuse(t, long)
	if n := allocated(long); n > 64<<10 {
		t.Errorf("a long header: %d bytes allocated", n)
	}
	padded := map[string]any{"kid": "k", "pad": strings.Repeat("A", token.MaxSize)}
	b.refuse(t, sign(t, jwt.SigningMethodEdDSA, signers()["Ed25519"], padded, toJSON(t, claims(nil)))) // however good its signature is
	head, rest, _ := strings.Cut(good(t, "Ed25519", "k", nil), ".")
	b.refuse(t, head+"."+rest+strings.Repeat(".", 1000))
	b.refuse(t, head+strings.Repeat(".", 1000)+rest)
}

// TestInvalidAndExpired is T-SEC-24: no error says only "expired" of a token that is also forged, and none has claims.
func TestInvalidAndExpired(t *testing.T) {
	b := hostile(t)
	past := map[string]any{"exp": 1799990000}
	if err := b.refuse(t, good(t, "Ed25519", "k", past)); !strings.Contains(err.Error(), "expired") {
		t.Errorf("a real one: %v", err)
	}
	own, _, _ := strings.Cut(good(t, "P-256", func() string { id, _ := ids(t, "P-256"); return id }(), past), ".")
	_, rest, _ := strings.Cut(good(t, "evil", "x", past), ".")
	if err := b.refuse(t, own+"."+rest); strings.Contains(err.Error(), "expired") {
		t.Errorf("the signature was not the reason: %v", err)
	}
}

// TestOtherSerialisations is T-SEC-25: JWE, JSON serialisation, compressed payloads, several signatures.
func TestOtherSerialisations(t *testing.T) {
	b := hostile(t)
	raw := good(t, "Ed25519", "k", nil)
	part := strings.Split(raw, ".")
	var packed bytes.Buffer
	w, err := flate.NewWriter(&packed, flate.BestCompression)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write([]byte(toJSON(t, claims(nil)))); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	edDSA := func(header map[string]any, payload string) string {
		header["kid"] = "k"
		return sign(t, jwt.SigningMethodEdDSA, signers()["Ed25519"], header, payload)
	}
	for name, hostile := range map[string]string{
		"empty":             "",
		"JWE":               encode([]byte(`{"alg":"dir","enc":"A128GCM","kid":"k"}`)) + "....",
		"JWE of our parts":  raw + "." + part[1] + "." + part[2],
		"flattened JSON":    fmt.Sprintf(`{"protected":%q,"payload":%q,"signature":%q}`, part[0], part[1], part[2]),
		"general JSON":      fmt.Sprintf(`{"payload":%q,"signatures":[{"protected":%q,"signature":%q}]}`, part[1], part[0], part[2]),
		"two signatures":    raw + "." + part[2],
		"no signature":      part[0] + "." + part[1],
		"empty signature":   part[0] + "." + part[1] + ".",
		"detached":          part[0] + ".." + part[2],
		"signature doubled": raw + part[2],
		"zip":               edDSA(map[string]any{"zip": "DEF"}, packed.String()),
		"zip unsaid":        edDSA(map[string]any{}, packed.String()),
		"zero signature":    part[0] + "." + part[1] + "." + encode(make([]byte, 64)),
		"Bearer":            "Bearer " + raw,
		"padded":            raw + "==",
		"line break":        raw[:len(raw)-1] + "\n" + raw[len(raw)-1:],
		"line break inside": raw[:5] + "\r\n" + raw[5:],
		"space":             raw + " ",
		"NUL":               raw + "\x00",
		"list of tokens":    raw + "," + raw,
	} {
		t.Run(name, func(t *testing.T) { b.refuse(t, hostile) })
	}
}

// TestMutations: a token that differs from a good one in anything is another, also while the good one is remembered.
func TestMutations(t *testing.T) {
	b := hostile(t)
	libtrust, _ := ids(t, "RSA")
	random := mathrand.New(mathrand.NewPCG(1, 2))
	for _, raw := range []string{good(t, "RSA", libtrust, nil), good(t, "Ed25519", "k", nil)} {
		b.accept(t, raw)
		for range 1000 {
			m := []byte(raw)
			i := random.IntN(len(m))
			switch random.IntN(3) {
			case 0:
				m[i] = byte(random.IntN(256))
			case 1:
				m = append(m[:i], m[i+1:]...)
			case 2:
				m[i] ^= 1 << random.IntN(8)
			}
			if string(m) != raw {
				b.refuse(t, string(m))
			}
		}
	}
}
