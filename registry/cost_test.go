package registry

import (
	"bytes"
	"fmt"
	"net/http"
	"runtime"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"

	"gatehouse/registry/driver/drivertest"
	"gatehouse/registry/driver/filesystem"
	"gatehouse/registry/driver/inmemory"
	"gatehouse/registry/manifest"
)

// TestDriverOperations counts what each request asks of the driver.
func TestDriverOperations(t *testing.T) {
	counter := drivertest.Count(inmemory.New())
	h := newHarness(t, counter)
	m := h.image("a", "v1", "layer")
	blob, tagged := "/v2/a/blobs/"+string(digest.FromString("layer")), "/v2/a/manifests/v1"
	large := "/v2/a/blobs/" + string(h.blob("a", strings.Repeat("x", maxSmall+1)))
	begun := h.begin("a")
	for _, test := range []struct {
		name string
		do   func() answer
		most int
	}{
		{"GET base", func() answer { return h.do("GET", "/v2/", nil) }, 0},
		{"HEAD blob", func() answer { return h.do("HEAD", blob, nil) }, 0},
		{"HEAD blob that is not there", func() answer { return h.do("HEAD", "/v2/b/blobs/"+string(sha256Of), nil) }, 0},
		{"GET small blob for the first time", func() answer { return h.do("GET", blob, nil) }, 1},
		{"GET small blob again", func() answer { return h.do("GET", blob, nil) }, 0},
		{"GET blob", func() answer { return h.do("GET", large, nil) }, 1},
		{"HEAD manifest", func() answer { return h.do("HEAD", tagged, nil) }, 0},
		{"GET manifest for the first time", func() answer { return h.do("GET", tagged, nil) }, 1},
		{"GET manifest again", func() answer { return h.do("GET", tagged, nil) }, 0},
		{"tags", func() answer { return h.do("GET", "/v2/a/tags/list", nil) }, 0},
		{"catalog", func() answer { return h.do("GET", "/v2/_catalog", nil) }, 0},
		{"mount", func() answer {
			return h.do("POST", "/v2/b/blobs/uploads/?from=a&mount="+string(digest.FromString("layer")), nil)
		}, 0},
		{"begin an upload", func() answer { return h.do("POST", "/v2/a/blobs/uploads/", nil) }, 0},
		{"upload", func() answer { return h.do("PATCH", begun, strings.NewReader("new")) }, 1},
		{"commit", func() answer { return h.finish(begun, "", "new") }, 3},
		{"PUT manifest again", func() answer {
			return h.do("PUT", "/v2/a/manifests/v2", bytes.NewReader(m), "Content-Type: "+manifest.OCIManifest)
		}, 1},
		{"PUT manifest", func() answer {
			return h.do("PUT", "/v2/a/manifests/v3", bytes.NewReader(append(m, '\n')), "Content-Type: "+manifest.OCIManifest)
		}, 1},
		{"DELETE tag", func() answer { return h.do("DELETE", "/v2/a/manifests/v2", nil) }, 0},
	} {
		counter.Reset()
		if a := test.do(); a.StatusCode >= 500 {
			t.Errorf("%s: %s", test.name, a.Status)
		}
		if counter.Total() > test.most {
			t.Errorf("%s: %s, want %d at most", test.name, counter, test.most)
		}
	}
}

// discard is a ResponseWriter that keeps nothing.
type discard struct {
	header http.Header
	status int
	bytes  int
}

func (d *discard) Header() http.Header         { return d.header }
func (d *discard) WriteHeader(status int)      { d.status = status }
func (d *discard) Write(p []byte) (int, error) { d.bytes += len(p); return len(p), nil }

// TestMemoryOfADownload: what a GET allocates does not grow with the blob.
func TestMemoryOfADownload(t *testing.T) {
	d, err := filesystem.New(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	h := newHarness(t, d)
	allocated := func(size int) uint64 {
		path := "/v2/a/blobs/" + string(h.blob("a", strings.Repeat("x", size)))
		get := func() {
			w := &discard{header: http.Header{}}
			r, _ := http.NewRequest("GET", "http://registry.test"+path, nil)
			h.ServeHTTP(w, r)
			if w.bytes != size || w.status != 200 {
				t.Fatalf("status %d, %d bytes of %d", w.status, w.bytes, size)
			}
		}
		get()
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		for range 10 {
			get()
		}
		runtime.ReadMemStats(&after)
		return (after.TotalAlloc - before.TotalAlloc) / 10
	}
	small, large := allocated(4<<10), allocated(64<<20)
	if large > small+64<<10 {
		t.Errorf("a GET of 4 KiB allocates %d bytes, one of 64 MiB %d", small, large)
	}
}

// TestEveryFault lets each operation on the driver fail in turn, before or after it took place, and pushes an image. What was
// answered with 201 is there afterwards, what failed says so, and the same push works once the driver does.
func TestEveryFault(t *testing.T) {
	for _, after := range []bool{false, true} {
		for k := 0; ; k++ {
			if k > 100 {
				t.Fatal("a push of an image has more than 100 operations")
			}
			faults := drivertest.NewFaults(inmemory.New(), drivertest.Fault{Skip: k, Times: 1, Err: fmt.Errorf("fault %d", k), After: after})
			h := newHarness(t, faults)
			acknowledged := h.pushWhatWorks()
			if faults.Seen() <= k {
				break // the push has fewer operations
			}
			again := h.pushWhatWorks()
			if len(again) != 3 {
				t.Fatalf("fault %d: the push after it got only %v acknowledged", k, again)
			}
			for _, path := range append(acknowledged, again...) {
				if a := h.do("GET", path, nil); a.StatusCode != 200 {
					t.Errorf("fault %d: %s was acknowledged, and is %s", k, path, a.Status)
				}
			}
		}
	}
}

// pushWhatWorks pushes an image step by step, whatever fails, and returns the paths of what was acknowledged.
func (h *harness) pushWhatWorks() (acknowledged []string) {
	layer := "layer " + strings.Repeat("x", 1000)
	blobs := []string{"{}", layer}
	for _, b := range blobs {
		location := h.begin("a")
		if a := h.do("PATCH", location, strings.NewReader(b)); a.StatusCode != 202 {
			h.want(a, 500, codeUnknown)
			continue
		}
		a := h.finish(location, "", b)
		if a.StatusCode == 201 {
			acknowledged = append(acknowledged, "/v2/a/blobs/"+string(digest.FromString(b)))
		} else {
			h.want(a, 500, codeUnknown)
		}
	}
	doc := fmt.Sprintf(`{"schemaVersion":2,"config":{"digest":%q,"size":2},"layers":[{"digest":%q,"size":%d}]}`,
		digest.FromString("{}"), digest.FromString(layer), len(layer))
	a := h.do("PUT", "/v2/a/manifests/v1", strings.NewReader(doc), "Content-Type: "+manifest.OCIManifest)
	switch {
	case len(acknowledged) < 2: // what is not durable is not named
		h.want(a, 400, codeManifestBlobUnknown)
	case a.StatusCode == 201:
		acknowledged = append(acknowledged, "/v2/a/manifests/v1")
	default:
		h.want(a, 500, codeUnknown)
	}
	return acknowledged
}
