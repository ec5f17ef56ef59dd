package token

import (
	"bytes"
	"compress/flate"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	mathrand "math/rand/v2"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

// header is what our own tokens have.
func (b *bench) header() map[string]any {
	return map[string]any{"typ": "JWT", "alg": "ES256", "kid": b.key.public.keyID}
}

func (b *bench) payload(t testing.TB) string {
	t.Helper()
	data, err := json.Marshal(toWire(b.claims()))
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

// forge makes a token of any header and payload; a key makes an ES256 signature, bytes an HS256 one, nil none.
func (b *bench) forge(t testing.TB, header map[string]any, payload string, secret any) string {
	t.Helper()
	head, err := json.Marshal(header)
	if err != nil {
		t.Fatal(err)
	}
	text := encode(head) + "." + encode([]byte(payload))
	switch k := secret.(type) {
	case *Key:
		sum := sha256.Sum256([]byte(text))
		r, s, err := ecdsa.Sign(rand.Reader, ecPrivate(k), sum[:])
		if err != nil {
			t.Fatal(err)
		}
		return text + "." + encode(append(r.FillBytes(make([]byte, 32)), s.FillBytes(make([]byte, 32))...))
	case []byte:
		mac := hmac.New(sha256.New, k)
		mac.Write([]byte(text))
		return text + "." + encode(mac.Sum(nil))
	}
	return text + "."
}

// with returns our header with some members changed; nil takes one out.
func (b *bench) with(changes map[string]any) map[string]any {
	h := b.header()
	for name, value := range changes {
		if h[name] = value; value == nil {
			delete(h, name)
		}
	}
	return h
}

// certificate returns the DER of a certificate for k, signed by ca or by itself.
func certificate(t testing.TB, k, ca *Key, notAfter time.Time) string {
	t.Helper()
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "token"}, NotAfter: notAfter, IsCA: k == ca}
	der, err := x509.CreateCertificate(rand.Reader, template, template, k.private.Public(), ca.private)
	if err != nil {
		t.Fatal(err)
	}
	return base64.StdEncoding.EncodeToString(der)
}

// TestForgedHeaders is T-SEC-04: whatever a header brings along or points to, the key is looked up by kid among ours.
func TestForgedHeaders(t *testing.T) {
	b := newBench(t)
	evil, ca := newTestKey(t), newTestKey(t)
	point, err := ec(evil).Bytes()
	if err != nil {
		t.Fatal(err)
	}
	jwkOf := func(kid string) map[string]any {
		return map[string]any{"kty": "EC", "crv": "P-256", "alg": "ES256", "kid": kid, "x": encode(point[1:33]), "y": encode(point[33:])}
	}
	good := b.at.Add(time.Hour)
	der, err := x509.MarshalPKIXPublicKey(b.key.public.key)
	if err != nil {
		t.Fatal(err)
	}
	ours, err := ec(b.key).Bytes()
	if err != nil {
		t.Fatal(err)
	}
	block := pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})

	for name, header := range map[string]map[string]any{
		"right kid, wrong key":            nil,
		"kid missing":                     {"kid": nil},
		"kid empty":                       {"kid": ""},
		"kid a number":                    {"kid": 1},
		"kid a list":                      {"kid": []string{b.key.public.keyID}},
		"kid of the other key":            {"kid": evil.public.keyID},
		"kid a path":                      {"kid": "../../etc/passwd"},
		"jwk with our kid":                {"jwk": jwkOf(b.key.public.keyID)},
		"jwk with its own kid":            {"kid": evil.public.keyID, "jwk": jwkOf(evil.public.keyID)},
		"jwk alone":                       {"kid": nil, "jwk": jwkOf(b.key.public.keyID)},
		"jku":                             {"jku": "http://127.0.0.1:1/jwks.json"},
		"x5u":                             {"x5u": "http://127.0.0.1:1/cert.pem"},
		"x5c self-signed":                 {"x5c": []string{certificate(t, evil, evil, good)}},
		"x5c self-signed, no kid":         {"kid": nil, "x5c": []string{certificate(t, evil, evil, good)}},
		"x5c of another CA":               {"x5c": []string{certificate(t, evil, ca, good), certificate(t, ca, ca, good)}},
		"x5c expired":                     {"x5c": []string{certificate(t, evil, ca, good.Add(-24*time.Hour))}},
		"x5c of our key, signed by other": {"x5c": []string{certificate(t, b.key, b.key, good)}},
		"x5t":                             {"x5t": "x", "x5t#S256": "x"},
		"alg missing":                     {"alg": nil},
		"alg a number":                    {"alg": 256},
		"alg lower-case":                  {"alg": "es256"},
		"alg ES384":                       {"alg": "ES384"},
		"alg RS256":                       {"alg": "RS256"},
		"alg EdDSA":                       {"alg": "EdDSA"},
		"alg none":                        {"alg": "none"},
	} {
		t.Run(name, func(t *testing.T) { b.mustRefuse(t, b.forge(t, b.with(header), b.payload(t), evil)) })
	}
	for name, secret := range map[string]any{
		"none": nil, "HS256 with the PEM": block, "HS256 with the DER": der, "HS256 with the point": ours, "HS256 with the kid": []byte(b.key.public.keyID),
		"HS256 with nothing": []byte{},
	} {
		for _, alg := range []string{"none", "None", "NONE", "HS256", "ES256", ""} {
			t.Run(name+" as "+alg, func(t *testing.T) {
				b.mustRefuse(t, b.forge(t, b.with(map[string]any{"alg": alg}), b.payload(t), secret))
			})
		}
	}
	t.Run("the other key's coordinates are not read", func(t *testing.T) {
		// Signed by us, with the attacker's material beside it: valid, because nobody looks at that.
		b.mustAccept(t, b.forge(t, b.with(map[string]any{"jwk": jwkOf("x"), "x5c": []string{"!"}, "jku": "!", "x5u": 1}), b.payload(t), b.key))
	})
	t.Run("thumbprint as kid", func(t *testing.T) {
		b.mustAccept(t, b.forge(t, b.with(map[string]any{"kid": b.key.public.thumbprint}), b.payload(t), b.key))
		b.mustRefuse(t, b.forge(t, b.with(map[string]any{"kid": b.key.public.thumbprint}), b.payload(t), evil))
	})
}

