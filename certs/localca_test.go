package certs

import (
	"bytes"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"gatehouse/testbench"
)

var start = time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC)

// fixed is a clock that stands still.
func fixed(t time.Time) func() time.Time { return func() time.Time { return t } }

func readFile(t *testing.T, path string) []byte {
	t.Helper()
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return content
}

// pool returns the certificates in a PEM file.
func pool(t *testing.T, path string) *x509.CertPool {
	t.Helper()
	return testbench.ClientTLS(t, path).RootCAs
}

func TestLocalCA(t *testing.T) {
	book, log := newLogbook()
	dir := filepath.Join(t.TempDir(), "data", "ca")
	l, err := NewLocalCA(dir, []string{"localhost", "Registry.LAN.", "127.0.0.1", "[::1]", "LOCALHOST"}, time.Now, log)
	if err != nil {
		t.Fatal(err)
	}
	if got, want := l.Names(), []string{"localhost", "registry.lan", "127.0.0.1", "::1"}; !slices.Equal(got, want) {
		t.Errorf("names are %v, want %v", got, want)
	}
	if want := filepath.Join(dir, "ca.pem"); l.CAFile() != want {
		t.Errorf("CA file is %s, want %s", l.CAFile(), want)
	}
	addr := serve(t, l, "127.0.0.1:0")
	run(t, l)
	testProvider(t, l, addr, pool(t, l.CAFile()))

	leaf := served(t, l)
	if lifetime := leaf.NotAfter.Sub(leaf.NotBefore); lifetime > 90*day || lifetime < 80*day {
		t.Errorf("the certificate lives for %v", lifetime)
	}
	ca := l.authority.cert
	if !ca.IsCA || !ca.MaxPathLenZero || ca.NotAfter.Sub(ca.NotBefore) < 10*365*day || len(ca.SubjectKeyId) == 0 {
		t.Errorf("authority: %+v", ca)
	}
	if book.String() != "" {
		t.Errorf("the log is not empty: %s", book)
	}
	t.Run("files", func(t *testing.T) {
		entries, err := os.ReadDir(dir)
		if err != nil || len(entries) != 2 {
			t.Errorf("in the folder are %v, %v", entries, err)
		}
		for name, want := range map[string]os.FileMode{"ca.pem": 0o644, "ca-key.pem": 0o600} {
			if info, err := os.Stat(filepath.Join(dir, name)); err != nil || info.Mode() != want {
				t.Errorf("%s: %v, %v", name, info.Mode(), err)
			}
		}
		if public := readFile(t, l.CAFile()); bytes.Contains(public, []byte("PRIVATE")) {
			t.Error("the file for clients holds a private key")
		}
	})
	t.Run("curl", func(t *testing.T) { testCurl(t, addr, l.CAFile()) })
	t.Run("openssl", func(t *testing.T) { testOpenSSL(t, addr, l.CAFile()) })
}

// testCurl verifies by name and by address, and that curl really does verify.
func testCurl(t *testing.T, addr, caFile string) {
	curl := testbench.Tool(t, "curl")
	_, port, _ := net.SplitHostPort(addr)
	for host, want := range map[string]bool{"localhost": true, "127.0.0.1": true, "registry.lan": true, "other.lan": false} {
		out, err := exec.CommandContext(t.Context(), curl, "--silent", "--show-error", "--max-time", "20", "--noproxy", "*", "--cacert", caFile,
			"--connect-to", "::127.0.0.1:"+port, fmt.Sprintf("https://%s:%s/v2/", host, port)).CombinedOutput()
		if (err == nil) != want {
			t.Errorf("curl as %s: %v: %s", host, err, out)
		}
	}
}

// testOpenSSL verifies strictly, as other libraries do too.
func testOpenSSL(t *testing.T, addr, caFile string) {
	openssl := testbench.Tool(t, "openssl")
	for name, want := range map[string]bool{"localhost": true, "other.lan": false} {
		cmd := exec.CommandContext(t.Context(), openssl, "s_client", "-connect", addr, "-servername", name, "-verify_hostname", name, "-CAfile", caFile,
			"-x509_strict", "-verify_return_error", "-brief")
		cmd.Stdin = strings.NewReader("")
		out, err := cmd.CombinedOutput()
		if got := err == nil && bytes.Contains(out, []byte("Verification: OK")); got != want {
			t.Errorf("openssl as %s: %v: %s", name, err, out)
		}
	}
}

