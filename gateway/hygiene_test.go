package gateway

import (
	"bufio"
	"io"
	"net/http"
	"net/url"
	"path"
	"strings"
	"testing"

	"gatehouse/configs"
)

// Paths are sent as they are: a client library would clean them.
func TestHygiene(t *testing.T) {
	d := serve(t, plain, configs.Gateway{}, func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.WriteString(w, r.URL.Path)
	})
	for _, c := range []struct {
		target string
		status int
	}{
		{"/v2/", 200}, {"/v2", 200}, {"/", 200}, {"/v2/a/b/tags/list?n=1&last=a%2Fb", 200}, {"/v2/a/manifests/1.0..2", 200},
		{"/v2/.a/manifests/...", 200}, {"/v2/a/blobs/sha256%3Aabc", 200}, {"/v2/a%20b", 200}, {"/v2/%252e%252e/b", 200}, {"/v2/a/", 200},
		{"/v2/a%2fb/manifests/1", 400}, {"/v2/a%2Fb/manifests/1", 400}, {"/v2/a%5cb", 400}, {"/v2/a%5Cb", 400}, {`/v2/a\b`, 400},
		{"/v2/a%00b", 400}, {"/v2/a%0ab", 400}, {"/v2/a%0d%0aX:%20y", 400}, {"/v2/a%7f", 400},
		{"/v2//a", 400}, {"//v2/a", 400}, {"/v2/a//", 400}, {"/v2/./a", 400}, {"/v2/../a", 400}, {"/v2/a/..", 400}, {"/v2/a/.", 400},
		{"/../v2/", 400}, {"/./v2/", 400}, {"/x/../v2/", 400}, {"/v2/%2e%2e/a", 400}, {"/v2/%2E%2E/a", 400}, {"/v2/.%2e/a", 400}, {"/v2/%2e/a", 400},
		{"/v2/a/%2e%2e", 400}, {"/v2%2f..%2fa", 400},
		{"*", 400}, {"http://a", 400}, {"http:v2/", 400}, {"http://a/v2/x", 200}, {"http://a/v2/../x", 400}, {"http://a//v2/", 400},
		{"v2/a", 400}, {"", 400},
	} {
		status, _, body := raw(t, d, "GET "+c.target+" HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
		if status != c.status {
			t.Errorf("%q: %d %s, want %d", c.target, status, body, c.status)
		}
	}
}

func TestMethods(t *testing.T) {
	d := serve(t, plain, configs.Gateway{}, ok)
	for line, want := range map[string]int{
		"GET /v2/": 200, "HEAD /v2/": 200, "OPTIONS /v2/": 200, "PUT /v2/": 200, "BREW /v2/": 200,
		"CONNECT registry:443": 405, "CONNECT /v2/": 405, "TRACE /v2/": 405, "OPTIONS *": 400,
	} {
		status, header, body := raw(t, d, line+" HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
		if status != want {
			t.Errorf("%s: %d %s, want %d", line, status, body, want)
		}
		if want == 405 && (header.Get("Allow") == "" || !strings.Contains(body, codeUnsupported)) {
			t.Errorf("%s: %v %s", line, header, body)
		}
	}
}

func TestConnectOverHTTP2(t *testing.T) {
	d := serve(t, h2, configs.Gateway{}, ok)
	if resp, _ := d.do(d.client(h2), d.request("CONNECT", "", nil)); resp.StatusCode != 405 {
		t.Errorf("%d", resp.StatusCode)
	}
}

// What is clean is read the same way by everybody who cleans, splits or decodes paths.
func FuzzCanonical(f *testing.F) {
	for _, target := range []string{"/v2/a/manifests/1", "/v2/", "/%2e%2e/", "/a%2fb", "/a//b", "/.", "/...", "/a%5c..", "/a/./b", "//", "/a%00"} {
		f.Add(target)
	}
	f.Fuzz(func(t *testing.T, target string) {
		u, err := url.ParseRequestURI(target)
		if err != nil || !canonical(u) {
			return
		}
		if clean := path.Clean(u.Path); clean != u.Path && clean+"/" != u.Path {
			t.Errorf("%q: %q is not clean", target, u.Path)
		}
		if strings.Count(u.EscapedPath(), "/") != strings.Count(u.Path, "/") {
			t.Errorf("%q: a slash is hidden in %q", target, u.EscapedPath())
		}
		if strings.ContainsFunc(u.Path, func(r rune) bool { return r < ' ' || r == 0x7f || r == '\\' }) {
			t.Errorf("%q: %q", target, u.Path)
		}
	})
}

// The refusals are OCI errors of a registry, and are logged and counted like every request.
func TestRefusals(t *testing.T) {
	for _, p := range []protocol{plain, h1, h2} {
		d := open(t, p, nil, func(o *Options) {
			o.Routes = []Route{{Path: "/v2/", Name: "v2", Handler: http.HandlerFunc(ok)}}
		})
		c := d.client(p)
		for path, want := range map[string]struct {
			status     int
			code, says string
		}{
			"/v2/a%2fb": {400, codeName, version},
			"/v2/":      {200, "", version},
			"/v2/x":     {200, "", version},
			"/v2":       {200, "", version},
			"/v3/":      {404, codeNotFound, ""},
			"/v2x":      {404, codeNotFound, ""},
		} {
			resp, body := d.do(c, d.request("GET", path, nil))
			if resp.StatusCode != want.status || resp.Header.Get(versionHeader) != want.says {
				t.Errorf("%s %s: %d %v", p, path, resp.StatusCode, resp.Header)
			}
			if want.code != "" && ociCode(t, resp, body) != want.code {
				t.Errorf("%s %s: %s", p, path, body)
			}
		}
		d.access(6)
	}
}

// raw sends a request as it stands and reads the answer.
func raw(t *testing.T, d *door, request string) (int, http.Header, string) {
	t.Helper()
	c := d.dial()
	defer c.Close()
	if _, err := io.WriteString(c, request); err != nil {
		t.Fatal(err)
	}
	method, _, _ := strings.Cut(request, " ")
	resp, err := http.ReadResponse(bufio.NewReader(c), &http.Request{Method: method})
	if err != nil {
		t.Fatalf("%q: %v", request, err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatalf("%q: %v", request, err)
	}
	return resp.StatusCode, resp.Header, string(body)
}
