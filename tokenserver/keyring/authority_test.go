package keyring

import (
	"crypto/ecdsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"strings"
	"testing"
	"time"

	"gatehouse/tokenserver/token"
)

// chain returns the certificate in the header of a token, or nil.
func chain(t *testing.T, raw string) *x509.Certificate {
	t.Helper()
	head, _, _ := strings.Cut(raw, ".")
	data, err := base64.RawURLEncoding.DecodeString(head)
	if err != nil {
		t.Fatal(err)
	}
	var header struct{ X5C []string }
	if err := json.Unmarshal(data, &header); err != nil {
		t.Fatal(err)
	}
	if header.X5C == nil {
		return nil
	}
	if len(header.X5C) != 1 {
		t.Fatalf("%d certificates", len(header.X5C))
	}
	der, err := base64.StdEncoding.DecodeString(header.X5C[0])
	if err != nil {
		t.Fatal(err)
	}
	c, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// certificates reads a bundle as registries do.
func certificates(t *testing.T, bundle []byte) (list []*x509.Certificate) {
	t.Helper()
	for block, rest := pem.Decode(bundle); block != nil; block, rest = pem.Decode(rest) {
		if block.Type != "CERTIFICATE" {
			t.Fatalf("a block of type %q", block.Type)
		}
		c, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			t.Fatal(err)
		}
		list = append(list, c)
	}
	return list
}

func (b *bench) export() []byte {
	b.t.Helper()
	bundle, _, err := b.folder().Export()
	if err != nil {
		b.t.Fatal(err)
	}
	return bundle
}

// TestX5C: whoever trusts the token CA trusts every key over months of rotations and restarts, and for as long as a token lives.
func TestX5C(t *testing.T) {
	b := newBench(t)
	b.o.X5C, b.o.Rotate = true, 50*time.Hour
	bundle := b.export0()
	cas := certificates(t, bundle)
	if len(cas) != 1 || !cas[0].IsCA || cas[0].NotAfter.Sub(b.now()) < 9*365*24*time.Hour {
		t.Fatalf("%d certificates", len(cas))
	}
	roots := x509.NewCertPool()
	roots.AddCert(cas[0])
	keys, leaves := map[string]bool{}, map[string]bool{}
	for range 24 * 20 {
		raw := b.sign()
		leaf := chain(t, raw)
		if leaf == nil {
			t.Fatal("a token without certificate")
		}
		for _, at := range []time.Time{b.now().Add(-time.Hour), b.now(), b.now().Add(lifetime + token.Leeway)} {
			o := x509.VerifyOptions{Roots: roots, CurrentTime: at, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageAny}}
			if _, err := leaf.Verify(o); err != nil {
				t.Fatalf("at %s: %v", at, err)
			}
		}
		if !b.ring.Active().Public().Matches(leaf) || leaf.IsCA || leaf.KeyUsage != x509.KeyUsageDigitalSignature || len(leaf.SubjectKeyId) == 0 {
			t.Fatalf("not a certificate for the key: %+v", leaf)
		}
		if life := leaf.NotAfter.Sub(b.now()); life > 4*24*time.Hour {
			t.Fatalf("it is good for %s", life)
		}
		b.verifyAll(b.trusted, "our verifier")
		keys[b.ring.Active().Public().KeyID()], leaves[string(leaf.Raw)] = true, true
		b.advance(time.Hour)
		b.ring.tick()
	}
	if len(keys) < 9 || len(leaves) <= len(keys) {
		t.Errorf("%d keys, %d certificates in 20 days", len(keys), len(leaves))
	}
	if string(b.export()) != string(bundle) || string(b.ring.Certificates()) != string(bundle) {
		t.Error("the token CA has changed")
	}
	b.advance(30 * 24 * time.Hour) // nobody was there to renew
	b.open()
	if _, err := chain(t, b.sign()).Verify(x509.VerifyOptions{Roots: roots, CurrentTime: b.now()}); err != nil {
		t.Error(err)
	}
	b.o.X5C = false
	b.open()
	if chain(t, b.sign()) != nil {
		t.Error("a certificate although x5c is off")
	}
}

// export0 starts the server for the first time and exports.
func (b *bench) export0() []byte {
	b.t.Helper()
	b.open()
	return b.export()
}

// TestRenewCA: what the old CA has signed leads to the new one no more, and only one is kept.
func TestRenewCA(t *testing.T) {
	b := newBench(t)
	b.o.X5C = true
	old := certificates(t, b.export0())[0]
	b.rotate(Rotation{Revoke: true, RenewCA: true})
	b.ring.tick()
	now := certificates(t, b.export())[0]
	leaf := chain(t, b.sign())
	if leaf.CheckSignatureFrom(now) != nil || leaf.CheckSignatureFrom(old) == nil || old.Subject.String() == now.Subject.String() {
		t.Errorf("the certificate is by %s", leaf.Issuer)
	}
	cas := 0
	for _, name := range b.files() {
		if strings.HasPrefix(name, caPrefix) {
			cas++
		}
	}
	if cas != 1 {
		t.Errorf("files %v", b.files())
	}
}

// TestTokenCAEnds: a CA that has ended is not replaced behind anybody's back.
func TestTokenCAEnds(t *testing.T) {
	b := newBench(t)
	b.o.X5C = true
	b.open()
	b.advance(caLife - time.Hour)
	b.open()
	if leaf := chain(t, b.sign()); leaf.NotAfter.After(b.now().Add(2 * time.Hour)) {
		t.Errorf("the certificate outlives the CA: %s", leaf.NotAfter)
	}
	b.advance(time.Hour)
	if _, err := Open(b.o); err == nil || !strings.Contains(err.Error(), "--renew-ca") {
		t.Errorf("%v", err)
	}
	b.rotate(Rotation{Now: true, RenewCA: true})
	b.open()
}

// TestExport: without x5c there is a certificate for each key that verifies, and registries find the key in it.
func TestExport(t *testing.T) {
	b := newBench(t)
	b.open()
	b.rotate(Rotation{Now: true, Algorithm: token.RS256})
	b.rotate(Rotation{Algorithm: token.EdDSA})
	b.ring.tick()
	for range 2 {
		list := certificates(t, b.ring.Certificates())
		if string(b.export()) != string(b.ring.Certificates()) || len(list) != len(b.ring.Public()) {
			t.Fatalf("%d certificates, %d keys", len(list), len(b.ring.Public()))
		}
		for i, c := range list {
			p := b.ring.Public()[i]
			if !p.Matches(c) || c.Subject.CommonName != p.KeyID() || c.IsCA || c.NotAfter.Sub(b.now()) < 19*365*24*time.Hour {
				t.Errorf("certificate %d is %s", i, c.Subject)
			}
			if err := c.CheckSignature(c.SignatureAlgorithm, c.RawTBSCertificate, c.Signature); err != nil {
				t.Error(err)
			}
		}
		if len(list) == 3 {
			b.advance(retire)
			b.ring.tick()
		}
	}
	if _, ok := certificates(t, b.export())[0].PublicKey.(*ecdsa.PublicKey); ok {
		t.Error("a key that is gone is exported")
	}
	_, algorithms, err := b.folder().Export()
	if err != nil || strings.Join(algorithms, " ") != "RS256 EdDSA" {
		t.Errorf("%v, %v", algorithms, err)
	}
}
