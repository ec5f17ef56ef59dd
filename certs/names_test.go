package certs

import (
	"crypto/x509"
	"io"
	"log/slog"
	"net"
	"slices"
	"testing"
)

func TestLocalNames(t *testing.T) {
	names := LocalNames()
	if !slices.Equal(names[:3], []string{"localhost", "127.0.0.1", "::1"}) {
		t.Errorf("names begin with %v", names[:3])
	}
	for i, name := range names {
		if !validName(name) || normalize(name) != name {
			t.Errorf("%q is no name for a certificate", name)
		}
		if slices.Contains(names[:i], name) {
			t.Errorf("%q is there twice", name)
		}
	}
	if _, err := NewLocalCA(t.TempDir(), names, fixed(start), slog.New(slog.NewTextHandler(io.Discard, nil))); err != nil {
		t.Error(err)
	}
}

func TestValidName(t *testing.T) {
	long := ""
	for range 64 {
		long += "a"
	}
	for name, want := range map[string]bool{
		"localhost": true, "registry.example.com": true, "a-b.c_d": true, "127.0.0.1": true, "::1": true, "1.2": true,
		"": false, ".": false, "a..b": false, "a.": false, ".a": false, "-a": false, "a-": false, "*.example.com": false, "A": false,
		"ä.example.com": false, "a b": false, "a/b": false, "a:1": false, "a\x00": false, "../a": false, long: false, long[1:]: true,
		"fe80::1%eth0": false, "0.0.0.0": false, "::": false,
	} {
		if got := validName(name); got != want {
			t.Errorf("validName(%q) = %v", name, got)
		}
	}
}

// FuzzCovers compares the names of ACME, which are a table, with the verification of a certificate for the same names.
func FuzzCovers(f *testing.F) {
	leaf := &x509.Certificate{DNSNames: []string{"registry.example.com", "k.example"}, IPAddresses: []net.IP{net.ParseIP("192.0.2.1"), net.ParseIP("2001:db8::1")}}
	a := &ACME{hosts: map[string]*host{}}
	for _, name := range append(dialable(leaf), "2001:db8:0::1") {
		a.hosts[normalize(name)] = new(host)
	}
	for _, seed := range []string{
		"registry.example.com", "REGISTRY.example.com.", "registry.example.com..", "\u212A.example", "[192.0.2.1]", "192.0.2.1.", "::ffff:192.0.2.1",
		"::ffff:192.0.2.1%lo", "[2001:DB8::1]", "2001:db8::1%eth0", "[registry.example.com]", "", "[]", "192.0.2.01", "\xff",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, host string) {
		if got, want := a.Covers(host), leaf.VerifyHostname(host) == nil; got != want {
			t.Errorf("Covers(%q) = %v, but verification says %v", host, got, want)
		}
	})
}
