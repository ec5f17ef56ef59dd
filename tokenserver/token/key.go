package token

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"

	"github.com/golang-jwt/jwt/v5"
)

// PublicKey is a key that tokens may be signed with, its ids, and the one algorithm it is used for. Values are comparable,
// and equal when they hold the same key pointer.
type PublicKey struct {
	keyID, thumbprint, algorithm string
	key                          crypto.PublicKey
}

// NewPublicKey returns pub with its ids. It takes EC keys on P-256, for ES256; pub must not change any more.
func NewPublicKey(pub crypto.PublicKey) (PublicKey, error) {
	ec, ok := pub.(*ecdsa.PublicKey)
	if !ok || ec.Curve != elliptic.P256() {
		return PublicKey{}, fmt.Errorf("a public key of type %T cannot verify ES256; use an EC key on P-256", pub)
	}
	thumbprint, err := Thumbprint(ec)
	if err != nil {
		return PublicKey{}, err
	}
	id, err := KeyID(ec)
	if err != nil {
		return PublicKey{}, err
	}
	return PublicKey{keyID: id, thumbprint: thumbprint, algorithm: jwt.SigningMethodES256.Alg(), key: ec}, nil
}

// KeyID is the libtrust id.
func (p PublicKey) KeyID() string { return p.keyID }

// Thumbprint is the id of RFC 7638.
func (p PublicKey) Thumbprint() string { return p.thumbprint }

// Key is an ES256 private key that signs tokens. It does not change, and may be used from many goroutines.
type Key struct {
	private *ecdsa.PrivateKey
	public  PublicKey
}

// GenerateKey returns a new key. Both coordinates of its point have their full length, because verifiers up to distribution
// 3.1 drop leading zeroes before they compute a thumbprint and then miss the key.
func GenerateKey() (*Key, error) {
	for {
		private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			return nil, fmt.Errorf("no key could be generated: %w", err)
		}
		x, y, err := coordinates(&private.PublicKey)
		if err != nil {
			return nil, err
		}
		if x[0] != 0 && y[0] != 0 {
			return newKey(private)
		}
	}
}

func newKey(private *ecdsa.PrivateKey) (*Key, error) {
	public, err := NewPublicKey(&private.PublicKey)
	if err != nil {
		return nil, err
	}
	return &Key{private: private, public: public}, nil
}

// pemType is the PEM label of PKCS #8 (RFC 7468 section 10).
const pemType = "PRIVATE KEY"

// ParseKey reads what Key.PEM wrote, or another unencrypted PKCS #8 file with an EC key on P-256. Errors never quote the data.
func ParseKey(data []byte) (*Key, error) {
	block, rest := pem.Decode(data)
	if block == nil || block.Type != pemType {
		return nil, fmt.Errorf("there is no PEM block %q", pemType)
	}
	if next, _ := pem.Decode(rest); next != nil {
		return nil, errors.New("there is more than one PEM block")
	}
	parsed, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		return nil, fmt.Errorf("the PEM block is not a PKCS #8 key: %w", err)
	}
	private, ok := parsed.(*ecdsa.PrivateKey)
	if !ok {
		return nil, fmt.Errorf("the key is a %T, not an EC key on P-256", parsed)
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

// Public returns what verifies the key's tokens.
func (k *Key) Public() PublicKey { return k.public }

// Sign returns c as a compact JWS with the libtrust id as kid. Without an ID in c the token gets a random one. A token
// longer than MaxSize is ErrTooLarge. The error never quotes the token.
func (k *Key) Sign(c Claims) (string, error) {
	if c.Issuer == "" || c.Audience == "" || c.Expires.IsZero() {
		return "", errors.New("a token needs an issuer, an audience and an expiry")
	}
	if c.ID == "" {
		c.ID = rand.Text()
	}
	t := jwt.NewWithClaims(jwt.SigningMethodES256, toWire(c))
	t.Header["kid"] = k.public.keyID
	raw, err := t.SignedString(k.private)
	if err != nil {
		return "", fmt.Errorf("the token could not be signed: %w", err)
	}
	if len(raw) > MaxSize {
		return "", fmt.Errorf("%w: %d bytes, %d allowed", ErrTooLarge, len(raw), MaxSize)
	}
	return raw, nil
}
