package token

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base32"
	"encoding/base64"
	"fmt"
	"iter"
	"slices"
	"strings"

	"github.com/docker/libtrust"
)

// KeyID returns libtrust's id of pub: twelve groups of four characters, by which registry:2 finds the key in its rootcertbundle.
// libtrust knows EC and RSA keys only. An Ed25519 key gets an id of the same construction, which is ours alone: the first 30
// bytes of the SHA-256 of its SubjectPublicKeyInfo in base32.
func KeyID(pub crypto.PublicKey) (string, error) {
	if ed, ok := pub.(ed25519.PublicKey); ok {
		der, err := x509.MarshalPKIXPublicKey(ed)
		if err != nil {
			return "", fmt.Errorf("the public key could not be encoded: %w", err)
		}
		sum := sha256.Sum256(der)
		text := base32.StdEncoding.EncodeToString(sum[:30])
		return strings.Join(slices.Collect(groups(text, 4)), ":"), nil
	}
	k, err := libtrust.FromCryptoPublicKey(pub)
	if err != nil {
		return "", fmt.Errorf("a public key of type %T has no libtrust id: %w", pub, err)
	}
	return k.KeyID(), nil
}

// Thumbprint returns the SHA-256 thumbprint of pub (RFC 7638), by which distribution 3 finds a key. EC coordinates have
// their full length, leading zeroes included (RFC 7518 section 6.2.1.2).
func Thumbprint(pub crypto.PublicKey) (string, error) {
	var members string // required members only, in the order of their names, without white space: RFC 7638 section 3
	switch k := pub.(type) {
	case *ecdsa.PublicKey:
		x, y, err := coordinates(k)
		if err != nil {
			return "", err
		}
		members = fmt.Sprintf(`{"crv":%q,"kty":"EC","x":%q,"y":%q}`, k.Params().Name, encode(x), encode(y))
	case *rsa.PublicKey:
		members = fmt.Sprintf(`{"e":%q,"kty":"RSA","n":%q}`, encode(exponent(k)), encode(k.N.Bytes()))
	case ed25519.PublicKey:
		members = fmt.Sprintf(`{"crv":"Ed25519","kty":"OKP","x":%q}`, encode(k))
	default:
		return "", fmt.Errorf("a public key of type %T has no thumbprint", pub)
	}
	sum := sha256.Sum256([]byte(members))
	return encode(sum[:]), nil
}

// groups yields text in pieces of size bytes, which divides its length.
func groups(text string, size int) iter.Seq[string] {
	return func(yield func(string) bool) {
		for ; text != "" && yield(text[:size]); text = text[size:] {
		}
	}
}

// coordinates returns X and Y of a point on the key's curve, each as long as the curve's field.
func coordinates(k *ecdsa.PublicKey) (x, y []byte, err error) {
	point, err := k.Bytes()
	if err != nil {
		return nil, nil, fmt.Errorf("the public key is not a point on its curve: %w", err)
	}
	size := len(point) / 2 // 0x04, X, Y: SEC 1 section 2.3.3
	return point[1 : 1+size], point[1+size:], nil
}

// encode is base64url without padding, as JOSE has it.
func encode(b []byte) string { return base64.RawURLEncoding.EncodeToString(b) }
