package clientcert

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"log/slog"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"gatehouse/configs"
	"gatehouse/tokenserver"
)

// authority is a CA that signs whatever it is asked to.
type authority struct {
	cert *x509.Certificate
	key  crypto.Signer
}

func newKey(t *testing.T) crypto.Signer {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func newAuthority(t *testing.T) authority {
	t.Helper()
	a := authority{key: newKey(t), cert: &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "CA of a test"}, IsCA: true, BasicConstraintsValid: true,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour), KeyUsage: x509.KeyUsageCertSign,
	}}
	a.cert = a.parse(t, a.cert, a.cert, a.key)
	return a
}

func (a authority) parse(t *testing.T, cert, parent *x509.Certificate, key crypto.Signer) *x509.Certificate {
	t.Helper()
	der, err := x509.CreateCertificate(rand.Reader, cert, parent, key.Public(), a.key)
	if err != nil {
		t.Fatal(err)
	}
	parsed, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return parsed
}

func (a authority) pool() *x509.CertPool {
	pool := x509.NewCertPool()
	pool.AddCert(a.cert)
	return pool
}

// issue signs a certificate for an hour, for clients and servers, that change has made special.
func (a authority) issue(t *testing.T, change func(*x509.Certificate)) tls.Certificate {
	t.Helper()
	key := newKey(t)
	cert := &x509.Certificate{
		SerialNumber: big.NewInt(2), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth, x509.ExtKeyUsageServerAuth},
	}
	change(cert)
	return tls.Certificate{Certificate: [][]byte{a.parse(t, cert, a.cert, key).Raw}, PrivateKey: key}
}

// outcome is what Peer says.
type outcome struct {
	who tokenserver.Identity
	ok  bool
	err error
}

// shake shows a certificate to a real server that asks for one in this way, and returns what Peer made of it; false when there was no
// handshake.
func shake(t *testing.T, c *Certificates, ca authority, auth tls.ClientAuthType, shown *tls.Certificate) (outcome, bool) {
	t.Helper()
	outcomes := make(chan outcome, 1)
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		who, ok, err := c.Peer(r)
		outcomes <- outcome{who, ok, err}
	}))
	server.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, 0)
	server.TLS = &tls.Config{ClientAuth: auth, ClientCAs: ca.pool(), Certificates: []tls.Certificate{
		ca.issue(t, func(cert *x509.Certificate) { cert.IPAddresses = []net.IP{net.IPv4(127, 0, 0, 1)} })}}
	server.StartTLS()
	defer server.Close()
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true, TLSClientConfig: &tls.Config{RootCAs: ca.pool(),
		GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
			if shown == nil {
				return &tls.Certificate{}, nil
			}
			return shown, nil // whatever the server said it would take
		}}}}
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, server.URL, nil)
	if err != nil {
		t.Fatal(err)
	}
	answer, err := client.Do(r)
	if err != nil {
		return outcome{}, false
	}
	answer.Body.Close()
	return <-outcomes, true
}

