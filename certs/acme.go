package certs

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/caddyserver/certmagic"
	"github.com/mholt/acmez/v3"
	"github.com/mholt/acmez/v3/acme"

	"gatehouse/durable"
)

// ACMEOptions describe certificates to be ordered (RFC 8555).
type ACMEOptions struct {
	// Email is the account's contact. Empty: the CA has no way to warn.
	Email string
	// Hosts are DNS names, without wildcards, and IP addresses, best first; at least one. Nothing else is ever ordered.
	Hosts []string
	// DirectoryURL of the CA, https only. Default: Let's Encrypt's production directory.
	DirectoryURL string
	// DirectoryRoots is a PEM file of roots to trust for the directory's own TLS instead of the system's.
	DirectoryRoots string
	// StorageDir is the folder for account, certificates and keys. It belongs to one process and is made if missing.
	StorageDir string
	// CheckInterval is how often certificates are looked at for renewal. Default 10 minutes. With less than five of it left
	// a certificate is renewed at every look.
	CheckInterval time.Duration
	// ListenAddr is the address (host:port) of the listener with this provider's TLSConfig, open before Run is called. The CA
	// must reach it as port 443 of each host.
	ListenAddr string
}

// ACME is a [Provider] that orders a certificate for each host and renews it, with TLS-ALPN-01 (RFC 8737) as the proof: no
// second port, no DNS credentials. Running it means to agree to the CA's terms of service.
//
// certmagic orders and renews; handshakes are answered from what it has stored, without it: so a restart serves at once,
// and whatever the CA or certmagic does, what was served is served on. Certificates are renewed when the CA's renewal
// information says so (RFC 9773), or a third of their life is left. OCSP is not stapled.
type ACME struct {
	options   ACMEOptions
	listen    listenAddr
	roots     *x509.CertPool
	issuerKey string // where in the storage this CA's certificates are
	storage   *storage
	log       *slog.Logger

	names  []string         // normalized Hosts
	hosts  map[string]*host // by name
	byRank []*host          // in the order of names
}

// host is one name and what is served for it.
type host struct {
	name     string
	current  atomic.Pointer[tls.Certificate] // nil until there is one
	loading  sync.Mutex                      // held while current may be replaced
	missed   atomic.Bool                     // a stored certificate could not be read: try again
	reminder reminder                        // belongs to Run
}

// listenAddr is a listener's address, taken apart.
type listenAddr struct {
	host string
	port int
}

// NewACME checks the options and reads the certificates that are stored; that there are none, or that one cannot be read,
// is no error: Run orders another.
func NewACME(o ACMEOptions, log *slog.Logger) (*ACME, error) {
	if o.DirectoryURL == "" {
		o.DirectoryURL = certmagic.LetsEncryptProductionCA
	}
	if o.CheckInterval <= 0 {
		o.CheckInterval = certmagic.DefaultRenewCheckInterval
	}
	a := &ACME{options: o, log: log, storage: newStorage(o.StorageDir), hosts: map[string]*host{}}
	if err := checkDirectoryURL(o.DirectoryURL); err != nil {
		return nil, err
	}
	if err := a.addHosts(); err != nil {
		return nil, err
	}
	var err error
	if a.listen, err = parseListenAddr(o.ListenAddr); err != nil {
		return nil, err
	}
	if a.roots, err = readRoots(o.DirectoryRoots); err != nil {
		return nil, err
	}
	if err := durable.MkdirAll(o.StorageDir, 0o700); err != nil {
		return nil, fmt.Errorf("make the folder for ACME certificates: %w", err)
	}
	a.issuerKey = certmagic.NewACMEIssuer(new(certmagic.Config), certmagic.ACMEIssuer{CA: o.DirectoryURL}).IssuerKey()
	for _, h := range a.byRank {
		if err := a.load(context.Background(), h); err != nil && !errors.Is(err, fs.ErrNotExist) {
			log.Warn("cannot use the stored certificate", "host", h.name, "err", err)
		}
	}
	return a, nil
}

// addHosts fills the three views of the hosts.
func (a *ACME) addHosts() error {
	public := a.options.DirectoryURL == certmagic.LetsEncryptProductionCA
	for _, name := range a.options.Hosts {
		n := normalize(name)
		switch {
		case strings.Contains(n, "*"):
			return fmt.Errorf("cannot order a certificate for %q: wildcards need proof by DNS, which gatehouse does not do; list each name", name)
		case !validName(n):
			return fmt.Errorf("cannot order a certificate for %q: it is neither an IP address nor a DNS name (in ASCII: xn--… for others)", name)
		case public && (net.ParseIP(n) != nil || !certmagic.SubjectQualifiesForPublicCert(n) || !strings.Contains(n, ".")):
			return fmt.Errorf("cannot order a certificate for %q: Let's Encrypt certifies names of the public Internet", name)
		}
		if a.hosts[n] != nil {
			continue
		}
		h := &host{name: n, reminder: reminder{log: a.log, advice: "renewal keeps failing: see the errors before this"}}
		a.names, a.hosts[n], a.byRank = append(a.names, n), h, append(a.byRank, h)
	}
	if len(a.names) == 0 {
		return errors.New("cannot order certificates without http.tls.letsencrypt.hosts: list the names under which clients reach this server")
	}
	return nil
}

