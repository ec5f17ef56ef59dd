package tokenserver

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"gatehouse/configs"
	"gatehouse/tokenserver/token"
)

// house is a token server with everything real: users in a file, rules, a key on disk, and a verifier beside it.
type house struct {
	*Server
	auth     *configs.Value[configs.Token]
	users    *Htpasswd
	verifier *token.Verifier
	metrics  *prometheus.Registry
	observed []string
	at       time.Time
}

func newHouse(t testing.TB) *house {
	t.Helper()
	dir := t.TempDir()
	h := &house{auth: configs.NewValue(configs.Token{Service: "registry.example", Issuer: "house"}), metrics: prometheus.NewRegistry(),
		at: time.Unix(1_800_000_000, 0)}
	path := filepath.Join(dir, "htpasswd")
	writeFile(t, path, "alice:"+cheapHash(t, "wonder:land")+"\nbob:"+cheapHash(t, "builder")+"\n")
	log := slog.New(slog.DiscardHandler)
	now := func() time.Time { return h.at }
	var err error
	if h.users, err = OpenHtpasswd(path, HtpasswdOptions{Now: now, Metrics: h.metrics}, log); err != nil {
		t.Fatal(err)
	}
	keys := openKeys(t, filepath.Join(dir, "keys"))
	h.Server, err = New(Options{
		Users: h.users, Keys: keys, Auth: h.auth, Now: now, Metrics: h.metrics, Logger: log,
		Rules:   prefixes{"alice": "", "bob": "pub/"},
		Observe: func(_ context.Context, account string) { h.observed = append(h.observed, account) },
	})
	if err != nil {
		t.Fatal(err)
	}
	h.verifier = token.NewVerifier(keys.Public, func() (string, string, bool) {
		a := h.auth.Load()
		return a.Issuer, a.Service, true
	}, now)
	return h
}

func (h *house) serve(r *http.Request) *httptest.ResponseRecorder {
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w
}

func get(query string, credentials ...string) *http.Request {
	r := httptest.NewRequest("GET", "/token?"+query, nil)
	if len(credentials) == 2 {
		r.SetBasicAuth(credentials[0], credentials[1])
	}
	return r
}

func post(query string, form url.Values) *http.Request {
	r := httptest.NewRequest("POST", "/token?"+query, strings.NewReader(form.Encode()))
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	return r
}

// claims verifies the token in an answer that must be one.
func (h *house) claims(t testing.TB, w *httptest.ResponseRecorder) (*token.Claims, map[string]any) {
	t.Helper()
	var body map[string]any
	if err := json.Unmarshal(w.Body.Bytes(), &body); w.Code != 200 || err != nil {
		t.Fatalf("%d %s", w.Code, w.Body)
	}
	raw, _ := body["token"].(string)
	if body["access_token"] != raw {
		t.Error("token and access_token differ")
	}
	c, err := h.verifier.Verify(raw)
	if err != nil {
		t.Fatal(err)
	}
	return c, body
}

func access(c *token.Claims) string {
	texts := make([]string, len(c.Access))
	for i, a := range c.Access {
		texts[i] = a.String()
	}
	return strings.Join(texts, " ")
}

// refused checks the form that every refusal has, and returns its message.
func refused(t testing.TB, w *httptest.ResponseRecorder, status int, oauth string) string {
	t.Helper()
	var body struct {
		Errors      []struct{ Code, Message string }
		Error       string
		Description string `json:"error_description"`
		Token       *string
	}
	if err := json.Unmarshal(w.Body.Bytes(), &body); err != nil {
		t.Fatalf("%d %s: %v", w.Code, w.Body, err)
	}
	if w.Code != status || body.Error != oauth || len(body.Errors) != 1 || body.Errors[0].Code == "" ||
		body.Errors[0].Message == "" || body.Errors[0].Message != body.Description || body.Token != nil {
		t.Errorf("got %d %s, want %d %s", w.Code, w.Body, status, oauth)
	}
	if challenge := w.Header().Get("WWW-Authenticate"); (challenge != "") != (status == 401) {
		t.Errorf("status %d with challenge %q", status, challenge)
	}
	noStore(t, w)
	return body.Description
}

func noStore(t testing.TB, w *httptest.ResponseRecorder) {
	t.Helper()
	h := w.Header()
	if h.Get("Content-Type") != "application/json" || h.Get("Cache-Control") != "no-store" || h.Get("Pragma") != "no-cache" {
		t.Errorf("header %v", h)
	}
}

