package certs

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/caddyserver/certmagic"

	"gatehouse/testbench"
)

// nobody is a directory URL where nothing listens.
func nobody(t *testing.T) string { return "https://" + testbench.FreeAddr(t) + "/dir" }

// newACME returns a provider whose CA is nobody unless o says otherwise.
func newACME(t *testing.T, o ACMEOptions) (*ACME, *logbook) {
	t.Helper()
	if o.DirectoryURL == "" {
		o.DirectoryURL = nobody(t)
	}
	if o.StorageDir == "" {
		o.StorageDir = t.TempDir()
	}
	if o.ListenAddr == "" {
		o.ListenAddr = testbench.FreeAddr(t)
	}
	book, log := newLogbook()
	a, err := NewACME(o, log)
	if err != nil {
		t.Fatal(err)
	}
	return a, book
}

// keep puts a certificate into the storage of a, as an order would.
func keep(t *testing.T, a *ACME, name string, chain, key []byte) {
	t.Helper()
	keys := certmagic.StorageKeys
	for path, content := range map[string][]byte{
		keys.SiteCert(a.issuerKey, name):       chain,
		keys.SitePrivateKey(a.issuerKey, name): key,
		keys.SiteMeta(a.issuerKey, name):       []byte(`{"sans":["` + name + `"]}`),
	} {
		if err := a.storage.Store(t.Context(), path, content); err != nil {
			t.Fatal(err)
		}
	}
}

// handshake asks a for a certificate with a real handshake over a pipe and returns the client's view.
func handshake(t *testing.T, a *ACME, name string, protocols ...string) (*x509.Certificate, error) {
	t.Helper()
	client, server := net.Pipe()
	defer client.Close()
	go func() {
		_ = tls.Server(server, a.TLSConfig()).HandshakeContext(t.Context()) // the client says how it went
		server.Close()
	}()
	conn := tls.Client(client, &tls.Config{ServerName: name, InsecureSkipVerify: true, NextProtos: protocols})
	if err := conn.HandshakeContext(t.Context()); err != nil {
		return nil, err
	}
	return conn.ConnectionState().PeerCertificates[0], nil
}