// checkDirectoryURL refuses whatever would let somebody on the way pose as the CA.
func checkDirectoryURL(raw string) error {
	u, err := url.Parse(raw)
	if err != nil {
		return fmt.Errorf("ACME directory URL: %w", err)
	}
	if u.Scheme != "https" || u.Host == "" || u.User != nil {
		return fmt.Errorf("ACME directory URL %s: it must be https://HOST/PATH, without a password", u.Redacted())
	}
	return nil
}

// parseListenAddr takes host:port apart. The port may be a service's name.
func parseListenAddr(address string) (listenAddr, error) {
	host, service, err := net.SplitHostPort(address)
	if err != nil {
		return listenAddr{}, fmt.Errorf("listener for ACME: %w", err)
	}
	port, err := net.LookupPort("tcp", service)
	if err != nil {
		return listenAddr{}, fmt.Errorf("listener for ACME: %w", err)
	}
	if port == 0 {
		return listenAddr{}, fmt.Errorf("listener for ACME: %s: the CA needs to know the port, it cannot be 0", address)
	}
	if _, err := strconv.Atoi(host); err == nil { // certmagic would take it for a file descriptor
		return listenAddr{}, fmt.Errorf("listener for ACME: %s: the host is a bare number", address)
	}
	return listenAddr{host, port}, nil
}

// readRoots reads a PEM file of certificates; no file means nil, the system's roots.
func readRoots(path string) (*x509.CertPool, error) {
	if path == "" {
		return nil, nil
	}
	data, err := readPEM(path)
	if err != nil {
		return nil, fmt.Errorf("roots of the ACME directory: %w", err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(data) {
		return nil, fmt.Errorf("roots of the ACME directory: %s holds no certificate in PEM form", path)
	}
	return pool, nil
}

// TLSConfig is described at [Provider].
func (a *ACME) TLSConfig() *tls.Config { return tlsConfig(a.certificate, acmez.ACMETLS1Protocol) }

// Covers is described at [Provider]. It answers for the configured hosts, ordered already or not.
func (a *ACME) Covers(host string) bool { return a.hosts[normalize(host)] != nil }

// Names is described at [Provider]: the configured hosts in their order.
func (a *ACME) Names() []string { return slices.Clone(a.names) }

// NotAfter is described at [Provider]: zero while any host is without a certificate.
func (a *ACME) NotAfter() time.Time {
	var first time.Time
	for _, h := range a.byRank {
		c := h.current.Load()
		if c == nil {
			return time.Time{}
		}
		if first.IsZero() || c.Leaf.NotAfter.Before(first) {
			first = c.Leaf.NotAfter
		}
	}
	return first
}

// certificate answers a handshake: for the host it names; where it names none, for the address the client came to; else
// with the first certificate there is.
func (a *ACME) certificate(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
	if slices.Equal(hello.SupportedProtos, []string{acmez.ACMETLS1Protocol}) {
		return challengeCertificate(hello.ServerName)
	}
	name := hello.ServerName
	if name == "" && hello.Conn != nil {
		name, _, _ = net.SplitHostPort(hello.Conn.LocalAddr().String())
	}
	if h := a.hosts[normalize(name)]; h != nil {
		if c := h.current.Load(); c != nil {
			return c, nil
		}
		return nil, fmt.Errorf("there is no certificate for %s yet", h.name)
	}
	for _, h := range a.byRank {
		if c := h.current.Load(); c != nil {
			return c, nil
		}
	}
	return nil, errors.New("there is no certificate yet")
}

// challengeCertificate answers the CA's proof of control (RFC 8737 section 3). What it asks for is looked up in memory among
// the challenges under way, never in a file. Nobody else can ask for this: the handshake ends there.
func challengeCertificate(name string) (*tls.Certificate, error) {
	challenge, ok := certmagic.GetACMEChallenge(normalize(name))
	if !ok || challenge.Type != acme.ChallengeTypeTLSALPN01 {
		return nil, errors.New("no ACME challenge for this name is under way")
	}
	return acmez.TLSALPN01ChallengeCert(challenge.Challenge)
}

// load serves what is stored for h, unless it is older than what is served.
func (a *ACME) load(ctx context.Context, h *host) error {
	h.loading.Lock()
	defer h.loading.Unlock()
	chain, err := a.storage.Load(ctx, certmagic.StorageKeys.SiteCert(a.issuerKey, h.name))
	if err != nil {
		return err
	}
	key, err := a.storage.Load(ctx, certmagic.StorageKeys.SitePrivateKey(a.issuerKey, h.name))
	if err != nil {
		return err
	}
	pair, err := parsePair(chain, key)
	if err != nil {
		return err
	}
	if err := pair.Leaf.VerifyHostname(h.name); err != nil {
		return err
	}
	// Not NotAfter: what follows a revoked certificate may end before it.
	if served := h.current.Load(); served == nil || !pair.Leaf.NotBefore.Before(served.Leaf.NotBefore) {
		h.current.Store(pair)
	}
	return nil
}
