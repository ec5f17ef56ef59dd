package main_test

import (
	"encoding/json"
	"io"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"testing"
)

// credentials is how a request says who sends it.
type credentials func(*testing.T, *lane, *http.Request)

func anonymous(*testing.T, *lane, *http.Request) {}

func basic(account, password string) credentials {
	return func(_ *testing.T, _ *lane, r *http.Request) { r.SetBasicAuth(account, password) }
}

func bearer(token string) credentials {
	return func(_ *testing.T, _ *lane, r *http.Request) { r.Header.Set("Authorization", "Bearer "+token) }
}

// tokenOfBob has the token server say what bob may do of scope.
func tokenOfBob(scope string) credentials {
	return func(t *testing.T, l *lane, r *http.Request) {
		r.Header.Set("Authorization", "Bearer "+l.token(t, bob, bobPassword, scope))
	}
}

// forged is a token of bob's whose signature is another one.
func forged(scope string) credentials {
	return func(t *testing.T, l *lane, r *http.Request) {
		token := []byte(l.token(t, bob, bobPassword, scope))
		// The first character of the signature: the last may hold no bit of it.
		i := strings.LastIndexByte(string(token), '.') + 1
		token[i] ^= 'A' ^ 'B'
		r.Header.Set("Authorization", "Bearer "+string(token))
	}
}

// testChallenges asks without any client's help what the server answers to
// those who may not. It is always 401 with one Bearer challenge.
func testChallenges(t *testing.T, l *lane) {
	const (
		manifest = "/v2/pub/challenge/manifests/v1"
		uploads  = "/v2/pub/challenge/blobs/uploads/"
		pull     = "repository:pub/challenge:pull"
		push     = "repository:pub/challenge:pull,push"
	)
	for _, test := range []struct {
		name         string
		method, path string
		who          credentials
		scope, error string
	}{
		{"anonymous", "GET", "/v2/", anonymous, "", ""},
		{"anonymous-pull", "GET", manifest, anonymous, pull, ""},
		{"anonymous-head", "HEAD", manifest, anonymous, pull, ""},
		{"anonymous-tags", "GET", "/v2/pub/challenge/tags/list", anonymous, pull, ""},
		{"anonymous-push", "POST", uploads, anonymous, push, ""},
		{"anonymous-put", "PUT", manifest, anonymous, push, ""},
		{"anonymous-delete", "DELETE", manifest, anonymous, "repository:pub/challenge:delete", ""},
		{"anonymous-catalog", "GET", "/v2/_catalog", anonymous, "registry:catalog:*", ""},
		{"anonymous-mount", "POST", uploads + "?from=team/other&mount=sha256:" + strings.Repeat("a", 64), anonymous,
			push + " repository:team/other:pull", ""},
		{"wrong-password", "GET", "/v2/", basic(alice, "wrong"), "", ""},
		{"wrong-password-pull", "GET", manifest, basic(alice, "wrong"), pull, ""},
		{"unknown-account", "GET", "/v2/", basic("mallory", alicePassword), "", ""},
		{"empty-password", "GET", "/v2/", basic(alice, ""), "", ""},
		{"may-not-push", "POST", uploads, basic(bob, bobPassword), push, "insufficient_scope"},
		{"may-not-delete", "DELETE", manifest, basic(bob, bobPassword), "repository:pub/challenge:delete", "insufficient_scope"},
		{"may-not-see", "GET", "/v2/secret/challenge/manifests/v1", basic(bob, bobPassword), "repository:secret/challenge:pull", "insufficient_scope"},
		{"may-not-list", "GET", "/v2/_catalog", basic(bob, bobPassword), "registry:catalog:*", "insufficient_scope"},
		{"no-token", "GET", manifest, bearer("nonsense"), pull, "invalid_token"},
		{"forged-token", "GET", manifest, forged(pull), pull, "invalid_token"},
		{"token-to-pull", "POST", uploads, tokenOfBob(pull), push, "insufficient_scope"},
		{"token-asked-for-push", "POST", uploads, tokenOfBob(push), push, "insufficient_scope"},
		{"token-for-another", "GET", "/v2/pub/other/tags/list", tokenOfBob(pull), "repository:pub/other:pull", "insufficient_scope"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			resp, body := l.do(t, test.method, test.path, test.who)
			if resp.StatusCode != http.StatusUnauthorized {
				t.Fatalf("status %s, want 401\n%s", resp.Status, body)
			}
			assertChallenge(t, l, resp, test.scope, test.error)
			if test.method != "HEAD" {
				assertErrorCode(t, body, "UNAUTHORIZED")
			}
		})
	}
	t.Run("allowed", func(t *testing.T) { testAllowed(t, l, manifest, pull) })
	t.Run("token-refused", func(t *testing.T) { testTokenRefused(t, l) })
}

