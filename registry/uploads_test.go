package registry

import (
	"errors"
	"io"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/opencontainers/go-digest"

	"gatehouse/registry/driver/drivertest"
	"gatehouse/registry/driver/inmemory"
)

// begin starts an upload and returns its Location.
func (h *harness) begin(repo string) string {
	h.Helper()
	a := h.want(h.do("POST", "/v2/"+repo+"/blobs/uploads/", nil), 202)
	h.wantHeader(a, "Range", "0-0")
	location := a.Header.Get("Location")
	if id := a.Header.Get("Docker-Upload-Uuid"); !strings.Contains(location, "/v2/"+repo+"/blobs/uploads/"+id+"?_state=") {
		h.Fatalf("Location %q, id %q", location, id)
	}
	return location
}

// finish commits an upload with a last chunk.
func (h *harness) finish(location, chunk, content string) answer {
	h.Helper()
	return h.do("PUT", location+"&digest="+string(digest.FromString(content)), strings.NewReader(chunk))
}

func TestUploadWays(t *testing.T) {
	h := newHarness(t, nil)
	const content = "hello world"
	d := string(digest.FromString(content))
	ways := map[string]func(repo string) answer{
		"POST at once": func(repo string) answer {
			return h.do("POST", "/v2/"+repo+"/blobs/uploads/?digest="+d, strings.NewReader(content))
		},
		"POST, PUT": func(repo string) answer { return h.finish(h.begin(repo), content, content) },
		"POST, PATCH, PUT": func(repo string) answer {
			location := h.begin(repo)
			a := h.want(h.do("PATCH", location, strings.NewReader(content)), 202)
			h.wantHeader(a, "Range", "0-10")
			return h.finish(a.Header.Get("Location"), "", content)
		},
		"in chunks": func(repo string) answer {
			location := h.begin(repo)
			for i, chunk := range []string{"hello", " wor"} {
				a := h.want(h.do("PATCH", location, strings.NewReader(chunk), "Content-Range: "+[]string{"0-4", "5-8"}[i]), 202)
				location = a.Header.Get("Location")
			}
			a := h.want(h.do("GET", location, nil), 204)
			h.wantHeader(a, "Range", "0-8")
			return h.finish(location, "ld", content)
		},
		"streamed, of unknown length": func(repo string) answer {
			a := h.want(h.do("PATCH", h.begin(repo), io.MultiReader(strings.NewReader(content))), 202)
			return h.finish(a.Header.Get("Location"), "", content)
		},
	}
	for name, way := range ways {
		t.Run(name, func(t *testing.T) {
			repo := strings.NewReplacer(" ", "-", ",", "", "POST", "post", "PUT", "put", "PATCH", "patch").Replace(name)
			a := h.want(way(repo), 201)
			h.wantHeader(a, "Location", "/v2/"+repo+"/blobs/"+d)
			h.wantHeader(a, "Docker-Content-Digest", d)
			if got := h.want(h.do("GET", "/v2/"+repo+"/blobs/"+d, nil), 200); string(got.body) != content {
				t.Errorf("served %q", got.body)
			}
		})
	}
	for name, err := range h.driver.List(t.Context(), "docker/registry/v2/repositories") {
		if err != nil {
			t.Fatal(err)
		}
		for left, err := range h.driver.List(t.Context(), "docker/registry/v2/repositories/"+name.Name+"/_uploads") {
			if err == nil {
				t.Errorf("%s left the upload %s behind", name.Name, left.Name)
			}
		}
	}
}

func TestOtherAlgorithm(t *testing.T) {
	h := newHarness(t, nil)
	for _, content := range []string{"hello", ""} {
		d := string(digest.SHA512.FromString(content))
		location := h.begin("a")
		if content != "" {
			h.want(h.do("PATCH", location, strings.NewReader(content)), 202)
		}
		a := h.want(h.do("PUT", location+"&digest="+d, nil), 201)
		h.wantHeader(a, "Docker-Content-Digest", d)
		if got := h.want(h.do("GET", "/v2/a/blobs/"+d, nil), 200); string(got.body) != content {
			t.Errorf("served %q", got.body)
		}
	}
}

