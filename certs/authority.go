package certs

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"gatehouse/durable"
)

// authority is the key and certificate of a [LocalCA], in a folder: ca.pem, for everyone, and ca-key.pem, for its owner
// alone. It is immutable.
type authority struct {
	dir  string
	cert *x509.Certificate
	key  crypto.Signer
}

// certFile is the path of the certificate, for everyone.
func (a *authority) certFile() string { return filepath.Join(a.dir, "ca.pem") }

// keyFile is the path of the private key, mode 0600.
func (a *authority) keyFile() string { return filepath.Join(a.dir, "ca-key.pem") }

// openAuthority reads the authority in dir. With neither file there it makes one. With the key alone, as a crash between
// the two files leaves it, it makes the certificate, which takes its name from the key: whoever trusts an earlier
// certificate of this key trusts what this one issues. Whatever else is wrong is an error.
func openAuthority(dir string, now time.Time, log *slog.Logger) (*authority, error) {
	a := &authority{dir: dir}
	certPEM, certErr := readPEM(a.certFile())
	keyPEM, keyErr := readPEM(a.keyFile())
	noCert, noKey := errors.Is(certErr, fs.ErrNotExist), errors.Is(keyErr, fs.ErrNotExist)
	var err error
	switch {
	case noCert && noKey:
		err = a.make(now)
	case noCert && keyErr == nil:
		if a.key, err = parseKey(keyPEM); err != nil {
			err = fmt.Errorf("%s is damaged: %w", a.keyFile(), err)
		} else if err = a.certify(now); err == nil {
			log.Warn("certificate of the local authority was missing and has been made again from its key", "file", a.certFile())
		}
	case noKey && certErr == nil:
		err = fmt.Errorf("%s is missing", a.keyFile())
	case certErr != nil || keyErr != nil:
		err = errors.Join(certErr, keyErr)
	default:
		err = a.load(certPEM, keyPEM, now)
	}
	if err != nil {
		return nil, fmt.Errorf("cannot use the local certificate authority: %w; restore ca.pem and ca-key.pem in %s from a backup, "+
			"or remove both: the next start then makes a new authority, which every client has to be told to trust", err, dir)
	}
	if info, err := os.Stat(a.keyFile()); err == nil && info.Mode().Perm()&0o077 != 0 {
		log.Warn("private key of the local certificate authority is open to others: chmod 600", "file", a.keyFile(),
			"mode", info.Mode().Perm().String())
	}
	return a, nil
}

// make generates the key and then the certificate.
func (a *authority) make(now time.Time) error {
	if err := durable.MkdirAll(a.dir, 0o755); err != nil {
		return err
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return err
	}
	if err := durable.WriteFile(a.keyFile(), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), 0o600); err != nil {
		return err
	}
	a.key = key
	return a.certify(now)
}

// certify makes and writes the certificate of a.key.
func (a *authority) certify(now time.Time) error {
	public, err := x509.MarshalPKIXPublicKey(a.key.Public())
	if err != nil {
		return err
	}
	id := sha256.Sum256(public)
	template := &x509.Certificate{
		// Different authorities have different names, or clients that trust several would try the wrong one.
		Subject:               pkix.Name{Organization: []string{"gatehouse"}, CommonName: fmt.Sprintf("gatehouse local CA %x", id[:6])},
		SubjectKeyId:          id[:20], // RFC 7093 section 2 method 1
		NotBefore:             now.Add(-clockSkew),
		NotAfter:              now.Add(caLifetime),
		KeyUsage:              x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
		BasicConstraintsValid: true,
		IsCA:                  true,
		MaxPathLenZero:        true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, a.key.Public(), a.key)
	if err != nil {
		return err
	}
	if a.cert, err = x509.ParseCertificate(der); err != nil {
		return err
	}
	return durable.WriteFile(a.certFile(), pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o644)
}

// load checks that the files hold one self-signed authority that is valid now.
func (a *authority) load(certPEM, keyPEM []byte, now time.Time) error {
	block, _ := pem.Decode(certPEM)
	if block == nil || block.Type != "CERTIFICATE" {
		return fmt.Errorf("%s holds no certificate", a.certFile())
	}
	var err error
	if a.cert, err = x509.ParseCertificate(block.Bytes); err != nil {
		return fmt.Errorf("%s is damaged: %w", a.certFile(), err)
	}
	if a.key, err = parseKey(keyPEM); err != nil {
		return fmt.Errorf("%s is damaged: %w", a.keyFile(), err)
	}
	public, ok := a.key.Public().(interface{ Equal(crypto.PublicKey) bool })
	if !ok || !public.Equal(a.cert.PublicKey) {
		return errors.New("certificate and key do not belong together")
	}
	if err := a.cert.CheckSignatureFrom(a.cert); err != nil {
		return fmt.Errorf("%s is not a self-signed certificate authority, or is damaged: %w", a.certFile(), err)
	}
	if now.Before(a.cert.NotBefore) {
		return fmt.Errorf("it is valid from %s on, and the clock of this machine says %s (set the clock, if it is wrong)",
			a.cert.NotBefore.Format(time.RFC3339), now.Format(time.RFC3339))
	}
	if now.After(a.cert.NotAfter) {
		return fmt.Errorf("it has expired at %s", a.cert.NotAfter.Format(time.RFC3339))
	}
	return nil
}

// parseKey reads a private key for signing from PEM (PKCS #8). Errors show none of it.
func parseKey(data []byte) (crypto.Signer, error) {
	block, _ := pem.Decode(data)
	if block == nil || block.Type != "PRIVATE KEY" {
		return nil, errors.New("it holds no private key in PKCS #8 form")
	}
	key, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		return nil, errors.New("the private key cannot be read")
	}
	signer, ok := key.(crypto.Signer)
	if !ok {
		return nil, errors.New("the private key cannot sign")
	}
	return signer, nil
}
