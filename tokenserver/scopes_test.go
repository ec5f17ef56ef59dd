package tokenserver

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"gatehouse/tokenserver/token"
)

// manyScopes are scopes as a client that copies many images asks for them.
func manyScopes(n int, actions string) url.Values {
	q := url.Values{}
	for i := range n {
		q.Add("scope", fmt.Sprintf("repository:team/application-%03d:%s", i, actions))
	}
	return q
}

// carried is the token in an answer, once a real server with the gateway's limit on headers has taken it, and a verifier.
func (h *house) carried(t *testing.T, w *httptest.ResponseRecorder, member string) *token.Claims {
	t.Helper()
	var body map[string]any
	if err := json.Unmarshal(w.Body.Bytes(), &body); err != nil || w.Code != 200 {
		t.Fatalf("%d %.200s", w.Code, w.Body)
	}
	raw, _ := body[member].(string)
	const read = 64 << 10 // by go-containerregistry
	if w.Body.Len() > read || len(raw) > token.MaxSize {
		t.Fatalf("the answer is %d bytes long, the token %d", w.Body.Len(), len(raw))
	}
	var claims *token.Claims
	var invalid error
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		claims, invalid = h.verifier.Verify(strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer "))
	}))
	server.Config.MaxHeaderBytes = 64 << 10 // gateway.maxheaderbytes
	server.Start()
	defer server.Close()
	r, err := http.NewRequestWithContext(t.Context(), "GET",
		server.URL+"/v2/team/application-001/manifests/sha256:"+strings.Repeat("a", 64), nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Authorization", "Bearer "+raw)
	r.Header.Set("Accept", strings.Repeat("application/vnd.oci.image.manifest.v1+json, ", 10))
	answer, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	answer.Body.Close()
	if answer.StatusCode != 200 || invalid != nil {
		t.Fatalf("%s, %v", answer.Status, invalid)
	}
	return claims
}

// TestManyScopes: 500 scopes of a usual length fit into a token that clients can carry, and what is too much is refused clearly.
// Long answers have the member that is read, and no other.
func TestManyScopes(t *testing.T) {
	h := newHouse(t)
	byGet := func(n int) *httptest.ResponseRecorder {
		return h.serve(get(manyScopes(n, "pull").Encode(), "alice", "wonder:land"))
	}
	byPost := func(n int, account, password string) *httptest.ResponseRecorder {
		return h.serve(post("", url.Values{"grant_type": {"password"}, "username": {account}, "password": {password},
			"scope": {strings.Join(manyScopes(n, "pull")["scope"], " ")}}))
	}
	for _, n := range []int{100, 200, 300, 400, 500} {
		w, p := byGet(n), byPost(n, "alice", "wonder:land")
		if a, b := h.carried(t, w, "token"), h.carried(t, p, "access_token"); len(a.Access) != n || len(b.Access) != n {
			t.Errorf("%d and %d of %d scopes", len(a.Access), len(b.Access), n)
		}
		if got := strings.Contains(w.Body.String(), `"access_token"`); got != (n <= 300) {
			t.Errorf("GET of %d scopes: access_token is there: %v", n, got)
		}
		if got := strings.Contains(p.Body.String(), `"token":`); got != (n <= 200) {
			t.Errorf("POST of %d scopes: token is there: %v", n, got)
		}
		if got := strings.Contains(p.Body.String(), `"scope":"repository`); got != (n <= 400) {
			t.Errorf("POST of %d scopes: scope is there: %v", n, got)
		}
	}
	for _, n := range []int{900, 1001} {
		for _, w := range []*httptest.ResponseRecorder{byGet(n), byPost(n, "alice", "wonder:land")} {
			message := refused(t, w, 400, "invalid_scope")
			if n == 900 && !strings.Contains(message, "900") || !strings.Contains(message, "scopes") {
				t.Errorf("%d scopes: %s", n, message)
			}
		}
	}
	if c := h.carried(t, byPost(900, "bob", "builder"), "access_token"); len(c.Access) != 0 {
		t.Errorf("granted %v", c.Access)
	}
}

// TestPartOfManyScopes: where the answer to a POST must say what was granted and has no room to, the request is refused.
func TestPartOfManyScopes(t *testing.T) {
	decisions := make([]Decision, 560)
	for i := range decisions {
		decisions[i].Asked = token.Access{Type: "repository", Name: fmt.Sprintf("team/application-%03d", i), Actions: []string{"pull"}}
		decisions[i].Actions = decisions[i].Asked.Actions
	}
	raw := strings.Repeat("x", 50<<10)
	if a, err := newAnswer(raw, 0, decisions, true); err != nil || a.Scope != nil || a.Token != "" {
		t.Errorf("all granted: %v", err)
	}
	decisions[0].Actions = nil
	if _, err := newAnswer(raw, 0, decisions, true); refusalFor(err).oauth != "invalid_scope" {
		t.Errorf("not all granted: %v", err)
	}
	if a, err := newAnswer(raw, 0, decisions, false); err != nil || a.AccessToken != "" || a.Token != raw {
		t.Errorf("the answer to a GET, which has no such member: %v", err)
	}
}
