package tokenserver

import (
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
)

func TestPost(t *testing.T) {
	form := func(pairs ...string) url.Values {
		v := url.Values{}
		for i := 0; i < len(pairs); i += 2 {
			v.Add(pairs[i], pairs[i+1])
		}
		return v
	}
	password := func(more ...string) url.Values {
		return form(append([]string{"grant_type", "password", "username", "alice", "password", "wonder:land"}, more...)...)
	}
	withBasic := func(r *http.Request) { r.SetBasicAuth("alice", "wonder:land") }
	for _, tt := range []struct {
		name, query string
		form        url.Values
		change      func(*http.Request)
		status      int
		want        string // scope, or error
	}{
		{"containerd", "", password("client_id", "containerd-client", "service", "x", "scope", "repository:a:pull repository:b:pull,push"), nil,
			200, "repository:a:pull repository:b:pull,push"},
		{"repeated scopes", "", password("scope", "repository:a:pull", "scope", "repository:b:pull"), nil, 200, "repository:a:pull repository:b:pull"},
		{"scope in the query", "scope=repository:a:pull&service=x&client_id=y", password(), nil, 200, "repository:a:pull"},
		{"scope in both", "scope=repository:a:push", password("scope", "repository:a:pull"), nil, 200, "repository:a:pull,push"},
		{"grant type in the query", "grant_type=password&username=alice", form("password", "wonder:land"), nil, 200, ""},
		{"everything in the query, and Basic", "scope=repository:a:pull", nil, withBasic, 200, "repository:a:pull"},
		{"the same without a body", "scope=repository:a:pull", nil, func(r *http.Request) {
			withBasic(r)
			r.Header.Del("Content-Type")
			r.Body = http.NoBody
		}, 200, "repository:a:pull"},
		{"type with a parameter", "", password(), func(r *http.Request) {
			r.Header.Set("Content-Type", "Application/X-WWW-Form-Urlencoded; charset=utf-8")
		}, 200, ""},
		{"offline", "", password("access_type", "offline"), nil, 200, ""},
		{"account repeated", "", password("account", "alice"), nil, 200, ""},
		{"account of another", "", password("account", "bob"), nil, 401, "invalid_grant"},
		{"wrong password", "", form("grant_type", "password", "username", "alice", "password", "wrong"), nil, 401, "invalid_grant"},
		{"moved colon", "", form("grant_type", "password", "username", "alice:wonder", "password", "land"), nil, 401, "invalid_grant"},
		{"no password", "", form("grant_type", "password", "username", "alice"), nil, 400, "invalid_request"},
		{"no account", "", form("grant_type", "password", "password", "wonder:land"), nil, 400, "invalid_request"},
		{"password in the query", "password=wonder:land", form("grant_type", "password", "username", "alice"), nil, 400, "invalid_request"},
		{"everything in the query", "grant_type=password&username=alice&password=wonder:land", nil, nil, 400, "invalid_request"},
		{"password in query and body", "password=wonder:land", form("grant_type", "password", "username", "alice", "password", "wrong"), nil, 401, "invalid_grant"},
		{"nothing", "", nil, nil, 400, "invalid_request"},
		{"Basic that is wrong", "", nil, func(r *http.Request) { r.SetBasicAuth("alice", "wrong") }, 401, "invalid_grant"},
		{"refresh token where there are none", "", form("grant_type", "refresh_token", "refresh_token", "x", "service", "s", "client_id", "c"), nil, 401, "invalid_grant"},
		{"refresh token that is the password", "", form("grant_type", "refresh_token", "username", "alice", "refresh_token", "wonder:land"), nil, 401, "invalid_grant"},
		{"refresh token and Basic", "", form("grant_type", "refresh_token", "refresh_token", "x"), withBasic, 400, "invalid_request"},
		{"refresh token in the query", "refresh_token=x", form("grant_type", "refresh_token"), nil, 400, "invalid_request"},
		{"password and Basic", "", password(), func(r *http.Request) { r.SetBasicAuth("bob", "builder") }, 400, "invalid_request"},
		{"password and the same Basic", "", password(), withBasic, 400, "invalid_request"},
		{"password and Basic with nothing in it", "", password(), func(r *http.Request) { r.SetBasicAuth("", "") }, 200, ""},
		{"grant type twice", "", password("grant_type", "refresh_token"), nil, 400, "invalid_request"},
		{"grant type twice, the same", "", password("grant_type", "password"), nil, 200, ""},
		{"another grant type in the query", "grant_type=refresh_token", password(), nil, 400, "invalid_request"},
		{"account twice", "", password("username", "bob"), nil, 400, "invalid_request"},
		{"another account in the query", "username=bob", password(), nil, 400, "invalid_request"},
		{"password twice", "", password("password", "builder"), nil, 400, "invalid_request"},
		{"refresh token twice", "", form("grant_type", "refresh_token", "refresh_token", "x", "refresh_token", "y"), nil, 400, "invalid_request"},
		{"empty refresh token", "", form("grant_type", "refresh_token", "refresh_token", ""), nil, 400, "invalid_request"},
		{"NUL in the account", "", form("grant_type", "password", "username", "alice\x00", "password", "wonder:land"), nil, 401, "invalid_grant"},
		{"NUL in the password", "", form("grant_type", "password", "username", "alice", "password", "wonder:land\x00"), nil, 401, "invalid_grant"},
		{"NUL in a scope", "", password("scope", "repository:a\x00:pull"), nil, 400, "invalid_scope"},
		{"NUL in the client", "", password("client_id", "a\x00\r\nb"), nil, 200, ""},
		{"account too long", "", form("grant_type", "password", "username", strings.Repeat("a", 256), "password", "x"), nil, 401, "invalid_grant"},
		{"huge client", "", password("client_id", strings.Repeat("x", 50000)), nil, 200, ""},
		{"semicolons", "a=1;b=2", password(), nil, 400, "invalid_request"},
		{"query too long", "scope=" + strings.Repeat("x", maxQuery), password(), nil, 414, "invalid_request"},
		{"code", "", form("grant_type", "authorization_code", "code", "x"), nil, 400, "unsupported_grant_type"},
		{"unknown grant type", "", form("grant_type", strings.Repeat("x", 5000)), nil, 400, "unsupported_grant_type"},
		{"bad scope", "", password("scope", "!!!"), nil, 400, "invalid_scope"},
		{"JSON", "", password(), func(r *http.Request) { r.Header.Set("Content-Type", "application/json") }, 400, "invalid_request"},
		{"multipart", "", password(), func(r *http.Request) { r.Header.Set("Content-Type", "multipart/form-data; boundary=x") }, 400, "invalid_request"},
		{"type that is none", "", password(), func(r *http.Request) { r.Header.Set("Content-Type", ";;") }, 400, "invalid_request"},
		{"body too long", "", password("x", strings.Repeat("x", maxForm)), nil, 413, "invalid_request"},
		{"query that is none", "a=%zz", password(), nil, 400, "invalid_request"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			h := newHouse(t)
			r := post(tt.query, tt.form)
			if tt.change != nil {
				tt.change(r)
			}
			w := h.serve(r)
			if tt.status != 200 {
				if message := refused(t, w, tt.status, tt.want); len(message) > 500 {
					t.Errorf("the message is %d bytes long", len(message))
				}
				return
			}
			c, body := h.claims(t, w)
			noStore(t, w)
			if c.Subject != "alice" || access(c) != tt.want || body["scope"] != tt.want || body["token_type"] != "Bearer" || body["expires_in"] != 300.0 || len(body) != 5 {
				t.Errorf("claims %+v, answer %v", c, body)
			}
		})
	}
	t.Run("body that is no form", func(t *testing.T) {
		h := newHouse(t)
		r := httptest.NewRequest("POST", "/token", strings.NewReader("grant_type=%zz"))
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		refused(t, h.serve(r), 400, "invalid_request")
	})
}
