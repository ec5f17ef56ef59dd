package token

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"encoding/binary"
	"encoding/json"
	"fmt"
)

// jwk is a public key of RFC 7517: EC and RSA of RFC 7518 sections 6.2 and 6.3, OKP of RFC 8037 section 2.
type jwk struct {
	Type      string `json:"kty"`
	Use       string `json:"use"`
	Algorithm string `json:"alg"`
	ID        string `json:"kid"`
	Curve     string `json:"crv,omitempty"`
	X         string `json:"x,omitempty"`
	Y         string `json:"y,omitempty"`
	Modulus   string `json:"n,omitempty"`
	Exponent  string `json:"e,omitempty"`
}

// MarshalJWKS returns keys as a JWK set (RFC 7517 section 5). Each key is in it twice, under its libtrust id and under its
// RFC 7638 thumbprint, because verifiers take the kid of a token literally.
func MarshalJWKS(keys []PublicKey) ([]byte, error) {
	list := make([]jwk, 0, 2*len(keys))
	for _, k := range keys {
		entry := jwk{Use: "sig", Algorithm: k.algorithm}
		switch pub := k.Material().(type) {
		case *ecdsa.PublicKey:
			x, y, err := coordinates(pub)
			if err != nil {
				return nil, err
			}
			entry.Type, entry.Curve, entry.X, entry.Y = "EC", pub.Params().Name, encode(x), encode(y)
		case *rsa.PublicKey:
			entry.Type, entry.Modulus, entry.Exponent = "RSA", encode(pub.N.Bytes()), encode(exponent(pub))
		case ed25519.PublicKey:
			entry.Type, entry.Curve, entry.X = "OKP", "Ed25519", encode(pub)
		default:
			return nil, fmt.Errorf("a public key of type %T has no JWK form", pub)
		}
		for _, entry.ID = range [...]string{k.keyID, k.thumbprint} {
			list = append(list, entry)
		}
	}
	return json.Marshal(struct {
		Keys []jwk `json:"keys"`
	}{list})
}

// exponent is e of an RSA key in as few bytes as it takes (RFC 7518 section 6.3.1.2).
func exponent(k *rsa.PublicKey) []byte {
	e := binary.BigEndian.AppendUint64(nil, uint64(k.E))
	for len(e) > 1 && e[0] == 0 {
		e = e[1:]
	}
	return e
}
