package registry

import (
	"bufio"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/opencontainers/go-digest"

	"gatehouse/registry/manifest"
	"gatehouse/tokenserver/token"
)

// TestPathVariants is T-SEC-13: CVE-2020-29662. However a path is spelled, nobody gets in without credentials. The paths go
// over the wire as they are written here.
func TestPathVariants(t *testing.T) {
	h := newHarness(t, nil)
	m := h.image("a", "v1", "layer")
	layer := string(digest.FromString("layer"))
	h.Auth = grantAll(true)
	server := httptest.NewServer(h.Registry)
	defer server.Close()
	paths := []string{"/v2", "/v2/", "/v2/_catalog", "/v2/a/tags/list", "/v2/a/manifests/v1", "/v2/a/blobs/" + layer,
		"/v2/a/referrers/" + string(digest.FromBytes(m)), "/v2/a/blobs/uploads/"}
	var variants []string
	for _, path := range paths {
		upper, last := strings.ToUpper(path), strings.LastIndex(path, "/")
		variants = append(variants, path, path+"/", path+"//", path+"/.", path+"/..", path+"/../", path+"?", path+"?x=/v2/", path+"#x",
			path+"%00", path+"%20", path+"%2f", path+"%2F", path+";x", path+"%3b", path+"%3f", path+".json", path+"\\", "/"+path, "//"+path,
			"/."+path,
			"/x/.."+path,
			"/v2/.."+path, "/x%2f.."+path, upper, "/V2"+strings.TrimPrefix(path, "/v2"), strings.ReplaceAll(path, "/", "//"),
			strings.ReplaceAll(path, "/", "%2f"), "/"+strings.ReplaceAll(path[1:], "/", "%2F"), path[:last]+"%2f"+path[last+1:],
			path[:last]+"/./"+path[last+1:], path[:last]+"/x/../"+path[last+1:], path[:last]+"/%2e/"+path[last+1:], path[:last]+"\\"+path[last+1:],
			strings.Replace(path, "v2", "%762", 1), strings.Replace(path, "v2", "v%32", 1), "/v1/../v2"+strings.TrimPrefix(path, "/v2"),
			"http://registry.test"+path, "http://registry.test/"+path, "http:"+path, strings.Replace(path, "/a/", "/a/../a/", 1),
			strings.Replace(path, "/a/", "/a%2fa/", 1), strings.Replace(path, "_catalog", "%5fcatalog", 1))
	}
	for _, path := range variants {
		for _, method := range []string{"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"} {
			status := rawStatus(t, server.Listener.Addr().String(), method, path)
			if status/100 != 4 && status/100 != 3 {
				t.Errorf("%s %s without credentials: %d", method, path, status)
			}
		}
	}
	a := h.want(h.do("GET", "/v2/a/tags/list", nil, "Authorization: Bearer repository:a:pull"), 200)
	if got := strings.TrimSpace(string(a.body)); got != `{"name":"a","tags":["v1"]}` {
		t.Errorf("after all that: %s", got)
	}
}

// rawStatus sends a request line as it is and returns the answer's status.
func rawStatus(t *testing.T, addr, method, path string) int {
	t.Helper()
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(time.Minute)); err != nil {
		t.Fatal(err)
	}
	fmt.Fprintf(conn, "%s %s HTTP/1.1\r\nHost: registry.test\r\nContent-Length: 0\r\nConnection: close\r\n\r\n", method, path)
	answer, err := http.ReadResponse(bufio.NewReader(conn), &http.Request{Method: method})
	if err != nil {
		t.Fatalf("%s %s: %v", method, path, err)
	}
	answer.Body.Close()
	return answer.StatusCode
}

