package trust

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"math/big"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"github.com/prometheus/client_golang/prometheus"

	"gatehouse/tokenserver/token"
)

// signers are the keys of all tests, made once: RSA keys take a while.
var signers = sync.OnceValue(func() map[string]crypto.Signer {
	made := make(map[string]crypto.Signer)
	put := func(name string, k crypto.Signer, err error) {
		if err != nil {
			panic(err)
		}
		made[name] = k
	}
	for name, curve := range map[string]elliptic.Curve{"P-256": elliptic.P256(), "P-384": elliptic.P384(), "P-521": elliptic.P521(),
		"P-224": elliptic.P224(), "evil": elliptic.P256(), "next": elliptic.P256()} {
		k, err := ecdsa.GenerateKey(curve, rand.Reader)
		put(name, k, err)
	}
	for name, bits := range map[string]int{"RSA": 2048, "evil RSA": 2048, "weak RSA": 1024} {
		k, err := rsa.GenerateKey(rand.Reader, bits)
		put(name, k, err)
	}
	_, k, err := ed25519.GenerateKey(rand.Reader)
	put("Ed25519", k, err)
	return made
})

// bench is a Set over two files, and a verifier with it for the issuer "i" and the audience "s", at a time that tests set.
type bench struct {
	*token.Foreign
	set          *Set
	bundle, jwks string // paths
	at           time.Time
	log          *bytes.Buffer
	metrics      *prometheus.Registry
}