func TestGet(t *testing.T) {
	for _, tt := range []struct {
		name, query, account, password string
		sub, access                    string
	}{
		{"docker login", "account=alice&client_id=docker&offline_token=true&service=registry.example", "alice", "wonder:land", "alice", ""},
		{"docker push", "account=alice&scope=repository%3Aa%2Fb%3Apull%2Cpush&service=registry.example", "alice", "wonder:land", "alice", "repository:a/b:pull,push"},
		{"repeated scopes", "scope=repository:a:pull&scope=repository:b:pull", "alice", "wonder:land", "alice", "repository:a:pull repository:b:pull"},
		{"scopes with spaces", "scope=repository:a:pull+repository:b:pull", "alice", "wonder:land", "alice", "repository:a:pull repository:b:pull"},
		{"both", "scope=repository:a:pull+repository:b:pull&scope=repository:a:push", "alice", "wonder:land", "alice", "repository:a:pull,push repository:b:pull"},
		{"empty scope", "scope=", "alice", "wonder:land", "alice", ""},
		{"catalog", "scope=registry:catalog:*", "alice", "wonder:land", "alice", "registry:catalog:*"},
		{"part of what was asked", "scope=repository:pub/a:pull,push&scope=repository:a:pull", "bob", "builder", "bob", "repository:pub/a:pull"},
		{"nothing of it", "scope=repository:a:pull,push", "bob", "builder", "bob", ""},
		{"anonymous", "scope=repository:pub/a:pull&service=registry.example", "", "", "", ""},
		{"another service", "scope=repository:a:pull&service=evil.example", "alice", "wonder:land", "alice", "repository:a:pull"},
		{"no parameter", "", "", "", "", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			h := newHouse(t)
			r := get(tt.query)
			if tt.account != "" {
				r = get(tt.query, tt.account, tt.password)
			}
			w := h.serve(r)
			c, body := h.claims(t, w)
			noStore(t, w)
			if c.Subject != tt.sub || access(c) != tt.access || c.Audience != "registry.example" || c.Issuer != "house" || len(c.ID) < 22 {
				t.Errorf("claims %+v", c)
			}
			if !c.Expires.Equal(h.at.Add(5*time.Minute)) || !c.NotBefore.Equal(h.at.Add(-time.Minute)) || !c.IssuedAt.Equal(h.at.Add(-issuedBefore)) {
				t.Errorf("times %v %v %v", c.Expires, c.NotBefore, c.IssuedAt)
			}
			if len(body) != 3 || body["expires_in"] != 300.0 {
				t.Errorf("answer %v", body)
			}
			if want := strings.TrimSpace(tt.sub); fmt.Sprint(h.observed) != "["+want+"]" {
				t.Errorf("observed %v", h.observed)
			}
		})
	}
}

func TestGetRefuses(t *testing.T) {
	basic := func(value ...string) func(*http.Request) {
		return func(r *http.Request) { r.Header["Authorization"] = value }
	}
	for _, tt := range []struct {
		name, query string
		change      func(*http.Request)
		status      int
		oauth       string
	}{
		{"wrong password", "scope=repository:pub/a:pull", func(r *http.Request) { r.SetBasicAuth("alice", "wrong") }, 401, "invalid_grant"},
		{"unknown account", "", func(r *http.Request) { r.SetBasicAuth("nobody", "wrong") }, 401, "invalid_grant"},
		{"empty password", "", func(r *http.Request) { r.SetBasicAuth("alice", "") }, 401, "invalid_grant"},
		{"empty account", "", func(r *http.Request) { r.SetBasicAuth("", "wonder:land") }, 401, "invalid_grant"},
		{"another's password", "", func(r *http.Request) { r.SetBasicAuth("alice", "builder") }, 401, "invalid_grant"},
		{"names another account", "account=bob", func(r *http.Request) { r.SetBasicAuth("alice", "wonder:land") }, 401, "invalid_grant"},
		{"Bearer", "", basic("Bearer abc"), 401, "invalid_client"},
		{"Basic that is none", "", basic("Basic !!!"), 401, "invalid_client"},
		{"Basic without colon", "", basic("Basic YWxpY2U="), 401, "invalid_client"},
		{"Basic alone", "", basic("Basic"), 401, "invalid_client"},
		{"empty header", "", basic(""), 401, "invalid_client"},
		{"two headers", "", basic("Basic Og==", "Basic Og=="), 400, "invalid_request"},
		{"credentials in the URL", "username=alice&password=wonder:land&account=alice&scope=repository:a:pull", nil, 200, ""},
		{"not a scope", "scope=repository", nil, 400, "invalid_scope"},
		{"a good and a bad scope", "scope=repository:a:pull+!!!", nil, 400, "invalid_scope"},
		{"upper-case repository", "scope=repository:Team/App:pull", nil, 400, "invalid_scope"},
		{"query that is none", "scope=%zz", nil, 400, "invalid_request"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			h := newHouse(t)
			r := get(tt.query)
			if tt.change != nil {
				tt.change(r)
			}
			w := h.serve(r)
			if tt.status == 200 { // answered as what it is: anonymous
				if c, _ := h.claims(t, w); c.Subject != "" || len(c.Access) != 0 {
					t.Errorf("claims %+v", c)
				}
				return
			}
			message := refused(t, w, tt.status, tt.oauth)
			if strings.Contains(message, "wonder") || strings.Contains(message, "builder") {
				t.Errorf("the message is %q", message)
			}
			if len(h.observed) > 0 && tt.name != "names another account" {
				t.Errorf("observed %v", h.observed)
			}
		})
	}
	t.Run("empty Basic is anonymous", func(t *testing.T) {
		h := newHouse(t)
		r := get("scope=repository:pub/a:pull&account=alice")
		r.Header.Set("Authorization", "Basic Og==")
		if c, _ := h.claims(t, h.serve(r)); c.Subject != "" || len(c.Access) != 0 {
			t.Errorf("claims %+v", c)
		}
	})
	t.Run("unknown account and wrong password look the same", func(t *testing.T) {
		h := newHouse(t)
		a, b := h.serve(get("", "alice", "wrong")), h.serve(get("", "nobody", "wrong"))
		if a.Body.String() != b.Body.String() || fmt.Sprint(a.Header()) != fmt.Sprint(b.Header()) || a.Code != b.Code {
			t.Errorf("%d %v %s\n%d %v %s", a.Code, a.Header(), a.Body, b.Code, b.Header(), b.Body)
		}
	})
}

