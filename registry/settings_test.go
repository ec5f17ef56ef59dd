package registry

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"

	"gatehouse/registry/manifest"
)

// newHarnessWith is newHarness with other options.
func newHarnessWith(t testing.TB, change func(*Options)) *harness {
	t.Helper()
	h := newHarness(t, nil)
	o := h.Options
	o.Origin = nil
	change(&o)
	h.Registry = New(o)
	return h
}

// TestPrefix: with a prefix the API is below it and nowhere else, and URLs in answers are.
func TestPrefix(t *testing.T) {
	h := newHarnessWith(t, func(o *Options) { o.Prefix = "/some/where" })
	h.want(h.do("GET", "/some/where/v2/", nil), 200)
	h.want(h.do("GET", "/some/where/v2", nil), 200)
	for _, path := range []string{"/v2/", "/v2", "/some/v2/", "/some/where", "/some/where/", "/some/wherev2/", "/some/where/some/where/v2/", "/some/where/v2x"} {
		h.want(h.do("GET", path, nil), 404, codeNotFound)
	}
	content := "layer"
	d := digest.FromString(content)
	begun := h.want(h.do("POST", "/some/where/v2/a/blobs/uploads/", nil), 202)
	to := begun.Header.Get("Location")
	if !strings.HasPrefix(to, "/some/where/v2/a/blobs/uploads/") {
		t.Fatalf("the upload is at %s", to)
	}
	a := h.want(h.do("PUT", to+"&digest="+string(d), strings.NewReader(content)), 201)
	h.wantHeader(a, "Location", "/some/where/v2/a/blobs/"+string(d))
	image := fmt.Sprintf(`{"schemaVersion":2,"mediaType":%q,"config":{"digest":%q,"size":5},"layers":[]}`, manifest.OCIManifest, d)
	for _, tag := range []string{"v1", "v2"} {
		a = h.want(h.do("PUT", "/some/where/v2/a/manifests/"+tag, strings.NewReader(image), "Content-Type: "+manifest.OCIManifest), 201)
		h.wantHeader(a, "Location", "/some/where/v2/a/manifests/"+string(digest.FromString(image)))
	}
	a = h.want(h.do("GET", "/some/where/v2/a/tags/list?n=1", nil), 200)
	h.wantHeader(a, "Link", `</some/where/v2/a/tags/list?last=v1&n=1>; rel="next"`)

	label := func(path string) string { return h.Label(mustRequest(t, path)) }
	if label("/some/where/v2/a/tags/list") != "tags" || label("/v2/a/tags/list") != "other" {
		t.Error("metrics take the prefix for a part of the name")
	}
}

func mustRequest(t *testing.T, path string) *http.Request {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, path, nil)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// TestHeaders: what the file adds is in every answer, errors included, once for each value; what the registry says itself wins.
func TestHeaders(t *testing.T) {
	room := make([]string, 0, 8) // of the file's own, which no answer may write to
	h := newHarnessWith(t, func(o *Options) {
		o.Headers = http.Header{"X-Content-Type-Options": {"nosniff"}, "X-Two": {"a", "b"}, "Cache-Control": {"no-store"}, "Oci-Tag": room}
	})
	d := h.blob("a", "content")
	m := h.image("a", "latest")
	for range 2 { // the second time, nothing of the first is left
		for path, status := range map[string]int{
			"/v2/": 200, "/v2/a/blobs/" + string(d): 200, "/v2/a/manifests/latest": 200, "/v2/a/manifests/none": 404, "/v2/_catalog": 200, "/v2/x": 404,
		} {
			a := h.do("GET", path, nil)
			if a.StatusCode != status || a.Header.Get("X-Content-Type-Options") != "nosniff" || strings.Join(a.Header["X-Two"], " ") != "a b" {
				t.Errorf("%s: %s, %v", path, a.Status, a.Header)
			}
			cache := "no-store"
			if strings.Contains(path, "blobs") {
				cache = "max-age=31536000"
			}
			h.wantHeader(a, "Cache-Control", cache)
		}
		a := h.want(h.do("PUT", "/v2/a/manifests/"+string(digest.FromBytes(m))+"?tag=one", strings.NewReader(string(m)), "Content-Type: "+manifest.OCIManifest), 201)
		if got := a.Header["Oci-Tag"]; len(got) != 1 || room[:1][0] != "" {
			t.Errorf("OCI-Tag: %q, and the file's %q", got, room[:1])
		}
	}
	h.want(h.do("DELETE", "/v2/", nil), 405, codeUnsupported)
}

