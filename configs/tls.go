package configs

import (
	"cmp"
	"crypto/tls"
	"fmt"
	"slices"
	"strings"
)

// clientAuth are the values of http.tls.clientauth.
var clientAuth = map[string]tls.ClientAuthType{
	"request-client-cert":            tls.RequestClientCert,
	"require-any-client-cert":        tls.RequireAnyClientCert,
	"verify-client-cert-if-given":    tls.VerifyClientCertIfGiven,
	"require-and-verify-client-cert": tls.RequireAndVerifyClientCert,
}

// MinVersion is the least version of TLS.
func (t TLS) MinVersion() uint16 {
	if t.MinimumTLS == "tls1.3" {
		return tls.VersionTLS13
	}
	return tls.VersionTLS12
}

// Suites are the cipher suites of TLS 1.2 that are offered; nil is Go's choice.
func (t TLS) Suites() []uint16 {
	if t.MinVersion() > tls.VersionTLS12 {
		return nil
	}
	var ids []uint16
	for _, name := range t.CipherSuites {
		if s := suite(name); s != nil {
			ids = append(ids, s.ID)
		}
	}
	return ids
}

// Clients says how much a client's certificate is needed.
func (t TLS) Clients() tls.ClientAuthType {
	if len(t.ClientCAs) == 0 {
		return tls.NoClientCert
	}
	return clientAuth[cmp.Or(t.ClientAuth, "require-and-verify-client-cert")]
}

// suite finds a cipher suite by Go's name, which is IANA's. Those of RC4 are as unknown as to distribution.
func suite(name string) *tls.CipherSuite {
	if strings.Contains(name, "RC4") {
		return nil
	}
	for _, s := range slices.Concat(tls.CipherSuites(), tls.InsecureCipherSuites()) {
		if s.Name == name {
			return s
		}
	}
	return nil
}

// handshakes checks what is asked of connections over TLS.
func (k *checker) handshakes() {
	t := k.c.HTTP.TLS
	switch t.MinimumTLS {
	case "", "tls1.0", "tls1.1", "tls1.2", "tls1.3":
	default:
		k.errorf("http.tls.minimumtls", "%s is none of tls1.2, tls1.3", quoteText(t.MinimumTLS))
	}
	for i, name := range t.CipherSuites {
		if suite(name) == nil {
			k.errorf(fmt.Sprintf("http.tls.ciphersuites[%d]", i), "%s is no cipher suite that is known; names are like TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256", quoteText(name))
		}
	}
	if _, known := clientAuth[t.ClientAuth]; t.ClientAuth != "" && !known {
		k.errorf("http.tls.clientauth", "%s is none of require-and-verify-client-cert, verify-client-cert-if-given, require-any-client-cert, request-client-cert", quoteText(t.ClientAuth))
	} else if known && len(t.ClientCAs) == 0 {
		k.errorf("http.tls.clientauth", "no client is asked for a certificate without http.tls.clientcas: name the files of the CAs, or remove the key")
	}
	if len(t.ClientCAs) > 0 && !t.Enabled() {
		k.errorf("http.tls.clientcas", "the listener speaks plain HTTP, where no client is asked for a certificate: set http.tls.certificate and key, or remove the key")
	}
	if slices.Contains(t.ClientCAs, "") {
		k.errorf("http.tls.clientcas", "an item names no file")
	}
}

// considerHandshakes warns of what is asked in vain, or is weak.
func (k *checker) considerHandshakes() {
	t := k.c.HTTP.TLS
	switch {
	case t.MinimumTLS == "tls1.0" || t.MinimumTLS == "tls1.1":
		k.warnf("http.tls.minimumtls", "no effect: the least is tls1.2")
	case t.MinimumTLS != "" && !t.Enabled():
		k.warnf("http.tls.minimumtls", "no effect: the listener speaks plain HTTP")
	}
	if c := t.Clients(); c == tls.RequestClientCert || c == tls.RequireAnyClientCert {
		k.warnf("http.tls.clientauth", "%s: certificates of clients are not verified, so that anybody can make one", t.ClientAuth)
	}
	switch {
	case len(t.CipherSuites) == 0:
		return
	case !t.Enabled():
		k.warnf("http.tls.ciphersuites", "no effect: the listener speaks plain HTTP")
	case t.Suites() == nil:
		k.warnf("http.tls.ciphersuites", "no effect with tls1.3, whose cipher suites cannot be chosen")
	case !k.c.HTTP.HTTP2.Disabled && !k.c.HTTP.OffersHTTP2():
		k.warnf("http.tls.ciphersuites", "HTTP/2 is not offered: it needs TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256 or TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256")
	}
	for _, s := range tls.InsecureCipherSuites() {
		if t.Suites() != nil && slices.Contains(t.CipherSuites, s.Name) {
			k.warnf("http.tls.ciphersuites", "%s is insecure", s.Name)
		}
	}
}
