package certs

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"gatehouse/testbench"
)

// users make requests over fresh connections, one after the other, until they are stopped.
type users struct {
	requests atomic.Int64
	stop     func()
}

// newUsers reports every request that fails.
func newUsers(t *testing.T, addr, name string, config *tls.Config) *users {
	ctx, cancel := context.WithCancel(context.Background())
	u := new(users)
	var running sync.WaitGroup
	u.stop = sync.OnceFunc(func() { cancel(); running.Wait() })
	t.Cleanup(u.stop)
	for range 2 {
		running.Go(func() {
			for ctx.Err() == nil {
				if _, err := get(ctx, addr, name, config); err != nil && ctx.Err() == nil {
					t.Errorf("request %d: %v", u.requests.Load(), err)
					return
				}
				u.requests.Add(1)
			}
		})
	}
	return u
}

// waitSerial returns the certificate that is served when it is another than old.
func waitSerial(t *testing.T, a *ACME, name string, old *x509.Certificate) (leaf *x509.Certificate) {
	t.Helper()
	testbench.Eventually(t, 2*testTimeout, "another certificate for "+name, func() error {
		c, err := a.certificate(&tls.ClientHelloInfo{ServerName: name})
		if err == nil && old != nil && c.Leaf.SerialNumber.Cmp(old.SerialNumber) == 0 {
			err = errors.New("still the old one")
		}
		if err == nil {
			leaf = c.Leaf
		}
		return err
	})
	return leaf
}

// TestACME orders a certificate from a real CA, renews it under load, and loses the CA.
func TestACME(t *testing.T) {
	t.Parallel()
	const name = "registry.example.com"
	port := testbench.FreePort(t)
	// Renewed at the first look with less than five intervals left, so some 8 s after it was issued and 16 s before it ends.
	ca := testbench.StartPebble(t, testbench.PebbleOptions{TLSPort: port, Lifetime: 26 * time.Second})
	o := ACMEOptions{
		Email: "operator@example.com", Hosts: []string{name}, DirectoryURL: ca.DirectoryURL, DirectoryRoots: ca.RootFile,
		StorageDir: t.TempDir(), CheckInterval: 4 * time.Second, ListenAddr: fmt.Sprintf("127.0.0.1:%d", port),
	}
	a, book := newACME(t, o)
	addr := serve(t, a, o.ListenAddr)
	if _, err := get(t.Context(), addr, name, &tls.Config{InsecureSkipVerify: true}); err == nil {
		t.Error("a handshake succeeded without a certificate")
	}
	stop := run(t, a)
	first := waitSerial(t, a, name, nil)
	roots := ca.Roots()
	trust := &tls.Config{RootCAs: roots}
	load := newUsers(t, addr, name, trust)
	second := waitSerial(t, a, name, first)
	before := load.requests.Load()
	testProvider(t, a, addr, roots)
	testbench.Eventually(t, testTimeout, "requests after the renewal", func() error {
		if load.requests.Load() < before+20 {
			return errors.New("not yet")
		}
		return nil
	})

	// The CA is gone: what was served is served on, by this process and the next.
	ca.Process.Kill()
	book.wait(t, "could not get certificate from issuer")
	load.stop()
	t.Logf("%d requests", load.requests.Load())
	last := served(t, a)
	if got, err := get(t.Context(), addr, name, trust); err != nil || !got.Equal(last) {
		t.Errorf("with the CA away: %v", err)
	}
	stop()
	o.ListenAddr = testbench.FreeAddr(t)
	again, _ := newACME(t, o)
	addr = serve(t, again, o.ListenAddr)
	run(t, again)
	if got, err := get(t.Context(), addr, name, &tls.Config{InsecureSkipVerify: true}); err != nil || !got.Equal(last) {
		t.Errorf("after a restart with the CA away: %v", err)
	}
	if !last.NotAfter.After(first.NotAfter) || last.NotAfter.Before(second.NotAfter) {
		t.Errorf("certificates ended at %s, %s and %s", first.NotAfter, second.NotAfter, last.NotAfter)
	}
	for _, want := range []string{"renewal=false", "renewal=true"} {
		if book.count(want) == 0 {
			t.Errorf("the log has no %s:\n%s", want, book)
		}
	}
	if book.count("panic") > 0 || book.count("PRIVATE") > 0 {
		t.Errorf("the log:\n%s", book)
	}
}

// TestACMEHosts orders for several hosts at once, an address among them, and in place of a certificate that is damaged.
func TestACMEHosts(t *testing.T) {
	t.Parallel()
	port := testbench.FreePort(t)
	ca := testbench.StartPebble(t, testbench.PebbleOptions{TLSPort: port})
	hosts := []string{"first.example.com", "second.example.com", "127.0.0.1"}
	o := ACMEOptions{
		Hosts: hosts, DirectoryURL: ca.DirectoryURL, DirectoryRoots: ca.RootFile, StorageDir: t.TempDir(), ListenAddr: fmt.Sprintf("127.0.0.1:%d", port),
	}
	a, _ := newACME(t, o)
	chain, _ := newIssuer(t).issue(t, time.Now(), time.Now().Add(90*day), "first.example.com")
	_, key := newIssuer(t).issue(t, time.Now(), time.Now().Add(90*day), "first.example.com")
	keep(t, a, "first.example.com", chain, key)

	a, book := newACME(t, o)
	addr := serve(t, a, o.ListenAddr)
	run(t, a)
	for _, name := range hosts {
		waitSerial(t, a, name, nil)
	}
	trust := &tls.Config{RootCAs: ca.Roots()}
	for _, name := range hosts {
		if _, err := get(t.Context(), addr, name, trust); err != nil {
			t.Errorf("request as %s: %v", name, err)
		}
	}
	if a.NotAfter().Before(time.Now().Add(89 * day)) {
		t.Errorf("NotAfter is %v", a.NotAfter())
	}
	if book.count("stored certificate is damaged") != 1 || book.count("certificate ordered") != len(hosts) {
		t.Errorf("the log:\n%s", book)
	}
	noSecret(t, key, book.String())
}
