package configs

import (
	"cmp"
	"crypto/tls"
	"fmt"
	"slices"
)

// ClientCertificates is tokenserver.clientcertificates: who shows a certificate that http.tls.clientcas signed, and nothing else, is
// the account that it names.
type ClientCertificates struct {
	// Account is the name that it logs in as. ${cn} stands for the common name of the certificate, ${dns}, ${email} and ${uri} for its
	// alternative name of that kind, of which it then must have one and no more. Required.
	Account string `yaml:"account"`
	// Groups that it is in. ${ou} and ${o} stand for each organizational unit and each organization.
	Groups []string `yaml:"groups"`
}

// clientCertificates checks tokenserver.clientcertificates.
func (k *checker) clientCertificates() {
	c := k.c.TokenServer.ClientCertificates
	if c == nil {
		return
	}
	at := "tokenserver.clientcertificates"
	k.needsRules(at)
	fault := cmp.Or(accountTemplateFault(c.Account), strangePlace(c.Account, "${cn}", "${dns}", "${email}", "${uri}"))
	switch {
	case fault != "":
		k.errorf(at+".account", "%s", fault)
	case !Placeholder.MatchString(c.Account):
		k.errorf(at+".account", "%s says none of ${cn}, ${dns}, ${email}, ${uri}: all certificates would be one account",
			quoteText(c.Account))
	}
	for i, g := range c.Groups {
		if fault := cmp.Or(templateFault(g), strangePlace(g, "${ou}", "${o}")); fault != "" {
			k.errorf(fmt.Sprintf("%s.groups[%d]", at, i), "%s", fault)
		}
	}
	switch k.c.HTTP.TLS.Clients() {
	case tls.NoClientCert:
		k.errorf(at, "no client is asked for a certificate: set http.tls.clientcas, or remove the section")
	case tls.RequestClientCert, tls.RequireAnyClientCert:
		k.errorf(at, "certificates are not verified with http.tls.clientauth: %s; use verify-client-cert-if-given", k.c.HTTP.TLS.ClientAuth)
	}
}

// strangePlace says which ${…} in text is not one of the known, or "".
func strangePlace(text string, known ...string) string {
	for _, found := range Placeholder.FindAllString(text, -1) {
		if !slices.Contains(known, found) {
			return fmt.Sprintf("%s is none of %v", found, known)
		}
	}
	return ""
}
