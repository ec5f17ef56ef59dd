package main

import (
	"bytes"
	"crypto/rand"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/opencontainers/go-digest"

	"gatehouse/testbench"
)

// TestS3 serves from a bucket: push, pull, a kill in the middle of an upload that goes on afterwards, a clean stop after which the
// bucket holds distribution's tree and no upload.
func TestS3(t *testing.T) {
	for name, start := range map[string]func(testing.TB) *testbench.S3{"versitygw": testbench.StartVersityGW, "minio": testbench.StartMinIO} {
		t.Run(name, func(t *testing.T) { testBucket(t, start(t)) })
	}
}

func testBucket(t *testing.T, server *testbench.S3) {
	path, err := built()
	fatal(t, err)
	dir := t.TempDir()
	addr := testbench.FreeAddr(t)
	config := filepath.Join(dir, "config.yml")
	fatal(t, os.WriteFile(config, fmt.Appendf(nil, `
version: 0.1
storage:
  s3: {bucket: %s, regionendpoint: %q, accesskey: %s, secretkey: %s, chunksize: 5242880, rootdirectory: /registry}
  delete: {enabled: true}
index: {path: %q}
http: {addr: %s}
`, server.Bucket, server.Endpoint, server.AccessKey, server.SecretKey, filepath.Join(dir, "names", "index.db"), addr), 0o600))
	i := &instance{t: t, url: "http://" + addr, Client: &http.Client{}}
	i.Process = testbench.Start(t, path, "serve", config)
	i.ready()

	small, large := []byte("{}"), make([]byte, 12<<20)
	rand.Read(large)
	i.pushBlob("app", small)
	begun, _ := i.want(202, "POST", "/v2/app/blobs/uploads/", nil)
	location := i.location(begun)
	i.want(202, "PATCH", location, bytes.NewReader(large[:7<<20]))
	i.Kill()
	i.Restart()
	i.CloseIdleConnections()
	i.ready()
	status, _ := i.want(204, "GET", location, nil)
	if got, want := status.Header.Get("Range"), fmt.Sprintf("0-%d", 7<<20-1); got != want {
		t.Fatalf("the upload goes on behind %s, want %s", got, want)
	}
	d := digest.FromBytes(large)
	i.want(201, "PUT", location+"&digest="+string(d), bytes.NewReader(large[7<<20:]))
	m := manifestOf(small, large)
	i.want(201, "PUT", "/v2/app/manifests/v1", bytes.NewReader(m), "Content-Type: "+ociManifest)
	i.want(201, "PUT", "/v2/app/manifests/v2", bytes.NewReader(m), "Content-Type: "+ociManifest)
	i.want(202, "DELETE", "/v2/app/manifests/v2", nil)
	fatal(t, i.Stop())
	i.Restart()
	i.CloseIdleConnections()
	i.ready()
	if _, b := i.want(200, "GET", "/v2/app/manifests/v1", nil); !bytes.Equal(b, m) {
		t.Error("the manifest has other bytes")
	}
	if _, b := i.want(200, "GET", "/v2/app/blobs/"+string(d), nil); !bytes.Equal(b, large) {
		t.Error("the layer has other bytes")
	}
	if _, b := i.want(206, "GET", "/v2/app/blobs/"+string(d), nil, "Range: bytes=1000-1999"); !bytes.Equal(b, large[1000:2000]) {
		t.Error("a range has other bytes")
	}
	i.want(404, "GET", "/v2/app/manifests/v2", nil)
	fatal(t, i.Stop())

	const tree = "registry/docker/registry/v2/"
	for key, want := range map[string]bool{
		tree + "blobs/sha256/" + d.Encoded()[:2] + "/" + d.Encoded() + "/data": true,
		tree + "repositories/app/_layers/sha256/" + d.Encoded() + "/link":      true,
		tree + "repositories/app/_manifests/tags/v1/current/link":              true,
		tree + "repositories/app/_manifests/tags/v2/current/link":              false,
	} {
		_, err := server.Client.HeadObject(t.Context(), &s3.HeadObjectInput{Bucket: aws.String(server.Bucket), Key: aws.String(key)})
		if (err == nil) != want {
			t.Errorf("%s: %v, want it there: %v", key, err, want)
		}
	}
	if left := server.Uploads(server.Bucket); len(left) > 0 {
		t.Errorf("uploads left in the bucket: %v", left)
	}
}
