package main

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
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

// everySetting is a file with distribution's settings of the listener and of the log, all at once. Its holes are the root, the
// files of the certificate, its key, the CA of clients and the users, and two addresses.
const everySetting = `version: 0.1
log: {level: info, formatter: json, reportcaller: true, fields: {service: registry, level: mine}}
storage:
  filesystem: {rootdirectory: %q}
  delete: {enabled: true}
http:
  addr: %[6]q
  prefix: /in
  headers: {X-Content-Type-Options: [nosniff], Strict-Transport-Security: [max-age=31536000]}
  http2: {disabled: true}
  tls:
    certificate: %[2]q
    key: %[3]q
    minimumtls: tls1.3
    clientcas: [%[4]q]
  debug:
    addr: %[7]q
    prometheus: {enabled: true, path: /prometheus/of/registry}
auth: {htpasswd: {realm: x, path: %[5]q}}
tokenserver: {access: [{account: alice, repository: "**", actions: ["*"]}]}
catalog: {maxentries: 3}
tags: {maxtags: 3}
validation:
  manifests:
    urls: {allow: ['^https://example\.com/']}
    indexes: {platforms: none}
policy: {repository: {classes: [image]}}
`

// clientOf is a client that trusts the server's CA and shows a certificate, if one is given.
func clientOf(t testing.TB, server testbench.Certificate, own *testbench.Certificate, change func(*tls.Config)) *http.Client {
	t.Helper()
	c := testbench.ClientTLS(t, server.CAFile)
	if own != nil {
		pair, err := tls.LoadX509KeyPair(own.CertFile, own.KeyFile)
		fatal(t, err)
		// Shown whatever CAs the server names: a client that is up to no good would.
		c.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &pair, nil }
	}
	if change != nil {
		change(c)
	}
	return &http.Client{Transport: &http.Transport{TLSClientConfig: c, ForceAttemptHTTP2: true, DisableKeepAlives: true}}
}

func TestEverySettingAtOnce(t *testing.T) {
	program, err := built()
	fatal(t, err)
	dir := t.TempDir()
	server, client, stranger := testbench.NewCertificate(t, "127.0.0.1"), testbench.NewCertificate(t, "client"), testbench.NewCertificate(t, "client")
	addr, debug := testbench.FreeAddr(t), testbench.FreeAddr(t)
	config := filepath.Join(dir, "config.yml")
	fatal(t, os.WriteFile(config, fmt.Appendf(nil, everySetting, filepath.Join(dir, "data"), server.CertFile, server.KeyFile, client.CAFile,
		filepath.Join(dir, "users"), addr, debug), 0o600))
	add := exec.Command(program, "user", "add", alice, "--password-stdin", config)
	add.Stdin = strings.NewReader(alicesWords)
	out, err := add.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	i := &instance{t: t, url: "https://" + addr, user: alice, password: alicesWords, Client: clientOf(t, server, &client, nil)}
	i.Process = testbench.Start(t, program, "serve", config)
	i.ready()

	// The prefix: the registry is below it, the token server too, and there is where clients are sent.
	answer, err := i.Get(i.url + "/in/v2/")
	fatal(t, err)
	fatal(t, answer.Body.Close())
	if got, want := answer.Header.Get("WWW-Authenticate"), `Bearer realm="https://`+addr+`/in/token",service="gatehouse"`; answer.StatusCode != 401 || got != want {
		t.Errorf("%s, challenge %s, want %s", answer.Status, got, want)
	}
	if answer.Header.Get("X-Content-Type-Options") != "nosniff" || answer.Header.Get("Strict-Transport-Security") == "" {
		t.Errorf("a refusal lacks the file's headers: %v", answer.Header)
	}
	if answer.Proto != "HTTP/1.1" {
		t.Errorf("http2 is disabled, and the answer is %s", answer.Proto)
	}
	i.want(404, "GET", "/v2/", nil)
	for _, below := range []string{"", "/in"} {
		_, body := i.want(200, "GET", below+"/token?service=gatehouse&scope=repository:app:pull,push", nil)
		var issued struct{ Token string }
		fatal(t, json.Unmarshal(body, &issued))
		i.want(200, "GET", below+"/.well-known/jwks.json", nil)
		r, err := http.NewRequestWithContext(t.Context(), "POST", i.url+"/in/v2/app/blobs/uploads/", nil)
		fatal(t, err)
		r.Header.Set("Authorization", "Bearer "+issued.Token)
		begun, err := i.Do(r)
		fatal(t, err)
		fatal(t, begun.Body.Close())
		if to := begun.Header.Get("Location"); begun.StatusCode != 202 || !strings.HasPrefix(to, "/in/v2/app/blobs/uploads/") {
			t.Errorf("with a token of %s/token: %s, the upload is at %q", below, begun.Status, to)
		}
	}
	i.want(400, "GET", "/in/v2/_catalog?n=4", nil)
	i.want(200, "GET", "/in/v2/_catalog?n=3", nil)

	handshakes(t, i.url+"/in/v2/", server, client, stranger)

	// The debug listener and the log.
	metrics, err := http.Get("http://" + debug + "/prometheus/of/registry")
	fatal(t, err)
	defer metrics.Body.Close()
	text, err := io.ReadAll(metrics.Body)
	fatal(t, err)
	if !strings.Contains(string(text), `registry_http_requests_total{code="202",handler="blob_upload",method="post"} 2`) {
		t.Errorf("the metrics do not count what is below the prefix: %s", text)
	}
	if err := i.Stop(); err != nil {
		t.Errorf("stop: %v", err)
	}
	if log := i.Output(); !strings.Contains(log, `"service":"registry"`) || !strings.Contains(log, `"fields.level":"mine"`) || !strings.Contains(log, `"source":{`) {
		t.Errorf("lines lack the file's fields or their place: %s", log)
	}
}

