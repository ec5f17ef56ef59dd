package keyring

import (
	"crypto/x509"
	"errors"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"gatehouse/tokenserver/token"
)

// ownCertificate returns a certificate of the key's own, as a team has it in a rootcertbundle, which has run out.
func ownCertificate(t *testing.T, key *token.Key) *x509.Certificate {
	t.Helper()
	at := time.Date(2016, 9, 14, 0, 0, 0, 0, time.UTC)
	der, err := key.SelfSigned(at.AddDate(-1, 0, 0), at)
	if err != nil {
		t.Fatal(err)
	}
	c, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// TestImport: an imported key signs first in a new folder, after its publication in an old one, and what is exported for it is
// the certificate that came with it.
func TestImport(t *testing.T) {
	key := newKey(t, token.RS256)
	certificate := ownCertificate(t, key)
	b := newBench(t)
	id, err := b.folder().Import(key, certificate, false)
	if err != nil || id != key.Public().KeyID() {
		t.Fatalf("%s, %v", id, err)
	}
	b.open()
	if b.ring.Active().Public().KeyID() != id || string(certificates(t, b.export())[0].Raw) != string(certificate.Raw) {
		t.Error("in a new folder it does not sign")
	}

	b = newBench(t)
	b.open()
	b.sign()
	if _, err := b.folder().Import(key, certificate, false); err != nil {
		t.Fatal(err)
	}
	b.ring.tick()
	if got := b.states(); got != "active published" || len(b.ring.Public()) != 2 {
		t.Error(got)
	}
	if _, err := b.folder().Import(newKey(t, token.ES256), nil, false); !errors.Is(err, ErrPending) {
		t.Errorf("another one: %v", err)
	}
	other := ownCertificate(t, key)
	if _, err := b.folder().Import(key, other, true); err != nil { // again: another certificate, and at once
		t.Fatal(err)
	}
	b.ring.tick()
	b.sign()
	b.verifyAll(b.trusted, "our verifier")
	if list := certificates(t, b.ring.Certificates()); b.ring.Active().Public().KeyID() != id || string(list[1].Raw) != string(other.Raw) {
		t.Error("importing again changed nothing")
	}
	if _, err := b.folder().Import(newKey(t, token.EdDSA), nil, true); err != nil {
		t.Fatal(err)
	}
	if _, err := b.folder().Import(key, nil, true); err == nil || !strings.Contains(err.Error(), "retiring") {
		t.Errorf("a key that retires: %v", err)
	}
	b.advance(retire)
	b.ring.tick()
	if got := b.states(); got != "gone gone active" {
		t.Error(got)
	}
	if _, err := b.folder().Import(key, certificate, true); err != nil {
		t.Fatal(err)
	}
	b.ring.tick()
	b.sign()
	b.verifyAll(b.trusted, "our verifier")
	if got := b.states(); got != "gone retiring active" {
		t.Error(got)
	}
}

// TestImportRefuses: what is refused changes nothing.
func TestImportRefuses(t *testing.T) {
	key, other := newKey(t, token.ES256), newKey(t, token.ES256)
	b := newBench(t)
	if _, err := b.folder().Import(key, ownCertificate(t, other), true); err == nil {
		t.Error("a certificate of another key")
	}
	if _, err := os.Stat(b.o.Dir); err == nil {
		t.Error("a folder was made for it")
	}
	b.open()
	if _, err := b.folder().Import(key, nil, true); err != nil {
		t.Fatal(err)
	}
	b.rotate(Rotation{Revoke: true})
	before := b.tree()
	if _, err := b.folder().Import(key, nil, true); err == nil || !strings.Contains(err.Error(), "revoked") {
		t.Errorf("a revoked key: %v", err)
	}
	if after := b.tree(); len(after) != len(before) || after["ring.json"] != before["ring.json"] {
		t.Errorf("files %v", b.files())
	}
}

// TestGoneKeysAreForgotten: they are listed for 30 days.
func TestGoneKeysAreForgotten(t *testing.T) {
	b := newBench(t)
	b.open()
	b.rotate(Rotation{Revoke: true})
	b.ring.tick()
	for _, want := range []string{"gone active", "active"} {
		if got := b.states(); got != want {
			t.Errorf("%s, want %s", got, want)
		}
		b.advance(rememberGone + time.Second)
		b.ring.tick()
	}
	if !slices.Contains(b.files(), "ring.json") || len(b.files()) != 2 {
		t.Errorf("files %v", b.files())
	}
}
