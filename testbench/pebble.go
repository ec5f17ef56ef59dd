package testbench

import (
	"crypto/x509"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"
)

// pebbleTimeout bounds the start of pebble and each question to it.
const pebbleTimeout = 30 * time.Second

// PebbleOptions say what a [Pebble] expects and issues.
type PebbleOptions struct {
	// TLSPort is the port on 127.0.0.1 where the authority looks for the answer to TLS-ALPN-01 and finds every name.
	TLSPort int
	// Lifetime of the certificates, in whole seconds; zero means 90 days.
	Lifetime time.Duration
}

// Pebble is Let's Encrypt's small ACME authority for tests, which validates and issues for real, with a DNS server that
// says 127.0.0.1 for every name. What it issued and its keys are gone when it is restarted.
type Pebble struct {
	// DirectoryURL is the ACME directory, https.
	DirectoryURL string
	// RootFile is a PEM file with the root of the directory's own TLS; what is issued has another root, see Roots.
	RootFile string
	// Process is the authority: Kill it for an outage.
	Process *Process

	t          testing.TB
	client     *http.Client
	management string
}

// StartPebble returns when the authority answers. The cleanup stops it. Its programs, pebble and pebble-challtestsrv, are
// found by [Tool].
func StartPebble(t testing.TB, o PebbleOptions) *Pebble {
	t.Helper()
	pebble, dns := Tool(t, "pebble"), Tool(t, "pebble-challtestsrv")
	own := NewCertificate(t, "localhost", "127.0.0.1")
	addr, management, dnsAddr := FreeAddr(t), FreeAddr(t), FreeAddr(t)
	p := &Pebble{
		DirectoryURL: "https://" + addr + "/dir",
		RootFile:     own.CAFile,
		t:            t,
		client: &http.Client{
			Timeout:   pebbleTimeout,
			Transport: &http.Transport{TLSClientConfig: ClientTLS(t, own.CAFile), DisableKeepAlives: true},
		},
		management: "https://" + management,
	}
	configFile := filepath.Join(t.TempDir(), "config.json")
	profile := map[string]any{"description": "for tests", "validityPeriod": int(o.Lifetime / time.Second)}
	config, err := json.Marshal(map[string]any{"pebble": map[string]any{
		"listenAddress":           addr,
		"managementListenAddress": management,
		"certificate":             own.CertFile,
		"privateKey":              own.KeyFile,
		"httpPort":                FreePort(t), // where nobody answers
		"tlsPort":                 o.TLSPort,
		"keyAlgorithm":            "ecdsa",
		"profiles":                map[string]any{"default": profile},
	}})
	if err != nil {
		t.Fatal(err)
	}
	writeFile(t, configFile, config, 0o600)

	StartCmd(t, exec.Command(dns, "-dnsserver", dnsAddr, "-management", FreeAddr(t), "-defaultIPv6", "",
		"-http01", "", "-https01", "", "-doh", "", "-tlsalpn01", ""))
	command := exec.Command(pebble, "-config", configFile, "-dnsserver", dnsAddr)
	// No pauses to simulate a distant authority; each order is validated, however fresh the last proof.
	command.Env = append(os.Environ(), "PEBBLE_VA_NOSLEEP=1", "PEBBLE_AUTHZREUSE=0")
	p.Process = StartCmd(t, command)
	Eventually(t, pebbleTimeout, "pebble and its DNS server", func() error {
		if p.Process.isOver() {
			t.Fatal("pebble exited")
		}
		for _, url := range []string{p.DirectoryURL, p.management + "/roots/0"} {
			if _, err := p.get(url); err != nil {
				return err
			}
		}
		conn, err := net.Dial("tcp", dnsAddr)
		if err == nil {
			conn.Close()
		}
		return err
	})
	return p
}

// Roots returns the root of the certificates that the running authority issues.
func (p *Pebble) Roots() *x509.CertPool {
	p.t.Helper()
	root, err := p.get(p.management + "/roots/0")
	if err != nil {
		p.t.Fatalf("cannot get pebble's root: %v", err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(root) {
		p.t.Fatalf("pebble's root is no certificate: %s", root)
	}
	return pool
}

// get returns the body of an answer with status 200.
func (p *Pebble) get(url string) ([]byte, error) {
	resp, err := p.client.Get(url)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s: %s: %s", url, resp.Status, body)
	}
	return body, err
}
