package trust

import (
	"crypto/x509"
	"encoding/pem"
	"fmt"

	"gatehouse/tokenserver/token"
)

// parseBundle reads a PEM file of certificates, as distribution does: other blocks are passed over, and a certificate that
// makes no sense spoils the file. One whose key cannot be used is a problem, and neither key nor root. Dates are not looked
// at here: an expired certificate's key still has its ids, and x5c checks dates itself.
func parseBundle(data []byte) (content, error) {
	var c content
	for number := 1; ; number++ {
		var block *pem.Block
		if block, data = pem.Decode(data); block == nil {
			return c, nil
		}
		if block.Type != "CERTIFICATE" {
			c.problems = append(c.problems, fmt.Errorf("PEM block %d is no certificate", number))
			continue
		}
		cert, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return content{}, fmt.Errorf("PEM block %d is no certificate that can be read: %w", number, err)
		}
		if _, err := token.Algorithms(cert.PublicKey); err != nil {
			c.problems = append(c.problems, fmt.Errorf("PEM block %d: %w", number, err))
			continue
		}
		c.keys = append(c.keys, token.TrustedKey{Key: cert.PublicKey})
		c.roots = append(c.roots, cert)
	}
}