func TestNewACMERefuses(t *testing.T) {
	dir := t.TempDir()
	notPEM, file := filepath.Join(dir, "roots.pem"), filepath.Join(dir, "file")
	writeFile(t, notPEM, []byte("hello"))
	writeFile(t, file, nil)
	good := ACMEOptions{Hosts: []string{"registry.example.com"}, DirectoryURL: "https://ca.example/dir", StorageDir: filepath.Join(dir, "acme"), ListenAddr: ":443"}
	for _, test := range []struct {
		name    string
		change  func(o *ACMEOptions)
		failure string
	}{
		{"http", func(o *ACMEOptions) { o.DirectoryURL = "http://ca.example/dir" }, "must be https"},
		{"http to this machine", func(o *ACMEOptions) { o.DirectoryURL = "http://127.0.0.1:14000/dir" }, "must be https"},
		{"no scheme", func(o *ACMEOptions) { o.DirectoryURL = "ca.example/dir" }, "must be https"},
		{"no host", func(o *ACMEOptions) { o.DirectoryURL = "https:///dir" }, "must be https"},
		{"other scheme", func(o *ACMEOptions) { o.DirectoryURL = "file:///etc/passwd" }, "must be https"},
		{"password", func(o *ACMEOptions) { o.DirectoryURL = "https://me:hunter2@ca.example/dir" }, "without a password"},
		{"not a URL", func(o *ACMEOptions) { o.DirectoryURL = "https://ca.example/\x7f" }, "directory URL"},
		{"no hosts", func(o *ACMEOptions) { o.Hosts = nil }, "letsencrypt.hosts"},
		{"wildcard", func(o *ACMEOptions) { o.Hosts = []string{"*.example.com"} }, "wildcards"},
		{"empty host", func(o *ACMEOptions) { o.Hosts = []string{"registry.example.com", ""} }, "neither"},
		{"host with port", func(o *ACMEOptions) { o.Hosts = []string{"registry.example.com:443"} }, "neither"},
		{"path as host", func(o *ACMEOptions) { o.Hosts = []string{"../../etc"} }, "neither"},
		{"other letters", func(o *ACMEOptions) { o.Hosts = []string{"ä.example.com"} }, "xn--"},
		{"local name at a public CA", func(o *ACMEOptions) { o.Hosts, o.DirectoryURL = []string{"registry.local"}, "" }, "public Internet"},
		{"plain name at a public CA", func(o *ACMEOptions) { o.Hosts, o.DirectoryURL = []string{"registry"}, "" }, "public Internet"},
		{"private address at a public CA", func(o *ACMEOptions) { o.Hosts, o.DirectoryURL = []string{"10.0.0.1"}, "" }, "public Internet"},
		{"no listener", func(o *ACMEOptions) { o.ListenAddr = "" }, "listener"},
		{"listener without port", func(o *ACMEOptions) { o.ListenAddr = "127.0.0.1" }, "listener"},
		{"any port", func(o *ACMEOptions) { o.ListenAddr = ":0" }, "cannot be 0"},
		{"number as listener's host", func(o *ACMEOptions) { o.ListenAddr = "3:443" }, "bare number"},
		{"roots missing", func(o *ACMEOptions) { o.DirectoryRoots = filepath.Join(dir, "missing") }, "no such file"},
		{"roots not PEM", func(o *ACMEOptions) { o.DirectoryRoots = notPEM }, "no certificate"},
		{"storage below a file", func(o *ACMEOptions) { o.StorageDir = filepath.Join(file, "acme") }, "folder"},
	} {
		t.Run(test.name, func(t *testing.T) {
			o := good
			test.change(&o)
			_, log := newLogbook()
			_, err := NewACME(o, log)
			if err == nil || !strings.Contains(err.Error(), test.failure) || strings.Contains(err.Error(), "hunter2") {
				t.Errorf("error is %v, want one about %q", err, test.failure)
			}
		})
	}
	if _, err := NewACME(good, slogDiscard()); err != nil {
		t.Error(err)
	}
	good.DirectoryURL, good.ListenAddr = "", "[::]:https"
	if _, err := NewACME(good, slogDiscard()); err != nil {
		t.Error(err)
	}
}

// TestACMEWithoutCertificate shows that handshakes before the first certificate fail, cleanly, whatever they ask for.
func TestACMEWithoutCertificate(t *testing.T) {
	a, _ := newACME(t, ACMEOptions{Hosts: []string{"Registry.example.com.", "192.0.2.1", "registry.example.com"}})
	noCertmagic(t) // New starts nothing
	if got, want := a.Names(), []string{"registry.example.com", "192.0.2.1"}; !slices.Equal(got, want) {
		t.Errorf("names are %v, want %v", got, want)
	}
	if !a.Covers("registry.EXAMPLE.com") || !a.Covers("192.0.2.1") || a.Covers("other.example.com") || a.Covers("") {
		t.Error("not the configured hosts are covered")
	}
	if !a.NotAfter().IsZero() {
		t.Errorf("NotAfter is %v", a.NotAfter())
	}
	for _, name := range []string{"registry.example.com", "192.0.2.1", "other.example.com", ""} {
		for _, protocols := range [][]string{nil, {"h2"}, {"acme-tls/1"}, {"acme-tls/1", "h2"}} {
			if _, err := handshake(t, a, name, protocols...); err == nil {
				t.Errorf("handshake as %q with %v succeeded", name, protocols)
			} else if alert := tls.AlertError(0); !errors.As(err, &alert) && !strings.Contains(err.Error(), "remote error") {
				t.Errorf("handshake as %q with %v: %v", name, protocols, err)
			}
		}
	}
	// What no client of ours can send; there is no connection and no context either.
	for _, name := range []string{"../../../../etc/passwd", "\x00", strings.Repeat("a", 1<<16), "*", "registry.example.com/../x"} {
		for _, protocols := range [][]string{nil, {"acme-tls/1"}} {
			if c, err := a.certificate(&tls.ClientHelloInfo{ServerName: name, SupportedProtos: protocols}); err == nil || c != nil {
				t.Errorf("certificate for %q", name)
			}
		}
	}
}

