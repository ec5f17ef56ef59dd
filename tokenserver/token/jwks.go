package token

import (
	"crypto/ecdsa"
	"encoding/json"
	"fmt"
)

// jwk is a public EC key of RFC 7517 and RFC 7518 section 6.2.
type jwk struct {
	Type      string `json:"kty"`
	Use       string `json:"use"`
	Algorithm string `json:"alg"`
	ID        string `json:"kid"`
	Curve     string `json:"crv"`
	X         string `json:"x"`
	Y         string `json:"y"`
}

// MarshalJWKS returns keys as a JWK set (RFC 7517 section 5). Each key is in it twice, under its libtrust id and under its
// RFC 7638 thumbprint, because verifiers take the kid of a token literally.
func MarshalJWKS(keys []PublicKey) ([]byte, error) {
	list := make([]jwk, 0, 2*len(keys))
	for _, k := range keys {
		ec, ok := k.key.(*ecdsa.PublicKey)
		if !ok {
			return nil, fmt.Errorf("a public key of type %T has no JWK form", k.key)
		}
		x, y, err := coordinates(ec)
		if err != nil {
			return nil, err
		}
		entry := jwk{Type: "EC", Use: "sig", Algorithm: k.algorithm, Curve: ec.Params().Name, X: encode(x), Y: encode(y)}
		for _, entry.ID = range [...]string{k.keyID, k.thumbprint} {
			list = append(list, entry)
		}
	}
	return json.Marshal(struct {
		Keys []jwk `json:"keys"`
	}{list})
}
