package main

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/opencontainers/go-digest"

	"gatehouse/testbench"
)

// bucketRoot is rootdirectory in the tests, bucketTree where distribution's tree begins then.
const (
	bucketRoot = "/registry"
	bucketTree = "registry/docker/registry/v2/"
	bucketPart = 5 << 20 // chunksize
)

// startOnBucket runs gatehouse without authentication on a new bucket of a server, or of a proxy before it. more are lines of the
// section storage. What a bucket does not keep is in the instance's data.
func startOnBucket(t *testing.T, server *testbench.S3, endpoint string, more ...string) (i *instance, bucket string) {
	t.Helper()
	path, err := built()
	fatal(t, err)
	bucket = server.NewBucket()
	addr := testbench.FreeAddr(t)
	i = &instance{t: t, url: "http://" + addr, data: t.TempDir(), Client: newHTTPClient(t)}
	config := filepath.Join(i.data, "config.yml")
	fatal(t, os.WriteFile(config, fmt.Appendf(nil, `
version: 0.1
log: {level: warn, accesslog: {disabled: true}}
storage:
  s3: %s
  delete: {enabled: true}
%s
index: {path: %q}
http: {addr: %s}
`, server.Settings(endpoint, bucket, bucketRoot), "  "+strings.Join(more, "\n  "), filepath.Join(i.data, "names", "index.db"), addr), 0o600))
	i.Process = testbench.Start(t, path, "serve", config)
	i.ready()
	return i, bucket
}

// sendsAll is for a server that sends all blobs itself.
const sendsAll = "redirect: {disable: true}"

// newHTTPClient returns a client that does not follow redirects.
func newHTTPClient(t *testing.T) *http.Client {
	transport := &http.Transport{MaxIdleConnsPerHost: 16}
	t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
}

// again starts the server anew, after a kill or a stop.
func (i *instance) again() {
	i.t.Helper()
	i.Restart()
	i.CloseIdleConnections()
	i.ready()
}

// bytesOf returns bytes that differ for each seed.
func bytesOf(seed string, size int) []byte {
	b := make([]byte, size)
	rand.NewChaCha8(sha256.Sum256([]byte(seed))).Read(b)
	return b
}

// blobKey is where a bucket keeps a blob.
func blobKey(d digest.Digest) string {
	return bucketTree + "blobs/" + string(d.Algorithm()) + "/" + d.Encoded()[:2] + "/" + d.Encoded() + "/data"
}

// TestS3 serves from a bucket: push, pull, ranges, deletion; a clean stop, after which the bucket holds distribution's tree and
// nothing else.
func TestS3(t *testing.T) {
	testbench.EachS3(t, func(t *testing.T, server *testbench.S3) {
		i, bucket := startOnBucket(t, server, server.Endpoint, sendsAll)
		small, large := []byte("{}"), bytesOf(t.Name(), 2*bucketPart+1000)
		d := digest.FromBytes(large)
		i.pushBlob("app", small)
		i.pushBlob("app", large)
		m := manifestOf(small, large)
		for _, tag := range []string{"v1", "v2"} {
			i.want(201, "PUT", "/v2/app/manifests/"+tag, bytes.NewReader(m), "Content-Type: "+ociManifest)
		}
		i.want(202, "DELETE", "/v2/app/manifests/v2", nil)
		fatal(t, i.Stop())
		i.again()
		i.want(404, "GET", "/v2/app/manifests/v2", nil)
		if _, b := i.want(200, "GET", "/v2/app/manifests/v1", nil); !bytes.Equal(b, m) {
			t.Error("the manifest has other bytes")
		}
		blob := "/v2/app/blobs/" + string(d)
		if _, b := i.want(200, "GET", blob, nil); !bytes.Equal(b, large) {
			t.Error("the layer has other bytes")
		}
		size := len(large)
		for header, want := range map[string][]byte{
			"bytes=1000-1999":                      large[1000:2000],
			"bytes=0-0":                            large[:1],
			"bytes=-10":                            large[size-10:],
			fmt.Sprintf("bytes=%d-", bucketPart-1): large[bucketPart-1:],
			fmt.Sprintf("bytes=%d-%d", bucketPart-5, 1<<40): large[bucketPart-5:],
		} {
			if _, b := i.want(206, "GET", blob, nil, "Range: "+header); !bytes.Equal(b, want) {
				t.Errorf("Range %s: %d other bytes, want %d", header, len(b), len(want))
			}
		}
		i.want(416, "GET", blob, nil, fmt.Sprintf("Range: bytes=%d-", size))
		fatal(t, i.Stop())

		keys := server.Objects(bucket)
		for key, want := range map[string]bool{
			blobKey(d): true,
			bucketTree + "repositories/app/_layers/sha256/" + d.Encoded() + "/link": true,
			bucketTree + "repositories/app/_manifests/tags/v1/current/link":         true,
			bucketTree + "repositories/app/_manifests/tags/v2/current/link":         false,
		} {
			if _, ok := server.Object(bucket, key); ok != want {
				t.Errorf("%s is there: %v, want %v; the bucket has %q", key, ok, want, keys)
			}
		}
		nothingLeft(t, server, bucket)
	})
}

