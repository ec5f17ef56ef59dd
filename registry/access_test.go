package registry

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"

	"gatehouse/tokenserver/token"
)

// grantAll returns an Auth whose tokens are scopes in plain text: "Bearer repository:a:pull" is somebody with that right. Real
// tokens are package token's; here it is about what each endpoint asks for.
func grantAll(known bool) *Auth {
	return &Auth{
		Verify: func(raw string) (*token.Claims, error) {
			access, err := token.ParseScopes(strings.Split(raw, ";"))
			if err != nil || raw == "forged" || raw == "" {
				return nil, token.ErrInvalid
			}
			return &token.Claims{Subject: "alice", Access: access}, nil
		},
		Basic: func(_ *http.Request, account, password string, wanted []token.Access) (*token.Claims, error) {
			switch {
			case account == "down":
				return nil, errors.New("directory is away")
			case password != "right":
				return nil, ErrCredentials
			case account == "bob":
				return &token.Claims{Subject: account}, nil
			}
			return &token.Claims{Subject: account, Access: wanted}, nil
		},
		Challenge: func(*http.Request) (string, string, bool) { return "https://registry.test/token", "test", known },
	}
}

// TestEveryEndpointAsksForItsRights walks the table: each row is refused without each of its rights, and gets through with them.
func TestEveryEndpointAsksForItsRights(t *testing.T) {
	h := newHarness(t, nil)
	m := h.image("a", "v1", "layer")
	h.Auth = grantAll(true)
	paths := map[kind]string{
		kindBase: "/v2/", kindCatalog: "/v2/_catalog", kindTags: "/v2/a/tags/list",
		kindManifest: "/v2/a/manifests/" + string(digest.FromBytes(m)), kindBlob: "/v2/a/blobs/" + string(digest.FromString("layer")),
		kindReferrers: "/v2/a/referrers/" + string(digest.FromBytes(m)),
		kindUploads:   "/v2/a/blobs/uploads/", kindUpload: "/v2/a/blobs/uploads/" + someUUID,
	}
	rights := map[string]string{
		"GET base": "", "HEAD base": "", "GET catalog": "registry:catalog:*",
		"GET blob": "repository:a:pull", "HEAD blob": "repository:a:pull", "DELETE blob": "repository:a:delete",
		"GET manifest": "repository:a:pull", "HEAD manifest": "repository:a:pull", "PUT manifest": "repository:a:pull,push",
		"DELETE manifest": "repository:a:delete", "GET tags": "repository:a:pull", "GET referrers": "repository:a:pull",
		"POST blob_upload": "repository:a:pull,push", "PATCH blob_upload_chunk": "repository:a:pull,push",
		"PUT blob_upload_chunk": "repository:a:pull,push", "GET blob_upload_chunk": "repository:a:pull,push",
		"HEAD blob_upload_chunk": "repository:a:pull,push", "DELETE blob_upload_chunk": "repository:a:pull,push",
	}
	if len(rights) != len(endpoints) {
		t.Errorf("%d endpoints, %d of them have their rights written down here", len(endpoints), len(rights))
	}
	every := []string{"pull", "push", "delete", "*"}
	for _, e := range endpoints {
		name := e.method + " " + labels[e.kind]
		want, ok := rights[name]
		if !ok {
			t.Errorf("%s: its rights are not written down here", name)
			continue
		}
		// Nobody, somebody with rights elsewhere, somebody with all rights but one of those needed.
		refused := []string{"", "Bearer forged", "Basic Ym9iOnJpZ2h0", "Negotiate x", "Bearer"}
		if want != "" {
			refused = append(refused, "Bearer repository:b:*", "Bearer repository:a/b:*", "Bearer repository:catalog:*", "Bearer registry:a:*")
			wanted, _ := token.ParseScopes([]string{want})
			for _, action := range wanted[0].Actions {
				var others []string
				for _, a := range every {
					if a != action && a != "*" {
						others = append(others, a)
					}
				}
				refused = append(refused, "Bearer "+wanted[0].Type+":"+wanted[0].Name+":"+strings.Join(others, ","))
			}
		}
		for _, authorization := range refused {
			if want == "" && authorization == "Basic Ym9iOnJpZ2h0" {
				continue // bob is who he says he is, and that is all the base asks
			}
			a := h.want(h.do(e.method, paths[e.kind], nil, "Authorization: "+authorization), 401, codeUnauthorized)
			header := a.Header.Get("WWW-Authenticate")
			if !strings.HasPrefix(header, `Bearer realm="https://registry.test/token",service="test"`) || want != "" && !strings.Contains(header, want) {
				t.Errorf("%s with %q: challenge %s, want it to name %s", name, authorization, header, want)
			}
		}
		for _, authorization := range []string{"Bearer " + cmp.Or(want, "repository:other:pull"), "bearer repository:a:*;registry:catalog:*", "Basic YWxpY2U6cmlnaHQ="} {
			if a := h.do(e.method, paths[e.kind], nil, "Authorization: "+authorization); a.StatusCode == 401 || a.StatusCode == 403 || a.StatusCode >= 500 {
				t.Errorf("%s with %q: %s %s", name, authorization, a.Status, a.body)
			}
		}
		if e.method == "DELETE" {
			h.Auth = nil
			h.image("a", "v1", "layer")
			h.Auth = grantAll(true)
		}
	}
}