// TestHeadersThatChangeTheMeaning: even a signature of ours does not make up for these.
func TestHeadersThatChangeTheMeaning(t *testing.T) {
	b := newBench(t)
	for name, header := range map[string]map[string]any{
		"crit":              {"crit": []string{"exp"}},
		"crit empty":        {"crit": []string{}},
		"crit null":         {"crit": json.RawMessage("null")},
		"b64":               {"b64": false, "crit": []string{"b64"}},
		"b64 without crit":  {"b64": true},
		"zip":               {"zip": "DEF"},
		"enc":               {"enc": "A128GCM"},
		"typ of other use":  {"typ": "refresh+jwt"},
		"typ a number":      {"typ": 1},
		"other algorithm":   {"alg": "ES384"},
		"no algorithm":      {"alg": nil},
		"algorithm of HMAC": {"alg": "HS256"},
	} {
		t.Run(name, func(t *testing.T) { b.mustRefuse(t, b.forge(t, b.with(header), b.payload(t), b.key)) })
	}
	b.mustAccept(t, b.forge(t, b.with(map[string]any{"typ": nil}), b.payload(t), b.key))
	b.mustAccept(t, b.forge(t, b.with(map[string]any{"typ": "jwt"}), b.payload(t), b.key))
}

// TestClaimsOfOtherTypes is T-SEC-22, with signatures of ours: only the one form of each claim is read.
func TestClaimsOfOtherTypes(t *testing.T) {
	b := newBench(t)
	const iss, aud, exp = `"iss":"i"`, `"aud":"s"`, `"exp":1800000300`
	accept := func(name, payload string) {
		t.Run(name, func(t *testing.T) { b.mustAccept(t, b.forge(t, b.header(), payload, b.key)) })
	}
	refuse := func(name, payload string) {
		t.Run(name, func(t *testing.T) { b.mustRefuse(t, b.forge(t, b.header(), payload, b.key)) })
	}
	accept("plain", "{"+iss+","+aud+","+exp+"}")
	for _, v := range []string{`["s"]`, `["s","t"]`, `["t","s"]`, `[]`, `null`, `1`, `true`, `{}`, `{"s":1}`, `""`, `"S"`, `"s "`, `"s\u0000"`, `"ss"`, `"t"`} {
		refuse("aud "+v, "{"+iss+`,"aud":`+v+","+exp+"}")
	}
	refuse("aud missing", "{"+iss+","+exp+"}")
	for _, v := range []string{`["i"]`, `null`, `1`, `""`, `"I"`, `"i/"`, `"j"`} {
		refuse("iss "+v, `{"iss":`+v+","+aud+","+exp+"}")
	}
	refuse("iss missing", "{"+aud+","+exp+"}")
	for _, v := range []string{`"1800000300"`, `1800000300.5`, `1.8000003e9`, `1e300`, `-1`, `-1800000300`, `0`, `null`, `true`, `[1800000300]`, `{}`,
		`9223372036854775807`, `9223372036854775808`, `253402300800`, `18446744073709551615`, `""`, `"never"`} {
		refuse("exp "+v, "{"+iss+","+aud+`,"exp":`+v+"}")
	}
	refuse("exp missing", "{"+iss+","+aud+"}")
	accept("exp at the end of time", "{"+iss+","+aud+`,"exp":253402300799}`)
	for _, claim := range []string{"nbf", "iat"} {
		for _, v := range []string{`"1"`, `1.5`, `1e300`, `-1`, `true`, `[]`, `9223372036854775807`, `253402300800`} {
			refuse(claim+" "+v, "{"+iss+","+aud+","+exp+`,"`+claim+`":`+v+"}")
		}
	}
	refuse("nbf at the end of time", "{"+iss+","+aud+","+exp+`,"nbf":253402300799}`)
	for _, v := range []string{`"repository:a:pull"`, `1`, `{}`, `["repository:a:pull"]`, `[{"type":1}]`, `[{"actions":"*"}]`, `[{"name":["a"]}]`, `[[]]`} {
		refuse("access "+v, "{"+iss+","+aud+","+exp+`,"access":`+v+"}")
	}
	for _, v := range []string{`null`, `"x"`, `1`, `[]`, `{}`, ``, `{`} {
		refuse("payload "+v, v)
	}
	refuse("sub a number", "{"+iss+","+aud+","+exp+`,"sub":1}`)
	refuse("text behind", "{"+iss+","+aud+","+exp+"}{}")
}