func TestOtherMethods(t *testing.T) {
	for _, method := range []string{"PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "CONNECT", "get", "head"} {
		h := newHouse(t)
		w := h.serve(httptest.NewRequest(method, "/token", nil))
		if w.Code != 405 || w.Header().Get("Allow") != "GET, HEAD, POST" {
			t.Errorf("%s: %d %v", method, w.Code, w.Header())
		}
		refused(t, w, 405, "invalid_request")
	}
}

// TestNothingLeaksFromRequestToRequest: claims of one are not in the next, as in servers that keep them in a variable.
func TestNothingLeaksFromRequestToRequest(t *testing.T) {
	h := newHouse(t)
	first, _ := h.claims(t, h.serve(get("scope=repository:a:*", "alice", "wonder:land")))
	second, _ := h.claims(t, h.serve(get("")))
	if len(first.Access) != 1 || len(second.Access) != 0 || second.Subject != "" || first.ID == second.ID {
		t.Errorf("first %+v, second %+v", first, second)
	}
}

func TestConfigurationChanges(t *testing.T) {
	h := newHouse(t)
	before, _ := h.claims(t, h.serve(get("")))
	h.auth.Store(configs.Token{Service: "new.example", Issuer: "new"})
	after, _ := h.claims(t, h.serve(get("service=registry.example")))
	if before.Audience != "registry.example" || after.Audience != "new.example" || after.Issuer != "new" {
		t.Errorf("before %+v, after %+v", before, after)
	}
	for _, empty := range []*configs.Value[configs.Token]{{}, configs.NewValue(configs.Token{Service: "s"}), configs.NewValue(configs.Token{Issuer: "i"})} {
		h.Server.auth = empty
		runs := counting(h.users.checker)
		for _, r := range []*http.Request{get(""), get("", "alice", "wonder:land"), get("", "alice", "wrong"), post("", nil), httptest.NewRequest("PUT", "/token", nil)} {
			w := h.serve(r)
			refused(t, w, 503, "temporarily_unavailable")
			if w.Header().Get("Retry-After") == "" {
				t.Error("no Retry-After")
			}
		}
		if _, err := h.login(t, "alice", "wonder:land", nil); !errors.Is(err, ErrNotReady) {
			t.Errorf("Basic: %v", err)
		}
		if runs.Load() != 0 {
			t.Error("passwords were checked")
		}
	}
}

func TestChallengeIsWellFormed(t *testing.T) {
	for service, want := range map[string]string{
		"registry.example": `Basic realm="registry.example"`,
		`a"b`:              `Basic realm="registry"`,
		`a\b`:              `Basic realm="registry"`,
		"a\r\nX-Evil: 1":   `Basic realm="registry"`,
		"ä":                `Basic realm="registry"`,
	} {
		h := newHouse(t)
		h.auth.Store(configs.Token{Service: service, Issuer: "i"})
		if got := h.serve(get("", "alice", "wrong")).Header().Get("WWW-Authenticate"); got != want {
			t.Errorf("service %q: %q, want %q", service, got, want)
		}
	}
}

