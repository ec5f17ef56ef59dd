package token

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base32"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"strings"
	"testing"
	"time"
)

func decode(t *testing.T, s string) []byte {
	t.Helper()
	b, err := base64.RawURLEncoding.Strict().DecodeString(s)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// TestVectors has the ids that specifications and the registry's documentation publish for keys they print.
func TestVectors(t *testing.T) {
	point := append([]byte{4}, decode(t, "m7zUpx3b-zmVE5cymSs64POG9QcyEpJaYCD82-549_Q")...)
	ec, err := ecdsa.ParseUncompressedPublicKey(elliptic.P256(), append(point, decode(t, "dU3biz8sZ_8GPB-odm8Wxz3lNDr1xcAQQPQaOcr1fmc")...))
	if err != nil {
		t.Fatal(err)
	}
	n := decode(t, "0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7aPFFxuhDR1L6tSoc_BJECPebWKRXjBZCiFV4n3oknjhMstn64tZ_2W"+
		"-5JsGY4Hc5n9yBXArwl93lqt7_RN5w6Cf0h4QyQ5v-65YGjQR0_FDW2QvzqY368QQMicAtaSqzs8KJZgnYb9c7d0zgdAZHzu6qMQvRL5hajrn1n91CbOpbISD08qNLyrdkt-"+
		"bFTWhAI4vMQFh6WeZu0fM4lFd2NcRwr3XPksINHaQ-G_xBniIqbw0Ls1jF44-csFCur-kEgU8awapJzKnqDKgw")
	for _, tt := range []struct {
		name              string
		pub               crypto.PublicKey
		keyID, thumbprint string
	}{
		{"EC of distribution's token documentation", ec,
			"PYYO:TEWU:V7JH:26JV:AQTZ:LJC3:SXVJ:XGHA:34F2:2LAQ:ZRMK:Z7Q6", "8qjioA3ZA7ti2JIE7c-U8smBFuZolQZvhSHDPU3hhB8"},
		{"RSA of RFC 7638 section 3.1", &rsa.PublicKey{N: new(big.Int).SetBytes(n), E: 65537},
			"", "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs"},
		{"Ed25519 of RFC 8037 appendix A.3", ed25519.PublicKey(decode(t, "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo")),
			"", "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got, err := Thumbprint(tt.pub); err != nil || got != tt.thumbprint {
				t.Errorf("Thumbprint = %q, %v, want %q", got, err, tt.thumbprint)
			}
			if tt.keyID == "" {
				return
			}
			if got, err := KeyID(tt.pub); err != nil || got != tt.keyID {
				t.Errorf("KeyID = %q, %v, want %q", got, err, tt.keyID)
			}
		})
	}
}

// keyIDBySpec is the id as distribution's documentation describes it, written a second time.
func keyIDBySpec(t *testing.T, pub crypto.PublicKey) string {
	t.Helper()
	der, err := x509.MarshalPKIXPublicKey(pub)
	if err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256(der)
	s := base32.StdEncoding.EncodeToString(sum[:30])
	var groups []string
	for ; s != ""; s = s[4:] {
		groups = append(groups, s[:4])
	}
	return strings.Join(groups, ":")
}

