package main

import (
	"bytes"
	"crypto/rand"
	"fmt"
	"testing"

	"github.com/opencontainers/go-digest"
)

// TestKilledWhenAcknowledged kills the server the moment a push is acknowledged, fifty times: the image is there when it is back,
// and so are all before it.
func TestKilledWhenAcknowledged(t *testing.T) {
	i := start(t)
	type image struct{ manifest, layer []byte }
	var images []image
	for n := range 50 {
		layer := make([]byte, 10_000+n)
		rand.Read(layer)
		config := fmt.Appendf(nil, `{"n":%d}`, n)
		i.pushBlob("app", config)
		i.pushBlob("app", layer)
		m := manifestOf(config, layer)
		i.want(201, "PUT", fmt.Sprintf("/v2/app/manifests/v%d", n), bytes.NewReader(m), "Content-Type: "+ociManifest)
		i.Kill()
		images = append(images, image{m, layer})
		i.Restart()
		i.CloseIdleConnections()
		i.ready()
		for k, im := range images[max(0, n-2):] {
			k += max(0, n-2)
			if _, b := i.want(200, "GET", fmt.Sprintf("/v2/app/manifests/v%d", k), nil); !bytes.Equal(b, im.manifest) {
				t.Fatalf("manifest %d has other bytes after kill %d", k, n)
			}
			if _, b := i.want(200, "GET", "/v2/app/blobs/"+string(digest.FromBytes(im.layer)), nil); !bytes.Equal(b, im.layer) {
				t.Fatalf("layer %d has other bytes after kill %d", k, n)
			}
		}
	}
	for k, im := range images {
		if _, b := i.want(200, "GET", fmt.Sprintf("/v2/app/manifests/v%d", k), nil); !bytes.Equal(b, im.manifest) {
			t.Errorf("manifest %d has other bytes in the end", k)
		}
		if _, b := i.want(200, "GET", "/v2/app/blobs/"+string(digest.FromBytes(im.layer)), nil); !bytes.Equal(b, im.layer) {
			t.Errorf("layer %d has other bytes in the end", k)
		}
	}
}

// TestBlobKilledWhenAcknowledged does the same the moment the blob itself is acknowledged.
func TestBlobKilledWhenAcknowledged(t *testing.T) {
	i := start(t)
	for n := range 10 {
		content := make([]byte, 1<<20+n)
		rand.Read(content)
		d := i.pushBlob("app", content)
		i.Kill()
		i.Restart()
		i.CloseIdleConnections()
		i.ready()
		if _, b := i.want(200, "GET", "/v2/app/blobs/"+string(d), nil); !bytes.Equal(b, content) {
			t.Fatalf("blob %d has other bytes", n)
		}
	}
}
