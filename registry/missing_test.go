package registry

import (
	"bytes"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"

	"gatehouse/registry/manifest"
	"gatehouse/registry/tree"
)

// TestMissingBytesArePushedAgain: once it turned out that bytes are gone, clients that ask before they push are not told that they
// are there. (skopeo and crane sent nothing, and the image stayed broken.)
func TestMissingBytesArePushedAgain(t *testing.T) {
	for name, layer := range map[string]string{"small": "layer", "large": strings.Repeat("layer", maxSmall)} {
		t.Run(name, func(t *testing.T) {
			h := newHarness(t, nil)
			m := h.image("a", "latest", layer)
			d := digest.FromString(layer)
			blob, image := "/v2/a/blobs/"+string(d), "/v2/a/manifests/"+string(digest.FromBytes(m))
			lose := func(d digest.Digest) {
				t.Helper()
				if err := h.driver.Delete(t.Context(), tree.Blob(d)); err != nil {
					t.Fatal(err)
				}
				h.Registry.manifests, h.Registry.blobs = newCache(), newCache()
			}
			lose(d)
			h.want(h.do("GET", blob, nil), 500, codeUnknown)
			h.want(h.do("HEAD", blob, nil), 404, codeBlobUnknown)
			h.want(h.do("POST", "/v2/b/blobs/uploads/?from=a&mount="+string(d), nil), 202)
			h.want(h.do("PUT", "/v2/a/manifests/new", bytes.NewReader(m), "Content-Type: "+manifest.OCIManifest), 400, codeManifestBlobUnknown)
			h.blob("a", layer)
			h.want(h.do("HEAD", blob, nil), 200)
			h.want(h.do("GET", blob, nil), 200)
			h.want(h.do("POST", "/v2/b/blobs/uploads/?from=a&mount="+string(d), nil), 201)

			lose(digest.FromBytes(m))
			h.want(h.do("HEAD", image, nil), 200) // nobody has looked yet
			h.want(h.do("GET", image, nil), 500, codeUnknown)
			for _, at := range []string{image, "/v2/a/manifests/latest"} {
				h.want(h.do("HEAD", at, nil), 404, codeManifestUnknown)
			}
			h.want(h.do("PUT", "/v2/a/manifests/latest", bytes.NewReader(m), "Content-Type: "+manifest.OCIManifest), 201)
			h.want(h.do("HEAD", image, nil), 200)
			h.want(h.do("GET", image, nil), 200)

			// A disk that was away comes back.
			lose(d)
			h.want(h.do("GET", blob, nil), 500, codeUnknown)
			if err := h.driver.WriteFile(t.Context(), tree.Blob(d), []byte(layer)); err != nil {
				t.Fatal(err)
			}
			h.want(h.do("HEAD", blob, nil), 404, codeBlobUnknown)
			h.want(h.do("GET", blob, nil), 200)
			h.want(h.do("HEAD", blob, nil), 200)
			if h.Registry.missing.any.Load() {
				t.Error("something is still taken for missing")
			}
		})
	}
}

// TestLost: what a comparison of store and index finds missing is no longer promised, so that who asks before he pushes sends it.
func TestLost(t *testing.T) {
	h := newHarness(t, nil)
	m := h.image("a", "latest", "layer")
	d := digest.FromString("layer")
	blob, put := "/v2/a/blobs/"+string(d), func() answer {
		return h.do("PUT", "/v2/a/manifests/new", bytes.NewReader(m), "Content-Type: "+manifest.OCIManifest)
	}
	if err := h.driver.Delete(t.Context(), tree.Blob(d)); err != nil {
		t.Fatal(err)
	}
	h.want(h.do("HEAD", blob, nil), 200) // nobody has looked yet
	h.Registry.Lost(d)
	h.want(h.do("HEAD", blob, nil), 404, codeBlobUnknown)
	h.want(h.do("POST", "/v2/b/blobs/uploads/?from=a&mount="+string(d), nil), 202)
	h.want(put(), 400, codeManifestBlobUnknown)
	h.blob("a", "layer")
	h.want(h.do("HEAD", blob, nil), 200)
	h.want(put(), 201)
}
