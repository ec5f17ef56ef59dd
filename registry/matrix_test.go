package registry

import (
	"encoding/base64"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"

	"gatehouse/registry/manifest"
	"gatehouse/tokenserver/token"
)

// rights is what the specifications say of a method on a URL, written down by hand: nothing in it comes from the code that is
// tested.
type rights struct {
	url, method string
	needs       string // on the repository a, or "catalog"; "" for an account, whatever it may do
	status      int    // for who has them
}

// matrix has a row for each pair of URL and method that there is. Every other method on these URLs is 405 for everybody, and
// OPTIONS is 200.
var matrix = []rights{
	{"base", "GET", "", 200},
	{"base", "HEAD", "", 200},
	{"catalog", "GET", "catalog", 200},
	{"tags", "GET", "pull", 200},
	{"referrers", "GET", "pull", 200},
	{"manifest", "GET", "pull", 200},
	{"manifest", "HEAD", "pull", 200},
	{"manifest", "PUT", "pull push", 201},
	{"manifest", "DELETE", "delete", 202},
	{"blob", "GET", "pull", 200},
	{"blob", "HEAD", "pull", 200},
	{"blob", "DELETE", "delete", 202},
	{"blob_upload", "POST", "pull push", 202},
	{"blob_upload_chunk", "GET", "pull push", 204},
	{"blob_upload_chunk", "HEAD", "pull push", 204},
	{"blob_upload_chunk", "PATCH", "pull push", 202},
	{"blob_upload_chunk", "PUT", "pull push", 201},
	{"blob_upload_chunk", "DELETE", "pull push", 204},
}