// testAllowed is the other side: who may, is told what is not there.
func testAllowed(t *testing.T, l *lane, manifest, pull string) {
	for _, who := range []credentials{basic(alice, alicePassword), basic(bob, bobPassword), tokenOfBob(pull)} {
		if resp, body := l.do(t, "GET", manifest, who); resp.StatusCode != http.StatusNotFound {
			t.Errorf("status %s, want 404\n%s", resp.Status, body)
		}
		if resp, body := l.do(t, "GET", "/v2/", who); resp.StatusCode != http.StatusOK {
			t.Errorf("status %s of /v2/, want 200\n%s", resp.Status, body)
		}
	}
}

// testTokenRefused asks the token server with wrong credentials.
func testTokenRefused(t *testing.T, l *lane) {
	for _, path := range []string{"/token?service=gatehouse", "/token?service=gatehouse&scope=repository:pub/challenge:pull"} {
		for _, who := range []credentials{basic(alice, "wrong"), basic("mallory", "x")} {
			if resp, body := l.do(t, "GET", path, who); resp.StatusCode != http.StatusUnauthorized {
				t.Errorf("GET %s: status %s, want 401\n%s", path, resp.Status, body)
			}
		}
	}
	form := url.Values{"grant_type": {"password"}, "service": {"gatehouse"}, "client_id": {"test"}, "username": {alice}, "password": {"wrong"}}
	resp, err := l.client(t).PostForm("https://"+l.host+"/token", form)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusUnauthorized && resp.StatusCode != http.StatusBadRequest {
		t.Errorf("POST /token: status %s, want 401, or 400 (invalid_grant)", resp.Status)
	}
}

// do sends a request without a body.
func (l *lane) do(t *testing.T, method, path string, who credentials) (*http.Response, []byte) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, "https://"+l.host+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	who(t, l, r)
	resp, err := l.client(t).Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp, body
}

// token is a token for scope, or for less if that is all that account may do.
func (l *lane) token(t *testing.T, account, password, scope string) string {
	t.Helper()
	resp, body := l.do(t, "GET", "/token?service=gatehouse&scope="+url.QueryEscape(scope), basic(account, password))
	if resp.StatusCode != http.StatusOK {
		t.Fatalf("no token for %s: %s\n%s", account, resp.Status, body)
	}
	var answer struct{ Token string }
	if err := json.Unmarshal(body, &answer); err != nil || answer.Token == "" {
		t.Fatalf("no token for %s: %v\n%s", account, err, body)
	}
	return answer.Token
}

// challengeForm is the form in which distribution writes a challenge: no space
// after commas, which some clients do not take.
var challengeForm = regexp.MustCompile(`^Bearer realm="([^"]*)",service="([^"]*)"(?:,scope="([^"]*)")?(?:,error="([^"]*)")?$`)

// assertChallenge checks the headers of a 401 below /v2/.
func assertChallenge(t *testing.T, l *lane, resp *http.Response, scope, reason string) {
	t.Helper()
	if v := resp.Header.Get("Docker-Distribution-Api-Version"); v != "registry/2.0" {
		t.Errorf("Docker-Distribution-Api-Version is %q", v)
	}
	headers := resp.Header.Values("WWW-Authenticate")
	if len(headers) != 1 {
		t.Fatalf("%d challenges, want one: %q", len(headers), headers)
	}
	m := challengeForm.FindStringSubmatch(headers[0])
	if m == nil {
		t.Fatalf("challenge %s has another form", headers[0])
	}
	if want := "https://" + l.host + "/token"; m[1] != want {
		t.Errorf("realm %s, want %s", m[1], want)
	}
	if m[2] != "gatehouse" || m[3] != scope || m[4] != reason {
		t.Errorf("challenge %s, want scope %q and error %q", headers[0], scope, reason)
	}
}

// assertErrorCode checks the only error of an answer's body.
func assertErrorCode(t *testing.T, body []byte, code string) {
	t.Helper()
	var answer struct {
		Errors []struct{ Code, Message string }
	}
	if err := json.Unmarshal(body, &answer); err != nil || len(answer.Errors) != 1 ||
		answer.Errors[0].Code != code || answer.Errors[0].Message == "" {
		t.Errorf("body %s (%v), want one error %s with a message", body, err, code)
	}
}