// TestWhyATokenIsRefused: an operator finds the reason in the log, at debug, and nothing of the token; not where it was not refused.
func TestWhyATokenIsRefused(t *testing.T) {
	h := newHarness(t, nil)
	h.Auth = grantAll(true)
	granted := h.Auth.Verify
	h.Auth.Verify = func(raw string) (*token.Claims, error) {
		if strings.HasPrefix(raw, "repository:") {
			return granted(raw)
		}
		return nil, fmt.Errorf("%w: it is for %q, \x1b[31m%s and %s", token.ErrInvalid, "another", raw, strings.Split(raw, ".")[1])
	}
	var logged bytes.Buffer
	h.Registry.Log = slog.New(slog.NewTextHandler(&logged, &slog.HandlerOptions{Level: slog.LevelDebug}))
	h.want(h.do("GET", "/v2/", nil, "Authorization: Bearer canary-one.canary-two.canary-three"), 401, codeUnauthorized)
	text := logged.String()
	if strings.Count(text, "token refused") != 1 || !strings.Contains(text, "level=DEBUG") || !strings.Contains(text, `it is for \"another\"`) {
		t.Errorf("the log says %s", text)
	}
	if strings.Contains(text, "canary") || strings.Contains(text, "x1b") {
		t.Errorf("something of the token is in %s", text)
	}
	logged.Reset()
	h.do("GET", "/v2/", nil, "Authorization: Bearer repository:a:pull")
	h.do("GET", "/v2/", nil)
	if strings.Contains(logged.String(), "token refused") {
		t.Errorf("the log says %s", &logged)
	}
}

func TestChallenge(t *testing.T) {
	h := newHarness(t, nil)
	h.Auth = grantAll(true)
	const base = `Bearer realm="https://registry.test/token",service="test"`
	for _, test := range []struct{ method, path, authorization, want string }{
		{"GET", "/v2/", "", base},
		{"GET", "/v2/", "Bearer forged", base + `,error="invalid_token"`},
		{"GET", "/v2/", "Basic YWxpY2U6d3Jvbmc=", base},
		{"GET", "/v2/", "Basic Og==", base},
		{"HEAD", "/v2/a/manifests/x", "", base + `,scope="repository:a:pull"`},
		{"GET", "/v2/a/manifests/x", "Bearer repository:b:pull", base + `,scope="repository:a:pull",error="insufficient_scope"`},
		{"PUT", "/v2/a/manifests/x", "Bearer repository:a:pull", base + `,scope="repository:a:pull,push",error="insufficient_scope"`},
		{"GET", "/v2/_catalog", "", base + `,scope="registry:catalog:*"`},
		{"POST", "/v2/a/blobs/uploads/?from=b/c&mount=" + string(sha256Of), "", base + `,scope="repository:a:pull,push repository:b/c:pull"`},
		{"POST", "/v2/a/blobs/uploads/?from=b/c&mount=" + string(sha256Of), "Bearer repository:a:pull", base + `,scope="repository:a:pull,push",error="insufficient_scope"`},
		{"POST", `/v2/a/blobs/uploads/?from=b",error="x&mount=` + string(sha256Of), "", base + `,scope="repository:a:pull,push"`},
	} {
		a := h.want(h.do(test.method, test.path, nil, "Authorization: "+test.authorization), 401, codeUnauthorized)
		h.wantHeader(a, "WWW-Authenticate", test.want)
		h.wantHeader(a, "Docker-Distribution-Api-Version", "registry/2.0")
	}
	a := h.do("GET", "/v2/a/manifests/x", nil)
	if !strings.Contains(string(a.body), `"detail":[{"Type":"repository","Class":"","Name":"a","Action":"pull"}]`) {
		t.Errorf("body %s", a.body)
	}
	c := challenge{realm: "a\"b\\c\r\nX: y", service: "s"}
	if got := c.header(); got != `Bearer realm="a\"b\\cX: y",service="s"` {
		t.Errorf("quoted: %s", got)
	}
}