func TestServeKeys(t *testing.T) {
	h := newHouse(t)
	serve := func(method string) *httptest.ResponseRecorder {
		w := httptest.NewRecorder()
		h.ServeKeys(w, httptest.NewRequest(method, "/.well-known/jwks.json", nil))
		return w
	}
	w := serve("GET")
	want, err := token.MarshalJWKS(h.keys.Public())
	if err != nil || w.Code != 200 || w.Body.String() != string(want) || w.Header().Get("Content-Type") != "application/json" ||
		!strings.Contains(w.Header().Get("Cache-Control"), "max-age=") {
		t.Errorf("%d %v %s, %v", w.Code, w.Header(), w.Body, err)
	}
	if strings.Contains(w.Body.String(), `"d"`) {
		t.Error("the private part is published")
	}
	if w := serve("HEAD"); w.Code != 200 || w.Body.Len() != 0 || w.Header().Get("Content-Length") != fmt.Sprint(len(want)) {
		t.Errorf("HEAD: %d %v", w.Code, w.Header())
	}
	for _, method := range []string{"POST", "PUT", "DELETE"} {
		w := serve(method)
		refused(t, w, 405, "invalid_request")
		if w.Header().Get("Allow") != "GET, HEAD" {
			t.Errorf("%s: Allow %q", method, w.Header().Get("Allow"))
		}
	}
}

func TestMetrics(t *testing.T) {
	h := newHouse(t)
	for _, r := range []*http.Request{get(""), get("", "alice", "wonder:land"), get("", "alice", "wonder:land"), get("", "alice", "wrong"),
		get("", "nobody-in-particular", "wrong"), get("scope=x"), post("", url.Values{"grant_type": {"x"}}), httptest.NewRequest("PUT", "/", nil)} {
		h.serve(r)
	}
	families, err := h.metrics.Gather()
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]float64{}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			name := f.GetName()
			for _, l := range m.GetLabel() {
				name += "," + l.GetName() + "=" + l.GetValue()
			}
			got[name] = m.GetCounter().GetValue()
		}
	}
	want := map[string]float64{
		"gatehouse_tokens_issued_total": 3, "gatehouse_bcrypt_runs_total": 3, "gatehouse_credential_cache_hits_total": 1,
		"gatehouse_tokens_denied_total,reason=credentials": 2, "gatehouse_tokens_denied_total,reason=scope": 1,
		"gatehouse_tokens_denied_total,reason=grant_type": 1, "gatehouse_tokens_denied_total,reason=method": 1,
	}
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

// TestSecretsStayOutOfTheLog is T-SEC-11 on this side.
func TestSecretsStayOutOfTheLog(t *testing.T) {
	h := newHouse(t)
	log, logged := logTo()
	h.Server.log, h.users.log = log, log
	h.serve(get("scope=repository:a:pull", "alice", "wonder:land"))
	h.serve(get("", "alice", "canary-1"))
	h.serve(get("password=canary-2&refresh_token=canary-3&scope=canary-4"))
	h.serve(post("", url.Values{"grant_type": {"password"}, "username": {"alice"}, "password": {"canary-5"}}))
	h.Server.users = down{errors.New("backend")}
	h.serve(get("", "alice", "canary-6"))
	for _, secret := range []string{"canary", "wonder", "eyJ"} {
		if strings.Contains(logged.String(), secret) {
			t.Errorf("the log says %q:\n%s", secret, logged)
		}
	}
	if !strings.Contains(logged.String(), "backend") {
		t.Errorf("the backend's failure is not in the log:\n%s", logged)
	}
}

func TestNewRefuses(t *testing.T) {
	h := newHouse(t)
	good := Options{Users: h.users, Rules: h.rules, Keys: h.keys, Auth: h.auth, Logger: h.log}
	if _, err := New(good); err != nil {
		t.Fatal(err)
	}
	for name, change := range map[string]func(*Options){
		"users": func(o *Options) { o.Users = nil }, "rules": func(o *Options) { o.Rules = nil }, "keys": func(o *Options) { o.Keys = nil },
		"auth": func(o *Options) { o.Auth = nil }, "logger": func(o *Options) { o.Logger = nil },
		"lifetime": func(o *Options) { o.Lifetime = 4 * time.Second }, "negative lifetime": func(o *Options) { o.Lifetime = -1 },
		"metrics twice": func(o *Options) { o.Metrics = h.metrics },
	} {
		o := good
		change(&o)
		if _, err := New(o); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}