// newBench writes the files and opens them; an empty text is no file.
func newBench(t testing.TB, bundle, jwks string, algorithms ...string) *bench {
	t.Helper()
	b, err := openBench(t, bundle, jwks, algorithms...)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func openBench(t testing.TB, bundle, jwks string, algorithms ...string) (*bench, error) {
	t.Helper()
	dir := t.TempDir()
	b := &bench{at: time.Unix(1800000000, 0), log: new(bytes.Buffer), metrics: prometheus.NewRegistry()}
	if bundle != "" {
		b.bundle = write(t, filepath.Join(dir, "bundle.pem"), bundle)
	}
	if jwks != "" {
		b.jwks = write(t, filepath.Join(dir, "jwks.json"), jwks)
	}
	now := func() time.Time { return b.at }
	var err error
	b.set, err = Open(Options{Bundle: b.bundle, JWKS: b.jwks, Algorithms: algorithms, Now: now, Metrics: b.metrics,
		Logger: slog.New(slog.NewTextHandler(b.log, nil))})
	if err != nil {
		return nil, err
	}
	b.Foreign = token.NewForeign(b.set.Current, func() (string, string, bool) { return "i", "s", true }, now)
	return b, nil
}

func write(t testing.TB, path, text string) string {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// accept wants raw to be good.
func (b *bench) accept(t testing.TB, raw string) *token.Claims {
	t.Helper()
	c, err := b.Verify(raw)
	if err != nil {
		t.Errorf("refused: %v", err)
		return &token.Claims{}
	}
	if again, err := b.Verify(raw); again != c || err != nil {
		t.Errorf("the second time: %v", err)
	}
	return c
}

// refuse wants raw to be refused, without claims and without a word of it in the error, now and as one that has expired.
func (b *bench) refuse(t testing.TB, raw string) error {
	t.Helper()
	var err error
	for name, verify := range map[string]func(string) (*token.Claims, error){
		"Verify":        b.Verify,
		"VerifyExpired": func(raw string) (*token.Claims, error) { return b.VerifyExpired(raw, time.Minute) },
	} {
		var c *token.Claims
		if c, err = verify(raw); err == nil || c != nil || !errors.Is(err, token.ErrInvalid) {
			t.Errorf("%s: claims %v, error %v, want a refusal", name, c, err)
			continue
		}
		for part := range strings.SplitSeq(raw, ".") {
			if len(part) > 20 && strings.Contains(err.Error(), part) {
				t.Errorf("%s: the error shows the token: %v", name, err)
			}
		}
	}
	return err
}

// claims are of a good token; changes replace some, nil removes one.
func claims(changes map[string]any) map[string]any {
	c := map[string]any{"iss": "i", "sub": "alice", "aud": "s", "exp": 1800000300, "nbf": 1799999999, "iat": 1800000000, "jti": "1",
		"access": []any{map[string]any{"type": "repository", "name": "a/b", "actions": []string{"pull", "push"}}}}
	maps.Copy(c, changes)
	maps.DeleteFunc(c, func(_ string, v any) bool { return v == nil })
	return c
}

func toJSON(t testing.TB, v any) string {
	t.Helper()
	data, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

// sign makes a token of any payload with a header's alg, and with the signature of method.
func sign(t testing.TB, method jwt.SigningMethod, key any, header map[string]any, payload string) string {
	t.Helper()
	h := map[string]any{"typ": "JWT", "alg": method.Alg()}
	maps.Copy(h, header)
	maps.DeleteFunc(h, func(_ string, v any) bool { return v == nil })
	text := encode([]byte(toJSON(t, h))) + "." + encode([]byte(payload))
	signature, err := method.Sign(text, key)
	if err != nil {
		t.Fatal(err)
	}
	return text + "." + encode(signature)
}

// good is a token that a signer makes with its usual algorithm and a kid.
func good(t testing.TB, name, kid string, changes map[string]any) string {
	t.Helper()
	return sign(t, methodOf(name), signers()[name], map[string]any{"kid": kid}, toJSON(t, claims(changes)))
}

func methodOf(name string) jwt.SigningMethod {
	switch k := signers()[name].(type) {
	case *rsa.PrivateKey:
		return jwt.SigningMethodRS256
	case *ecdsa.PrivateKey:
		methods := map[int]jwt.SigningMethod{256: jwt.SigningMethodES256, 384: jwt.SigningMethodES384, 521: jwt.SigningMethodES512}
		return methods[k.Curve.Params().BitSize]
	}
	return jwt.SigningMethodEdDSA
}

func encode(b []byte) string { return base64.RawURLEncoding.EncodeToString(b) }

// ids are the libtrust id, empty where there is none, and the RFC 7638 thumbprint of a signer.
func ids(t testing.TB, name string) (libtrust, thumbprint string) {
	t.Helper()
	pub := signers()[name].Public()
	libtrust, _ = token.KeyID(pub)
	thumbprint, err := token.Thumbprint(pub)
	if err != nil {
		t.Fatal(err)
	}
	return libtrust, thumbprint
}

// certificate makes a certificate of a signer by another, or by itself, in DER.
func certificate(t testing.TB, name, by string, ca bool, from, until int64) []byte {
	t.Helper()
	template := &x509.Certificate{SerialNumber: big.NewInt(from), Subject: pkix.Name{CommonName: name},
		NotBefore: time.Unix(from, 0), NotAfter: time.Unix(until, 0), IsCA: ca, BasicConstraintsValid: true}
	parent := &x509.Certificate{Subject: pkix.Name{CommonName: by}}
	if ca {
		template.KeyUsage = x509.KeyUsageCertSign
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, signers()[name].Public(), signers()[by])
	if err != nil {
		t.Fatal(err)
	}
	return der
}

// pemOf is a certificate in PEM.
func pemOf(der []byte) string {
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
}

// selfSigned is a PEM certificate of each signer, valid around the time of the tests.
func selfSigned(t testing.TB, names ...string) string {
	t.Helper()
	var text strings.Builder
	for _, name := range names {
		text.WriteString(pemOf(certificate(t, name, name, true, 1700000000, 1900000000)))
	}
	return text.String()
}

// jwkOf is a signer's key as a JWK.
func jwkOf(t testing.TB, name string, more map[string]any) map[string]any {
	t.Helper()
	k := map[string]any{}
	switch pub := signers()[name].Public().(type) {
	case *rsa.PublicKey:
		k["kty"], k["n"], k["e"] = "RSA", encode(pub.N.Bytes()), "AQAB"
	case *ecdsa.PublicKey:
		point, err := pub.Bytes()
		if err != nil {
			t.Fatal(err)
		}
		half := len(point) / 2
		k["kty"], k["crv"], k["x"], k["y"] = "EC", pub.Params().Name, encode(point[1:1+half]), encode(point[1+half:])
	case ed25519.PublicKey:
		k["kty"], k["crv"], k["x"] = "OKP", "Ed25519", encode(pub)
	}
	maps.Copy(k, more)
	return k
}

func jwkSet(t testing.TB, keys ...any) string {
	t.Helper()
	return fmt.Sprintf(`{"keys":%s}`, toJSON(t, keys))
}