// TestConditionsComeAfterRights is T-SEC-19: CVE-2024-36107. Whatever a client knows or guesses of a blob or manifest, without
// rights the answer is the one for what is not there.
func TestConditionsComeAfterRights(t *testing.T) {
	h := newHarness(t, nil)
	m := digest.FromBytes(h.image("a", "v1", "layer"))
	layer, nothing := digest.FromString("layer"), digest.FromString("nothing")
	h.Auth = grantAll(true)
	conditions := []string{"If-None-Match: *", `If-None-Match: "` + string(layer) + `", "` + string(m) + `"`, `If-Match: "x"`,
		"If-Modified-Since: Fri, 01 Jan 2100 00:00:00 GMT", "If-Unmodified-Since: Thu, 01 Jan 1970 00:00:00 GMT", "Range: bytes=0-0",
		"Range: bytes=1000-", `If-Range: "x"`, "Expect: 100-continue"}
	for _, authorization := range []string{"", "Bearer forged", "Bearer repository:b:*", "Basic Ym9iOnJpZ2h0"} {
		for _, test := range []struct{ there, nowhere string }{
			{"/v2/a/blobs/" + string(layer), "/v2/a/blobs/" + string(nothing)},
			{"/v2/a/manifests/" + string(m), "/v2/a/manifests/" + string(nothing)},
			{"/v2/a/manifests/v1", "/v2/a/manifests/v2"},
		} {
			for _, condition := range conditions {
				for _, method := range []string{"GET", "HEAD"} {
					there := h.want(h.do(method, test.there, nil, "Authorization: "+authorization, condition), 401, codeUnauthorized)
					nowhere := h.want(h.do(method, test.nowhere, nil, "Authorization: "+authorization), 401, codeUnauthorized)
					h.wantSameButForIDs(there, nowhere)
				}
			}
		}
	}
}

// TestRightsLookAtNoBody is T-SEC-27: CVE-2024-41110. What is decided follows from method, path and credentials: no body, length
// or other header changes it, and the body of what is refused is not read.
func TestRightsLookAtNoBody(t *testing.T) {
	h := newHarness(t, nil)
	m := h.image("a", "v1", "layer")
	h.Auth = grantAll(true)
	read := false
	spy := func() io.Reader {
		return readerFunc(func([]byte) (int, error) { read = true; return 0, errors.New("read") })
	}
	layer := string(digest.FromString("layer"))
	paths := []string{"/v2/a/manifests/v2", "/v2/a/blobs/uploads/", "/v2/a/blobs/uploads/" + someUUID, "/v2/a/blobs/" + layer}
	for _, path := range paths {
		for _, method := range []string{"GET", "POST", "PUT", "PATCH", "DELETE"} {
			plain := h.do(method, path, nil, "Authorization: Bearer repository:b:*")
			for _, header := range []string{"Content-Length: 0", "Content-Length: 9", "Transfer-Encoding: chunked",
				"X-HTTP-Method-Override: GET", "X-HTTP-Method: GET", "X-Original-URL: /v2/b/tags/list", "X-Rewrite-URL: /v2/b/tags/list",
				"X-Forwarded-Prefix: /v2/b", "X-Forwarded-User: alice", "Host: b", "Content-Type: " + manifest.OCIManifest, "Content-Range: 0-4",
				"Proxy-Authorization: Bearer repository:a:*", "X-Registry-Auth: repository:a:*", "Cookie: token=repository:a:*"} {
				a := h.do(method, path, spy(), "Authorization: Bearer repository:b:*", header)
				if a.StatusCode != plain.StatusCode || string(a.body) != string(plain.body) || a.StatusCode < 400 {
					t.Errorf("%s %s with %s: %s, without %s", method, path, header, a.Status, plain.Status)
				}
			}
			for _, query := range []string{"access_token=repository:a:*", "token=repository:a:*", "account=alice", "_method=GET", "scope=a:*"} {
				if a := h.do(method, path+"?"+query, spy(), "Authorization: Bearer repository:b:*"); a.StatusCode != plain.StatusCode {
					t.Errorf("%s %s?%s: %s, without %s", method, path, query, a.Status, plain.Status)
				}
			}
		}
	}
	if read {
		t.Error("the body of a request that was refused was read")
	}
	for _, body := range []string{"", string(m), `{"name":"b"}`} {
		h.want(h.do("PUT", "/v2/a/manifests/v2", strings.NewReader(body), "Authorization: Bearer repository:b:*"), 401, codeUnauthorized)
	}
}