// handshakes asks for url as clients that may not connect.
func handshakes(t *testing.T, url string, server, client, stranger testbench.Certificate) {
	t.Helper()
	old := func(c *tls.Config) { c.MaxVersion = tls.VersionTLS12 }
	proof := func(c *tls.Config) { c.NextProtos = []string{"acme-tls/1"} }
	for name, test := range map[string]struct {
		own    *testbench.Certificate
		change func(*tls.Config)
		ok     bool
	}{
		"the client's certificate":    {&client, nil, true},
		"no certificate":              {nil, nil, false},
		"of another CA":               {&stranger, nil, false},
		"of the server's CA":          {&server, nil, false},
		"TLS 1.2":                     {&client, old, false},
		"as an ACME authority proves": {nil, proof, false},
	} {
		answer, err := clientOf(t, server, test.own, test.change).Get(url)
		if err == nil {
			fatal(t, answer.Body.Close())
		}
		if (err == nil) != test.ok {
			t.Errorf("%s: connected %v, want %v: %v", name, err == nil, test.ok, err)
		}
	}
}

// TestClientCertificatesWithACME: an authority that proves the name has no client's certificate and need not have one; a client
// that speaks as the authority does gets no further than the handshake.
func TestClientCertificatesWithACME(t *testing.T) {
	program, err := built()
	fatal(t, err)
	const host = "registry.test"
	dir, client := t.TempDir(), testbench.NewCertificate(t, "client")
	port := testbench.FreePort(t)
	addr := net.JoinHostPort("127.0.0.1", strconv.Itoa(port))
	authority := testbench.StartPebble(t, testbench.PebbleOptions{TLSPort: port})
	config := filepath.Join(dir, "config.yml")
	fatal(t, os.WriteFile(config, fmt.Appendf(nil, `version: 0.1
storage: {filesystem: {rootdirectory: %q}}
http:
  addr: %s
  tls: {clientcas: [%q], letsencrypt: {email: ops@registry.test, hosts: [%s], directoryurl: %q}}
gateway: {acme: {directoryca: %q}}
`, filepath.Join(dir, "data"), addr, client.CAFile, host, authority.DirectoryURL, authority.RootFile), 0o600))
	testbench.Start(t, program, "serve", config)

	pair, err := tls.LoadX509KeyPair(client.CertFile, client.KeyFile)
	fatal(t, err)
	get := func(shown []tls.Certificate, protocols ...string) error {
		c := &http.Client{Timeout: time.Minute, Transport: &http.Transport{
			DisableKeepAlives: true, TLSClientConfig: &tls.Config{RootCAs: authority.Roots(), Certificates: shown, NextProtos: protocols},
			DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
				return new(net.Dialer).DialContext(ctx, network, addr)
			},
		}}
		answer, err := c.Get("https://" + net.JoinHostPort(host, strconv.Itoa(port)) + "/v2/")
		if err != nil {
			return err
		}
		fatal(t, answer.Body.Close())
		if answer.StatusCode != 200 {
			return errors.New(answer.Status)
		}
		return nil
	}
	testbench.Eventually(t, time.Minute, "a certificate was ordered and is served", func() error { return get([]tls.Certificate{pair}) })
	for _, protocols := range [][]string{nil, {"acme-tls/1"}, {"acme-tls/1", "http/1.1"}, {"http/1.1", "acme-tls/1"}} {
		if err := get(nil, protocols...); err == nil {
			t.Errorf("served without a certificate over %q", protocols)
		}
		c, err := tls.Dial("tcp", addr, &tls.Config{InsecureSkipVerify: true, ServerName: host, NextProtos: protocols})
		if err != nil {
			continue
		}
		defer c.Close()
		fatal(t, c.SetDeadline(time.Now().Add(time.Minute)))
		_, _ = io.WriteString(c, "GET /v2/ HTTP/1.1\r\nHost: "+host+"\r\n\r\n")
		if b, _ := io.ReadAll(c); len(b) > 0 {
			t.Errorf("over %q: %s", protocols, b)
		}
	}
}