// TestAnnouncedAlgorithm: the digest is computed as the bytes come when its algorithm is announced, also after a restart.
func TestAnnouncedAlgorithm(t *testing.T) {
	counter := drivertest.Count(inmemory.New())
	h := newHarness(t, counter)
	d := string(digest.SHA512.FromString("hello"))
	a := h.want(h.do("POST", "/v2/a/blobs/uploads/?digest-algorithm=sha512", nil), 202)
	location := a.Header.Get("Location")
	h.want(h.do("PATCH", location, strings.NewReader("hel")), 202)
	a = h.want(h.do("PATCH", location, strings.NewReader("lo")), 202)
	counter.Reset()
	h.want(h.do("PUT", a.Header.Get("Location")+"&digest="+d, nil), 201)
	if counter.Counts()["Open"] > 0 {
		t.Errorf("the bytes were read again: %s", counter)
	}
	if got := h.want(h.do("GET", "/v2/a/blobs/"+d, nil), 200); string(got.body) != "hello" {
		t.Errorf("served %q", got.body)
	}
	h.want(h.do("POST", "/v2/a/blobs/uploads/?digest-algorithm=md5", nil), 400, codeDigestInvalid)
}

func TestChunksOutOfOrder(t *testing.T) {
	h := newHarness(t, nil)
	location := h.begin("a")
	h.want(h.do("PATCH", location, strings.NewReader("hello"), "Content-Range: 0-4"), 202)
	for _, header := range []string{"0-4", "6-10", "4-8"} {
		a := h.want(h.do("PATCH", location, strings.NewReader("world"), "Content-Range: "+header), 416, codeRangeInvalid)
		h.wantHeader(a, "Range", "0-4")
		if a.Header.Get("Location") == "" {
			t.Error("416 without the Location to go on at")
		}
	}
	h.want(h.do("PATCH", location, strings.NewReader("world"), "Content-Range: nonsense"), 416, codeRangeInvalid)
	h.want(h.do("PATCH", location, strings.NewReader("world"), "Content-Range: 5-10"), 400, codeSizeInvalid)
	h.want(h.do("PUT", location+"&digest="+string(digest.FromString("helloworld")), strings.NewReader("world"), "Content-Range: 9-13"), 416, codeRangeInvalid)
	h.want(h.finish(location, "world", "helloworld"), 201)
}

func TestWrongDigest(t *testing.T) {
	h := newHarness(t, nil)
	location := h.begin("a")
	h.want(h.do("PATCH", location, strings.NewReader("hello")), 202)
	h.want(h.finish(location, "", "other"), 400, codeDigestInvalid)
	h.want(h.do("PUT", location, nil), 400, codeDigestInvalid)
	h.want(h.do("PUT", location+"&digest=sha256:x", nil), 400, codeDigestInvalid)
	h.want(h.do("GET", "/v2/a/blobs/"+string(digest.FromString("other")), nil), 404, codeBlobUnknown)
	h.want(h.finish(location, "", "hello"), 201) // the bytes are still there
	h.want(h.do("POST", "/v2/a/blobs/uploads/?digest="+string(digest.FromString("x")), strings.NewReader("y")), 400, codeDigestInvalid)
}

func TestCancelledUpload(t *testing.T) {
	h := newHarness(t, nil)
	location := h.begin("a")
	h.want(h.do("PATCH", location, strings.NewReader("hello")), 202)
	h.want(h.do("DELETE", location, nil), 204)
	for _, method := range []string{"GET", "PATCH", "PUT", "DELETE"} {
		h.want(h.do(method, location, strings.NewReader("x")), 404, codeUploadUnknown)
	}
	done := h.begin("a")
	h.want(h.finish(done, "x", "x"), 201)
	h.want(h.do("PATCH", done, strings.NewReader("x")), 404, codeUploadUnknown)
}