// TestACMEStored serves what an earlier process has ordered, before Run and with a CA that is away, even when it has expired.
func TestACMEStored(t *testing.T) {
	ca, now := newIssuer(t), time.Now()
	hosts := []string{"first.example.com", "second.example.com", "127.0.0.9"}
	a, _ := newACME(t, ACMEOptions{Hosts: hosts})
	for i, name := range hosts {
		chain, key := ca.issue(t, now.Add(-90*day), now.Add(time.Duration(i-1)*day+time.Hour), name) // the first has expired
		keep(t, a, name, chain, key)
	}
	a, book := newACME(t, ACMEOptions{Hosts: hosts, DirectoryURL: a.options.DirectoryURL, StorageDir: a.options.StorageDir, CheckInterval: time.Second})
	addr := serve(t, a, a.options.ListenAddr)
	check := func() {
		t.Helper()
		for sni, want := range map[string]string{
			"first.example.com": "first.example.com", "Second.Example.com": "second.example.com",
			"": "first.example.com", "third.example.com": "first.example.com", "192.0.2.1": "first.example.com",
		} {
			c, err := get(t.Context(), addr, sni, &tls.Config{InsecureSkipVerify: true})
			if err != nil || c.VerifyHostname(want) != nil {
				t.Errorf("handshake as %q: %v, %v; want the certificate of %s", sni, c.DNSNames, err, want)
			}
		}
		first, err := a.certificate(&tls.ClientHelloInfo{ServerName: "first.example.com"})
		if err != nil || !a.NotAfter().Equal(first.Leaf.NotAfter) {
			t.Errorf("NotAfter is %v, not the end of the one that ends first; %v", a.NotAfter(), err)
		}
		if _, err := handshake(t, a, "first.example.com", "acme-tls/1"); err == nil {
			t.Error("a handshake for a challenge that is not under way succeeded")
		}
	}
	check()
	stop := run(t, a)
	book.wait(t, "could not get certificate from issuer")
	book.wait(t, "certificate has expired")
	check()
	stop()
	noCertmagic(t)
	check()
	if !strings.Contains(book.String(), "agree to the terms") {
		t.Errorf("the log does not mention the CA's terms:\n%s", book)
	}
	// A client that comes to an address without a name gets that address's certificate.
	local := &net.TCPAddr{IP: net.IPv4(127, 0, 0, 9), Port: 443}
	if c, err := a.certificate(&tls.ClientHelloInfo{Conn: addressed{local: local}}); err != nil || c.Leaf.VerifyHostname("127.0.0.9") != nil {
		t.Errorf("certificate for 127.0.0.9: %v", err)
	}
}

// addressed is a connection that came in at an address; it can do nothing else.
type addressed struct {
	net.Conn
	local net.Addr
}

func (a addressed) LocalAddr() net.Addr { return a.local }

// TestACMEDamaged shows that what is stored and cannot be used is not served and does not stay in the way.
func TestACMEDamaged(t *testing.T) {
	ca, now := newIssuer(t), time.Now()
	chain, key := ca.issue(t, now, now.Add(90*day), "registry.example.com")
	_, otherKey := ca.issue(t, now, now.Add(90*day), "registry.example.com")
	otherChain, otherChainKey := ca.issue(t, now, now.Add(90*day), "other.example.com")
	for _, test := range []struct {
		name       string
		chain, key []byte
		aside      bool // set aside, as certmagic would choke on it
	}{
		{"torn", chain, otherKey, true},
		{"empty", []byte{}, key, true},
		{"empty key", chain, []byte{}, true},
		{"for another name", otherChain, otherChainKey, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			o := ACMEOptions{Hosts: []string{"registry.example.com"}, DirectoryURL: nobody(t), StorageDir: t.TempDir()}
			a, _ := newACME(t, o)
			keep(t, a, "registry.example.com", test.chain, test.key)
			a, book := newACME(t, o)
			if _, err := handshake(t, a, "registry.example.com"); err == nil {
				t.Error("it is served")
			}
			book.wait(t, "cannot use the stored certificate")
			stop := run(t, a)
			if test.aside {
				book.wait(t, "could not get certificate from issuer") // an order is under way
				folder := a.storage.Filename(certmagic.StorageKeys.CertsSitePrefix(a.issuerKey, "registry.example.com"))
				if entries, err := os.ReadDir(folder + ".damaged"); err != nil || len(entries) != 3 {
					t.Errorf("set aside: %v, %v", entries, err)
				}
			} else {
				book.wait(t, "cannot manage the certificate yet")
			}
			stop()
			noSecret(t, slices.Concat(key, otherKey), book.String())
		})
	}
}

