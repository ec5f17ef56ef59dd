package token

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/hmac"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"math/big"
	"os"
	"slices"
	"strings"
	"testing"
	"time"
)

// algorithms are those that tokens are signed with.
var algorithms = []string{ES256, RS256, EdDSA}

func newKeyFor(t testing.TB, algorithm string) *Key {
	t.Helper()
	k, err := GenerateKeyFor(algorithm)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// TestLAIN has the id that LAIN's console writes into its tokens as a literal, and the certificate that LAIN's registry finds by it.
func TestLAIN(t *testing.T) {
	data, err := os.ReadFile("testdata/lain.pem")
	if err != nil {
		t.Fatal(err)
	}
	c, err := ParseCertificate(data)
	if err != nil {
		t.Fatal(err)
	}
	p, err := NewPublicKey(c.PublicKey)
	if err != nil {
		t.Fatal(err)
	}
	if p.KeyID() != "A4TG:6YYF:IFNY:HJ4R:SKIJ:XPSE:E4X2:RZQD:26I6:EM5U:57R2:ESAY" || p.Algorithm() != RS256 || !p.Matches(c) {
		t.Errorf("%s, %s", p.KeyID(), p.Algorithm())
	}
	if newKeyFor(t, ES256).Public().Matches(c) {
		t.Error("another key matches the certificate")
	}
}

// TestAlgorithms signs with each, verifies it with ours and without the JWT library, and finds the key by either id.
func TestAlgorithms(t *testing.T) {
	for _, algorithm := range algorithms {
		t.Run(algorithm, func(t *testing.T) {
			b := newBench(t)
			b.key = newKeyFor(t, algorithm)
			b.keys = []PublicKey{newTestKey(t).Public(), b.key.Public()}
			raw := b.sign(t, b.claims())
			cold := b.mustAccept(t, raw)
			if warm := b.mustAccept(t, raw); warm != cold {
				t.Error("it was not found in the cache")
			}
			if n := testing.AllocsPerRun(100, func() { b.mustAccept(t, raw) }); n != 0 {
				t.Errorf("%v allocations", n)
			}
			part := strings.Split(raw, ".")
			sum := sha256.Sum256([]byte(part[0] + "." + part[1]))
			signature := decode(t, part[2])
			good := false
			switch k := b.key.Public().Material().(type) {
			case *ecdsa.PublicKey:
				good = len(signature) == 64 && ecdsa.Verify(k, sum[:], new(big.Int).SetBytes(signature[:32]), new(big.Int).SetBytes(signature[32:]))
			case *rsa.PublicKey:
				good = rsa.VerifyPKCS1v15(k, crypto.SHA256, sum[:], signature) == nil
			case ed25519.PublicKey:
				good = ed25519.Verify(k, []byte(part[0]+"."+part[1]), signature)
			}
			if !good {
				t.Error("the signature is wrong")
			}
			var header map[string]string
			if err := json.Unmarshal(decode(t, part[0]), &header); err != nil || len(header) != 3 || header["alg"] != algorithm ||
				header["kid"] != keyIDBySpec(t, b.key.Public().Material()) {
				t.Errorf("header %v, %v", header, err)
			}
			b.mustAccept(t, forgeWith(t, b.key, map[string]any{"kid": b.key.Public().Thumbprint()}, b.payload(t)))
			data, err := b.key.PEM()
			if err != nil {
				t.Fatal(err)
			}
			back, err := ParseKey(data)
			if err != nil || back.Public().KeyID() != b.key.Public().KeyID() || back.Public().Algorithm() != algorithm {
				t.Errorf("read again: %v", err)
			}
			if k, err := NewPublicKey(b.key.Public().Material()); err != nil || k.KeyID() != b.key.Public().KeyID() {
				t.Errorf("its public key: %v", err)
			}
		})
	}
	if _, err := GenerateKeyFor("HS256"); err == nil {
		t.Error("a key for HS256")
	}
}

// forgeWith makes a token with k that its algorithm's signature is right for, whatever changes say in the header.
func forgeWith(t testing.TB, k *Key, changes map[string]any, payload string) string {
	t.Helper()
	header := map[string]any{"typ": "JWT", "alg": k.public.algorithm, "kid": k.public.keyID}
	for name, value := range changes {
		if header[name] = value; value == nil {
			delete(header, name)
		}
	}
	head, err := json.Marshal(header)
	if err != nil {
		t.Fatal(err)
	}
	text := encode(head) + "." + encode([]byte(payload))
	signature, err := methods[k.public.algorithm].Sign(text, k.private)
	if err != nil {
		t.Fatal(err)
	}
	return text + "." + encode(signature)
}

// secrets are what an HMAC key might be taken from by a verifier that does not look at the algorithm.
func secrets(t *testing.T, k PublicKey) map[string][]byte {
	t.Helper()
	der, err := x509.MarshalPKIXPublicKey(k.Material())
	if err != nil {
		t.Fatal(err)
	}
	jwks, err := MarshalJWKS([]PublicKey{k})
	if err != nil {
		t.Fatal(err)
	}
	all := map[string][]byte{
		"PEM": pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}), "DER": der, "JWKS": jwks, "kid": []byte(k.KeyID()), "nothing": {},
	}
	switch pub := k.Material().(type) {
	case *rsa.PublicKey:
		all["PKCS1"] = x509.MarshalPKCS1PublicKey(pub)
		all["PKCS1 PEM"] = pem.EncodeToMemory(&pem.Block{Type: "RSA PUBLIC KEY", Bytes: all["PKCS1"]})
		all["n"] = pub.N.Bytes()
	case ed25519.PublicKey:
		all["x"] = pub
	case *ecdsa.PublicKey:
		if all["point"], err = pub.Bytes(); err != nil {
			t.Fatal(err)
		}
	}
	return all
}