func TestTokenServerUnknown(t *testing.T) {
	h := newHarness(t, nil)
	h.Auth = grantAll(false)
	for _, authorization := range []string{"", "Bearer repository:a:pull", "Basic YWxpY2U6cmlnaHQ="} {
		a := h.want(h.do("GET", "/v2/", nil, "Authorization: "+authorization), 503, codeUnavailable)
		h.wantHeader(a, "Retry-After", "10")
	}
}

// TestBackendDown: who presented credentials that could not be checked is neither let in nor told that they are wrong.
func TestBackendDown(t *testing.T) {
	h := newHarness(t, nil)
	h.Auth = grantAll(true)
	a := h.want(h.do("GET", "/v2/", nil, "Authorization: Basic ZG93bjpyaWdodA=="), 503, codeUnavailable)
	if strings.Contains(string(a.body), "directory") {
		t.Errorf("the cause is for the log: %s", a.body)
	}
}

// TestBlobsOfOthers is T-SEC-08: CVE-2024-39897. A digest is no capability: a blob is served where its repository may be pulled, and to
// somebody without that right an existing digest looks like one that does not exist.
func TestBlobsOfOthers(t *testing.T) {
	h := newHarness(t, nil)
	secret := h.blob("a", "secret")
	h.blob("b", "other")
	h.Auth = grantAll(true)
	const bob = "Authorization: Bearer repository:b:pull,push"
	unknown := digest.FromString("no such blob")
	for _, test := range []struct{ method, header string }{
		{"GET", "Accept: */*"}, {"HEAD", "Accept: */*"}, {"GET", "Range: bytes=0-1"}, {"GET", `If-None-Match: "` + string(secret) + `"`}, {"DELETE", "Accept: */*"},
	} {
		method, bob := test.method, "Authorization: Bearer repository:b:pull,push,delete"
		there := h.want(h.do(method, "/v2/b/blobs/"+string(secret), nil, bob, test.header), 404, codeBlobUnknown)
		nowhere := h.want(h.do(method, "/v2/b/blobs/"+string(unknown), nil, bob, test.header), 404, codeBlobUnknown)
		if strings.ReplaceAll(string(there.body), string(secret), "") != strings.ReplaceAll(string(nowhere.body), string(unknown), "") {
			t.Errorf("a blob of others: %s, no blob: %s", there.body, nowhere.body)
		}
		h.want(h.do(method, "/v2/a/blobs/"+string(secret), nil, bob), 401, codeUnauthorized)
	}
	for _, d := range []digest.Digest{secret, unknown} {
		h.want(h.do("POST", "/v2/b/blobs/uploads/?from=a&mount="+string(d), nil, bob), 202)
		h.want(h.do("POST", "/v2/b/blobs/uploads/?mount="+string(d), nil, bob), 202)
	}
	h.want(h.do("GET", "/v2/b/blobs/"+string(secret), nil, bob), 404, codeBlobUnknown)
	h.want(h.do("POST", "/v2/c/blobs/uploads/?mount="+string(secret), nil, "Authorization: Bearer repository:c:pull,push;repository:a:push"), 202)
	h.want(h.do("POST", "/v2/c/blobs/uploads/?mount="+string(secret), nil, "Authorization: Bearer repository:c:pull,push;repository:a:pull"), 201)
	h.want(h.do("POST", "/v2/b/blobs/uploads/?from=a&mount="+string(secret), nil, "Authorization: Bearer repository:b:pull,push;repository:a:pull"), 201)
}

// TestUploadsOfOthers: an upload belongs to the account that began it.
func TestUploadsOfOthers(t *testing.T) {
	h := newHarness(t, nil)
	h.Auth = grantAll(true)
	const alice = "Authorization: Bearer repository:a:pull,push"
	a := h.want(h.do("POST", "/v2/a/blobs/uploads/", nil, alice), 202)
	location := a.Header.Get("Location")
	h.want(h.do("PATCH", location, strings.NewReader("x"), "Authorization: Basic Y2Fyb2w6cmlnaHQ="), 404, codeUploadUnknown)
	h.want(h.do("PATCH", location, strings.NewReader("x"), alice), 202)
}

func TestObserve(t *testing.T) {
	h := newHarness(t, nil)
	h.Auth = grantAll(true)
	seen := ""
	h.Observe = func(_ context.Context, account string) { seen = account }
	h.do("GET", "/v2/a/tags/list", nil, "Authorization: Bearer repository:b:pull") // refused, and named all the same
	if seen != "alice" {
		t.Errorf("observed %q", seen)
	}
}
