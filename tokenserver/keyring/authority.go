package keyring

import (
	"crypto"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"strings"
	"time"

	"gatehouse/tokenserver/token"
)

const (
	// caLife is how long the token CA is good: registries are told of it by hand.
	caLife = 10 * 365 * 24 * time.Hour
	// leafLife is how long a certificate is good that tokens carry, at least; it is renewed when a third is left.
	leafLife = 3 * 24 * time.Hour
	// caPrefix begins the name of the file with the CA's key, which its id follows.
	caPrefix = "ca-"
)

// caRecord is the token CA: a key on P-256 that signs certificates for keys that sign tokens, and nothing else. Whoever trusts its
// certificate trusts each of them, without a restart when they change.
type caRecord struct {
	File        string `json:"file"` // of the private key, in the folder
	Certificate []byte `json:"certificate"`

	certificate *x509.Certificate
	key         crypto.Signer
}

// loadCA reads the key of the CA and checks that it is the certificate's.
func (f *Folder) loadCA(ca *caRecord) error {
	bad := func(err error) error {
		return fmt.Errorf("the token CA of %s cannot be used; restore it and %s from a backup: %w", f.manifestFile(), f.path(ca.File), err)
	}
	if !keyFileName.MatchString(strings.TrimPrefix(ca.File, caPrefix)) {
		return bad(errors.New("its file is not one in the folder"))
	}
	data, err := readSecret(f.path(ca.File))
	if err != nil {
		return bad(err)
	}
	key, err := token.ParseKey(data)
	if err != nil {
		return bad(err)
	}
	if ca.certificate, err = x509.ParseCertificate(ca.Certificate); err != nil {
		return bad(err)
	}
	if !key.Public().Matches(ca.certificate) || !ca.certificate.IsCA {
		return bad(errors.New("key and certificate do not belong together"))
	}
	ca.key = key.Signer()
	return nil
}

// newCA makes a CA and keeps its key. It is in use when the manifest names it.
func (f *Folder) newCA(now time.Time) (*caRecord, error) {
	key, err := token.GenerateKeyFor(token.ES256)
	if err != nil {
		return nil, err
	}
	id := key.Public().KeyID()
	template, err := key.Public().Template(now.Add(-clockSkew), now.Add(caLife))
	if err != nil {
		return nil, err
	}
	// Different CAs have different names, or verifiers that trust several would try the wrong one.
	template.Subject = pkix.Name{Organization: []string{"gatehouse"}, CommonName: "token CA " + id[:9]}
	template.IsCA, template.MaxPathLenZero, template.KeyUsage = true, true, x509.KeyUsageCertSign|x509.KeyUsageCRLSign
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public().Material(), key.Signer())
	if err != nil {
		return nil, fmt.Errorf("the certificate of the token CA could not be made: %w", err)
	}
	certificate, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, fmt.Errorf("the certificate of the token CA could not be made: %w", err)
	}
	file := caPrefix + strings.ReplaceAll(id, ":", "-") + ".pem"
	if err := f.keepKey(file, key); err != nil {
		return nil, err
	}
	f.Logger.Info("token CA made; registries that verify tokens need `gatehouse key export`", "name", certificate.Subject.CommonName,
		"not_after", certificate.NotAfter)
	return &caRecord{File: file, Certificate: der, certificate: certificate, key: key.Signer()}, nil
}

// leafDue reports whether a key needs another certificate: it has none of this CA, a third of its life is left, or the clock was
// set back to before it.
func (f *Folder) leafDue(ca *caRecord, e *entry, now time.Time) bool {
	if e.state(now) == Gone || e.state(now) == Retiring {
		return false
	}
	if ca == nil || len(e.Leaf) == 0 {
		return true
	}
	leaf, err := x509.ParseCertificate(e.Leaf)
	if err != nil || leaf.CheckSignatureFrom(ca.certificate) != nil {
		return true
	}
	life := leaf.NotAfter.Sub(leaf.NotBefore) - clockSkew
	return now.Before(leaf.NotBefore) || leaf.NotAfter.Sub(now) < life/3 && leaf.NotAfter.Before(ca.certificate.NotAfter)
}

// certify makes the CA if there is none, and the certificates that are due.
func (f *Folder) certify(m *manifest, now time.Time) error {
	if m.CA == nil {
		var err error
		if m.CA, err = f.newCA(now); err != nil {
			return err
		}
	}
	if end := m.CA.certificate.NotAfter; !now.Before(end) {
		return fmt.Errorf("the token CA has ended at %s; `gatehouse key rotate --now --renew-ca` makes another, which registries that verify "+
			"tokens have to be told of by `gatehouse key export`", end.Format(time.RFC3339))
	}
	for _, e := range m.Keys {
		if !f.leafDue(m.CA, e, now) {
			continue
		}
		// A token that is signed in the last moment before the renewal must not outlive the certificate in it.
		until := now.Add(max(leafLife, 3*f.Retire))
		if until.After(m.CA.certificate.NotAfter) {
			until = m.CA.certificate.NotAfter
		}
		template, err := e.key.Public().Template(now.Add(-clockSkew), until)
		if err != nil {
			return err
		}
		if e.Leaf, err = x509.CreateCertificate(rand.Reader, template, m.CA.certificate, e.key.Public().Material(), m.CA.key); err != nil {
			return fmt.Errorf("a certificate for key %s could not be made: %w", e.KeyID, err)
		}
		f.Logger.Info("certificate for a signing key made", "kid", e.KeyID, "not_after", until)
	}
	return nil
}
