package tokenserver

import (
	"context"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"unicode/utf8"
)

// TestHead: HEAD says what GET would, without a token and without leaving a refresh token behind.
func TestHead(t *testing.T) {
	for _, tt := range []struct {
		account, password string
		status            int
	}{{"alice", "wonder:land", 200}, {"", "", 200}, {"alice", "wrong", 401}} {
		h := newHouse(t)
		r := get("scope=repository:a:pull&offline_token=true", tt.account, tt.password)
		r.Method = http.MethodHead
		w := h.serve(r)
		if w.Code != tt.status || w.Body.Len() != 0 || w.Header().Get("Content-Length") == "" {
			t.Errorf("%q: %d, %d bytes, %v", tt.account, w.Code, w.Body.Len(), w.Header())
		}
		noStore(t, w)
		if asked, err := readRequest(w, r); err != nil || asked.offline {
			t.Errorf("HEAD asks for a refresh token: %+v, %v", asked, err)
		}
	}
}

// TestReadRequest is what clients send, as far as it is not in the answer.
func TestReadRequest(t *testing.T) {
	offline := url.Values{"grant_type": {"password"}, "username": {"a"}, "password": {"b"}, "access_type": {"offline"}}
	for name, tt := range map[string]struct {
		r    *http.Request
		want request
	}{
		"docker login": {get("account=a&client_id=docker&offline_token=true&service=s", "a", "b"),
			request{presented: true, login: login{account: "a", secret: "b", claimed: "a"}, client: "docker", offline: true}},
		"docker pull": {get("account=a&service=s", "a", "b"),
			request{presented: true, login: login{account: "a", secret: "b", claimed: "a"}}},
		"not offline":          {get("offline_token=false"), request{}},
		"offline as in OAuth2": {get("access_type=offline"), request{}},
		"OAuth2 offline": {post("client_id=containerd-client", offline),
			request{oauth: true, presented: true, login: login{account: "a", secret: "b"}, client: "containerd-client", offline: true}},
		"OAuth2 online": {post("", url.Values{"grant_type": {"password"}, "username": {"a"}, "password": {"b"}, "access_type": {"online"}}),
			request{oauth: true, presented: true, login: login{account: "a", secret: "b"}}},
		"docker with an identity token": {post("", url.Values{"grant_type": {"refresh_token"}, "refresh_token": {"r"},
			"service": {"s"}, "client_id": {"docker"}, "scope": {""}}),
			request{oauth: true, presented: true, login: login{secret: "r", refresh: true}, client: "docker", scopes: []string{""}}},
		"containerd's GET with one": {get("service=s", "", "r"), request{presented: true, login: login{secret: "r"}}},
		"others' GET with one": {get("account=<token>", "<token>", "r"),
			request{presented: true, login: login{account: "<token>", secret: "r", claimed: "<token>"}}},
	} {
		asked, err := readRequest(nil, tt.r)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if strings.Join(asked.scopes, "|") != strings.Join(tt.want.scopes, "|") {
			t.Errorf("%s: scopes %q, want %q", name, asked.scopes, tt.want.scopes)
		}
		if got, want := *asked, tt.want; got.login != want.login || got.oauth != want.oauth || got.presented != want.presented ||
			got.client != want.client || got.offline != want.offline {
			t.Errorf("%s: %+v, want %+v", name, got, want)
		}
	}
}

func TestClientName(t *testing.T) {
	for text, want := range map[string]string{
		"docker":                       "docker",
		"containers/image v5":          "containers/image v5",
		"a\x00b\r\nc\x1b[31m":          "abc[31m",
		"right\u202eleft\xff\xfe":      "rightleft",
		strings.Repeat("x", 1000):      strings.Repeat("x", maxClient),
		strings.Repeat("ü", maxClient): strings.Repeat("ü", maxClient/2),
		strings.Repeat("€", 1<<16):     strings.Repeat("€", maxClient/3),
	} {
		if got := clientName(text); got != want || !utf8.ValidString(got) {
			t.Errorf("%.40q: %q, want %q", text, got, want)
		}
	}
}

// TestContradictions: what two readers could take for two different requests is refused, before anybody is asked about it.
func TestContradictions(t *testing.T) {
	for _, query := range []string{"account=alice&account=bob", "client_id=a&client_id=b", "offline_token=true&offline_token=false"} {
		h := newHouse(t)
		refused(t, h.serve(get(query, "alice", "wonder:land")), 400, "invalid_request")
		if len(h.observed) > 0 {
			t.Errorf("%s: observed %v", query, h.observed)
		}
	}
}

// TestNobodyIsAsked: what cannot be right costs no check of a password, is shown to no source of accounts, and names nobody in the
// audit log.
func TestNobodyIsAsked(t *testing.T) {
	for name, r := range map[string]*http.Request{
		"refresh token where there are none": post("", url.Values{"grant_type": {"refresh_token"}, "refresh_token": {"x"}}),
		"control characters in the account":  get("", "al\nice", "wonder:land"),
		"account too long":                   get("", strings.Repeat("a", maxAccount+1), "x"),
		"another account claimed":            get("account=bob", "alice", "wonder:land"),
	} {
		h := newHouse(t)
		runs, claimed := counting(h.users.checker), ""
		h.audit = func(_ context.Context, e Event) { claimed = e.Claimed }
		refused(t, h.serve(r), 401, "invalid_grant")
		if runs.Load() != 0 || strings.ContainsRune(claimed, '\n') || len(claimed) > maxAccount {
			t.Errorf("%s: %d checks, claimed %q", name, runs.Load(), claimed)
		}
	}
}