// allocated returns how many bytes f allocates.
func allocated(f func()) uint64 {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	f()
	runtime.ReadMemStats(&after)
	return after.TotalAlloc - before.TotalAlloc
}

// TestDots is T-SEC-23: what a refusal costs does not grow with the number of dots.
func TestDots(t *testing.T) {
	b := newBench(t)
	for _, size := range []int{1, 2, 3, 100, MaxSize, MaxSize + 1, 1 << 20} {
		raw := strings.Repeat(".", size)
		b.mustRefuse(t, raw)
		if n := allocated(func() { _, _ = b.Verify(raw) }); n > 64<<10 {
			t.Errorf("%d dots: %d bytes allocated", size, n)
		}
	}
	long := "eyJ" + strings.Repeat("A", 1<<20) + ".e30.e30"
	b.mustRefuse(t, long)
	if n := allocated(func() { _, _ = b.Verify(long) }); n > 64<<10 {
		t.Errorf("a long header: %d bytes allocated", n)
	}
	padded := b.forge(t, b.with(map[string]any{"pad": strings.Repeat("A", MaxSize)}), b.payload(t), b.key)
	b.mustRefuse(t, padded) // however good its signature is
	head, rest, _ := strings.Cut(b.sign(t, b.claims()), ".")
	b.mustRefuse(t, head+"."+strings.Repeat(".", MaxSize-1000)+rest)
	b.mustRefuse(t, head+"."+rest+strings.Repeat(".", 1000))
}

// TestInvalidAndExpired is T-SEC-24: no error says only "expired" of a token that is also forged, and none has claims.
func TestInvalidAndExpired(t *testing.T) {
	b := newBench(t)
	c := b.claims()
	c.Expires = b.at.Add(-time.Hour)
	raw, err := newTestKey(t).Sign(c)
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(raw, ".")
	own, _, _ := strings.Cut(b.sign(t, c), ".")
	raw = own + "." + rest // our kid over the other's signature
	b.mustRefuse(t, raw)
	if _, err := b.Verify(raw); errors.Is(err, jwt.ErrTokenExpired) || strings.Contains(err.Error(), "expired") {
		t.Errorf("the signature was not the reason: %v", err)
	}
}