// TestACMEStorageFails starts with a storage that cannot be read, and makes it well: management begins without a restart.
func TestACMEStorageFails(t *testing.T) {
	ca, now := newIssuer(t), time.Now()
	chain, key := ca.issue(t, now, now.Add(90*day), "registry.example.com")
	a, book := newACME(t, ACMEOptions{Hosts: []string{"registry.example.com"}})
	obstacle := filepath.Join(a.options.StorageDir, "certificates")
	writeFile(t, obstacle, nil)
	run(t, a)
	book.wait(t, "cannot manage the certificate yet")
	if err := os.Remove(obstacle); err != nil {
		t.Fatal(err)
	}
	keep(t, a, "registry.example.com", chain, key)
	testbench.Eventually(t, testTimeout, "the certificate", func() error {
		_, err := a.certificate(&tls.ClientHelloInfo{ServerName: "registry.example.com"})
		return err
	})
}

// TestACMEMissed shows that a new certificate that cannot be read when it is stored is served once it can.
func TestACMEMissed(t *testing.T) {
	const name = "registry.example.com"
	ca, now := newIssuer(t), time.Now()
	chain, key := ca.issue(t, now, now.Add(90*day), name)
	a, book := newACME(t, ACMEOptions{Hosts: []string{name}})
	o := &ordering{ACME: a}
	if err := o.onEvent(t.Context(), "cert_obtained", map[string]any{"identifier": name, "renewal": true}); err != nil {
		t.Error(err)
	}
	o.look(t.Context())
	if got := book.count("cannot use the new certificate yet"); got != 2 {
		t.Errorf("%d failures in the log:\n%s", got, book)
	}
	keep(t, a, name, chain, key)
	o.look(t.Context())
	if served(t, a).VerifyHostname(name) != nil {
		t.Error("it is not served")
	}

	// An older one never takes its place; one that was issued later does, even if it ends before it.
	older, olderKey := ca.issue(t, now.Add(-day), now.Add(91*day), name)
	shorter, shorterKey := ca.issue(t, now.Add(time.Minute), now.Add(10*day), name)
	for _, test := range []struct {
		chain, key []byte
		end        time.Time
	}{{older, olderKey, now.Add(90 * day)}, {shorter, shorterKey, now.Add(10 * day)}} {
		keep(t, a, name, test.chain, test.key)
		if err := a.load(t.Context(), a.byRank[0]); err != nil {
			t.Error(err)
		}
		if !a.NotAfter().Equal(test.end.Truncate(time.Second)) {
			t.Errorf("NotAfter is %v, want %v", a.NotAfter(), test.end)
		}
	}
}

// TestACMEHangingCA shows that a CA that takes connections and says nothing does not keep Run from returning.
func TestACMEHangingCA(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	a, _ := newACME(t, ACMEOptions{Hosts: []string{"registry.example.com"}, DirectoryURL: "https://" + listener.Addr().String() + "/dir"})
	stop := run(t, a)
	conn, err := listener.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := handshake(t, a, "registry.example.com"); err == nil {
		t.Error("a handshake succeeded")
	}
	stop()
	noCertmagic(t)
	if err := a.storage.Store(context.Background(), "late", nil); !errors.Is(err, errStopped) {
		t.Errorf("writing after Run: %v", err)
	}
}

// noCertmagic checks that nothing of certmagic runs any more, its rate limiters excepted, which it keeps for ever.
func noCertmagic(t *testing.T) {
	t.Helper()
	testbench.Eventually(t, testTimeout, "the end of certmagic", func() error {
		stacks := make([]byte, 1<<20)
		for stack := range strings.SplitSeq(string(stacks[:runtime.Stack(stacks, true)]), "\n\n") {
			if strings.Contains(stack, "caddyserver/certmagic.") && !strings.Contains(stack, "RateLimiter") {
				return errors.New(stack)
			}
		}
		return nil
	})
}
