package certs

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"gatehouse/testbench"
)

// testTimeout bounds what should not take any time.
const testTimeout = 30 * time.Second

// logbook is a log that tests can read.
type logbook struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func newLogbook() (*logbook, *slog.Logger) {
	l := new(logbook)
	return l, slog.New(slog.NewTextHandler(l, &slog.HandlerOptions{Level: slog.LevelInfo}))
}

func (l *logbook) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(b)
}

func (l *logbook) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

// count returns how many lines contain part.
func (l *logbook) count(part string) int { return strings.Count(l.String(), part) }

// wait returns when a line contains part.
func (l *logbook) wait(t *testing.T, part string) {
	t.Helper()
	testbench.Eventually(t, testTimeout, "log line with "+part, func() error {
		if l.count(part) == 0 {
			return errors.New("not there; the log is:\n" + l.String())
		}
		return nil
	})
}

// issuer is a CA for one test.
type issuer struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

func newIssuer(t *testing.T) *issuer {
	t.Helper()
	key := newKey(t)
	template := &x509.Certificate{
		Subject:               pkix.Name{CommonName: "CA of a test"},
		NotBefore:             time.Now().Add(-365 * 24 * time.Hour),
		NotAfter:              time.Now().Add(10 * 365 * 24 * time.Hour),
		IsCA:                  true,
		BasicConstraintsValid: true,
		KeyUsage:              x509.KeyUsageCertSign,
	}
	return &issuer{sign(t, template, template, key, key), key}
}

func (i *issuer) roots() *x509.CertPool {
	pool := x509.NewCertPool()
	pool.AddCert(i.cert)
	return pool
}

// issue returns a certificate and its key, both PEM.
func (i *issuer) issue(t *testing.T, from, to time.Time, names ...string) (chain, keyPEM []byte) {
	t.Helper()
	template := &x509.Certificate{
		NotBefore:   from,
		NotAfter:    to,
		KeyUsage:    x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	for _, name := range names {
		if ip := net.ParseIP(name); ip != nil {
			template.IPAddresses = append(template.IPAddresses, ip)
		} else {
			template.DNSNames = append(template.DNSNames, name)
		}
	}
	key := newKey(t)
	leaf := sign(t, template, i.cert, key, i.key)
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: leaf.Raw}),
		pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})
}

func newKey(t *testing.T) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func sign(t *testing.T, template, parent *x509.Certificate, key, parentKey *ecdsa.PrivateKey) *x509.Certificate {
	t.Helper()
	der, err := x509.CreateCertificate(rand.Reader, template, parent, key.Public(), parentKey)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return cert
}

func writeFile(t *testing.T, path string, content []byte) {
	t.Helper()
	if err := os.WriteFile(path, content, 0o600); err != nil {
		t.Fatal(err)
	}
}

// run starts Run and returns what stops it and checks that it returned nil. Stopping is also a cleanup.
func run(t *testing.T, p Provider) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- p.Run(ctx) }()
	stop = sync.OnceFunc(func() {
		cancel()
		select {
		case err := <-done:
			if err != nil {
				t.Errorf("Run returned %v", err)
			}
		case <-time.After(testTimeout):
			t.Error("Run did not return")
		}
	})
	t.Cleanup(stop)
	return stop
}

// serve serves p on a port of 127.0.0.1 until the test is over: the listener and the HTTP server are real.
func serve(t *testing.T, p Provider, addr string) string {
	t.Helper()
	listener, err := net.Listen("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{
		TLSConfig: p.TLSConfig(),
		ErrorLog:  slog.NewLogLogger(slog.DiscardHandler, slog.LevelDebug),
		Handler:   http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, r.TLS.ServerName) }),
	}
	done := make(chan error, 1)
	go func() { done <- server.ServeTLS(listener, "", "") }()
	t.Cleanup(func() {
		server.Close()
		if err := <-done; !errors.Is(err, http.ErrServerClosed) {
			t.Errorf("server: %v", err)
		}
	})
	return listener.Addr().String()
}