func TestKeyIDAgreesWithItsDescription(t *testing.T) {
	rsaKey, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	pubs := []crypto.PublicKey{&rsaKey.PublicKey}
	for _, curve := range []elliptic.Curve{elliptic.P256(), elliptic.P384(), elliptic.P521()} {
		k, err := ecdsa.GenerateKey(curve, rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		pubs = append(pubs, &k.PublicKey)
	}
	for _, pub := range pubs {
		if got, err := KeyID(pub); err != nil || got != keyIDBySpec(t, pub) {
			t.Errorf("KeyID(%T) = %q, %v, want %q", pub, got, err, keyIDBySpec(t, pub))
		}
	}
	// libtrust has no id for Ed25519: ours is made alike.
	ed, _, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := KeyID(ed); err != nil || got != keyIDBySpec(t, ed) {
		t.Errorf("KeyID of an Ed25519 key = %q, %v, want %q", got, err, keyIDBySpec(t, ed))
	}
	if got, err := Thumbprint("no key"); err == nil {
		t.Errorf("a string got the thumbprint %q", got)
	}
}

// TestThumbprintPads looks for a key with a leading zero in X, which unpadded implementations get wrong.
func TestThumbprintPads(t *testing.T) {
	for {
		k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		point, err := k.PublicKey.Bytes()
		if err != nil {
			t.Fatal(err)
		}
		if point[1] != 0 {
			continue
		}
		x, y := base64.RawURLEncoding.EncodeToString(point[1:33]), base64.RawURLEncoding.EncodeToString(point[33:])
		sum := sha256.Sum256(fmt.Appendf(nil, `{"crv":"P-256","kty":"EC","x":"%s","y":"%s"}`, x, y))
		want := base64.RawURLEncoding.EncodeToString(sum[:])
		if got, err := Thumbprint(&k.PublicKey); err != nil || got != want {
			t.Errorf("Thumbprint = %q, %v, want %q", got, err, want)
		}
		return
	}
}

func TestGeneratedKeysHaveFullCoordinates(t *testing.T) {
	// One key in 128 would have a short one: 1,500 keys without are no luck.
	for range 1500 {
		k, err := GenerateKey()
		if err != nil {
			t.Fatal(err)
		}
		x, y, err := coordinates(ec(k))
		if err != nil || len(x) != 32 || len(y) != 32 || x[0] == 0 || y[0] == 0 {
			t.Fatalf("x %x, y %x, %v", x, y, err)
		}
	}
}

func newTestKey(t testing.TB) *Key {
	t.Helper()
	k, err := GenerateKey()
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// ec and ecPrivate are the halves of a key for ES256.
func ec(k *Key) *ecdsa.PublicKey { return &ecPrivate(k).PublicKey }

func ecPrivate(k *Key) *ecdsa.PrivateKey { return k.private.(*ecdsa.PrivateKey) }

func TestKeyPEM(t *testing.T) {
	k := newTestKey(t)
	data, err := k.PEM()
	if err != nil {
		t.Fatal(err)
	}
	back, err := ParseKey(data)
	if err != nil {
		t.Fatal(err)
	}
	if !ecPrivate(back).Equal(ecPrivate(k)) || back.Public().KeyID() != k.Public().KeyID() || back.Public().Thumbprint() != k.Public().Thumbprint() {
		t.Error("the key that was read is another one")
	}

	pkcs8 := func(key any) []byte {
		der, err := x509.MarshalPKCS8PrivateKey(key)
		if err != nil {
			t.Fatal(err)
		}
		return pem.EncodeToMemory(&pem.Block{Type: pemType, Bytes: der})
	}
	p384, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	for name, bad := range map[string][]byte{
		"empty":      nil,
		"no PEM":     []byte("key"),
		"cut":        data[:len(data)/2],
		"flipped":    bytes.Replace(data, data[100:101], []byte("!"), 1),
		"other type": pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: []byte("x")}),
		"no DER":     pem.EncodeToMemory(&pem.Block{Type: pemType, Bytes: []byte("x")}),
		"two":        append(bytes.Clone(data), data...),
		"P-384":      pkcs8(p384),
	} {
		if _, err := ParseKey(bad); err == nil {
			t.Errorf("%s: no error", name)
		} else if len(bad) > 40 && strings.Contains(err.Error(), string(bad[40:60])) {
			t.Errorf("%s: the error quotes the key: %v", name, err)
		}
	}
}

// TestSign reads a token with nothing but the standard library, as another verifier would.
func TestSign(t *testing.T) {
	k := newTestKey(t)
	at := time.Unix(1_800_000_000, 999)
	raw, err := k.Sign(Claims{Issuer: "i", Subject: "alice", Audience: "s", Expires: at.Add(300 * time.Second),
		NotBefore: at.Add(-Leeway), IssuedAt: at, Access: []Access{{Type: "repository", Name: "a", Actions: []string{"pull"}}}})
	if err != nil {
		t.Fatal(err)
	}
	parts := strings.Split(raw, ".")
	if len(parts) != 3 {
		t.Fatalf("%d parts", len(parts))
	}
	var header map[string]string
	if err := json.Unmarshal(decode(t, parts[0]), &header); err != nil {
		t.Fatal(err)
	}
	if len(header) != 3 || header["typ"] != "JWT" || header["alg"] != "ES256" || header["kid"] != keyIDBySpec(t, ec(k)) {
		t.Errorf("header %v", header)
	}
	payload := string(decode(t, parts[1]))
	var claims struct {
		ID string `json:"jti"`
	}
	if err := json.Unmarshal([]byte(payload), &claims); err != nil {
		t.Fatal(err)
	}
	if len(claims.ID) < 22 { // 128 bits in base64, the shortest text there is
		t.Errorf("jti %q", claims.ID)
	}
	want := `{"iss":"i","sub":"alice","aud":"s","exp":1800000300,"nbf":1799999940,"iat":1800000000,"jti":"` + claims.ID +
		`","access":[{"type":"repository","name":"a","actions":["pull"]}]}`
	if payload != want {
		t.Errorf("claims %s, want %s", payload, want)
	}
	sum, sig := sha256.Sum256([]byte(parts[0]+"."+parts[1])), decode(t, parts[2])
	if !ecdsa.Verify(ec(k), sum[:], new(big.Int).SetBytes(sig[:32]), new(big.Int).SetBytes(sig[32:])) {
		t.Error("the signature is wrong")
	}
}