// TestOverlongAuthorization is T-SEC-23: CVE-2025-30204. What is longer than any token is refused for its length, and allocates
// nothing of its size.
func TestOverlongAuthorization(t *testing.T) {
	h := newHarness(t, nil)
	h.withTokens()
	basic := h.Auth.Basic
	h.Auth.Basic = func(r *http.Request, account, password string, wanted []token.Access) (*token.Claims, error) {
		if len(account)+len(password) > maxBasic {
			t.Errorf("a password of %d bytes was looked at", len(password))
		}
		return basic(r, account, password, wanted)
	}
	const size = 1 << 20
	for name, header := range map[string]string{
		"dots":                      "Bearer " + strings.Repeat(".", size),
		"dots without a scheme":     strings.Repeat(".", size),
		"spaces":                    "Bearer " + strings.Repeat(" ", size),
		"a long header":             "Bearer eyJ" + strings.Repeat("A", size) + ".e30.e30",
		"a long password":           "Basic " + base64.StdEncoding.EncodeToString([]byte("alice:"+strings.Repeat("a", size))),
		"a password without an end": "Basic " + strings.Repeat("A", size),
	} {
		for _, path := range []string{"/v2/", "/v2/a/tags/list", "/v2/a/blobs/uploads/" + newSession()} {
			r := httptest.NewRequest("GET", "http://registry.test"+path, nil)
			r.Header.Set("Authorization", header)
			w := httptest.NewRecorder()
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			h.ServeHTTP(w, r)
			runtime.ReadMemStats(&after)
			if w.Code != 401 {
				t.Errorf("%s, %s: %d", name, path, w.Code)
			}
			if n := after.TotalAlloc - before.TotalAlloc; n > 64<<10 {
				t.Errorf("%s, %s: %d bytes allocated", name, path, n)
			}
		}
	}
}

// TestLongToken: a token for hundreds of repositories, as long as tokens may be, works on each of them and on no other.
func TestLongToken(t *testing.T) {
	h := newHarness(t, nil)
	h.blob("r/0000", "layer")
	i := h.withTokens()
	var scopes []string
	longest := ""
	for n := 0; ; n++ {
		scope := fmt.Sprintf("repository:r/%04d:pull,push", n)
		access, err := token.ParseScopes(append(scopes, scope))
		if err != nil {
			t.Fatal(err)
		}
		raw, err := i.key.Sign(token.Claims{Issuer: "issuer", Audience: "service", Subject: "alice", Access: access,
			IssuedAt: i.now(), Expires: i.now().Add(lifetime)})
		if errors.Is(err, token.ErrTooLarge) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		scopes, longest = append(scopes, scope), raw
	}
	t.Logf("%d repositories in a token of %d bytes", len(scopes), len(longest))
	if len(longest) < token.MaxSize-200 || len(scopes) < 150 {
		t.Fatalf("the longest token has %d bytes and %d repositories", len(longest), len(scopes))
	}
	h.Auth.May = func(context.Context, *token.Claims) func(repo, action string) bool {
		return func(string, string) bool { return false }
	}
	authorization := "Authorization: Bearer " + longest
	for _, n := range []int{0, len(scopes) / 2, len(scopes) - 1} {
		location := h.beginAs(fmt.Sprintf("r/%04d", n), authorization)
		h.want(h.do("PATCH", location, strings.NewReader("x"), authorization), 202)
	}
	h.want(h.do("POST", fmt.Sprintf("/v2/r/%04d/blobs/uploads/", len(scopes)), nil, authorization), 401, codeUnauthorized)
	h.want(h.do("POST", "/v2/r/0001/blobs/uploads/?mount="+string(digest.FromString("layer")), nil, authorization), 201)
	i.advance(lifetime + token.Leeway)
	h.want(h.do("POST", "/v2/r/0000/blobs/uploads/", nil, authorization), 401, codeUnauthorized)
}

