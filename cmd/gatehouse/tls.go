package main

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"os"
	"slices"

	"github.com/mholt/acmez/v3"

	"gatehouse/certs"
	"gatehouse/configs"
)

// newTLS returns the listener's configuration: the provider's certificates, and what the file asks of handshakes. The CAs of
// clients are read once.
func newTLS(p certs.Provider, t configs.TLS) (*tls.Config, error) {
	c := p.TLSConfig()
	c.MinVersion, c.CipherSuites = t.MinVersion(), t.Suites()
	if c.ClientAuth = t.Clients(); c.ClientAuth == tls.NoClientCert {
		return c, nil
	}
	c.ClientCAs = x509.NewCertPool()
	for _, file := range t.ClientCAs {
		pem, err := os.ReadFile(file)
		if err != nil {
			return nil, configError{fmt.Errorf("http.tls.clientcas: %w", err)}
		}
		if !c.ClientCAs.AppendCertsFromPEM(pem) {
			return nil, configError{fmt.Errorf("http.tls.clientcas: %s holds no certificate in PEM", file)}
		}
	}
	if !slices.Contains(c.NextProtos, acmez.ACMETLS1Protocol) {
		return c, nil
	}
	// An ACME authority proves the name by a handshake of its own kind, without a certificate of a client (RFC 8737 section 3).
	// It offers this protocol alone, and nothing is served over it.
	proof := p.TLSConfig()
	proof.MinVersion, proof.NextProtos = c.MinVersion, []string{acmez.ACMETLS1Protocol}
	c.GetConfigForClient = func(hello *tls.ClientHelloInfo) (*tls.Config, error) {
		if slices.Equal(hello.SupportedProtos, proof.NextProtos) {
			return proof, nil
		}
		return nil, nil
	}
	return c, nil
}