func open(t *testing.T, account string, o Options, groups ...string) *Certificates {
	t.Helper()
	c, err := New(configs.ClientCertificates{Account: account, Groups: groups}, o, slog.New(slog.NewTextHandler(t.Output(), nil)))
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// address parses a URI of a certificate.
func address(t *testing.T, text string) *url.URL {
	t.Helper()
	u, err := url.Parse(text)
	if err != nil {
		t.Fatal(err)
	}
	return u
}

func TestNames(t *testing.T) {
	ca := newAuthority(t)
	alice := func(c *x509.Certificate) { c.Subject.CommonName = "alice" }
	cn := func(text string) func(*x509.Certificate) {
		return func(c *x509.Certificate) { c.Subject.CommonName = text }
	}
	for name, test := range map[string]struct {
		account string
		groups  []string
		change  func(*x509.Certificate)
		want    string
		in      []string
	}{
		"cn":           {"${cn}", nil, alice, "alice", nil},
		"cn in a name": {"cert/${cn}", []string{"people"}, alice, "cert/alice", []string{"people"}},
		"dns":          {"${dns}", nil, func(c *x509.Certificate) { c.DNSNames = []string{"a.example.com"} }, "a.example.com", nil},
		"email":        {"${email}", nil, func(c *x509.Certificate) { c.EmailAddresses = []string{"a@example.com"} }, "a@example.com", nil},
		"uri": {"${uri}", nil, func(c *x509.Certificate) { c.URIs = []*url.URL{address(t, "spiffe://example.com/ns/ci/sa/build")} },
			"spiffe://example.com/ns/ci/sa/build", nil},
		"units": {"${cn}", []string{"${ou}", "of-${o}", "all"}, func(c *x509.Certificate) {
			c.Subject = pkix.Name{CommonName: "alice", OrganizationalUnit: []string{"dev", "ops", "dev"}, Organization: []string{"Example"}}
		}, "alice", []string{"all", "dev", "of-Example", "ops"}},
		"no units":          {"${cn}", []string{"${ou}"}, alice, "alice", nil},
		"a pattern is text": {"${cn}", nil, cn("${dns}"), "${dns}", nil},

		"empty": {"${cn}", nil, cn(""), "", nil},
		"empty in a name": {"cert/${cn}", nil, func(c *x509.Certificate) {
			c.Subject.ExtraNames = []pkix.AttributeTypeAndValue{{Type: commonName, Value: ""}}
		}, "", nil},
		"star":           {"${cn}", nil, cn("*"), "", nil},
		"slash":          {"${cn}", nil, cn("github/octo-org/octo-repo"), "", nil},
		"new line":       {"${cn}", nil, cn("alice\nbob"), "", nil},
		"NUL":            {"${cn}", nil, cn("alice\x00"), "", nil},
		"escape":         {"${cn}", nil, cn("\x1b[2Jalice"), "", nil},
		"from the right": {"${cn}", nil, cn("alice\u202e"), "", nil},
		"space":          {"${cn}", nil, cn(" alice"), "", nil},
		"long":           {"${cn}", nil, cn(strings.Repeat("a", 256)), "", nil},
		"administrator":  {"${cn}", nil, cn("unix:root"), "", nil},
		"another's":      {"${cn}", nil, cn("admin"), "", nil},
		"two common names": {"${cn}", nil, func(c *x509.Certificate) {
			c.Subject.ExtraNames = []pkix.AttributeTypeAndValue{{Type: commonName, Value: "alice"}, {Type: commonName, Value: "bob"}}
		}, "", nil},
		"two dns":   {"${dns}", nil, func(c *x509.Certificate) { c.DNSNames = []string{"a.example.com", "b.example.com"} }, "", nil},
		"wildcard":  {"${dns}", nil, func(c *x509.Certificate) { c.DNSNames = []string{"*.example.com"} }, "", nil},
		"no dns":    {"${dns}", nil, alice, "", nil},
		"two email": {"${email}", nil, func(c *x509.Certificate) { c.EmailAddresses = []string{"a@example.com", "b@example.com"} }, "", nil},
		"two uri": {"${uri}", nil, func(c *x509.Certificate) {
			c.URIs = []*url.URL{address(t, "spiffe://example.com/a"), address(t, "spiffe://example.com/b")}
		}, "", nil},
		"star in a unit": {"${cn}", []string{"${ou}"}, func(c *x509.Certificate) {
			c.Subject = pkix.Name{CommonName: "alice", OrganizationalUnit: []string{"dev", "*"}}
		}, "", nil},
	} {
		t.Run(name, func(t *testing.T) {
			c := open(t, test.account, Options{Reserved: func(a string) bool { return a == "admin" }}, test.groups...)
			cert := ca.issue(t, test.change)
			got, shaken := shake(t, c, ca, tls.VerifyClientCertIfGiven, &cert)
			if !shaken {
				t.Fatal("no handshake")
			}
			if test.want == "" {
				if !errors.Is(got.err, tokenserver.ErrBadCredentials) || got.ok || got.who.Account != "" {
					t.Errorf("%+v; not ErrBadCredentials", got)
				}
				return
			}
			if got.err != nil || !got.ok || got.who.Account != test.want || !slices.Equal(got.who.Groups, test.in) || got.who.Source != Source {
				t.Errorf("%+v; not %q in %q", got, test.want, test.in)
			}
			if leaf, err := x509.ParseCertificate(cert.Certificate[0]); err != nil || !got.who.Until.Equal(leaf.NotAfter) {
				t.Errorf("it ends at %v", got.who.Until)
			}
		})
	}
}

func TestUnverified(t *testing.T) {
	ca, other := newAuthority(t), newAuthority(t)
	alice := func(c *x509.Certificate) { c.Subject.CommonName = "alice" }
	good, foreign := ca.issue(t, alice), other.issue(t, alice)
	expired := ca.issue(t, func(c *x509.Certificate) { alice(c); c.NotAfter = time.Now().Add(-time.Minute) })
	early := ca.issue(t, func(c *x509.Certificate) { alice(c); c.NotBefore = time.Now().Add(time.Minute) })
	server := ca.issue(t, func(c *x509.Certificate) { alice(c); c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth} })
	stolen := good
	stolen.PrivateKey = newKey(t)
	c := open(t, "${cn}", Options{})
	for name, shown := range map[string]*tls.Certificate{
		"none": nil, "another CA's": &foreign, "expired": &expired, "not yet": &early, "a server's": &server,
		"without its key": &stolen, "good": &good,
	} {
		for mode, auth := range map[string]tls.ClientAuthType{"request": tls.RequestClientCert, "require any": tls.RequireAnyClientCert,
			"verify": tls.VerifyClientCertIfGiven, "require and verify": tls.RequireAndVerifyClientCert} {
			t.Run(name+", "+mode, func(t *testing.T) {
				got, shaken := shake(t, c, ca, auth, shown)
				verified := auth == tls.VerifyClientCertIfGiven || auth == tls.RequireAndVerifyClientCert
				switch {
				case name == "good" && verified:
					if !shaken || got.who.Account != "alice" {
						t.Errorf("%+v, %v; not alice", got, shaken)
					}
				case got.ok || got.err != nil || got.who.Account != "":
					t.Errorf("%+v; not nobody", got)
				case shaken && verified && shown != nil:
					t.Error("the certificate is let in")
				}
			})
		}
	}
	// Without TLS there is none.
	if who, ok, err := c.Peer(httptest.NewRequestWithContext(context.Background(), http.MethodGet, "/token", nil)); ok || err != nil {
		t.Errorf("%+v, %v, %v", who, ok, err)
	}
}

func TestEndsDuringConnection(t *testing.T) {
	ca := newAuthority(t)
	cert := ca.issue(t, func(c *x509.Certificate) { c.Subject.CommonName = "alice" })
	later := time.Now().Add(2 * time.Hour)
	got, shaken := shake(t, open(t, "${cn}", Options{Now: func() time.Time { return later }}), ca, tls.RequireAndVerifyClientCert, &cert)
	if !shaken || !errors.Is(got.err, tokenserver.ErrBadCredentials) || got.ok {
		t.Errorf("%+v, %v; not ErrBadCredentials", got, shaken)
	}
}

func TestNew(t *testing.T) {
	c := configs.ClientCertificates{Account: "${cn}", Groups: []string{"${ou}-${o}"}}
	if _, err := New(c, Options{}, slog.New(slog.DiscardHandler)); err == nil {
		t.Error("two places in a group are taken")
	}
}