// nothingLeft looks for what belongs to uploads.
func nothingLeft(t *testing.T, server *testbench.S3, bucket string) {
	t.Helper()
	for _, key := range server.Objects(bucket) {
		if strings.Contains(key, "/_uploads/") {
			t.Errorf("%s is left in the bucket", key)
		}
	}
	if left := server.Uploads(bucket); len(left) > 0 {
		t.Errorf("multipart uploads are left in the bucket: %q", left)
	}
}

// TestS3Ways pushes in all ways that clients have, and counts the copies that S3 is asked for: none where the digest is known
// when the first byte comes.
func TestS3Ways(t *testing.T) {
	testbench.EachS3(t, func(t *testing.T, server *testbench.S3) {
		var copies atomic.Int32
		p := testbench.NewS3Proxy(t, server.Endpoint)
		p.Choose(func(r *http.Request) testbench.S3Fault {
			if r.Header.Get("X-Amz-Copy-Source") != "" {
				copies.Add(1)
			}
			return testbench.S3Works
		})
		i, bucket := startOnBucket(t, server, p.URL, sendsAll)
		for _, size := range []int{0, 1000, bucketPart, 2*bucketPart + 1000} {
			for way, early := range ways {
				content := bytesOf(way, size)
				d := digest.FromBytes(content)
				copies.Store(0)
				i.pushBy(way, "app", content)
				if n := copies.Load(); (n == 0) != (early || size == 0) {
					t.Errorf("%s, %d bytes: %d copies", way, size, n)
				}
				if got, _ := server.Object(bucket, blobKey(d)); !bytes.Equal(got, content) {
					t.Errorf("%s: the bucket has %d other bytes, want %d", way, len(got), size)
				}
				if _, got := i.want(200, "GET", "/v2/app/blobs/"+string(d), nil); !bytes.Equal(got, content) {
					t.Errorf("%s: served %d other bytes, want %d", way, len(got), size)
				}
				wrong := digest.FromString(way + "wrong")
				i.want(400, "POST", "/v2/app/blobs/uploads/?digest="+string(wrong), bytes.NewReader(content))
				if _, ok := server.Object(bucket, blobKey(wrong)); ok {
					t.Errorf("%d bytes are there under a digest that is not theirs", size)
				}
			}
		}
		nothingLeft(t, server, bucket)
	})
}

// ways are how clients push. True: the digest is known before the first byte.
var ways = map[string]bool{
	"POST":             true,
	"POST, PUT":        true,  // containerd, buildkit, oras
	"POST, PATCH, PUT": false, // docker, podman, skopeo, crane
	"in chunks":        false,
}

// pushBy pushes a blob in one of the ways.
func (i *instance) pushBy(way, repo string, content []byte) {
	i.t.Helper()
	d, uploads := "digest="+string(digest.FromBytes(content)), "/v2/"+repo+"/blobs/uploads/"
	if way == "POST" {
		i.want(201, "POST", uploads+"?"+d, bytes.NewReader(content))
		return
	}
	begun, _ := i.want(202, "POST", uploads, nil)
	to := i.location(begun)
	var last []byte
	switch way {
	case "POST, PUT":
		last = content
	case "POST, PATCH, PUT":
		i.want(202, "PATCH", to, bytes.NewReader(content))
	case "in chunks":
		third := len(content) / 3
		for n := range 2 {
			if third > 0 {
				i.want(202, "PATCH", to, bytes.NewReader(content[n*third:(n+1)*third]), fmt.Sprintf("Content-Range: %d-%d", n*third, (n+1)*third-1))
			}
		}
		last = content[2*third:]
	}
	i.want(201, "PUT", to+"&"+d, bytes.NewReader(last))
}