// TestHostileByAlgorithm is T-SEC-04 for a key of each algorithm: no other one, and no key that the token brings along, will do.
func TestHostileByAlgorithm(t *testing.T) {
	all := map[string]*Key{}
	for _, algorithm := range algorithms {
		all[algorithm] = newKeyFor(t, algorithm)
	}
	for _, algorithm := range algorithms {
		t.Run(algorithm, func(t *testing.T) {
			b := newBench(t)
			b.key, b.keys = all[algorithm], nil
			for _, k := range all {
				b.keys = append(b.keys, k.Public())
			}
			b.mustAccept(t, forgeWith(t, b.key, nil, b.payload(t)))
			evil := newKeyFor(t, algorithm)
			der, err := evil.SelfSigned(b.at, b.at.Add(time.Hour))
			if err != nil {
				t.Fatal(err)
			}
			x5c := base64.StdEncoding.EncodeToString(der)
			jwks, err := MarshalJWKS([]PublicKey{evil.Public()})
			if err != nil {
				t.Fatal(err)
			}
			var set struct{ Keys []map[string]any }
			if err := json.Unmarshal(jwks, &set); err != nil {
				t.Fatal(err)
			}
			jwk := set.Keys[0]
			jwk["kid"] = b.key.Public().KeyID()
			for name, header := range map[string]map[string]any{
				"its own kid":    nil,
				"our kid":        {"kid": b.key.Public().KeyID()},
				"our thumbprint": {"kid": b.key.Public().Thumbprint()},
				"jwk":            {"kid": b.key.Public().KeyID(), "jwk": jwk},
				"jwk alone":      {"kid": nil, "jwk": jwk},
				"jku":            {"kid": b.key.Public().KeyID(), "jku": "http://127.0.0.1:1/"},
				"x5u":            {"kid": b.key.Public().KeyID(), "x5u": "http://127.0.0.1:1/"},
				"x5c":            {"kid": b.key.Public().KeyID(), "x5c": []string{x5c}},
				"x5c alone":      {"kid": nil, "x5c": []string{x5c}},
			} {
				t.Run(name, func(t *testing.T) { b.mustRefuse(t, forgeWith(t, evil, header, b.payload(t))) })
			}
			// A signature of ours, with another's key beside it: that is not looked at.
			b.mustAccept(t, forgeWith(t, b.key, map[string]any{"x5c": []string{x5c}, "jwk": jwk, "jku": "!", "x5u": 1}, b.payload(t)))

			for _, other := range algorithms {
				if other != algorithm { // a key of ours of another kind, under this one's kid
					b.mustRefuse(t, forgeWith(t, all[other], map[string]any{"kid": b.key.Public().KeyID()}, b.payload(t)))
					b.mustRefuse(t, forgeWith(t, all[other], map[string]any{"kid": b.key.Public().KeyID(), "alg": algorithm}, b.payload(t)))
					b.mustRefuse(t, forgeWith(t, b.key, map[string]any{"alg": other}, b.payload(t)))
				}
			}
			for _, alg := range []any{"none", "None", "", nil, 1, []string{algorithm}, "ES384", "RS384", "RS512", "PS256", "HS256",
				strings.ToLower(algorithm), algorithm + " "} {
				b.mustRefuse(t, forgeWith(t, b.key, map[string]any{"alg": alg}, b.payload(t)))
			}
			b.refuseMACs(t)
		})
	}
}