// TestWhy: who is known and refused reads the message of the rule, in the body and in the challenge; nobody else does, and no
// message breaks a header, a document or a terminal.
func TestWhy(t *testing.T) {
	h := newHarness(t, nil)
	h.Auth = grantAll(true)
	said := ""
	h.Auth.Why = func(_ context.Context, who *token.Claims, must []token.Access) string {
		if who.Subject != "alice" && who.Subject != "bob" || len(must) != 1 || must[0].String() != "repository:a:pull,push" {
			t.Errorf("asked why %q may not %v", who.Subject, must)
		}
		return said
	}
	message := func(a answer) string {
		t.Helper()
		var doc struct {
			Errors []struct{ Code, Message string }
		}
		if err := json.Unmarshal(a.body, &doc); err != nil || len(doc.Errors) != 1 || doc.Errors[0].Code != "UNAUTHORIZED" {
			t.Fatalf("%v: %s", err, a.body)
		}
		return doc.Errors[0].Message
	}
	const base = `Bearer realm="https://registry.test/token",service="test",scope="repository:a:pull,push",error="insufficient_scope"`
	for _, test := range []struct{ says, body, description string }{
		{"", "authentication required", ""},
		{" \n\t", "authentication required", ""},
		{"pushes are frozen until monday", "pushes are frozen until monday", "pushes are frozen until monday"},
		{"ask \"ops\" \\ 50%", "ask \"ops\" \\ 50%", "ask 'ops' ' 50%"},
		{"a\r\nSet-Cookie: x=y", "a  Set-Cookie: x=y", "a  Set-Cookie: x=y"},
		{"\x1b[31mred\x07\x00", "[31mred", "[31mred"},
		{"Gefährlich ✓", "Gefährlich ✓", "Gef?hrlich ?"},
		{"\xff\xfeabc\u202egnp", "abcgnp", "abcgnp"},
		{strings.Repeat("x", 300), strings.Repeat("x", 200), strings.Repeat("x", 200)},
		{strings.Repeat("ä", 150) + "x", strings.Repeat("ä", 100), strings.Repeat("?", 100)},
		{"x" + strings.Repeat("ä", 150), "x" + strings.Repeat("ä", 99), "x" + strings.Repeat("?", 99)},
	} {
		said = test.says
		for _, authorization := range []string{"Bearer repository:a:pull", "Basic Ym9iOnJpZ2h0"} {
			a := h.want(h.do("PUT", "/v2/a/manifests/x", nil, "Authorization: "+authorization), 401, codeUnauthorized)
			if got := message(a); got != test.body || len(got) > maxMessage || !utf8.ValidString(got) {
				t.Errorf("%q is told as %q, want %q", test.says, got, test.body)
			}
			want := base
			if test.description != "" {
				want += `,error_description="` + test.description + `"`
			}
			h.wantHeader(a, "WWW-Authenticate", want)
		}
	}
	said = "a secret of the rules"
	for _, authorization := range []string{"", "Bearer forged", "Basic YWxpY2U6d3Jvbmc="} {
		a := h.want(h.do("PUT", "/v2/a/manifests/x", nil, "Authorization: "+authorization), 401, codeUnauthorized)
		if strings.Contains(string(a.body)+a.Header.Get("WWW-Authenticate"), "secret") {
			t.Errorf("somebody unknown is told %s", a.body)
		}
	}
}

// TestHeldUp: who tried too many passwords is told when to come back.
func TestHeldUp(t *testing.T) {
	h := newHarness(t, nil)
	h.Auth = grantAll(true)
	for wait, want := range map[time.Duration]string{time.Millisecond: "1", time.Second: "1", time.Second + 1: "2", time.Minute: "60"} {
		h.Auth.Basic = func(*http.Request, string, string, []token.Access) (*token.Claims, error) {
			return nil, fmt.Errorf("wrapped: %w", WaitError(wait))
		}
		a := h.want(h.do("GET", "/v2/", nil, "Authorization: Basic YWxpY2U6d3Jvbmc="), 429, codeTooMany)
		h.wantHeader(a, "Retry-After", want)
	}
}