// TestUploadURLsAreNotForged: an upload is reached by the URL that was given for it, in its repository, and by no other.
func TestUploadURLsAreNotForged(t *testing.T) {
	h := newHarness(t, nil)
	location := h.begin("a")
	path, state, _ := strings.Cut(location, "?_state=")
	for _, forged := range []string{
		path, path + "?_state=", path + "?_state=x", path + "?_state=" + strings.Repeat("A", len(state)),
		strings.Replace(location, "/v2/a/", "/v2/b/", 1),
		path[:len(path)-len(someUUID)] + someUUID + "?_state=" + state,
	} {
		for _, method := range []string{"GET", "PATCH", "PUT", "DELETE"} {
			h.want(h.do(method, forged, strings.NewReader("x")), 404, codeUploadUnknown)
		}
	}
	h.want(h.do("GET", location, nil), 204)
}

// TestBrokenOffUpload: what came before the connection broke is kept, and the upload goes on behind it.
func TestBrokenOffUpload(t *testing.T) {
	h := newHarness(t, nil)
	location := h.begin("a")
	broken := io.MultiReader(strings.NewReader("hel"), readerFunc(func([]byte) (int, error) { return 0, errors.New("gone") }))
	h.want(h.do("PATCH", location, broken), 400, codeUploadInvalid)
	a := h.want(h.do("GET", location, nil), 204)
	h.wantHeader(a, "Range", "0-2")
	h.want(h.do("PATCH", location, strings.NewReader("lo"), "Content-Range: 3-4"), 202)
	h.want(h.finish(location, "", "hello"), 201)
}

// TestTwoWritersOfOneUpload: one request has the session, the other is told so, and no bytes are mixed.
func TestTwoWritersOfOneUpload(t *testing.T) {
	h := newHarness(t, nil)
	location := h.begin("a")
	location = h.want(h.do("PATCH", location, strings.NewReader("he")), 202).Header.Get("Location")
	r, w := io.Pipe()
	var first sync.WaitGroup
	first.Go(func() { h.want(h.do("PATCH", location, r), 202) })
	if _, err := w.Write([]byte("l")); err != nil { // read, so the first request has the session
		t.Fatal(err)
	}
	h.wantHeader(h.want(h.do("GET", location, nil), 204), "Range", "0-1") // whoever lost the connection may ask how far it came
	h.want(h.do("PATCH", location, strings.NewReader("xxx")), 416, codeRangeInvalid)
	h.want(h.finish(location, "xxx", "helxxx"), 416, codeRangeInvalid)
	_, _ = w.Write([]byte("lo"))
	w.Close()
	first.Wait()
	h.want(h.finish(location, "", "hello"), 201)
}

func TestMount(t *testing.T) {
	h := newHarness(t, nil)
	d := string(h.blob("a", "layer"))
	a := h.want(h.do("POST", "/v2/b/blobs/uploads/?from=a&mount="+d, nil), 201)
	h.wantHeader(a, "Location", "/v2/b/blobs/"+d)
	h.want(h.do("GET", "/v2/b/blobs/"+d, nil), 200)
	h.want(h.do("POST", "/v2/c/blobs/uploads/?mount="+d, nil), 201)
	h.want(h.do("GET", "/v2/c/blobs/"+d, nil), 200)
	for _, query := range []string{"from=x&mount=" + d, "from=../a&mount=" + d, "mount=" + string(digest.FromString("nor this")), "from=a&mount=" + string(digest.FromString("never pushed"))} {
		a := h.want(h.do("POST", "/v2/e/blobs/uploads/?"+query, nil), 202)
		h.want(h.finish(a.Header.Get("Location"), "x", "x"), 201)
	}
	h.want(h.do("POST", "/v2/e/blobs/uploads/?from=a&mount=sha256:x", nil), 400, codeDigestInvalid)
}

func TestLargeUpload(t *testing.T) {
	h := newHarness(t, nil)
	var b strings.Builder
	for i := range 300_000 {
		b.WriteString(strconv.Itoa(i))
	}
	content := b.String()
	for _, cut := range []int{0, 1, 256 << 10, 256<<10 + 1, len(content)} {
		location := h.begin("a")
		h.want(h.do("PATCH", location, strings.NewReader(content[:cut])), 202)
		h.want(h.finish(location, content[cut:], content), 201)
	}
	if got := h.do("GET", "/v2/a/blobs/"+string(digest.FromString(content)), nil); string(got.body) != content {
		t.Error("served other bytes than were pushed")
	}
}
