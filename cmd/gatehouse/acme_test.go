package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"gatehouse/testbench"
)

// TestACME orders a certificate from a real authority, serves /v2/ with it, and renews it under a running pull loop, in which
// no request fails.
const (
	acmeLifetime = 60 * time.Second
	acmeCheck    = 3 * time.Second
)

func TestACME(t *testing.T) {
	const host = "registry.test"
	path, err := built()
	fatal(t, err)
	dir := t.TempDir()
	port := testbench.FreePort(t)
	addr := net.JoinHostPort("127.0.0.1", strconv.Itoa(port))
	authority := testbench.StartPebble(t, testbench.PebbleOptions{TLSPort: port, Lifetime: acmeLifetime})
	config := filepath.Join(dir, "config.yml")
	fatal(t, os.WriteFile(config, fmt.Appendf(nil, `
version: 0.1
storage: {filesystem: {rootdirectory: %q}}
auth: {htpasswd: {realm: x, path: %q}}
tokenserver: {access: [{account: alice, repository: "**", actions: ["*"]}]}
http:
  addr: %s
  tls: {letsencrypt: {email: ops@registry.test, hosts: [%s], directoryurl: %q}}
gateway: {acme: {directoryca: %q, checkinterval: %s}}
`, filepath.Join(dir, "registry"), filepath.Join(dir, "htpasswd"), addr, host, authority.DirectoryURL, authority.RootFile, acmeCheck), 0o600))
	add := exec.Command(path, "user", "add", alice, "--password-stdin", config)
	add.Stdin = strings.NewReader(alicesWords)
	if out, err := add.CombinedOutput(); err != nil {
		t.Fatalf("add a user: %v\n%s", err, out)
	}

	i := &instance{t: t, url: "https://" + net.JoinHostPort(host, strconv.Itoa(port)), user: alice, password: alicesWords}
	i.Client = &http.Client{Transport: &http.Transport{
		DisableKeepAlives: true, // a handshake for each request
		TLSClientConfig:   &tls.Config{RootCAs: authority.Roots(), MinVersion: tls.VersionTLS12},
		DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, network, addr)
		},
	}}
	i.Process = testbench.Start(t, path, "serve", config)
	i.ready()
	layer := bytes.Repeat([]byte("layer "), 1000)
	i.pushBlob("app", []byte("{}"))
	d := i.pushBlob("app", layer)
	i.want(201, "PUT", "/v2/app/manifests/v1", bytes.NewReader(manifestOf([]byte("{}"), layer)), "Content-Type: "+ociManifest)

	serials := map[string]bool{}
	pulls := 0
	testbench.Eventually(t, 4*acmeLifetime, "the certificate was renewed twice", func() error {
		for range 10 {
			answer, _ := i.want(200, "GET", "/v2/app/manifests/v1", nil)
			if _, b := i.want(200, "GET", "/v2/app/blobs/"+string(d), nil); !bytes.Equal(b, layer) {
				t.Fatal("pulled other bytes than were pushed")
			}
			serials[answer.TLS.PeerCertificates[0].SerialNumber.String()] = true
			pulls++
		}
		if len(serials) < 3 {
			return errors.New("not yet")
		}
		return nil
	})
	t.Logf("%d pulls over %d certificates, none failed", pulls, len(serials))
	if err := i.Stop(); err != nil {
		t.Errorf("stop: %v", err)
	}
}
