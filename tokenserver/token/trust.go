package token

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/x509"
	"errors"
	"fmt"
	"slices"

	"github.com/golang-jwt/jwt/v5"
)

// Bounds of RSA keys in bits: below, a key can be factored; above, a forged token costs too much to refuse.
const (
	minRSA = 2048
	maxRSA = 8192
)

// rsaAlgorithms are those of RFC 7518 for an RSA key: any of them fits any key.
var rsaAlgorithms = []string{"RS256", "RS384", "RS512", "PS256", "PS384", "PS512"}

// ForeignAlgorithms returns what Foreign verifies: the names of distribution 3's signingalgorithms without the HMACs, for which
// no public key exists.
func ForeignAlgorithms() []string {
	return append([]string{"EdDSA", "ES256", "ES384", "ES512"}, rsaAlgorithms...)
}

// Algorithms returns the algorithms that fit a public key, and an error that says why no token may be verified with it. The
// slice must not be modified.
func Algorithms(key crypto.PublicKey) ([]string, error) {
	switch k := key.(type) {
	case *rsa.PublicKey:
		if n := k.N.BitLen(); n < minRSA || n > maxRSA {
			return nil, fmt.Errorf("an RSA key of %d bits; from %d to %d are used", n, minRSA, maxRSA)
		}
		if k.N.Bit(0) == 0 || k.E < 3 || k.E%2 == 0 {
			return nil, errors.New("an RSA key whose numbers are even or too small")
		}
		return rsaAlgorithms, nil
	case *ecdsa.PublicKey:
		if _, err := k.Bytes(); err != nil {
			return nil, errors.New("an EC key that is no point on its curve")
		}
		switch k.Curve {
		case elliptic.P256():
			return []string{"ES256"}, nil
		case elliptic.P384():
			return []string{"ES384"}, nil
		case elliptic.P521():
			return []string{"ES512"}, nil
		}
		return nil, errors.New("an EC key on a curve other than P-256, P-384 and P-521")
	case ed25519.PublicKey:
		if len(k) != ed25519.PublicKeySize {
			return nil, errors.New("an Ed25519 key of another length")
		}
		return []string{"EdDSA"}, nil
	}
	return nil, fmt.Errorf("a key of type %T; RSA, EC and Ed25519 keys are used", key)
}

// TrustedKey is a public key of an outside issuer, and what is known of its use.
type TrustedKey struct {
	Key crypto.PublicKey
	// ID is a kid that names the key beside the two that are computed from it; empty for none.
	ID string
	// Algorithm is the only one that the key is used with. Empty: any that fits its type.
	Algorithm string
}

// trustedKey is a key with the algorithms that it is trusted for.
type trustedKey struct {
	key        crypto.PublicKey
	algorithms []string
}

// Trust is what the tokens of an outside issuer are verified with. It does not change, and may be used from many goroutines.
type Trust struct {
	byID    map[string][]trustedKey // several where a JWK set has one kid twice
	roots   *x509.CertPool          // nil: x5c is not looked at
	allowed []string
	size    int
}

// NewTrust returns the Trust in keys, and in every key whose x5c leads to one of roots; each key is found by its libtrust id (if
// its type has one), by its RFC 7638 thumbprint and by its own ID. Allowed narrows the algorithms; empty: ForeignAlgorithms. A
// key that cannot be used, or whose algorithm does not fit it, is an error.
func NewTrust(keys []TrustedKey, roots []*x509.Certificate, allowed []string) (*Trust, error) {
	t := &Trust{byID: make(map[string][]trustedKey), allowed: allowed, size: len(keys)}
	if len(allowed) == 0 {
		t.allowed = ForeignAlgorithms()
	}
	if len(roots) > 0 {
		t.roots = x509.NewCertPool()
		for _, c := range roots {
			t.roots.AddCert(c)
		}
	}
	for _, k := range keys {
		algorithms, err := Algorithms(k.Key)
		if err != nil {
			return nil, err
		}
		if k.Algorithm != "" {
			if !slices.Contains(algorithms, k.Algorithm) {
				return nil, fmt.Errorf("a key of type %T is not one for %s", k.Key, k.Algorithm)
			}
			algorithms = []string{k.Algorithm}
		}
		thumbprint, err := Thumbprint(k.Key)
		if err != nil {
			return nil, err
		}
		ids := []string{thumbprint}
		if id, err := KeyID(k.Key); err == nil { // libtrust knows no Ed25519
			ids = append(ids, id)
		}
		if k.ID != "" && !slices.Contains(ids, k.ID) {
			ids = append(ids, k.ID)
		}
		for _, id := range ids {
			t.byID[id] = append(t.byID[id], trustedKey{k.Key, algorithms})
		}
	}
	return t, nil
}

// Len is the number of keys that it was made of.
func (t *Trust) Len() int { return t.size }

// fitting returns those of keys that may have signed with the algorithm of a header.
func (t *Trust) fitting(keys []trustedKey, header any) (any, error) {
	algorithm, _ := header.(string)
	if !slices.Contains(t.allowed, algorithm) {
		return nil, errors.New("its algorithm is not among those allowed")
	}
	var set jwt.VerificationKeySet
	for _, k := range keys {
		if slices.Contains(k.algorithms, algorithm) {
			set.Keys = append(set.Keys, k.key)
		}
	}
	if len(set.Keys) == 0 {
		return nil, errors.New("its algorithm is not one of its key")
	}
	return set, nil
}
