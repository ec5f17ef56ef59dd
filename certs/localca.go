package certs

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"slices"
	"sync/atomic"
	"time"
)

const (
	caLifetime   = 10 * 365 * 24 * time.Hour
	leafLifetime = 90 * 24 * time.Hour

	// clockSkew is how far ahead of a client's clock ours may be: certificates are valid from so long ago.
	clockSkew = time.Hour

	// leafInterval is how often Run looks at the clock. A timer until the renewal would miss a clock that is set and
	// a machine that sleeps.
	leafInterval = time.Hour
)

// LocalCA is a [Provider] with a certificate authority of its own, for a registry that has no name in the world yet.
//
// The authority is an ECDSA P-256 key and a certificate for 10 years, made at the first start and kept in a folder that
// belongs to one process. It is never made anew while any of it is there, because clients were told to trust it. The
// server's certificate lives for 90 days and in memory only: each start issues one for the names of that start, and Run
// another when a third of its life is left.
type LocalCA struct {
	authority *authority
	names     []string
	now       func() time.Time
	log       *slog.Logger
	current   atomic.Pointer[tls.Certificate]
}

// NewLocalCA opens the authority in the folder dir, or makes one that survives a power cut, and issues a certificate for
// names: DNS names and IP addresses, best first. An authority that cannot be used is an error that says what to do.
func NewLocalCA(dir string, names []string, now func() time.Time, log *slog.Logger) (*LocalCA, error) {
	l := &LocalCA{now: now, log: log}
	for _, name := range names {
		name = normalize(name)
		if !validName(name) {
			return nil, fmt.Errorf("cannot issue a certificate for %q: it is neither an IP address nor a DNS name in ASCII", name)
		}
		if !slices.Contains(l.names, name) {
			l.names = append(l.names, name)
		}
	}
	if len(l.names) == 0 {
		return nil, errors.New("cannot issue a certificate without a name")
	}
	var err error
	if l.authority, err = openAuthority(dir, now(), log); err != nil {
		return nil, err
	}
	if err := l.issue(); err != nil {
		return nil, err
	}
	return l, nil
}

// CAFile is the path of the authority's certificate, PEM, which clients must trust. It holds no secret.
func (l *LocalCA) CAFile() string { return l.authority.certFile() }

// TLSConfig is described at [Provider].
func (l *LocalCA) TLSConfig() *tls.Config {
	return tlsConfig(func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return l.current.Load(), nil })
}

// Covers is described at [Provider].
func (l *LocalCA) Covers(host string) bool { return l.current.Load().Leaf.VerifyHostname(host) == nil }

// Names is described at [Provider]. The order is that of [NewLocalCA].
func (l *LocalCA) Names() []string { return slices.Clone(l.names) }

// NotAfter is described at [Provider]. It is the end of the server's certificate, not of the authority's.
func (l *LocalCA) NotAfter() time.Time { return l.current.Load().Leaf.NotAfter }

// Run is described at [Provider].
func (l *LocalCA) Run(ctx context.Context) error {
	tick := time.NewTicker(leafInterval)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		if !l.due() {
			continue
		}
		if err := l.issue(); err != nil {
			l.log.Error("cannot renew the certificate, the old one is served on", "err", err)
			continue
		}
		l.log.Info("certificate renewed", "names", l.names, "not_after", l.NotAfter())
	}
}

// due reports whether another certificate should be issued: a third of the life of this one is left and the authority's
// is longer, or the clock was set back to before it.
func (l *LocalCA) due() bool {
	now, leaf := l.now(), l.current.Load().Leaf
	if now.Before(leaf.NotBefore) {
		return now.After(l.authority.cert.NotBefore)
	}
	return leaf.NotAfter.Before(l.authority.cert.NotAfter) && leaf.NotAfter.Sub(now) < leaf.NotAfter.Sub(leaf.NotBefore)/3
}

// issue makes a new key and certificate and serves them from now on. The certificate's life lies within the authority's.
func (l *LocalCA) issue() error {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return fmt.Errorf("make a private key: %w", err)
	}
	from := l.now().Add(-clockSkew)
	end := l.authority.cert.NotAfter
	if end.Before(from.Add(leafLifetime)) {
		l.log.Warn("local certificate authority expires soon: remove it and restart to have a new one made, which every client "+
			"has to be told to trust", "file", l.CAFile(), "not_after", end)
	}
	template := &x509.Certificate{
		Subject:               pkix.Name{CommonName: "gatehouse"},
		NotBefore:             later(from, l.authority.cert.NotBefore),
		NotAfter:              earlier(from.Add(leafLifetime), end),
		KeyUsage:              x509.KeyUsageDigitalSignature,
		ExtKeyUsage:           []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		BasicConstraintsValid: true,
	}
	for _, name := range l.names {
		if ip := net.ParseIP(name); ip != nil {
			template.IPAddresses = append(template.IPAddresses, ip)
		} else {
			template.DNSNames = append(template.DNSNames, name)
		}
	}
	der, err := x509.CreateCertificate(rand.Reader, template, l.authority.cert, key.Public(), l.authority.key)
	if err != nil {
		return fmt.Errorf("issue a certificate for %v: %w", l.names, err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		return fmt.Errorf("issue a certificate for %v: %w", l.names, err)
	}
	l.current.Store(&tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key, Leaf: leaf})
	return nil
}

// earlier is the first of two times.
func earlier(a, b time.Time) time.Time {
	if a.Before(b) {
		return a
	}
	return b
}

// later is the second of two times.
func later(a, b time.Time) time.Time {
	if a.Before(b) {
		return b
	}
	return a
}