// TestLocalCARestart shows that whoever trusts the authority once goes on doing so, and that names may change.
func TestLocalCARestart(t *testing.T) {
	dir := t.TempDir()
	_, log := newLogbook()
	first, err := NewLocalCA(dir, []string{"localhost"}, fixed(start), log)
	if err != nil {
		t.Fatal(err)
	}
	public, key := readFile(t, first.CAFile()), readFile(t, filepath.Join(dir, "ca-key.pem"))
	second, err := NewLocalCA(dir, []string{"registry.lan", "10.0.0.1"}, fixed(start.Add(365*day)), log)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(public, readFile(t, second.CAFile())) || !bytes.Equal(key, readFile(t, filepath.Join(dir, "ca-key.pem"))) {
		t.Error("the authority changed")
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(public)
	verify := func(l *LocalCA, name string) error {
		_, err := served(t, l).Verify(x509.VerifyOptions{Roots: roots, DNSName: name, CurrentTime: l.now()})
		return err
	}
	if err := verify(second, "registry.lan"); err != nil {
		t.Error(err)
	}
	if second.Covers("localhost") || verify(second, "localhost") == nil {
		t.Error("an earlier name is still covered")
	}

	// The certificate is lost, as by a crash before it was written: the key decides whom clients trust.
	if err := os.Remove(second.CAFile()); err != nil {
		t.Fatal(err)
	}
	book, log := newLogbook()
	third, err := NewLocalCA(dir, []string{"registry.lan"}, fixed(start.Add(366*day)), log)
	if err != nil {
		t.Fatal(err)
	}
	if err := verify(third, "registry.lan"); err != nil {
		t.Errorf("who trusted the lost certificate does not trust its successor: %v", err)
	}
	if !strings.Contains(book.String(), "made again from its key") {
		t.Errorf("the log is %q", book)
	}

	other, err := NewLocalCA(t.TempDir(), []string{"localhost"}, fixed(start), log)
	if err != nil {
		t.Fatal(err)
	}
	if other.authority.cert.Subject.String() == first.authority.cert.Subject.String() {
		t.Error("two authorities have the same name")
	}
}

// TestLocalCADamaged shows that a damaged authority is never replaced, and that the error tells what to do.
func TestLocalCADamaged(t *testing.T) {
	ca := newIssuer(t)
	leaf, leafKey := ca.issue(t, start.Add(-day), start.Add(day), "localhost")
	_, edKey, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	edDER, err := x509.MarshalPKCS8PrivateKey(edKey)
	if err != nil {
		t.Fatal(err)
	}
	flip := func(content []byte) []byte {
		block, _ := pem.Decode(content)
		block.Bytes[40] ^= 1 // in the key, it is the secret number: the public key at the end is ignored when it is read
		return pem.EncodeToMemory(block)
	}
	for _, test := range []struct {
		name    string
		damage  func(public, key []byte) ([]byte, []byte) // nil: the file is removed
		at      time.Time
		failure string
	}{
		{"key missing", func(public, _ []byte) ([]byte, []byte) { return public, nil }, start, "ca-key.pem is missing"},
		{"empty certificate", func(_, key []byte) ([]byte, []byte) { return []byte{}, key }, start, "ca.pem holds no certificate"},
		{"empty key", func(public, _ []byte) ([]byte, []byte) { return public, []byte{} }, start, "ca-key.pem is damaged"},
		{"empty key alone", func(_, _ []byte) ([]byte, []byte) { return nil, []byte{} }, start, "ca-key.pem is damaged"},
		{"both empty", func(_, _ []byte) ([]byte, []byte) { return []byte{}, []byte{} }, start, "ca.pem holds no certificate"},
		{"cut certificate", func(public, key []byte) ([]byte, []byte) { return public[:len(public)/2], key }, start, "ca.pem"},
		{"flipped bit in certificate", func(public, key []byte) ([]byte, []byte) { return flip(public), key }, start, "ca.pem"},
		{"cut key", func(public, key []byte) ([]byte, []byte) { return public, key[:len(key)/2] }, start, "ca-key.pem is damaged"},
		{"flipped bit in key", func(public, key []byte) ([]byte, []byte) { return public, flip(key) }, start, "key"},
		{"another key", func(public, _ []byte) ([]byte, []byte) {
			return public, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: edDER})
		}, start, "do not belong together"},
		{"not an authority", func(_, _ []byte) ([]byte, []byte) { return leaf, leafKey }, start, "not a self-signed"},
		{"swapped", func(public, key []byte) ([]byte, []byte) { return key, public }, start, "ca.pem holds no certificate"},
		{"expired", func(public, key []byte) ([]byte, []byte) { return public, key }, start.Add(11 * 365 * day), "expired"},
		{"clock before it", func(public, key []byte) ([]byte, []byte) { return public, key }, start.Add(-day), "set the clock"},
	} {
		t.Run(test.name, func(t *testing.T) {
			dir := t.TempDir()
			book, log := newLogbook()
			l, err := NewLocalCA(dir, []string{"localhost"}, fixed(start), log)
			if err != nil {
				t.Fatal(err)
			}
			keyFile := filepath.Join(dir, "ca-key.pem")
			original := readFile(t, keyFile)
			public, key := test.damage(readFile(t, l.CAFile()), original)
			for path, content := range map[string][]byte{l.CAFile(): public, keyFile: key} {
				if content != nil {
					writeFile(t, path, content)
				} else if err := os.Remove(path); err != nil {
					t.Fatal(err)
				}
			}
			_, err = NewLocalCA(dir, []string{"localhost"}, fixed(test.at), log)
			if err == nil || !strings.Contains(err.Error(), test.failure) || !strings.Contains(err.Error(), "restore ca.pem and ca-key.pem in "+dir) {
				t.Errorf("error is %v, want one about %q", err, test.failure)
			}
			for path, content := range map[string][]byte{l.CAFile(): public, keyFile: key} {
				if now, err := os.ReadFile(path); !bytes.Equal(now, content) || (err == nil) != (content != nil) {
					t.Errorf("%s was changed", path)
				}
			}
			noSecret(t, slices.Concat(original, leafKey), book.String()+errorText(err))
		})
	}
}