// get makes one request over a connection of its own and returns the certificate it saw.
func get(ctx context.Context, addr, name string, config *tls.Config) (*x509.Certificate, error) {
	config = config.Clone()
	config.ServerName = name
	transport := &http.Transport{
		TLSClientConfig:   config,
		ForceAttemptHTTP2: true,
		DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, network, addr)
		},
	}
	defer transport.CloseIdleConnections()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "https://"+addr+"/v2/", nil)
	if err != nil {
		return nil, err
	}
	resp, err := transport.RoundTrip(request)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	if _, err := io.ReadAll(resp.Body); err != nil {
		return nil, err
	}
	if resp.StatusCode != http.StatusOK || resp.ProtoMajor != 2 {
		return nil, fmt.Errorf("%s over %s", resp.Status, resp.Proto)
	}
	return resp.TLS.PeerCertificates[0], nil
}

// testProvider is the contract of Provider for one that has a certificate, is served at addr, and runs.
func testProvider(t *testing.T, p Provider, addr string, roots *x509.CertPool) {
	trust, anyone := &tls.Config{RootCAs: roots}, &tls.Config{InsecureSkipVerify: true}
	served, err := get(t.Context(), addr, p.Names()[0], trust)
	if err != nil {
		t.Fatalf("request as %s: %v", p.Names()[0], err)
	}

	config := p.TLSConfig()
	if config == p.TLSConfig() {
		t.Error("TLSConfig returned the same value twice")
	}
	if config.MinVersion != tls.VersionTLS12 || !config.DynamicRecordSizingDisabled || config.GetCertificate == nil ||
		!slices.Equal(config.NextProtos[:2], []string{"h2", "http/1.1"}) {
		t.Errorf("configuration: %+v", config)
	}
	if _, err := get(t.Context(), addr, p.Names()[0], &tls.Config{RootCAs: roots, MaxVersion: tls.VersionTLS11}); err == nil {
		t.Error("TLS 1.1 was accepted")
	}
	if _, err := get(t.Context(), addr, p.Names()[0], &tls.Config{RootCAs: roots, MaxVersion: tls.VersionTLS12}); err != nil {
		t.Errorf("TLS 1.2: %v", err)
	}

	t.Run("names", func(t *testing.T) {
		for _, name := range p.Names() {
			if _, err := get(t.Context(), addr, name, trust); err != nil {
				t.Errorf("request as %s: %v", name, err)
			}
		}
		// No server name, and one that is not ours: an answer that says whose certificate it is.
		for _, name := range []string{"", "192.0.2.1", "unknown.example.org"} {
			got, err := get(t.Context(), addr, name, anyone)
			if err != nil || !got.Equal(served) {
				t.Errorf("request as %q: %v, not the first certificate", name, err)
			}
		}
		var mismatch x509.HostnameError
		if _, err := get(t.Context(), addr, "unknown.example.org", trust); !errors.As(err, &mismatch) {
			t.Errorf("request as another: %v", err)
		}
	})
	t.Run("covers", func(t *testing.T) {
		hosts := []string{"", ".", "..", "*", "unknown.example.org", "192.0.2.1", "::2", "[", "[]", "127.0.0.1%lo", "\u212Aelvin.example.com"}
		for _, name := range append(p.Names(), served.DNSNames...) {
			hosts = append(hosts, name, strings.ToUpper(name), name+".", name+"..", "a."+name, "a.b."+name, "."+name, name+":443", " "+name,
				"["+name+"]", "["+name, strings.TrimPrefix(name, "*."), strings.Replace(name, "*", "any", 1), strings.Replace(name, "*", "a.b", 1))
		}
		for _, host := range hosts {
			if got, want := p.Covers(host), served.VerifyHostname(host) == nil; got != want {
				t.Errorf("Covers(%q) = %v, but verification says %v", host, got, want)
			}
		}
	})
	if !p.NotAfter().Equal(served.NotAfter) {
		t.Errorf("NotAfter is %s, the certificate says %s", p.NotAfter(), served.NotAfter)
	}
	t.Run("concurrent", func(t *testing.T) {
		var users sync.WaitGroup
		for i := range 8 {
			users.Go(func() {
				for range 5 {
					name := p.Names()[i%len(p.Names())]
					if _, err := get(t.Context(), addr, name, trust); err != nil {
						t.Errorf("request as %s: %v", name, err)
					}
					if !p.Covers(name) || p.NotAfter().IsZero() || p.TLSConfig() == nil {
						t.Errorf("%s is not served any more", name)
					}
				}
			})
		}
		users.Wait()
	})
}
