package trust

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"math/big"
	"slices"

	"gatehouse/tokenserver/token"
)

// jwk is a key of RFC 7517 with the members of RFC 7518 section 6 and RFC 8037 that public keys have. The others, those of a
// private key and x5c among them, are not read.
type jwk struct {
	Type       string   `json:"kty"`
	Use        string   `json:"use"`
	Operations []string `json:"key_ops"`
	Algorithm  string   `json:"alg"`
	ID         string   `json:"kid"`
	Curve      string   `json:"crv"`
	X          string   `json:"x"`
	Y          string   `json:"y"`
	N          string   `json:"n"`
	E          string   `json:"e"`
}

// curves are those of RFC 7518 section 6.2.1.1.
var curves = map[string]elliptic.Curve{"P-256": elliptic.P256(), "P-384": elliptic.P384(), "P-521": elliptic.P521()}

// parseJWKS reads a JWK set. A key that cannot be used is a problem and no more, as RFC 7517 section 5 has it: issuers publish
// keys for encryption in the same set.
func parseJWKS(data []byte) (content, error) {
	var set struct {
		Keys []json.RawMessage `json:"keys"`
	}
	if err := json.Unmarshal(data, &set); err != nil {
		return content{}, fmt.Errorf("it is no JWK set: %w", err)
	}
	var c content
	for i, raw := range set.Keys {
		var k jwk
		key, err := crypto.PublicKey(nil), json.Unmarshal(raw, &k)
		if err == nil {
			key, err = k.public()
		}
		if err != nil {
			c.problems = append(c.problems, fmt.Errorf("key %d: %w", i+1, err))
			continue
		}
		c.keys = append(c.keys, token.TrustedKey{Key: key, ID: k.ID, Algorithm: k.Algorithm})
	}
	return c, nil
}

// public returns the key, if tokens can be verified with it.
func (k jwk) public() (crypto.PublicKey, error) {
	switch {
	case k.Use != "" && k.Use != "sig":
		return nil, fmt.Errorf("it is for the use %.20q, not for signatures", k.Use)
	case k.Operations != nil && !slices.Contains(k.Operations, "verify") && !slices.Contains(k.Operations, "sign"):
		return nil, errors.New("its key_ops have no verify")
	}
	key, err := k.material()
	if err != nil {
		return nil, err
	}
	algorithms, err := token.Algorithms(key)
	if err != nil {
		return nil, err
	}
	if k.Algorithm != "" && !slices.Contains(algorithms, k.Algorithm) {
		return nil, fmt.Errorf("its alg %.20q does not fit a key of type %.20q and its curve", k.Algorithm, k.Type)
	}
	return key, nil
}

// material returns the key that the members of its type describe.
func (k jwk) material() (crypto.PublicKey, error) {
	switch k.Type {
	case "RSA":
		n, err := decode(k.N)
		if err != nil {
			return nil, errors.New("its n is not base64url")
		}
		e, err := decode(k.E)
		if err != nil || len(e) == 0 || len(e) > 4 || len(e) == 4 && e[0] > 0x7f {
			return nil, errors.New("its e is no exponent that is used")
		}
		return &rsa.PublicKey{N: new(big.Int).SetBytes(n), E: int(new(big.Int).SetBytes(e).Int64())}, nil
	case "EC":
		curve := curves[k.Curve]
		if curve == nil {
			return nil, fmt.Errorf("its curve %.20q is none of P-256, P-384 and P-521", k.Curve)
		}
		x, errX := decode(k.X)
		y, errY := decode(k.Y)
		size := (curve.Params().BitSize + 7) / 8
		if errX != nil || errY != nil || len(x) > size || len(y) > size {
			return nil, errors.New("its x or y is no coordinate on its curve")
		}
		point := make([]byte, 1+2*size) // SEC 1 section 2.3.3
		point[0] = 4
		copy(point[1+size-len(x):], x)
		copy(point[1+2*size-len(y):], y)
		key, err := ecdsa.ParseUncompressedPublicKey(curve, point)
		if err != nil {
			return nil, errors.New("its x and y are no point on its curve")
		}
		return key, nil
	case "OKP":
		x, err := decode(k.X)
		if k.Curve != "Ed25519" || err != nil || len(x) != ed25519.PublicKeySize {
			return nil, errors.New("it is no Ed25519 key")
		}
		return ed25519.PublicKey(x), nil
	}
	return nil, fmt.Errorf("its kty %.20q is none of RSA, EC and OKP", k.Type)
}

// decode reads base64url without padding (RFC 7515 section 2).
func decode(text string) ([]byte, error) { return base64.RawURLEncoding.DecodeString(text) }
