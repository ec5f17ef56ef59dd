package registry

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"

	"gatehouse/registry/driver"
	"gatehouse/registry/driver/inmemory"
	"gatehouse/registry/index"
	"gatehouse/registry/index/kv/bolt"
	"gatehouse/registry/manifest"
	"gatehouse/registry/store"
)

// harness is a registry in this process and a client of it.
type harness struct {
	testing.TB
	*Registry
	driver driver.Driver
	header http.Header // sent with every request
}

// newHarness returns a registry over d, or over memory for nil, in which everybody may do everything.
func newHarness(t testing.TB, d driver.Driver) *harness {
	t.Helper()
	if d == nil {
		d = inmemory.New()
	}
	db, err := bolt.Open(filepath.Join(t.TempDir(), "index.db"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	x, err := index.Open(t.Context(), db, time.Now)
	if err != nil {
		t.Fatal(err)
	}
	log := slog.New(slog.NewTextHandler(t.Output(), nil))
	g := New(Options{Index: x, Store: store.New(d, time.Now, log), Secret: []byte("s"), Delete: true, Log: log})
	return &harness{TB: t, Registry: g, driver: d, header: http.Header{}}
}

// answer is what came back.
type answer struct {
	*http.Response
	body []byte
}

// do sends a request. Headers are "Name: value".
func (h *harness) do(method, path string, body io.Reader, headers ...string) answer {
	h.Helper()
	r := httptest.NewRequestWithContext(h.Context(), method, "http://registry.test"+path, body)
	for name, values := range h.header {
		r.Header[name] = values
	}
	for _, header := range headers {
		name, value, _ := strings.Cut(header, ": ")
		r.Header.Set(name, value)
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	b, err := io.ReadAll(w.Result().Body)
	if err != nil {
		h.Fatal(err)
	}
	if length := w.Header().Get("Content-Length"); length != "" && method != "HEAD" && length != strconv.Itoa(len(b)) {
		h.Errorf("%s %s: Content-Length %s, and %d bytes", method, path, length, len(b))
	}
	return answer{w.Result(), b}
}

// want checks the status and, where one is given, the code of the error.
func (h *harness) want(a answer, status int, codes ...code) answer {
	h.Helper()
	if a.StatusCode != status {
		h.Fatalf("%s, want %d: %s", a.Status, status, a.body)
	}
	for _, c := range codes {
		var doc errorBody
		if err := json.Unmarshal(a.body, &doc); err != nil || len(doc.Errors) == 0 || doc.Errors[0].Code != c.name {
			h.Fatalf("error %s, want %s", a.body, c.name)
		}
	}
	if status >= 400 && status != 416 && len(codes) == 0 {
		h.Fatalf("status %d is checked without its code: %s", status, a.body)
	}
	return a
}

// blob pushes a blob the short way and returns its digest.
func (h *harness) blob(repo, content string) digest.Digest {
	h.Helper()
	d := digest.FromString(content)
	h.want(h.do("POST", "/v2/"+repo+"/blobs/uploads/?digest="+string(d), strings.NewReader(content)), 201)
	return d
}

// image pushes an image of the layers and returns the manifest.
func (h *harness) image(repo, reference string, layers ...string) []byte {
	h.Helper()
	m := h.manifest(repo, layers...)
	h.want(h.do("PUT", "/v2/"+repo+"/manifests/"+reference, bytes.NewReader(m), "Content-Type: "+manifest.OCIManifest), 201)
	return m
}

// manifest pushes the layers and returns a manifest of them, which is not pushed.
func (h *harness) manifest(repo string, layers ...string) []byte {
	h.Helper()
	doc := map[string]any{"schemaVersion": 2, "mediaType": manifest.OCIManifest}
	describe := func(content string) map[string]any {
		return map[string]any{"mediaType": "application/x", "digest": h.blob(repo, content), "size": len(content)}
	}
	doc["config"] = describe("{}")
	list := []any{}
	for _, layer := range layers {
		list = append(list, describe(layer))
	}
	doc["layers"] = list
	b, err := json.Marshal(doc)
	if err != nil {
		h.Fatal(err)
	}
	return b
}

func (h *harness) wantHeader(a answer, name, value string) {
	h.Helper()
	if got := a.Header.Get(name); got != value {
		h.Errorf("%s: %q, want %q", name, got, value)
	}
}

func TestBase(t *testing.T) {
	h := newHarness(t, nil)
	for _, path := range []string{"/v2", "/v2/"} {
		a := h.want(h.do("GET", path, nil), 200)
		h.wantHeader(a, "Docker-Distribution-Api-Version", "registry/2.0")
		h.wantHeader(a, "Content-Type", "application/json")
	}
	a := h.want(h.do("POST", "/v2/", nil), 405, codeUnsupported)
	h.wantHeader(a, "Allow", "GET, HEAD")
	h.want(h.do("GET", "/v2/x", nil), 404, codeNotFound)
}

func TestBlob(t *testing.T) {
	h := newHarness(t, nil)
	d := h.blob("a/b", "hello")
	for _, method := range []string{"GET", "HEAD"} {
		a := h.want(h.do(method, "/v2/a/b/blobs/"+string(d), nil), 200)
		h.wantHeader(a, "Docker-Content-Digest", string(d))
		h.wantHeader(a, "Content-Length", "5")
		h.wantHeader(a, "Etag", `"`+string(d)+`"`)
		h.wantHeader(a, "Accept-Ranges", "bytes")
		h.wantHeader(a, "Content-Type", "application/octet-stream")
		if method == "GET" && string(a.body) != "hello" {
			t.Errorf("body %q", a.body)
		}
		h.want(h.do(method, "/v2/a/b/blobs/"+string(d), nil, `If-None-Match: "`+string(d)+`"`), 304)
		h.want(h.do(method, "/v2/a/blobs/"+string(d), nil), 404, codeBlobUnknown)
	}
	a := h.want(h.do("GET", "/v2/a/b/blobs/"+string(d), nil, "Range: bytes=1-3"), 206)
	h.wantHeader(a, "Content-Range", "bytes 1-3/5")
	if string(a.body) != "ell" {
		t.Errorf("range: %q", a.body)
	}
	a = h.want(h.do("GET", "/v2/a/b/blobs/"+string(d), nil, "Range: bytes=-2"), 206)
	if string(a.body) != "lo" {
		t.Errorf("suffix: %q", a.body)
	}
	h.want(h.do("GET", "/v2/a/b/blobs/"+string(d), nil, "Range: bytes=9-"), 416)
	empty := h.blob("a/b", "")
	h.want(h.do("GET", "/v2/a/b/blobs/"+string(empty), nil), 200)
}

func TestDamagedBlobIsNotServed(t *testing.T) {
	h := newHarness(t, nil)
	h.image("a", "latest", "layer")
	h.Registry.manifests = newCache()
	d := digest.FromString("layer")
	for path, bad := range map[string]string{
		"/v2/a/blobs/" + string(d): "lay",
		"/v2/a/manifests/latest":   strings.Repeat("x", 10),
	} {
		name := d
		if strings.Contains(path, "manifests") {
			name = digest.Digest(h.do("HEAD", path, nil).Header.Get("Docker-Content-Digest"))
		}
		file := fmt.Sprintf("docker/registry/v2/blobs/sha256/%s/%s/data", name.Encoded()[:2], name.Encoded())
		if err := h.driver.WriteFile(t.Context(), file, []byte(bad)); err != nil {
			t.Fatal(err)
		}
		a := h.want(h.do("GET", path, nil), 500, codeUnknown)
		if !strings.Contains(string(a.body), "pushing them again repairs it") {
			t.Errorf("%s: %s", path, a.body)
		}
	}
	h.image("a", "latest", "layer")
	if got := h.want(h.do("GET", "/v2/a/blobs/"+string(d), nil), 200); string(got.body) != "layer" {
		t.Errorf("after pushing again: %q", got.body)
	}
	h.want(h.do("GET", "/v2/a/manifests/latest", nil), 200)
}

func TestManifest(t *testing.T) {
	h := newHarness(t, nil)
	m := h.image("a", "latest", "one", "two")
	d := string(digest.FromBytes(m))
	for _, reference := range []string{"latest", d} {
		for _, accept := range []string{"Accept: ", "Accept: */*", "Accept: " + manifest.OCIManifest, "Accept: application/json"} {
			a := h.want(h.do("GET", "/v2/a/manifests/"+reference, nil, accept), 200)
			h.wantHeader(a, "Content-Type", manifest.OCIManifest)
			h.wantHeader(a, "Docker-Content-Digest", d)
			h.wantHeader(a, "Etag", `"`+d+`"`)
			if !bytes.Equal(a.body, m) {
				t.Errorf("body %s", a.body)
			}
		}
		a := h.want(h.do("HEAD", "/v2/a/manifests/"+reference, nil), 200)
		h.wantHeader(a, "Content-Length", fmt.Sprint(len(m)))
		if len(a.body) > 0 {
			t.Errorf("HEAD has a body: %s", a.body)
		}
		h.want(h.do("GET", "/v2/a/manifests/"+reference, nil, "If-None-Match: "+d), 304)
	}
	unknown := h.want(h.do("GET", "/v2/a/manifests/other", nil), 404, codeManifestUnknown)
	if !strings.Contains(string(unknown.body), `"detail":{"name":"a","tag":"other"}`) {
		t.Errorf("body %s", unknown.body)
	}
	h.want(h.do("GET", "/v2/b/manifests/latest", nil), 404, codeNameUnknown)
	a := h.want(h.do("PUT", "/v2/a/manifests/"+d, bytes.NewReader(m), "Content-Type: "+manifest.OCIManifest), 201)
	h.wantHeader(a, "Location", "/v2/a/manifests/"+d)
	other := string(digest.FromString("other"))
	h.want(h.do("PUT", "/v2/a/manifests/"+other, bytes.NewReader(m), "Content-Type: "+manifest.OCIManifest), 400, codeDigestInvalid)
	sha512 := string(digest.SHA512.FromBytes(m))
	a = h.want(h.do("PUT", "/v2/a/manifests/"+sha512, bytes.NewReader(m), "Content-Type: "+manifest.OCIManifest), 201)
	h.wantHeader(a, "Docker-Content-Digest", sha512)
	h.want(h.do("GET", "/v2/a/manifests/"+sha512, nil), 200)
}

func TestIndexOfTwoPlatforms(t *testing.T) {
	h := newHarness(t, nil)
	one, two := h.image("a", string(digest.FromBytes(h.manifest("a", "one"))), "one"), h.image("a", "two", "two")
	list := func(mediaType string, manifests ...[]byte) []byte {
		var entries []map[string]any
		for _, m := range manifests {
			entries = append(entries, map[string]any{"mediaType": manifest.OCIManifest, "digest": digest.FromBytes(m), "size": len(m)})
		}
		b, _ := json.Marshal(map[string]any{"schemaVersion": 2, "mediaType": mediaType, "manifests": entries})
		return b
	}
	for tag, mediaType := range map[string]string{"oci": manifest.OCIIndex, "docker": manifest.DockerList} {
		b := list(mediaType, one, two)
		h.want(h.do("PUT", "/v2/a/manifests/"+tag, bytes.NewReader(b), "Content-Type: "+mediaType), 201)
		a := h.want(h.do("GET", "/v2/a/manifests/"+tag, nil), 200)
		h.wantHeader(a, "Content-Type", mediaType)
		h.want(h.do("PUT", "/v2/b/manifests/"+tag, bytes.NewReader(b), "Content-Type: "+mediaType), 400, codeManifestBlobUnknown)
	}
	h.want(h.do("DELETE", "/v2/a/manifests/"+string(digest.FromBytes(one)), nil), 405, codeUnsupported)
}

func TestManifestsThatAreRefused(t *testing.T) {
	h := newHarness(t, nil)
	config := h.blob("a", "{}")
	describe := func(d digest.Digest) string { return fmt.Sprintf(`{"mediaType":"x","digest":%q,"size":2}`, d) }
	doc := func(fields string) string { return `{"schemaVersion":2,` + fields + `}` }
	good := doc(`"config":` + describe(config) + `,"layers":[]`)
	unknown := digest.FromString("never pushed")
	for name, test := range map[string]struct {
		contentType, body string
		want              code
	}{
		"not JSON":                  {manifest.OCIManifest, "hello", codeManifestInvalid},
		"empty":                     {manifest.OCIManifest, "", codeManifestInvalid},
		"null":                      {manifest.OCIManifest, "null", codeManifestInvalid},
		"no type":                   {"", good, codeManifestInvalid},
		"unknown type":              {"application/json", good, codeManifestInvalid},
		"broken type":               {"a/b/c;=", good, codeManifestInvalid},
		"schema 1":                  {"application/vnd.docker.distribution.manifest.v1+prettyjws", `{"schemaVersion":1}`, codeManifestInvalid},
		"schema 1 in disguise":      {manifest.DockerManifest, `{"schemaVersion":1,"fsLayers":[]}`, codeManifestInvalid},
		"type against mediaType":    {manifest.OCIManifest, doc(`"mediaType":"` + manifest.DockerManifest + `","config":` + describe(config)), codeManifestInvalid},
		"image and index in one":    {manifest.OCIManifest, doc(`"config":` + describe(config) + `,"manifests":[]`), codeManifestInvalid},
		"index and image in one":    {manifest.OCIIndex, doc(`"manifests":[],"layers":[]`), codeManifestInvalid},
		"image without config":      {manifest.OCIManifest, doc(`"layers":[]`), codeManifestInvalid},
		"a digest that is none":     {manifest.OCIManifest, doc(`"config":` + describe("sha256:../../x")), codeManifestInvalid},
		"a negative size":           {manifest.OCIManifest, strings.Replace(good, `"size":2`, `"size":-2`, 1), codeManifestInvalid},
		"a size beyond all numbers": {manifest.OCIManifest, strings.Replace(good, `"size":2`, `"size":1e300`, 1), codeManifestInvalid},
		"a subject that is none":    {manifest.OCIManifest, strings.Replace(good, `"layers":[]`, `"subject":{"digest":"x"}`, 1), codeManifestInvalid},
		"config was never pushed":   {manifest.OCIManifest, doc(`"config":` + describe(unknown)), codeManifestBlobUnknown},
		"layer was never pushed":    {manifest.DockerManifest, doc(`"config":` + describe(config) + `,"layers":[` + describe(unknown) + `]`), codeManifestBlobUnknown},
		"manifest was never pushed": {manifest.OCIIndex, doc(`"manifests":[` + describe(unknown) + `]`), codeManifestBlobUnknown},
		"manifest that is a blob":   {manifest.OCIIndex, doc(`"manifests":[` + describe(config) + `]`), codeManifestBlobUnknown},
	} {
		t.Run(name, func(t *testing.T) {
			a := h.do("PUT", "/v2/a/manifests/latest", strings.NewReader(test.body), "Content-Type: "+test.contentType)
			h.want(a, test.want.status, test.want)
		})
	}
	h.want(h.do("GET", "/v2/a/manifests/latest", nil), 404, codeNameUnknown)
	h.want(h.do("PUT", "/v2/a/manifests/latest", strings.NewReader(good), "Content-Type: "+manifest.OCIManifest), 201)
	elsewhere := strings.Replace(good, `"layers":[]`, `"layers":[{"mediaType":"x","digest":"`+string(unknown)+`","size":2,"urls":["https://example.com/x"]}]`, 1)
	h.want(h.do("PUT", "/v2/a/manifests/foreign", strings.NewReader(elsewhere), "Content-Type: "+manifest.OCIManifest), 400, codeManifestBlobUnknown)
}

// TestManifestTooLarge: CVE-2017-11468. Neither a length nor its absence makes the registry read more than it takes.
func TestManifestTooLarge(t *testing.T) {
	h := newHarness(t, nil)
	read := 0
	endless := readerFunc(func(p []byte) (int, error) { read += len(p); return len(p), nil })
	h.want(h.do("PUT", "/v2/a/manifests/latest", endless, "Content-Type: "+manifest.OCIManifest), 413, codeManifestTooLarge)
	if read > 2*manifest.MaxSize {
		t.Errorf("%d bytes were read", read)
	}
	long := strings.NewReader(strings.Repeat(" ", manifest.MaxSize+1))
	h.want(h.do("PUT", "/v2/a/manifests/latest", long, "Content-Type: "+manifest.OCIManifest), 413, codeManifestTooLarge)
	if long.Len() != manifest.MaxSize+1 {
		t.Error("a body that says it is too long was read")
	}
	m := h.manifest("a")
	full := append(bytes.Repeat([]byte(" "), manifest.MaxSize-len(m)), m...)
	h.want(h.do("PUT", "/v2/a/manifests/latest", bytes.NewReader(full), "Content-Type: "+manifest.OCIManifest), 201)
}

// TestManyMissing: a manifest of a great many digests that are not there costs one look-up each, and the answer names some.
func TestManyMissing(t *testing.T) {
	h := newHarness(t, nil)
	var b strings.Builder
	fmt.Fprintf(&b, `{"schemaVersion":2,"mediaType":%q,"manifests":[`, manifest.OCIIndex)
	for i := range 40_000 {
		if i > 0 {
			b.WriteByte(',')
		}
		fmt.Fprintf(&b, `{"digest":"sha256:%064x","size":1}`, i)
	}
	b.WriteString("]}")
	a := h.want(h.do("PUT", "/v2/a/manifests/latest", strings.NewReader(b.String()), "Content-Type: "+manifest.OCIIndex), 400, codeManifestBlobUnknown)
	var doc errorBody
	if err := json.Unmarshal(a.body, &doc); err != nil || len(doc.Errors) != maxMissing {
		t.Errorf("%d errors in %d bytes, %v; want %d", len(doc.Errors), len(a.body), err, maxMissing)
	}
}

type readerFunc func([]byte) (int, error)

func (f readerFunc) Read(p []byte) (int, error) { return f(p) }

func TestDelete(t *testing.T) {
	h := newHarness(t, nil)
	m := h.image("a", "v1", "layer")
	h.image("a", "v2", "layer")
	d, layer := string(digest.FromBytes(m)), string(digest.FromString("layer"))
	h.want(h.do("DELETE", "/v2/a/blobs/"+layer, nil), 405, codeUnsupported)
	h.want(h.do("DELETE", "/v2/a/manifests/v1", nil), 202)
	h.want(h.do("DELETE", "/v2/a/manifests/v1", nil), 404, codeManifestUnknown)
	h.want(h.do("GET", "/v2/a/manifests/v2", nil), 200)
	h.want(h.do("DELETE", "/v2/a/manifests/"+d, nil), 202)
	h.want(h.do("GET", "/v2/a/manifests/v2", nil), 404, codeNameUnknown)
	h.want(h.do("GET", "/v2/a/manifests/"+d, nil), 404, codeNameUnknown)
	h.want(h.do("DELETE", "/v2/a/manifests/"+d, nil), 404, codeNameUnknown)
	h.want(h.do("DELETE", "/v2/a/blobs/"+layer, nil), 202)
	h.want(h.do("DELETE", "/v2/a/blobs/"+layer, nil), 404, codeBlobUnknown)
	h.want(h.do("GET", "/v2/a/blobs/"+layer, nil), 404, codeBlobUnknown)
}

// TestDeletedElsewhere: CVE-2026-35172. What is deleted in one repository stays deleted there, whoever has it too.
func TestDeletedElsewhere(t *testing.T) {
	h := newHarness(t, nil)
	d := string(h.blob("a", "x"))
	h.blob("b", "x")
	h.want(h.do("DELETE", "/v2/a/blobs/"+d, nil), 202)
	h.want(h.do("HEAD", "/v2/b/blobs/"+d, nil), 200)
	h.want(h.do("GET", "/v2/b/blobs/"+d, nil), 200)
	h.want(h.do("GET", "/v2/a/blobs/"+d, nil), 404, codeBlobUnknown)
}

// TestDeleteDisabled: CVE-2026-41888. The matrix comes from the table, so no endpoint is forgotten.
func TestDeleteDisabled(t *testing.T) {
	h := newHarness(t, nil)
	h.Delete = false
	m := h.image("a", "v1", "layer")
	before := h.do("GET", "/v2/a/tags/list", nil).body
	for _, path := range []string{"/v2/a/manifests/v1", "/v2/a/manifests/" + string(digest.FromBytes(m)), "/v2/a/blobs/" + string(digest.FromString("layer"))} {
		h.want(h.do("DELETE", path, nil), 405, codeUnsupported)
	}
	for _, e := range endpoints {
		if e.method == http.MethodDelete && !e.deletes && e.kind != kindUpload {
			t.Errorf("%s deletes and does not ask whether it may", e.id)
		}
	}
	if after := h.do("GET", "/v2/a/tags/list", nil).body; !bytes.Equal(before, after) {
		t.Errorf("tags before %s, after %s", before, after)
	}
}

// TestReadOnly: nothing that is served otherwise changes anything. The matrix comes from the table.
func TestReadOnly(t *testing.T) {
	h := newHarness(t, nil)
	m := h.image("a", "v1", "layer")
	location := h.begin("a")
	h.ReadOnly = func() bool { return true }
	paths := map[kind]string{
		kindManifest: "/v2/a/manifests/v1", kindBlob: "/v2/a/blobs/" + string(digest.FromString("layer")),
		kindUploads: "/v2/a/blobs/uploads/", kindUpload: location, kindBase: "/v2/", kindCatalog: "/v2/_catalog",
		kindTags: "/v2/a/tags/list", kindReferrers: "/v2/a/referrers/" + string(digest.FromBytes(m)),
	}
	for _, e := range endpoints {
		a := h.do(e.method, paths[e.kind], bytes.NewReader(m), "Content-Type: "+manifest.OCIManifest)
		if e.method == "GET" || e.method == "HEAD" {
			if a.StatusCode >= 300 {
				t.Errorf("%s %s: %s", e.method, labels[e.kind], a.Status)
			}
			continue
		}
		h.want(a, 405, codeUnsupported)
	}
}

func TestLists(t *testing.T) {
	h := newHarness(t, nil)
	m := h.manifest("a")
	for _, tag := range []string{"v3", "v1", "latest", "v2"} {
		h.want(h.do("PUT", "/v2/a/manifests/"+tag, bytes.NewReader(m), "Content-Type: "+manifest.OCIManifest), 201)
	}
	h.image("b/c", "latest")
	h.blob("only-blobs", "x")
	for path, want := range map[string]struct{ body, link string }{
		"/v2/a/tags/list":                  {`{"name":"a","tags":["latest","v1","v2","v3"]}`, ""},
		"/v2/a/tags/list?n=2":              {`{"name":"a","tags":["latest","v1"]}`, `</v2/a/tags/list?last=v1&n=2>; rel="next"`},
		"/v2/a/tags/list?n=2&last=v1":      {`{"name":"a","tags":["v2","v3"]}`, ""},
		"/v2/a/tags/list?n=2&last=zzz":     {`{"name":"a","tags":[]}`, ""},
		"/v2/a/tags/list?n=0":              {`{"name":"a","tags":[]}`, ""},
		"/v2/a/tags/list?n=2147483648":     {`{"name":"a","tags":["latest","v1","v2","v3"]}`, ""},
		"/v2/_catalog":                     {`{"repositories":["a","b/c"]}`, ""},
		"/v2/_catalog?n=1":                 {`{"repositories":["a"]}`, `</v2/_catalog?last=a&n=1>; rel="next"`},
		"/v2/_catalog?n=1&last=a":          {`{"repositories":["b/c"]}`, ""},
		"/v2/_catalog?n=1&last=../x%00%ff": {`{"repositories":["a"]}`, `</v2/_catalog?last=a&n=1>; rel="next"`},
	} {
		a := h.want(h.do("GET", path, nil), 200)
		if got := strings.TrimSpace(string(a.body)); got != want.body {
			t.Errorf("%s: %s, want %s", path, got, want.body)
		}
		h.wantHeader(a, "Link", want.link)
	}
	h.want(h.do("GET", "/v2/only-blobs/tags/list", nil), 404, codeNameUnknown)
	// CVE-2023-2253: a number is never a size to make room for.
	for _, n := range []string{"-1", "a", "1e9", "9223372036854775808", "0x1"} {
		for _, path := range []string{"/v2/_catalog?n=", "/v2/a/tags/list?n="} {
			h.want(h.do("GET", path+n, nil), 400, codePagination)
		}
	}
}
