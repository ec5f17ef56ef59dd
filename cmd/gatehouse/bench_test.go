package main

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"sync/atomic"
	"testing"

	"github.com/opencontainers/go-digest"

	"gatehouse/configs"
	"gatehouse/tokenserver"
)

// The benchmarks drive the whole server in this process, over TLS on loopback and with a token: what a client costs, its own
// part included, and so its allocations (TLS allocates for each 32 KiB that a client reads). Compare figures of one run only.

// bench is a server in this process and a client that has a token.
type bench struct {
	testing.TB
	*http.Client
	url, token string
}

func newBench(b *testing.B) *bench {
	b.Helper()
	data := filepath.Join(b.TempDir(), "data")
	cfg, _, err := configs.Default(data, nil)
	fatal(b, err)
	cfg.HTTP.Addr = "127.0.0.1:0"
	cfg.Log.AccessLog.Disabled = true
	fatal(b, os.MkdirAll(cfg.DataDir(), 0o700))
	fatal(b, tokenserver.NewHtpasswdFile(cfg.Auth.Htpasswd.Path).Add(adminName, alicesWords))
	s, err := newServer(b.Context(), cfg, slog.New(slog.DiscardHandler))
	fatal(b, err)
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- s.run(ctx) }()
	client := &http.Client{Transport: &http.Transport{
		TLSClientConfig:     trust(func(err error) { fatal(b, err) }, filepath.Join(cfg.DataDir(), "ca", "ca.pem")),
		MaxIdleConnsPerHost: 64, ReadBufferSize: 64 << 10, WriteBufferSize: 64 << 10,
	}}
	b.Cleanup(func() {
		client.CloseIdleConnections()
		stop()
		if err := <-ended; err != nil {
			b.Error(err)
		}
		s.close()
	})
	n := &bench{TB: b, Client: client, url: "https://" + s.gateway.Addr().String()}
	var answer struct{ Token string }
	fatal(b, json.Unmarshal(n.getToken(), &answer))
	n.token = answer.Token
	return n
}

// getToken gets a token for the repository a with a password.
func (n *bench) getToken() []byte {
	r, err := http.NewRequest("GET", n.url+"/token?service=gatehouse&scope=repository:a:pull,push", nil)
	fatal(n, err)
	r.SetBasicAuth(adminName, alicesWords)
	answer, err := n.Do(r)
	fatal(n, err)
	defer answer.Body.Close()
	b, err := io.ReadAll(answer.Body)
	fatal(n, err)
	if answer.StatusCode != 200 {
		n.Fatalf("token: %s %s", answer.Status, b)
	}
	return b
}

// do sends a request with the token, reads the answer and returns it.
func (n *bench) do(method, path string, status int, body []byte, contentType string) *http.Response {
	var reader io.Reader
	if body != nil {
		reader = bytes.NewReader(body)
	}
	r, err := http.NewRequest(method, n.url+path, reader)
	fatal(n, err)
	r.Header.Set("Authorization", "Bearer "+n.token)
	r.Header.Set("Content-Type", contentType)
	answer, err := n.Do(r)
	fatal(n, err)
	defer answer.Body.Close()
	_, err = io.Copy(io.Discard, answer.Body)
	fatal(n, err)
	if answer.StatusCode != status {
		n.Fatalf("%s %s: %s, want %d", method, path, answer.Status, status)
	}
	return answer
}

func (n *bench) putBlob(content []byte) digest.Digest {
	d := digest.FromBytes(content)
	n.putDigest(d, content)
	return d
}

// putDigest pushes a blob whose digest is known: the client's own hashing costs as much as the server's.
func (n *bench) putDigest(d digest.Digest, content []byte) {
	n.do("POST", "/v2/a/blobs/uploads/?digest="+string(d), 201, content, "application/octet-stream")
}

// random returns size bytes that were never seen before.
func random(size int) []byte {
	b := make([]byte, size)
	rand.Read(b)
	return b
}

var blobSizes = []struct {
	name string
	size int
}{{"4KiB", 4 << 10}, {"64MiB", 64 << 20}}

func BenchmarkGetBlob(b *testing.B) {
	for _, s := range blobSizes {
		b.Run(s.name, func(b *testing.B) {
			n := newBench(b)
			path := "/v2/a/blobs/" + string(n.putBlob(random(s.size)))
			b.SetBytes(int64(s.size))
			b.ReportAllocs()
			for b.Loop() {
				n.do("GET", path, 200, nil, "")
			}
		})
	}
}

func BenchmarkPutBlob(b *testing.B) {
	for _, s := range blobSizes {
		b.Run(s.name, func(b *testing.B) {
			n := newBench(b)
			content := random(s.size)
			b.SetBytes(int64(s.size))
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				b.StopTimer()
				copy(content, strconv.Itoa(i)+" ")
				d := digest.FromBytes(content)
				b.StartTimer()
				n.putDigest(d, content)
			}
		})
	}
}

// BenchmarkPutBlobParallel has eight clients at once, who share commits of the index.
func BenchmarkPutBlobParallel(b *testing.B) {
	n := newBench(b)
	var count atomic.Int64
	b.SetBytes(4 << 10)
	b.SetParallelism(4)
	b.RunParallel(func(pb *testing.PB) {
		content := random(4 << 10)
		for pb.Next() {
			copy(content, strconv.FormatInt(count.Add(1), 10)+" ")
			n.putBlob(content)
		}
	})
}

// benchManifest pushes a manifest and returns it.
func (n *bench) benchManifest(tag string) []byte {
	config, layer := []byte("{}"), []byte("layer")
	n.putBlob(config)
	n.putBlob(layer)
	m := manifestOf(config, layer)
	n.do("PUT", "/v2/a/manifests/"+tag, 201, m, ociManifest)
	return m
}

func BenchmarkManifest(b *testing.B) {
	for _, method := range []string{"GET", "HEAD"} {
		b.Run(method+"ByTag", func(b *testing.B) {
			n := newBench(b)
			n.benchManifest("v1")
			b.ReportAllocs()
			for b.Loop() {
				n.do(method, "/v2/a/manifests/v1", 200, nil, "")
			}
		})
	}
	b.Run("Put", func(b *testing.B) {
		n := newBench(b)
		m := n.benchManifest("v1")
		b.ReportAllocs()
		for i := 0; b.Loop(); i++ {
			n.do("PUT", "/v2/a/manifests/v1", 201, fmt.Appendf(nil, `{"annotations":{"n":"%d"},%s`, i, m[1:]), ociManifest)
		}
	})
}

func BenchmarkGetTokenCached(b *testing.B) {
	n := newBench(b)
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			n.getToken()
		}
	})
}