// TestPreflight: a browser that asks what a page may do learns the methods, without credentials, and nothing of any repository.
func TestPreflight(t *testing.T) {
	h := newHarnessWith(t, func(o *Options) {
		o.Headers = http.Header{"Access-Control-Allow-Origin": {"*"}}
		o.Auth = &Auth{Challenge: func(*http.Request) (string, string, bool) { return "https://r/token", "s", true }}
	})
	for path, allow := range map[string]string{
		"/v2/":                      "GET, HEAD",
		"/v2/none/manifests/latest": "DELETE, GET, HEAD, PUT",
		"/v2/none/tags/list":        "GET",
		"/v2/none/blobs/uploads/":   "POST",
		"/v2/none/blobs/" + oneBlob: "DELETE, GET, HEAD",
	} {
		a := h.want(h.do("OPTIONS", path, nil), 200)
		h.wantHeader(a, "Allow", allow)
		h.wantHeader(a, "Access-Control-Allow-Origin", "*")
		if len(a.body) > 0 || a.Header.Get("Docker-Content-Digest") != "" {
			t.Errorf("%s: %s", path, a.body)
		}
	}
	h.want(h.do("OPTIONS", "/v2/NONE/tags/list", nil), 400, codeNameInvalid)
	h.want(h.do("GET", "/v2/none/tags/list", nil), 401, codeUnauthorized)
}

const oneBlob = "sha256:0000000000000000000000000000000000000000000000000000000000000001"

// TestBounds: lists are no longer than their bounds. A catalog that is asked for more is an error, a list of tags is a page.
func TestBounds(t *testing.T) {
	h := newHarnessWith(t, func(o *Options) { o.MaxRepositories, o.MaxTags = 2, 3 })
	for _, repo := range []string{"a", "b", "c"} {
		h.image(repo, "v1")
	}
	for _, tag := range []string{"v2", "v3", "v4"} {
		h.image("a", tag)
	}
	for path, want := range map[string][2]string{
		"/v2/_catalog":                {`{"repositories":["a","b"]}`, `</v2/_catalog?last=b&n=2>; rel="next"`},
		"/v2/_catalog?n=2":            {`{"repositories":["a","b"]}`, `</v2/_catalog?last=b&n=2>; rel="next"`},
		"/v2/_catalog?n=0":            {`{"repositories":[]}`, ""},
		"/v2/_catalog?n=2&last=b":     {`{"repositories":["c"]}`, ""},
		"/v2/a/tags/list":             {`{"name":"a","tags":["v1","v2","v3"]}`, `</v2/a/tags/list?last=v3&n=3>; rel="next"`},
		"/v2/a/tags/list?n=3":         {`{"name":"a","tags":["v1","v2","v3"]}`, `</v2/a/tags/list?last=v3&n=3>; rel="next"`},
		"/v2/a/tags/list?n=4":         {`{"name":"a","tags":["v1","v2","v3"]}`, `</v2/a/tags/list?last=v3&n=3>; rel="next"`},
		"/v2/a/tags/list?n=9&last=v3": {`{"name":"a","tags":["v4"]}`, ""},
	} {
		a := h.want(h.do("GET", path, nil), 200)
		if got := strings.TrimSpace(string(a.body)); got != want[0] || a.Header.Get("Link") != want[1] {
			t.Errorf("%s: %s, Link %s", path, got, a.Header.Get("Link"))
		}
	}
	for _, n := range []string{"3", "1000", "9223372036854775807"} {
		h.want(h.do("GET", "/v2/_catalog?n="+n, nil), 400, codePagination)
	}
	h = newHarness(t, nil)
	h.want(h.do("GET", "/v2/_catalog?n=1000", nil), 200)
	h.want(h.do("GET", "/v2/_catalog?n=1001", nil), 400, codePagination)
}

