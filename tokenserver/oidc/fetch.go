package oidc

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"
)

const (
	// fetchTimeout bounds both requests for the keys together.
	fetchTimeout = 10 * time.Second
	// maxDocument bounds an issuer's answer in bytes.
	maxDocument = 1 << 20
	// maxRedirects bounds how often an issuer may point elsewhere.
	maxRedirects = 3
)

// newClient returns the client that issuers are asked with. It keeps no connection: hours pass between two requests.
func newClient(caFile string) (*http.Client, error) {
	transport := &http.Transport{
		Proxy: http.ProxyFromEnvironment, DisableKeepAlives: true, TLSHandshakeTimeout: fetchTimeout,
		TLSClientConfig: &tls.Config{MinVersion: tls.VersionTLS12}, ForceAttemptHTTP2: true,
	}
	if caFile != "" {
		data, err := readFile(caFile)
		if err != nil {
			return nil, fmt.Errorf("cafile: %w", err)
		}
		roots := x509.NewCertPool()
		if !roots.AppendCertsFromPEM(data) {
			return nil, fmt.Errorf("cafile: %s holds no certificate in PEM", caFile)
		}
		transport.TLSClientConfig.RootCAs = roots
	}
	return &http.Client{Transport: transport, CheckRedirect: func(r *http.Request, via []*http.Request) error {
		if len(via) > maxRedirects {
			return errors.New("too many redirects")
		}
		return noWeaker(via[0].URL, r.URL)
	}}, nil
}

// noWeaker refuses to go from https elsewhere: whoever is on the way could then put in keys of his own.
func noWeaker(from, to *url.URL) error {
	if to.Scheme != from.Scheme && to.Scheme != "https" {
		return fmt.Errorf("it points from %s to %s", from.Scheme, to.Scheme)
	}
	return nil
}

// discover returns the issuer's JWK set, from where its configuration says (OpenID Connect Discovery section 4).
func discover(ctx context.Context, client *http.Client, issuer string) ([]byte, error) {
	from := strings.TrimSuffix(issuer, "/") + "/.well-known/openid-configuration"
	data, err := get(ctx, client, from)
	if err != nil {
		return nil, fmt.Errorf("the issuer's configuration: %w", err)
	}
	var provider struct {
		Issuer string `json:"issuer"`
		JWKS   string `json:"jwks_uri"`
	}
	if err := json.Unmarshal(data, &provider); err != nil {
		return nil, fmt.Errorf("%s is no JSON that says where keys are", from)
	}
	if provider.Issuer != issuer {
		return nil, fmt.Errorf("%s is of the issuer %.200q", from, provider.Issuer)
	}
	u, err := url.Parse(issuer)
	if err != nil {
		return nil, err
	}
	keys, err := url.Parse(provider.JWKS)
	if err != nil || keys.Host == "" {
		return nil, fmt.Errorf("%s says of jwks_uri what is no URL", from)
	}
	if err := noWeaker(u, keys); err != nil {
		return nil, fmt.Errorf("jwks_uri: %w", err)
	}
	if data, err = get(ctx, client, provider.JWKS); err != nil {
		return nil, fmt.Errorf("the issuer's keys: %w", err)
	}
	return data, nil
}

// get returns what is at a URL, if the answer is 200 and of a sensible size.
func get(ctx context.Context, client *http.Client, from string) ([]byte, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, from, nil)
	if err != nil {
		return nil, err
	}
	r.Header.Set("Accept", "application/json")
	answer, err := client.Do(r)
	if err != nil {
		return nil, err
	}
	defer answer.Body.Close()
	if answer.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("%s answers %s", from, answer.Status)
	}
	return readAll(answer.Body)
}

// readAll is io.ReadAll for a document of a sensible size.
func readAll(r io.Reader) ([]byte, error) {
	data, err := io.ReadAll(io.LimitReader(r, maxDocument+1))
	if err == nil && len(data) > maxDocument {
		return nil, fmt.Errorf("it is longer than %d bytes", maxDocument)
	}
	return data, err
}