func TestLocalCARefuses(t *testing.T) {
	_, log := newLogbook()
	for _, names := range [][]string{nil, {""}, {"localhost", "a b"}, {"*.example.com"}, {"ä.example"}, {"fe80::1%eth0"}} {
		dir := filepath.Join(t.TempDir(), "ca")
		if _, err := NewLocalCA(dir, names, fixed(start), log); err == nil {
			t.Errorf("a certificate was issued for %q", names)
		}
		if _, err := os.Stat(dir); err == nil {
			t.Errorf("an authority was made although %q cannot be certified", names)
		}
	}
	file := filepath.Join(t.TempDir(), "file")
	writeFile(t, file, nil)
	if _, err := NewLocalCA(filepath.Join(file, "ca"), []string{"localhost"}, fixed(start), log); err == nil {
		t.Error("an authority was made below a file")
	}
}

func TestLocalCAOpenKey(t *testing.T) {
	dir := t.TempDir()
	book, log := newLogbook()
	for range 2 {
		if _, err := NewLocalCA(dir, []string{"localhost"}, fixed(start), log); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(filepath.Join(dir, "ca-key.pem"), 0o640); err != nil {
			t.Fatal(err)
		}
	}
	if book.count("open to others") != 1 {
		t.Errorf("the log is %q", book)
	}
}

// TestLocalCARenewal runs for eleven years.
func TestLocalCARenewal(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		book, log := newLogbook()
		skew := time.Duration(0)
		now := func() time.Time { return time.Now().Add(skew) }
		l, err := NewLocalCA(t.TempDir(), []string{"localhost"}, now, log)
		if err != nil {
			t.Fatal(err)
		}
		roots := pool(t, l.CAFile())
		stop := run(t, l)
		verify := func() {
			t.Helper()
			leaf := served(t, l)
			if _, err := leaf.Verify(x509.VerifyOptions{Roots: roots, DNSName: "localhost", CurrentTime: now()}); err != nil {
				t.Fatalf("at %s: %v", now(), err)
			}
			if !l.NotAfter().Equal(leaf.NotAfter) {
				t.Errorf("NotAfter is %s, the certificate says %s", l.NotAfter(), leaf.NotAfter)
			}
		}
		first := served(t, l)
		advance(59 * day)
		if !served(t, l).Equal(first) {
			t.Error("renewed before two thirds of the life were over")
		}
		advance(2 * day)
		if served(t, l).Equal(first) {
			t.Error("not renewed when a third of the life was left")
		}
		for now().Before(l.authority.cert.NotAfter.Add(-30 * day)) {
			verify()
			advance(20 * day)
		}
		verify()
		if renewals := book.count("certificate renewed"); renewals < 60 || renewals > 75 {
			t.Errorf("%d renewals in 10 years", renewals)
		}
		if book.count("authority expires soon") == 0 {
			t.Errorf("the end of the authority is not announced; the log:\n%s", book)
		}
		advance(365 * day)
		if served(t, l) == nil {
			t.Error("nothing is served after the end of the authority")
		}

		// The clock is set back to before the certificate's beginning, within the authority's life.
		stop()
		skew = -(time.Until(served(t, l).NotBefore).Abs() + 5*365*day)
		run(t, l)
		advance(2 * leafInterval)
		verify()
	})
}

// TestLocalCAHandshake is the shortest way to use one: what it serves, Go's client accepts.
func TestLocalCAHandshake(t *testing.T) {
	_, log := newLogbook()
	l, err := NewLocalCA(t.TempDir(), []string{"127.0.0.1"}, time.Now, log)
	if err != nil {
		t.Fatal(err)
	}
	client, server := net.Pipe()
	done := make(chan error, 1)
	go func() { done <- tls.Server(server, l.TLSConfig()).HandshakeContext(t.Context()) }()
	if err := tls.Client(client, &tls.Config{RootCAs: pool(t, l.CAFile()), ServerName: "127.0.0.1"}).HandshakeContext(t.Context()); err != nil {
		t.Error(err)
	}
	if err := <-done; err != nil {
		t.Error(err)
	}
}