// TestManifestRules: what the rules refuse is refused with its reason and leaves nothing; a child that may be missing may be,
// and is served when it comes.
func TestManifestRules(t *testing.T) {
	rules, err := manifest.NewRules(manifest.Policy{
		AllowURLs: []string{`^https://example\.com/`},
		Sparse:    true, Required: []manifest.Platform{{Architecture: "amd64", OS: "linux"}}, Classes: []string{"image"},
	})
	if err != nil {
		t.Fatal(err)
	}
	h := newHarnessWith(t, func(o *Options) { o.Manifests = rules })
	config := h.blob("a", "{}")
	image := func(configType, url string) string {
		return fmt.Sprintf(`{"schemaVersion":2,"mediaType":%q,"config":{"mediaType":%q,"digest":%q,"size":2},"layers":[{"mediaType":"application/vnd.oci.image.layer.nondistributable.v1.tar","digest":%q,"size":1,"urls":[%q]}]}`,
			manifest.OCIManifest, configType, config, oneBlob, url)
	}
	const imageConfig = "application/vnd.oci.image.config.v1+json"
	put := func(reference, mediaType, body string) answer {
		return h.do("PUT", "/v2/a/manifests/"+reference, strings.NewReader(body), "Content-Type: "+mediaType)
	}
	h.want(put("latest", manifest.OCIManifest, image(imageConfig, "https://evil.test/x")), 400, codeManifestInvalid)
	a := h.want(put("latest", manifest.OCIManifest, image("application/vnd.example", "https://example.com/x")), 403, codeDenied)
	if !strings.Contains(string(a.body), "unknown manifest class for application/vnd.example") {
		t.Errorf("%s", a.body)
	}
	h.want(h.do("GET", "/v2/a/manifests/latest", nil), 404, codeNameUnknown)
	h.want(put("latest", manifest.OCIManifest, image(imageConfig, "https://example.com/x")), 201)

	amd, arm := image(imageConfig, "https://example.com/amd"), image(imageConfig, "https://example.com/arm")
	index := fmt.Sprintf(`{"schemaVersion":2,"mediaType":%q,"manifests":[{"mediaType":%q,"digest":%q,"size":%d,"platform":{"architecture":"amd64","os":"linux"}},{"mediaType":%q,"digest":%q,"size":%d,"platform":{"architecture":"arm","os":"linux"}}]}`,
		manifest.OCIIndex, manifest.OCIManifest, digest.FromString(amd), len(amd), manifest.OCIManifest, digest.FromString(arm), len(arm))
	a = h.want(put("all", manifest.OCIIndex, index), 400, codeManifestBlobUnknown)
	if !strings.Contains(string(a.body), string(digest.FromString(amd))) || strings.Contains(string(a.body), string(digest.FromString(arm))) {
		t.Errorf("missing are %s", a.body)
	}
	h.want(put(string(digest.FromString(amd)), manifest.OCIManifest, amd), 201)
	h.want(put("all", manifest.OCIIndex, index), 201)
	h.want(h.do("GET", "/v2/a/manifests/all", nil), 200)
	late := "/v2/a/manifests/" + string(digest.FromString(arm))
	h.want(h.do("GET", late, nil), 404, codeManifestUnknown)
	h.want(put(string(digest.FromString(arm)), manifest.OCIManifest, arm), 201)
	h.want(h.do("GET", late, nil), 200)
	h.want(h.do("DELETE", late, nil), 405, codeUnsupported) // the index names it
	h.want(h.do("DELETE", "/v2/a/manifests/"+string(digest.FromString(index)), nil), 202)
	h.want(h.do("DELETE", late, nil), 202)
}