// refuseMACs tries what is public of the bench's key as the key of an HMAC, and no signature at all.
func (b *bench) refuseMACs(t *testing.T) {
	for name, secret := range secrets(t, b.key.Public()) {
		for _, alg := range []string{"HS256", "none", b.key.Public().Algorithm()} {
			head, _, _ := strings.Cut(forgeWith(t, b.key, map[string]any{"alg": alg}, b.payload(t)), ".")
			text := head + "." + encode([]byte(b.payload(t)))
			mac := hmac.New(sha256.New, secret)
			mac.Write([]byte(text))
			t.Run(alg+" with "+name, func(t *testing.T) {
				b.mustRefuse(t, text+"."+encode(mac.Sum(nil)))
				b.mustRefuse(t, text+".")
			})
		}
	}
}

// TestPS256: an RSA key of ours signs RS256 only, though its PSS signature is as good.
func TestPS256(t *testing.T) {
	b := newBench(t)
	b.key = newKeyFor(t, RS256)
	b.keys = []PublicKey{b.key.Public()}
	for _, alg := range []string{"PS256", RS256} {
		head, err := json.Marshal(map[string]any{"typ": "JWT", "alg": alg, "kid": b.key.Public().KeyID()})
		if err != nil {
			t.Fatal(err)
		}
		text := encode(head) + "." + encode([]byte(b.payload(t)))
		sum := sha256.Sum256([]byte(text))
		private, salted := b.key.private.(*rsa.PrivateKey), &rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthEqualsHash}
		signature, err := rsa.SignPSS(rand.Reader, private, crypto.SHA256, sum[:], salted)
		if err != nil {
			t.Fatal(err)
		}
		b.mustRefuse(t, text+"."+encode(signature))
	}
}

// TestRSASizes: 2048 to 4096 bits, in a file too.
func TestRSASizes(t *testing.T) {
	t.Setenv("GODEBUG", "rsa1024min=0")
	for bits, want := range map[int]bool{1024: false, 2047: false, 2048: true, 4096: true, 4097: false} {
		n := new(big.Int).Lsh(big.NewInt(1), uint(bits-1))
		_, err := NewPublicKey(&rsa.PublicKey{N: n.Add(n, big.NewInt(1)), E: 65537})
		if (err == nil) != want {
			t.Errorf("%d bits: %v", bits, err)
		}
	}
	n := new(big.Int).Lsh(big.NewInt(1), 2047)
	for _, e := range []int{0, 1, 2, 65536} {
		if _, err := NewPublicKey(&rsa.PublicKey{N: n, E: e}); err == nil {
			t.Errorf("exponent %d: no error", e)
		}
	}
	small, err := rsa.GenerateKey(rand.Reader, 1024)
	if err != nil {
		t.Fatal(err)
	}
	text := pem.EncodeToMemory(&pem.Block{Type: pemPKCS1, Bytes: x509.MarshalPKCS1PrivateKey(small)})
	if _, err := ParseKey(text); err == nil || !strings.Contains(err.Error(), "2048") {
		t.Errorf("a key of 1024 bits: %v", err)
	}
}

