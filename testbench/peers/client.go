package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"

	"github.com/opencontainers/go-digest"
)

// client talks to one server with the run's token, over connections that are kept. It checks each answer's status and length.
// Safe for concurrent use.
type client struct {
	*http.Client
	server *server
}

// newClient returns a client for HTTP/1.1 or for HTTP/2.
func newClient(s *server, cert certificate, http2 bool) *client {
	protocols := new(http.Protocols)
	protocols.SetHTTP1(!http2)
	protocols.SetHTTP2(http2)
	return &client{server: s, Client: &http.Client{
		Timeout: 5 * time.Minute, // for a server that hangs
		Transport: &http.Transport{
			TLSClientConfig: &tls.Config{RootCAs: cert.pool, MinVersion: tls.VersionTLS12},
			Protocols:       protocols, MaxIdleConnsPerHost: 1024, DisableCompression: true,
			ReadBufferSize: 64 << 10, WriteBufferSize: 64 << 10,
		},
	}}
}

// send sends a request with the token. The answer must have the status; its body is to be read and closed.
func (c *client) send(ctx context.Context, method, url string, status int, body io.Reader, size int64, contentType string) (*http.Response, error) {
	r, err := http.NewRequestWithContext(ctx, method, url, body)
	if err != nil {
		return nil, err
	}
	r.Header.Set("Authorization", "Bearer "+c.server.token)
	if body != nil {
		r.ContentLength = size
		r.Header.Set("Content-Type", contentType)
	}
	if method == http.MethodGet {
		r.Header.Set("Accept", manifestType)
	}
	answer, err := c.Do(r)
	if err != nil {
		return nil, err
	}
	if answer.StatusCode != status {
		b, _ := io.ReadAll(io.LimitReader(answer.Body, 1<<10))
		answer.Body.Close()
		return nil, fmt.Errorf("%s: %s %s: %s, not %d: %s", c.server.name, method, url, answer.Status, status, b)
	}
	return answer, nil
}

// read sends a request that is for no repository and returns the body of its answer.
func (c *client) read(r *http.Request) ([]byte, error) {
	answer, err := c.Do(r)
	if err != nil {
		return nil, err
	}
	defer answer.Body.Close()
	b, err := io.ReadAll(answer.Body)
	if err == nil && answer.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s: %s %s: %s: %s", c.server.name, r.Method, r.URL.Path, answer.Status, b)
	}
	return b, err
}

// get reads what is at a path, which has size bytes, and writes it to w.
func (c *client) get(ctx context.Context, path string, size int64, w io.Writer) error {
	answer, err := c.send(ctx, "GET", c.server.url+path, http.StatusOK, nil, 0, "")
	if err != nil {
		return err
	}
	return drain(answer, path, size, w)
}

// drain reads an answer of size bytes to its end.
func drain(answer *http.Response, path string, size int64, w io.Writer) error {
	defer answer.Body.Close()
	n, err := io.Copy(w, answer.Body)
	if err == nil && n != size {
		err = fmt.Errorf("GET %s: %d bytes, not %d", path, n, size)
	}
	return err
}

// verify reads what is at a path and compares it with its digest.
func (c *client) verify(ctx context.Context, path string, size int64, d digest.Digest) error {
	h := sha256.New()
	if err := c.get(ctx, path, size, h); err != nil {
		return err
	}
	if got := digest.NewDigest(digest.SHA256, h); got != d {
		return fmt.Errorf("%s: GET %s: %s, not %s", c.server.name, path, got, d)
	}
	return nil
}

// step sends a request of a push and returns where its answer points to.
func (c *client) step(ctx context.Context, method, url string, status int, body io.Reader, size int64, contentType string) (string, error) {
	answer, err := c.send(ctx, method, url, status, body, size, contentType)
	if err != nil {
		return "", err
	}
	_, err = io.Copy(io.Discard, answer.Body)
	answer.Body.Close()
	if err != nil {
		return "", err
	}
	at, err := answer.Location()
	if errors.Is(err, http.ErrNoLocation) {
		return "", nil
	}
	if err != nil {
		return "", err
	}
	return at.String(), nil
}

const bytesType = "application/octet-stream"

// pushBlob pushes a blob as docker does: is it there, POST, PATCH, PUT.
func (c *client) pushBlob(ctx context.Context, repo string, d digest.Digest, size int64, body io.Reader) error {
	url := c.server.url + "/v2/" + repo + "/blobs/"
	if _, err := c.step(ctx, "HEAD", url+string(d), http.StatusNotFound, nil, 0, ""); err != nil {
		return err
	}
	at, err := c.step(ctx, "POST", url+"uploads/", http.StatusAccepted, nil, 0, "")
	if err == nil {
		at, err = c.step(ctx, "PATCH", at, http.StatusAccepted, body, size, bytesType)
	}
	if err == nil {
		_, err = c.step(ctx, "PUT", at+"&digest="+string(d), http.StatusCreated, nil, 0, "")
	}
	return err
}

// pushManifest pushes a manifest under a tag.
func (c *client) pushManifest(ctx context.Context, repo, tag string, manifest []byte) error {
	url := c.server.url + "/v2/" + repo + "/manifests/" + tag
	_, err := c.step(ctx, "PUT", url, http.StatusCreated, bytes.NewReader(manifest), int64(len(manifest)), manifestType)
	return err
}