// methods are what is tried. CONNECT has no path, and the gateway takes none of it.
var methods = []string{"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "PURGE"}

// granted is a token's scope, and what it comes to on the repository a, or "catalog".
type granted struct {
	scopes []string
	allows string
}

// scopes are all subsets of the actions on the repository a, and much that is close to a right and none.
func scopes() []granted {
	list := []granted{
		{[]string{"repository:a:*"}, "pull push delete"},
		{[]string{"registry:catalog:*"}, "catalog"},
		{[]string{"repository:a:*", "registry:catalog:*"}, "pull push delete catalog"},
		{[]string{"registry:catalog:pull,push,delete"}, ""},
		{[]string{"registry:a:*"}, ""},
		{[]string{"repository:catalog:*"}, ""},
		{[]string{"repository:b:*"}, ""},
		{[]string{"repository:a/b:*", "repository:aa:*"}, ""},
		{[]string{"repository:a:pull", "repository:b:push,delete"}, "pull"},
		{[]string{"repository(plugin):a:pull,push"}, "pull push"}, // the class decides nothing
	}
	actions := []string{"pull", "push", "delete"}
	for subset := range 1 << len(actions) {
		var some []string
		for i, action := range actions {
			if subset&(1<<i) != 0 {
				some = append(some, action)
			}
		}
		list = append(list, granted{[]string{"repository:a:" + strings.Join(some, ",")}, strings.Join(some, " ")})
	}
	return list
}

// way is how credentials for a scope are presented. An upload is alice's.
type way struct {
	name    string
	valid   bool // it proves an account
	expired bool // it did, and proves it for alice's upload alone
	alice   bool // it is alice's account
	header  func(scopes []string) string
}

// ways are all ways to come to the registry. The clock of i stands where tokens that were made at first have expired.
func (h *harness) ways(i *issued) []way {
	stranger, err := token.GenerateKey()
	if err != nil {
		h.Fatal(err)
	}
	basic := func(account, password string) string {
		return "Authorization: Basic " + base64.StdEncoding.EncodeToString([]byte(account+":"+password))
	}
	begin := i.now().Add(-lifetime - token.Leeway)
	return []way{
		{"no credentials", false, false, false, func([]string) string { return "Accept: */*" }},
		{"Basic", true, false, true, func(scopes []string) string { return basic("alice", "right "+strings.Join(scopes, " ")) }},
		{"Basic with a wrong password", false, false, true, func([]string) string { return basic("alice", "wrong") }},
		{"Bearer", true, false, true, func(scopes []string) string { return i.bearer("alice", scopes...) }},
		{"bearer", true, false, true, func(scopes []string) string {
			return strings.Replace(i.bearer("alice", scopes...), "Bearer", "bEARER", 1)
		}},
		{"Bearer of another account", true, false, false, func(scopes []string) string { return i.bearer("mallory", scopes...) }},
		{"Bearer of nobody's", true, false, false, func(scopes []string) string { return i.bearer("", scopes...) }},
		{"Bearer that has expired", false, true, true, func(scopes []string) string { return i.bearerBy(i.key, "alice", begin, scopes...) }},
		{"Bearer of another's that has expired", false, false, false, func(scopes []string) string {
			return i.bearerBy(i.key, "mallory", begin, scopes...)
		}},
		{"Bearer that is forged", false, false, true, func(scopes []string) string { return i.bearerBy(stranger, "alice", i.now(), scopes...) }},
		{"Bearer that is forged and expired", false, false, true, func(scopes []string) string { // T-SEC-24
			return i.bearerBy(stranger, "alice", begin, scopes...)
		}},
		{"a token as the password", false, false, true, func(scopes []string) string {
			return basic("alice", strings.TrimPrefix(i.bearer("alice", scopes...), "Authorization: Bearer "))
		}},
		{"a token under another scheme", false, false, true, func(scopes []string) string {
			return strings.Replace(i.bearer("alice", scopes...), "Bearer", "Token", 1)
		}},
	}
}

// expect is the status that the specifications ask for, from the table and nothing else.
func expect(url, method string, g granted, w way) int {
	if method == "OPTIONS" {
		return 200
	}
	n := slices.IndexFunc(matrix, func(r rights) bool { return r.url == url && r.method == method })
	if n < 0 {
		return 405
	}
	upload := url == "blob_upload_chunk"
	if !w.valid && !(w.expired && upload) {
		return 401
	}
	for _, action := range strings.Fields(matrix[n].needs) {
		if !slices.Contains(strings.Fields(g.allows), action) {
			return 401
		}
	}
	if upload && !w.alice {
		return 404
	}
	return matrix[n].status
}

// TestMatrixIsComplete is T-SEC-14: each row of the API's table has its row here, and the other way round.
func TestMatrixIsComplete(t *testing.T) {
	seen := map[string]bool{}
	for _, r := range matrix {
		seen[r.url+" "+r.method] = true
	}
	if len(seen) != len(matrix) || len(seen) != len(endpoints) {
		t.Errorf("%d rows, %d of them different, for %d endpoints", len(matrix), len(seen), len(endpoints))
	}
	for _, e := range endpoints {
		if !seen[labels[e.kind]+" "+e.method] {
			t.Errorf("%s, %s %s: its rights are not written down", e.id, e.method, labels[e.kind])
		}
		if !slices.Contains(methods, e.method) {
			t.Errorf("%s %s: the method is not tried", e.method, labels[e.kind])
		}
	}
	for k, label := range labels {
		if !slices.ContainsFunc(matrix, func(r rights) bool { return r.url == label }) {
			t.Errorf("the URL %s (%d) has no row", label, k)
		}
	}
}

// TestMatrix is T-SEC-14 and T-SEC-20: every URL by every method, with every scope, in every way, has the status that the table
// says, and what is refused says how to be let in.
func TestMatrix(t *testing.T) {
	h := newHarness(t, nil)
	i := h.withTokens()
	h.Auth.Basic = func(_ *http.Request, account, password string, wanted []token.Access) (*token.Claims, error) {
		scopes, right := strings.CutPrefix(password, "right ")
		if !right {
			return nil, ErrCredentials
		}
		who := &token.Claims{Subject: account}
		rules, err := token.ParseScopes([]string{scopes})
		for _, a := range wanted {
			asked := a.Actions
			a.Actions = nil
			for _, action := range asked {
				if token.Allows(rules, a.Type, a.Name, action) {
					a.Actions = append(a.Actions, action)
				}
			}
			who.Access = append(who.Access, a)
		}
		return who, err
	}
	image := h.prepareMatrix()
	i.advance(lifetime + token.Leeway)
	urls := h.matrixURLs(i, image)
	cells := 0
	for _, w := range h.ways(i) {
		for _, g := range scopes() {
			header := w.header(g.scopes)
			for url := range urls {
				for _, method := range methods {
					cells++
					want := expect(url, method, g, w)
					a := h.do(method, urls[url], strings.NewReader(matrixBody(url, image)), header, "Content-Type: "+manifest.OCIManifest)
					if a.StatusCode != want {
						t.Errorf("%s %s, %s, %q: %s, want %d: %.200s", method, url, w.name, g.scopes, a.Status, want, a.body)
					}
					if challenged := a.Header.Get("WWW-Authenticate") != ""; challenged != (want == 401) {
						t.Errorf("%s %s, %s, %q: %s, challenged: %v", method, url, w.name, g.scopes, a.Status, challenged)
					}
					if a.StatusCode >= 201 && a.StatusCode <= 204 && method != "GET" && method != "HEAD" {
						urls = h.matrixURLs(i, h.prepareMatrix()) // it changed something
					}
				}
			}
		}
	}
	if want := len(labels) * len(methods) * len(scopes()) * len(h.ways(i)); cells != want {
		t.Errorf("%d cells, want %d", cells, want)
	}
}

// prepareMatrix pushes what the matrix reads and deletes, and returns the manifest.
func (h *harness) prepareMatrix() []byte {
	h.Helper()
	auth := h.Auth
	h.Auth = nil
	defer func() { h.Auth = auth }()
	h.blob("a", "loose")
	return h.image("a", "v1", "layer")
}

// matrixURLs returns a URL of each kind, with an upload of alice's.
func (h *harness) matrixURLs(i *issued, image []byte) map[string]string {
	h.Helper()
	d := string(digest.FromBytes(image))
	return map[string]string{
		"base": "/v2/", "catalog": "/v2/_catalog", "tags": "/v2/a/tags/list", "referrers": "/v2/a/referrers/" + d,
		"manifest": "/v2/a/manifests/v1", "blob": "/v2/a/blobs/" + string(digest.FromString("loose")),
		"blob_upload":       "/v2/a/blobs/uploads/",
		"blob_upload_chunk": h.beginAs("a", i.bearer("alice", "repository:a:pull,push")) + "&digest=" + string(digest.FromString("x")),
	}
}

// matrixBody is what is sent to a URL.
func matrixBody(url string, image []byte) string {
	if url == "manifest" {
		return string(image)
	}
	return "x"
}