// TestKeyFiles has the forms in which openssl writes a key.
func TestKeyFiles(t *testing.T) {
	rsaKey, ecKey := newKeyFor(t, RS256), newKeyFor(t, ES256)
	sec1, err := x509.MarshalECPrivateKey(ecPrivate(ecKey))
	if err != nil {
		t.Fatal(err)
	}
	p384, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	sec1of384, err := x509.MarshalECPrivateKey(p384)
	if err != nil {
		t.Fatal(err)
	}
	block := func(kind string, der []byte) string {
		return string(pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}))
	}
	pkcs1 := block(pemPKCS1, x509.MarshalPKCS1PrivateKey(rsaKey.private.(*rsa.PrivateKey)))
	curve := block(pemCurve, []byte{6, 8, 0x2a, 0x86, 0x48, 0xce, 0x3d, 3, 1, 7})
	for name, f := range map[string]struct {
		text string
		want *Key
	}{
		"PKCS #1":                 {pkcs1, rsaKey},
		"SEC 1":                   {block(pemSEC1, sec1), ecKey},
		"SEC 1 behind its curve":  {curve + block(pemSEC1, sec1), ecKey},
		"text before":             {"Bag Attributes\n" + pkcs1, rsaKey},
		"P-384":                   {block(pemSEC1, sec1of384), nil},
		"a curve alone":           {curve, nil},
		"two keys":                {pkcs1 + pkcs1, nil},
		"a certificate":           {block(pemCertificate, []byte("x")), nil},
		"PKCS #1 of an EC key":    {block(pemPKCS1, sec1), nil},
		"encrypted":               {block("ENCRYPTED PRIVATE KEY", []byte("x")), nil},
		"encrypted in the header": {strings.Replace(pkcs1, "-----\n", "-----\nProc-Type: 4,ENCRYPTED\nDEK-Info: AES-128-CBC,00\n\n", 1), nil},
	} {
		got, err := ParseKey([]byte(f.text))
		switch {
		case f.want == nil && err == nil:
			t.Errorf("%s: no error", name)
		case f.want == nil:
			if len(f.text) > 300 && strings.Contains(err.Error(), f.text[200:220]) {
				t.Errorf("%s: the error quotes the key: %v", name, err)
			}
			if strings.HasPrefix(name, "encrypted") != errors.Is(err, errEncrypted) {
				t.Errorf("%s: %v", name, err)
			}
		case err != nil || got.Public().KeyID() != f.want.Public().KeyID():
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestWithChain: certificates go into the header as RFC 7515 has them, and our own verifier takes no notice.
func TestWithChain(t *testing.T) {
	b := newBench(t)
	plain := b.key
	der, err := b.key.SelfSigned(b.at, b.at.Add(time.Hour))
	if err != nil {
		t.Fatal(err)
	}
	b.key = plain.WithChain(der)
	raw := b.sign(t, b.claims())
	b.mustAccept(t, raw)
	var header struct{ X5C []string }
	want := []string{base64.StdEncoding.EncodeToString(der)}
	if err := json.Unmarshal(decode(t, strings.Split(raw, ".")[0]), &header); err != nil || !slices.Equal(header.X5C, want) {
		t.Errorf("header %v, %v", header, err)
	}
	if b.key.Public() != plain.Public() || strings.Contains(b.key.chain[0], "_") {
		t.Error("the key with certificates is another one")
	}
	b.key = b.key.WithChain()
	if strings.Contains(string(decode(t, strings.Split(b.sign(t, b.claims()), ".")[0])), "x5c") {
		t.Error("certificates stay")
	}
}

// TestMarshalJWKSOfEachType reads the entries of RSA and Ed25519 keys as RFC 7518 and RFC 8037 have them.
func TestMarshalJWKSOfEachType(t *testing.T) {
	r, e := newKeyFor(t, RS256), newKeyFor(t, EdDSA)
	data, err := MarshalJWKS([]PublicKey{r.Public(), e.Public()})
	if err != nil {
		t.Fatal(err)
	}
	var set struct{ Keys []map[string]string }
	if err := json.Unmarshal(data, &set); err != nil || len(set.Keys) != 4 {
		t.Fatalf("%s, %v", data, err)
	}
	for i, entry := range set.Keys {
		k := []*Key{r, e}[i/2]
		want := []string{k.Public().KeyID(), k.Public().Thumbprint()}[i%2]
		if entry["kid"] != want || entry["alg"] != k.Public().Algorithm() || entry["use"] != "sig" {
			t.Errorf("entry %d is %v", i, entry)
		}
		var pub interface{ Equal(crypto.PublicKey) bool }
		switch entry["kty"] {
		case "RSA":
			pub = &rsa.PublicKey{N: new(big.Int).SetBytes(decode(t, entry["n"])), E: int(new(big.Int).SetBytes(decode(t, entry["e"])).Int64())}
		case "OKP":
			pub = ed25519.PublicKey(decode(t, entry["x"]))
		}
		if pub == nil || !pub.Equal(k.Public().Material()) || (entry["kty"] == "OKP") != (entry["crv"] == "Ed25519") {
			t.Errorf("entry %d has another key: %v", i, entry)
		}
	}
}

// TestParseCertificate: one certificate, and nothing else.
func TestParseCertificate(t *testing.T) {
	k := newKeyFor(t, EdDSA)
	der, err := k.SelfSigned(time.Unix(1_800_000_000, 0), time.Unix(1_900_000_000, 0))
	if err != nil {
		t.Fatal(err)
	}
	text := MarshalPEM(der)
	if c, err := ParseCertificate(text); err != nil || !k.Public().Matches(c) {
		t.Error(err)
	}
	for name, bad := range map[string][]byte{
		"empty": nil, "two": MarshalPEM(der, der), "cut": text[:len(text)/2], "no DER": MarshalPEM([]byte("x")),
		"a key": pem.EncodeToMemory(&pem.Block{Type: pemType, Bytes: der}),
	} {
		if _, err := ParseCertificate(bad); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}
