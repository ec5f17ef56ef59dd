// Package clientcert takes certificates of clients for accounts: who shows one that an authority of http.tls.clientcas signed, and
// nothing else, is the account that it names. The gateway's TLS has verified it; here it is read.
package clientcert

import (
	"crypto/x509"
	"encoding/asn1"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"time"

	"gatehouse/configs"
	"gatehouse/tokenserver"
)

// Source is what Identity.Source says of who was proved by a certificate.
const Source = "certificate"

// commonName is the type of the attribute CN (RFC 4519 section 2.3).
var commonName = asn1.ObjectIdentifier{2, 5, 4, 3}

// Options completes New. The zero value is ready to use.
type Options struct {
	// Reserved reports whether an account is another source's, so that no certificate becomes it. Default: none is.
	Reserved func(account string) bool
	// Now is the clock. Default time.Now.
	Now func() time.Time
}

// Certificates says who certificates are. It may be used from many goroutines.
type Certificates struct {
	account  string
	groups   []string
	reserved func(string) bool
	now      func() time.Time
	log      *slog.Logger
}

// New returns the Certificates for c, which was checked.
func New(c configs.ClientCertificates, o Options, log *slog.Logger) (*Certificates, error) {
	if o.Reserved == nil {
		o.Reserved = func(string) bool { return false }
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	for _, g := range c.Groups {
		if len(configs.Placeholder.FindAllString(g, -1)) > 1 {
			return nil, fmt.Errorf("tokenserver.clientcertificates.groups: %q has more than one ${…}", g)
		}
	}
	return &Certificates{account: c.Account, groups: c.Groups, reserved: o.Reserved, now: o.Now, log: log}, nil
}

// Peer is tokenserver.Options.Peer: whom the certificate of a connection proves, or false where none was shown that was verified. One
// that names no account, or more than one, is ErrBadCredentials and no anonymous; why is logged. The identity ends with the
// certificate.
func (c *Certificates) Peer(r *http.Request) (tokenserver.Identity, bool, error) {
	// PeerCertificates is what a client says. VerifiedChains is what is so: to one of the CAs, for the purpose, in time.
	if r.TLS == nil || len(r.TLS.VerifiedChains) == 0 || len(r.TLS.VerifiedChains[0]) == 0 {
		return tokenserver.Identity{}, false, nil
	}
	who, err := c.identify(r.TLS.VerifiedChains)
	if err != nil {
		c.log.InfoContext(r.Context(), "certificate of a client is no login", "subject", r.TLS.VerifiedChains[0][0].Subject.String(), "err", err)
		return tokenserver.Identity{}, false, tokenserver.ErrBadCredentials
	}
	return who, true, nil
}

// identify is Peer for verified chains of one certificate.
func (c *Certificates) identify(chains [][]*x509.Certificate) (tokenserver.Identity, error) {
	leaf := chains[0][0]
	until := end(chains)
	if !c.now().Before(until) { // a connection may last longer than the certificate that it began with
		return tokenserver.Identity{}, errors.New("it has ended since the connection began")
	}
	var fault error
	account := configs.Placeholder.ReplaceAllStringFunc(c.account, func(place string) string {
		value, err := name(leaf, place)
		if err != nil {
			fault = err
		}
		return value
	})
	if fault == nil {
		fault = tokenserver.CheckAccount(account)
	}
	if fault == nil && c.reserved(account) {
		fault = fmt.Errorf("the account %q is another source's", account)
	}
	if fault != nil {
		return tokenserver.Identity{}, fault
	}
	groups, err := c.groupsOf(leaf)
	if err != nil {
		return tokenserver.Identity{}, err
	}
	return tokenserver.Identity{Account: account, Groups: groups, Source: Source, Until: until}, nil
}

// end is when the chain that lasts longest does not any more.
func end(chains [][]*x509.Certificate) time.Time {
	var last time.Time
	for _, chain := range chains {
		first := chain[0].NotAfter
		for _, one := range chain[1:] {
			if one.NotAfter.Before(first) {
				first = one.NotAfter
			}
		}
		if first.After(last) {
			last = first
		}
	}
	return last
}

// name is what stands for a place: of several names of its kind none is the name, so that who may choose one more has no say. Names have
// no slash, so that none is in the midst of others' accounts; only URIs have.
func name(leaf *x509.Certificate, place string) (string, error) {
	var names []string
	switch place {
	case "${cn}":
		for _, a := range leaf.Subject.Names {
			if text, ok := a.Value.(string); ok && a.Type.Equal(commonName) {
				names = append(names, text)
			}
		}
	case "${dns}":
		names = leaf.DNSNames
	case "${email}":
		names = leaf.EmailAddresses
	case "${uri}":
		for _, u := range leaf.URIs {
			names = append(names, u.String())
		}
	}
	switch {
	case len(names) != 1:
		return "", fmt.Errorf("it has %d names for %s, and not one", len(names), place)
	case names[0] == "":
		return "", fmt.Errorf("its name for %s is empty", place)
	case place != "${uri}" && strings.Contains(names[0], "/"):
		return "", fmt.Errorf("its name for %s has a slash", place)
	}
	return names[0], nil
}

// groupsOf returns the groups of a certificate, sorted, each once. One that cannot be a group's name shuts the certificate out: to leave
// it out could leave out one that denies.
func (c *Certificates) groupsOf(leaf *x509.Certificate) ([]string, error) {
	var groups []string
	for _, text := range c.groups {
		var values []string
		place := configs.Placeholder.FindString(text)
		switch place {
		case "":
			values = []string{""}
		case "${ou}":
			values = leaf.Subject.OrganizationalUnit
		case "${o}":
			values = leaf.Subject.Organization
		}
		for _, v := range values {
			group := text
			if place != "" {
				group = strings.ReplaceAll(text, place, v)
				if v == "" {
					return nil, fmt.Errorf("its name for %s is empty", place)
				}
			}
			if err := tokenserver.CheckName(group); err != nil {
				return nil, fmt.Errorf("of %q comes no group: %w", text, err)
			}
			groups = append(groups, group)
		}
	}
	slices.Sort(groups)
	return slices.Compact(groups), nil
}
