package token

import (
	"crypto"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
)

// The PEM labels of private keys.
const (
	pemType  = "PRIVATE KEY"     // PKCS #8, RFC 7468 section 10
	pemPKCS1 = "RSA PRIVATE KEY" // RFC 8017 appendix A.1.2
	pemSEC1  = "EC PRIVATE KEY"  // RFC 5915
	// pemCurve stands before an EC key that `openssl ecparam -genkey` made. The key names its curve itself.
	pemCurve = "EC PARAMETERS"
)

// errEncrypted is a key that only a password opens, which nobody could type at a restart.
var errEncrypted = errors.New("the key is encrypted; write it without a password with `openssl pkey -in FILE -out NEWFILE`")

// ParseKey reads what Key.PEM wrote, or another file with one unencrypted key of an algorithm that we sign with: PKCS #8, PKCS #1
// or SEC 1. Errors never quote the data.
func ParseKey(data []byte) (*Key, error) {
	block, rest := pem.Decode(data)
	for block != nil && block.Type == pemCurve {
		block, rest = pem.Decode(rest)
	}
	if block == nil {
		return nil, fmt.Errorf("there is no PEM block %q", pemType)
	}
	if next, _ := pem.Decode(rest); next != nil {
		return nil, errors.New("there is more than one PEM block")
	}
	var parsed any
	var err error
	switch {
	case block.Type == "ENCRYPTED "+pemType || block.Headers["DEK-Info"] != "":
		return nil, errEncrypted
	case block.Type == pemType:
		parsed, err = x509.ParsePKCS8PrivateKey(block.Bytes)
	case block.Type == pemPKCS1:
		parsed, err = x509.ParsePKCS1PrivateKey(block.Bytes)
	case block.Type == pemSEC1:
		parsed, err = x509.ParseECPrivateKey(block.Bytes)
	default:
		return nil, fmt.Errorf("the PEM block is none of %q, %q, %q", pemType, pemPKCS1, pemSEC1)
	}
	if err != nil {
		return nil, fmt.Errorf("the PEM block is not a private key: %w", err)
	}
	private, ok := parsed.(crypto.Signer)
	if !ok {
		return nil, fmt.Errorf("the key is a %T, which signs nothing", parsed)
	}
	return newKey(private)
}

// PEM returns the private key as PKCS #8: a secret.
func (k *Key) PEM() ([]byte, error) {
	der, err := x509.MarshalPKCS8PrivateKey(k.private)
	if err != nil {
		return nil, fmt.Errorf("the key could not be encoded: %w", err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: pemType, Bytes: der}), nil
}

// Signer returns the private key, for the certificates that it signs itself.
func (k *Key) Signer() crypto.Signer { return k.private }
