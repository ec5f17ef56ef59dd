package token

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"encoding/base64"
	"errors"
	"fmt"

	"github.com/golang-jwt/jwt/v5"
)

// The algorithms that tokens are signed with, by their names in RFC 7518 and RFC 8037. Each key has one.
const (
	ES256 = "ES256" // ECDSA on P-256: small, quick, known to every verifier
	RS256 = "RS256" // RSA with PKCS #1 v1.5, for verifiers that know nothing else
	EdDSA = "EdDSA" // Ed25519, which registry 2.x does not know
)

// Sizes of RSA keys in bits. Shorter ones are not safe, longer ones cost more at each token than they are worth.
const (
	minSigningRSA = 2048
	maxSigningRSA = 4096
	newRSA        = 2048 // a signature takes 0.7 ms, with 4096 bits 5 ms
)

// methods is what signs and verifies, by algorithm.
var methods = map[string]jwt.SigningMethod{ES256: jwt.SigningMethodES256, RS256: jwt.SigningMethodRS256, EdDSA: jwt.SigningMethodEdDSA}

// PublicKey is a key that tokens may be signed with, its ids, and the one algorithm it is used for. Values are comparable,
// and equal when they hold the same key pointer.
type PublicKey struct {
	keyID, thumbprint, algorithm string
	key                          any // *ecdsa.PublicKey, *rsa.PublicKey or *ed25519.PublicKey: slices cannot be compared
}

// NewPublicKey returns pub with its ids. It takes EC keys on P-256, for ES256, RSA keys of 2048 to 4096 bits, for RS256, and
// Ed25519 keys, for EdDSA; pub must not change any more.
func NewPublicKey(pub crypto.PublicKey) (PublicKey, error) {
	p := PublicKey{key: pub}
	switch k := pub.(type) {
	case *ecdsa.PublicKey:
		if k == nil || k.Curve != elliptic.P256() {
			return PublicKey{}, errors.New("an EC key that is not on P-256 cannot verify ES256; use one on P-256 (prime256v1)")
		}
		p.algorithm = ES256
	case *rsa.PublicKey:
		if k == nil || k.N == nil || k.N.BitLen() < minSigningRSA || k.N.BitLen() > maxSigningRSA || k.E < 3 || k.E%2 == 0 {
			return PublicKey{}, fmt.Errorf("an RSA key must have %d to %d bits and an odd exponent of 3 or more", minSigningRSA, maxSigningRSA)
		}
		p.algorithm = RS256
	case ed25519.PublicKey:
		if len(k) != ed25519.PublicKeySize {
			return PublicKey{}, errors.New("an Ed25519 key must have 32 bytes")
		}
		p.algorithm, p.key = EdDSA, &k
	default:
		return PublicKey{}, fmt.Errorf("a public key of type %T verifies no token; use an EC key on P-256, an RSA key or an Ed25519 key", pub)
	}
	var err error
	if p.thumbprint, err = Thumbprint(pub); err != nil {
		return PublicKey{}, err
	}
	if p.keyID, err = KeyID(pub); err != nil {
		return PublicKey{}, err
	}
	return p, nil
}

// KeyID is the libtrust id.
func (p PublicKey) KeyID() string { return p.keyID }

// Thumbprint is the id of RFC 7638.
func (p PublicKey) Thumbprint() string { return p.thumbprint }

// Algorithm is ES256, RS256 or EdDSA.
func (p PublicKey) Algorithm() string { return p.algorithm }

// Material returns the key as package crypto has it, for a certificate. It must not be modified.
func (p PublicKey) Material() crypto.PublicKey {
	if k, ok := p.key.(*ed25519.PublicKey); ok {
		return *k
	}
	return p.key
}

// Key is a private key that signs tokens with its one algorithm. It does not change, and may be used from many goroutines.
type Key struct {
	private crypto.Signer
	public  PublicKey
	chain   []string // the header x5c of tokens, if any: RFC 7515 section 4.1.6
}

// GenerateKey returns a new key for ES256, the algorithm that every verifier knows.
func GenerateKey() (*Key, error) { return GenerateKeyFor(ES256) }

// GenerateKeyFor returns a new key for an algorithm. RSA keys have 2048 bits and take some hundred milliseconds.
func GenerateKeyFor(algorithm string) (*Key, error) {
	var private crypto.Signer
	var err error
	switch algorithm {
	case ES256:
		private, err = generateEC()
	case RS256:
		private, err = rsa.GenerateKey(rand.Reader, newRSA)
	case EdDSA:
		_, private, err = ed25519.GenerateKey(rand.Reader)
	default:
		return nil, fmt.Errorf("%q is none of the algorithms %s, %s, %s", algorithm, ES256, RS256, EdDSA)
	}
	if err != nil {
		return nil, fmt.Errorf("no key could be generated: %w", err)
	}
	return newKey(private)
}

// generateEC returns a key on P-256. Both coordinates of its point have their full length, because verifiers up to
// distribution 3.1 drop leading zeroes before they compute a thumbprint and then miss the key.
func generateEC() (*ecdsa.PrivateKey, error) {
	for {
		private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			return nil, err
		}
		x, y, err := coordinates(&private.PublicKey)
		if err != nil || x[0] != 0 && y[0] != 0 {
			return private, err
		}
	}
}

// newKey completes a private key that NewPublicKey takes the public half of.
func newKey(private crypto.Signer) (*Key, error) {
	public, err := NewPublicKey(private.Public())
	if err != nil {
		return nil, err
	}
	return &Key{private: private, public: public}, nil
}

// Public returns what verifies the key's tokens.
func (k *Key) Public() PublicKey { return k.public }

// WithChain returns the key with certificates (DER), its own first, that its tokens carry as x5c: so a verifier that knows only
// their issuer accepts the key. Both keys have the same public half. Without certificates tokens carry none.
func (k *Key) WithChain(certificates ...[]byte) *Key {
	with := &Key{private: k.private, public: k.public}
	for _, der := range certificates {
		with.chain = append(with.chain, base64.StdEncoding.EncodeToString(der))
	}
	return with
}

// Sign returns c as a compact JWS with the libtrust id as kid. Without an ID in c the token gets a random one. A token
// longer than MaxSize is ErrTooLarge. The error never quotes the token.
func (k *Key) Sign(c Claims) (string, error) {
	if c.Issuer == "" || c.Audience == "" || c.Expires.IsZero() {
		return "", errors.New("a token needs an issuer, an audience and an expiry")
	}
	if c.ID == "" {
		c.ID = rand.Text()
	}
	t := jwt.NewWithClaims(methods[k.public.algorithm], toWire(c))
	t.Header["kid"] = k.public.keyID
	if len(k.chain) > 0 {
		t.Header["x5c"] = k.chain
	}
	raw, err := t.SignedString(k.private)
	if err != nil {
		return "", fmt.Errorf("the token could not be signed: %w", err)
	}
	if len(raw) > MaxSize {
		return "", fmt.Errorf("%w: %d bytes, %d allowed", ErrTooLarge, len(raw), MaxSize)
	}
	return raw, nil
}