func TestSignEdges(t *testing.T) {
	k := newTestKey(t)
	good := Claims{Issuer: "i", Audience: "s", Expires: time.Unix(1_800_000_000, 0)}
	ids := map[string]bool{}
	for range 100 {
		raw, err := k.Sign(good)
		if err != nil {
			t.Fatal(err)
		}
		payload := string(decode(t, strings.Split(raw, ".")[1]))
		if !strings.Contains(payload, `"access":[]`) || !strings.Contains(payload, `"sub":""`) {
			t.Fatalf("anonymous claims %s", payload)
		}
		_, id, _ := strings.Cut(payload, `"jti":`)
		if ids[id] {
			t.Fatalf("jti %s twice", id)
		}
		ids[id] = true
	}
	for name, c := range map[string]Claims{
		"no issuer":   {Audience: "s", Expires: good.Expires},
		"no audience": {Issuer: "i", Expires: good.Expires},
		"no expiry":   {Issuer: "i", Audience: "s"},
	} {
		if _, err := k.Sign(c); err == nil {
			t.Errorf("%s: signed", name)
		}
	}
	for i := range MaxSize / 100 {
		good.Access = append(good.Access, Access{Type: "repository", Name: fmt.Sprintf("%0100d", i), Actions: []string{"pull"}})
	}
	if _, err := k.Sign(good); !errors.Is(err, ErrTooLarge) {
		t.Errorf("a token beyond MaxSize: %v", err)
	}
}

func TestMarshalJWKS(t *testing.T) {
	a, b := newTestKey(t), newTestKey(t)
	data, err := MarshalJWKS([]PublicKey{a.Public(), b.Public()})
	if err != nil {
		t.Fatal(err)
	}
	var set struct{ Keys []map[string]string }
	if err := json.Unmarshal(data, &set); err != nil {
		t.Fatal(err)
	}
	want := []string{a.public.keyID, a.public.thumbprint, b.public.keyID, b.public.thumbprint}
	if len(set.Keys) != len(want) {
		t.Fatalf("%d entries: %s", len(set.Keys), data)
	}
	for i, entry := range set.Keys {
		k := []*Key{a, b}[i/2]
		point := append(append([]byte{4}, decode(t, entry["x"])...), decode(t, entry["y"])...)
		pub, err := ecdsa.ParseUncompressedPublicKey(elliptic.P256(), point)
		if err != nil || !pub.Equal(ec(k)) {
			t.Errorf("entry %d has another point: %v", i, err)
		}
		if entry["kid"] != want[i] || entry["kty"] != "EC" || entry["crv"] != "P-256" || entry["alg"] != "ES256" || entry["use"] != "sig" || len(entry) != 7 {
			t.Errorf("entry %d is %v", i, entry)
		}
	}
	if data, err := MarshalJWKS(nil); err != nil || string(data) != `{"keys":[]}` {
		t.Errorf("no keys: %s, %v", data, err)
	}
}

func TestNewPublicKeyRefuses(t *testing.T) {
	p384, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	for name, pub := range map[string]crypto.PublicKey{
		"P-384": &p384.PublicKey, "Ed25519 cut": ed25519.PublicKey(make([]byte, 31)), "RSA of nothing": &rsa.PublicKey{},
		"no EC": (*ecdsa.PublicKey)(nil), "secret": []byte("secret"), "nothing": nil, "nowhere": &ecdsa.PublicKey{},
	} {
		if _, err := NewPublicKey(pub); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}