// TestOtherSerialisations is T-SEC-25: JWE, JSON serialisation, compressed payloads, several signatures.
func TestOtherSerialisations(t *testing.T) {
	b := newBench(t)
	raw := b.sign(t, b.claims())
	part := strings.Split(raw, ".")
	var packed bytes.Buffer
	w, err := flate.NewWriter(&packed, flate.BestCompression)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write([]byte(b.payload(t))); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	for name, hostile := range map[string]string{
		"empty":             "",
		"JWE":               encode([]byte(`{"alg":"dir","enc":"A128GCM"}`)) + "....",
		"JWE of our parts":  raw + "." + part[1] + "." + part[2],
		"flattened JSON":    fmt.Sprintf(`{"protected":%q,"payload":%q,"signature":%q}`, part[0], part[1], part[2]),
		"general JSON":      fmt.Sprintf(`{"payload":%q,"signatures":[{"protected":%q,"signature":%q}]}`, part[1], part[0], part[2]),
		"two signatures":    raw + "." + part[2],
		"no signature":      part[0] + "." + part[1],
		"empty signature":   part[0] + "." + part[1] + ".",
		"detached":          part[0] + ".." + part[2],
		"signature doubled": raw + part[2],
		"zip":               b.forge(t, b.with(map[string]any{"zip": "DEF"}), packed.String(), b.key),
		"zip unsaid":        b.forge(t, b.header(), packed.String(), b.key),
		"DER signature":     part[0] + "." + part[1] + "." + encode([]byte{0x30, 6, 2, 1, 1, 2, 1, 1}),
		"zero signature":    part[0] + "." + part[1] + "." + encode(make([]byte, 64)),
		"order signature":   part[0] + "." + part[1] + "." + encode(append(elliptic.P256().Params().N.Bytes(), elliptic.P256().Params().N.Bytes()...)),
		"Bearer":            "Bearer " + raw,
		"padded":            raw + "==",
		"line break":        raw[:len(raw)-1] + "\n" + raw[len(raw)-1:],
		"line break inside": raw[:5] + "\r\n" + raw[5:],
		"space":             raw + " ",
		"NUL":               raw + "\x00",
		"list of tokens":    raw + "," + raw,
	} {
		t.Run(name, func(t *testing.T) { b.mustRefuse(t, hostile) })
	}
}

// mutate changes raw in one way that the numbers choose.
func mutate(raw string, how, where int, with byte) string {
	b := []byte(raw)
	i := where % len(b)
	switch how % 6 {
	case 0:
		b[i] = with
	case 1:
		b = append(b[:i], append([]byte{with}, b[i:]...)...)
	case 2:
		b = append(b[:i], b[i+1:]...)
	case 3:
		b = b[:i]
	case 4:
		j := int(with) * 7 % len(b)
		b[i], b[j] = b[j], b[i]
	case 5:
		b[i] ^= 1 << (with % 8)
	}
	return string(b)
}

// FuzzVerify holds the verifier to F11: no mutation of a good token is accepted, with the good one in the cache or not.
func FuzzVerify(f *testing.F) {
	b := newBench(f)
	raw := b.sign(f, b.claims())
	for how := range 6 {
		f.Add(how, how*97, byte('A'+how), how, len(raw)-1, byte('.'))
	}
	f.Fuzz(func(t *testing.T, how1, where1 int, with1 byte, how2, where2 int, with2 byte) {
		if how1 < 0 || where1 < 0 || how2 < 0 || where2 < 0 {
			return
		}
		b.mustAccept(t, raw)
		once := mutate(raw, how1, where1, with1)
		if once != raw {
			b.mustRefuse(t, once)
		}
		if once == "" {
			return
		}
		if twice := mutate(once, how2, where2, with2); twice != raw {
			b.mustRefuse(t, twice)
		}
	})
}

func TestMutations(t *testing.T) {
	b := newBench(t)
	raw := b.sign(t, b.claims())
	b.mustAccept(t, raw)
	random := mathrand.New(mathrand.NewPCG(1, 2))
	for range 5000 {
		if m := mutate(raw, random.IntN(6), random.IntN(len(raw)), byte(random.IntN(256))); m != raw {
			b.mustRefuse(t, m)
		}
	}
	// Every other last character of every part: those that differ only in bits that base64 throws away are the point.
	const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
	for i := range len(raw) {
		if i+1 < len(raw) && raw[i+1] != '.' {
			continue
		}
		for _, c := range []byte(alphabet) {
			if m := raw[:i] + string(c) + raw[i+1:]; m != raw {
				b.mustRefuse(t, m)
			}
		}
	}
}
