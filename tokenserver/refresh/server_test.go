package refresh

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/bcrypt"

	"gatehouse/configs"
	"gatehouse/tokenserver"
	"gatehouse/tokenserver/access"
	"gatehouse/tokenserver/keyring"
	"gatehouse/tokenserver/token"
)

// house is a token server with everything real: users in a file, rules, keys on disk, refresh tokens, and a verifier beside it.
type house struct {
	*tokenserver.Server
	*clock
	t         testing.TB
	tokens    *Tokens
	passwords string // the htpasswd file
	auth      *configs.Value[configs.Token]
	verifier  *token.Verifier
	logged    bytes.Buffer
	events    []tokenserver.Event
}

func newHouse(t testing.TB) *house {
	t.Helper()
	dir := t.TempDir()
	h := &house{t: t, clock: newClock(), passwords: filepath.Join(dir, "htpasswd"),
		auth: configs.NewValue(configs.Token{Service: service, Issuer: "house"})}
	h.users("alice", "wonderland", "bob", "builder")
	log := slog.New(slog.NewTextHandler(&h.logged, &slog.HandlerOptions{Level: slog.LevelDebug}))
	users, err := tokenserver.OpenHtpasswd(h.passwords, tokenserver.HtpasswdOptions{Now: h.now}, log)
	h.fatal(err)
	keys, err := keyring.Open(keyring.Options{Dir: filepath.Join(dir, "keys"), Retire: time.Hour, Logger: log})
	h.fatal(err)
	rules, err := access.New(nil, true)
	h.fatal(err)
	h.tokens, err = New(Options{Dir: filepath.Join(dir, "refresh"), Now: h.now, Logger: log})
	h.fatal(err)
	h.Server, err = tokenserver.New(tokenserver.Options{
		Users: tokenserver.NewSources(tokenserver.Source{Name: "htpasswd", Authenticator: users}), Rules: rules, Keys: keys, Auth: h.auth,
		Refresh: h.tokens, Now: h.now, Logger: log,
		Audit: func(_ context.Context, e tokenserver.Event) { h.events = append(h.events, e) },
	})
	h.fatal(err)
	h.verifier = token.NewVerifier(keys.Public, func() (string, string, bool) { a := h.auth.Load(); return a.Issuer, a.Service, true }, h.now)
	return h
}

func (h *house) fatal(err error) {
	h.t.Helper()
	if err != nil {
		h.t.Fatal(err)
	}
}

// users writes the file of users anew, and has the server look at it.
func (h *house) users(pairs ...string) {
	h.t.Helper()
	var file strings.Builder
	for i := 0; i < len(pairs); i += 2 {
		hash, err := bcrypt.GenerateFromPassword([]byte(pairs[i+1]), bcrypt.MinCost)
		h.fatal(err)
		file.WriteString(pairs[i] + ":" + string(hash) + "\n")
	}
	h.fatal(os.WriteFile(h.passwords, []byte(file.String()), 0o600))
	h.at = h.at.Add(10 * time.Second)
}

// answer is what comes back for a request.
type answer struct {
	status                        int
	Token                         string
	AccessToken                   string `json:"access_token"`
	RefreshToken                  string `json:"refresh_token"`
	Scope, Error                  string
	Description, challenge, plain string
}

func (h *house) serve(r *http.Request) answer {
	h.t.Helper()
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	a := answer{status: w.Code, challenge: w.Header().Get("WWW-Authenticate"), plain: w.Body.String()}
	h.fatal(json.Unmarshal(w.Body.Bytes(), &a))
	if w.Header().Get("Cache-Control") != "no-store" || w.Header().Get("Content-Type") != "application/json" {
		h.t.Errorf("header %v", w.Header())
	}
	return a
}

func (h *house) get(query, account, password string) answer {
	h.t.Helper()
	r := httptest.NewRequest("GET", "/token?"+query, nil)
	if account+password != "" {
		r.SetBasicAuth(account, password)
	}
	return h.serve(r)
}

func (h *house) post(pairs ...string) answer {
	h.t.Helper()
	form := url.Values{}
	for i := 0; i < len(pairs); i += 2 {
		form.Add(pairs[i], pairs[i+1])
	}
	r := httptest.NewRequest("POST", "/token", strings.NewReader(form.Encode()))
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	return h.serve(r)
}

// redeem is the POST of docker with an identity token.
func (h *house) redeem(secret string) answer {
	h.t.Helper()
	return h.post("grant_type", "refresh_token", "refresh_token", secret, "service", service,
		"client_id", "docker", "scope", "repository:a:pull,push")
}

// is checks that an answer has a token for the account, and returns it.
func (h *house) is(a answer, account, grants string) answer {
	h.t.Helper()
	raw := a.AccessToken
	if raw == "" || raw != a.Token {
		h.t.Fatalf("%d %s", a.status, a.plain)
	}
	c, err := h.verifier.Verify(raw)
	h.fatal(err)
	got := ""
	for _, g := range c.Access {
		got += g.String()
	}
	if c.Subject != account || got != grants {
		h.t.Errorf("%q may %q, want %q %q", c.Subject, got, account, grants)
	}
	return a
}

// refused checks that an answer is 401 and tells nothing but that.
func (h *house) refused(a answer, secret string) {
	h.t.Helper()
	if a.status != 401 || a.Error != "invalid_grant" || a.challenge == "" ||
		a.Token+a.AccessToken+a.RefreshToken != "" || secret != "" && strings.Contains(a.plain, secret) {
		h.t.Errorf("%d %s", a.status, a.plain)
	}
}

// login is docker's, which asks for a refresh token.
func (h *house) login(account, password string) (secret string) {
	h.t.Helper()
	a := h.is(h.get("account="+account+"&client_id=docker&offline_token=true&service="+service, account, password), account, "")
	if a.RefreshToken == "" {
		h.t.Fatal("no refresh token")
	}
	return a.RefreshToken
}

// TestLifeOfARefreshToken goes through what clients do with one.
func TestLifeOfARefreshToken(t *testing.T) {
	h := newHouse(t)
	if a := h.is(h.get("service="+service, "alice", "wonderland"), "alice", ""); a.RefreshToken != "" {
		t.Error("a refresh token that nobody asked for")
	}
	if a := h.is(h.get("offline_token=true", "", ""), "", ""); a.RefreshToken != "" {
		t.Error("the anonymous have a refresh token")
	}
	secret := h.login("alice", "wonderland")
	posted := h.is(h.post("grant_type", "password", "username", "bob", "password", "builder",
		"access_type", "offline", "client_id", "containerd-client",
		"scope", "repository:b:pull"), "bob", "repository:b:pull").RefreshToken
	if posted == "" || posted == secret {
		t.Fatalf("POST: %q", posted)
	}
	for range 3 { // reusable, and the answer has the same one
		if a := h.is(h.redeem(secret), "alice", "repository:a:pull,push"); a.RefreshToken != secret || a.Scope != "repository:a:pull,push" {
			t.Errorf("%s", a.plain)
		}
	}
	for _, account := range []string{"", "<token>", "alice"} {
		for _, query := range []string{"", "&account=<token>", "&account=alice"} {
			if a := h.is(h.get("scope=repository:a:pull&offline_token=true"+query, account, secret), "alice",
				"repository:a:pull"); a.RefreshToken != "" {
				t.Errorf("%q: another refresh token for one", account)
			}
		}
	}
	h.refused(h.get("", "bob", secret), secret)
	h.refused(h.get("account=bob", "", secret), secret)
	h.refused(h.post("grant_type", "refresh_token", "refresh_token", secret, "account", "bob"), secret)
	h.refused(h.post("grant_type", "password", "username", "bob", "password", secret), secret)
	h.is(h.post("grant_type", "password", "username", "<token>", "password", secret), "alice", "")

	r := httptest.NewRequest("GET", "/v2/", nil)
	if who, _, err := h.Authenticate(r, "<token>", secret, nil); err != nil || who.Account != "alice" {
		t.Errorf("Basic on the registry: %+v, %v", who, err)
	}
	last := h.events[len(h.events)-1]
	if list, err := h.tokens.List(t.Context(), "alice"); err != nil || len(list) != 1 ||
		last.Refresh != list[0].ID || list[0].Client != "docker" || list[0].Source != "htpasswd" {
		t.Errorf("%+v, %v; event %+v", list, err, last)
	}
}

// TestRefreshTokenEnds is each way in which one ends, and what the client is told.
func TestRefreshTokenEnds(t *testing.T) {
	for name, end := range map[string]func(*house, string){
		"account removed":   func(h *house, _ string) { h.users("bob", "builder") },
		"password changed":  func(h *house, _ string) { h.users("alice", "looking-glass", "bob", "builder") },
		"same password set": func(h *house, _ string) { h.users("alice", "wonderland", "bob", "builder") },
		"revoked": func(h *house, secret string) {
			id, _ := ID(secret)
			h.fatal(h.tokens.Revoke(id))
		},
		"idle":                func(h *house, _ string) { h.at = h.at.Add(h.tokens.idle) },
		"service has changed": func(h *house, _ string) { h.auth.Store(configs.Token{Service: "new.example", Issuer: "house"}) },
	} {
		t.Run(name, func(t *testing.T) {
			h := newHouse(t)
			secret := h.login("alice", "wonderland")
			bobs := h.login("bob", "builder")
			h.is(h.redeem(secret), "alice", "repository:a:pull,push")
			end(h, secret)
			a := h.redeem(secret)
			h.refused(a, secret)
			if !strings.Contains(a.plain, "log in again") {
				t.Errorf("the client is told %s", a.plain)
			}
			h.refused(h.get("", "", secret), secret)
			h.refused(h.get("", "<token>", secret), secret)
			r := httptest.NewRequest("GET", "/v2/", nil)
			if _, _, err := h.Authenticate(r, "<token>", secret, nil); !errors.Is(err, tokenserver.ErrBadCredentials) {
				t.Errorf("Basic on the registry: %v", err)
			}
			if name == "revoked" {
				h.is(h.redeem(bobs), "bob", "repository:a:pull,push")
			}
		})
	}
}

// TestTypingError: a token that lost a character is told from one that is gone.
func TestTypingError(t *testing.T) {
	h := newHouse(t)
	secret := h.login("alice", "wonderland")
	cut, whole := h.redeem(secret[:len(secret)-1]), h.redeem(secret)
	h.refused(cut, secret[:20])
	h.is(whole, "alice", "repository:a:pull,push")
	unknown, _ := newToken("alice")
	if other := h.redeem(unknown); other.status != 401 ||
		!strings.Contains(cut.plain, "missing or changed") || strings.Contains(other.plain, "missing or changed") {
		t.Errorf("cut: %s\nunknown: %s", cut.plain, other.plain)
	}
}

// TestDiskFull: where no refresh token can be kept, the login is one without; the log says why.
func TestDiskFull(t *testing.T) {
	h := newHouse(t)
	h.fatal(os.WriteFile(h.tokens.dir, nil, 0o600)) // a file where the folder should be
	if a := h.is(h.get("offline_token=true", "alice", "wonderland"), "alice", ""); a.RefreshToken != "" {
		t.Error("a refresh token that is kept nowhere")
	}
	if !strings.Contains(h.logged.String(), "refresh token could not be made") {
		t.Errorf("logged: %s", h.logged.String())
	}
}

// TestNoRefreshTokenWithoutRecheck: a source that cannot say later how an account is has none.
func TestNoRefreshTokenWithoutRecheck(t *testing.T) {
	h := newHouse(t)
	once := tokenserver.NewSources(tokenserver.Source{Name: "once", Authenticator: onlyOnce{}})
	server, err := tokenserver.New(tokenserver.Options{Users: once, Rules: everything(t), Keys: h.keys(), Auth: h.auth,
		Refresh: h.tokens, Now: h.now,
		Logger: slog.New(slog.NewTextHandler(&h.logged, nil))})
	h.fatal(err)
	h.Server = server
	if a := h.get("offline_token=true", "carol", "x"); a.status != 200 || a.Token == "" || a.RefreshToken != "" {
		t.Errorf("%d %s", a.status, a.plain)
	}
	if ids, err := h.tokens.IDs(t.Context(), ""); err != nil || len(ids) != 0 {
		t.Errorf("%v, %v", ids, err)
	}
}

// onlyOnce is a source that proves everybody, and cannot prove anybody again.
type onlyOnce struct{}

func (onlyOnce) Authenticate(_ context.Context, account, _ string) (tokenserver.Identity, error) {
	return tokenserver.Identity{Account: account}, nil
}

func everything(t testing.TB) *access.Rules {
	t.Helper()
	rules, err := access.New(nil, true)
	if err != nil {
		t.Fatal(err)
	}
	return rules
}

// keys returns keys of their own.
func (h *house) keys() tokenserver.Keys {
	h.t.Helper()
	ring, err := keyring.Open(keyring.Options{Dir: h.t.TempDir(), Retire: time.Hour, Logger: slog.New(slog.DiscardHandler)})
	h.fatal(err)
	return ring
}

// TestSecretsAreNowhere: no log, no event and no refusal has a refresh token or a password in it.
func TestSecretsAreNowhere(t *testing.T) {
	h := newHouse(t)
	secret := h.login("alice", "wonderland")
	id, _ := ID(secret)
	canary := secret[len(Prefix)+idLength:]
	var bodies strings.Builder
	for _, a := range []answer{
		h.redeem(secret[:len(secret)-1]), h.redeem(secret + "x"), h.get("", "bob", secret),
		h.get("refresh_token="+secret+"&password="+secret, "", ""),
		h.post("grant_type", "password", "username", "alice", "password", secret),
		h.post("grant_type", "refresh_token", "refresh_token", secret, "refresh_token", "x"),
		h.post("grant_type", secret), h.post("grant_type", "refresh_token", "refresh_token", secret, "scope", "!"),
		h.get("account=bob", "alice", "wonderland"),
	} {
		if a.status != 200 { // a query with secrets is answered for what it is: anonymous
			bodies.WriteString(a.plain)
		}
	}
	h.redeem(secret)
	h.fatal(h.tokens.Revoke(id))
	bodies.WriteString(h.redeem(secret).plain)
	h.fatal(os.WriteFile(filepath.Join(h.tokens.dir, "tokens", id[:groupLength], id+".json"), []byte(secret), 0o600))
	damaged := h.redeem(secret)
	if damaged.status != 503 {
		t.Errorf("a damaged record: %d %s", damaged.status, damaged.plain)
	}
	bodies.WriteString(damaged.plain)
	events, err := json.Marshal(h.events)
	h.fatal(err)
	for what, text := range map[string]string{"log": h.logged.String(), "events": string(events), "answers": bodies.String()} {
		for _, hidden := range []string{canary, canary[:20], "wonderland", "eyJ"} {
			if strings.Contains(text, hidden) {
				t.Errorf("%s: %q is in\n%s", what, hidden, text)
			}
		}
	}
	if len(h.events) < 10 || !strings.Contains(h.logged.String(), "damaged") {
		t.Errorf("%d events, log %s", len(h.events), h.logged.String())
	}
}

// TestAuditOfRefreshTokens: the audit log tells which one was made and used, and which was refused.
func TestAuditOfRefreshTokens(t *testing.T) {
	h := newHouse(t)
	secret := h.login("alice", "wonderland")
	id, _ := ID(secret)
	h.redeem(secret)
	h.fatal(h.tokens.Revoke(id))
	h.redeem(secret)
	h.redeem(secret[:len(secret)-1])
	want := []tokenserver.Event{
		{Way: "token", Account: "alice", Client: "docker", Refresh: id},
		{Way: "refresh", Account: "alice", Client: "docker", Refresh: id},
		{Way: "refresh", Client: "docker", Refresh: id, Refused: "refresh_token"},
		{Way: "token", Client: "docker", Refused: "refresh_token"},
	}
	if len(h.events) != len(want) {
		t.Fatalf("%d events", len(h.events))
	}
	for i, e := range h.events {
		if w := want[i]; e.Way != w.Way || e.Account != w.Account || e.Client != w.Client || e.Refresh != w.Refresh || e.Refused != w.Refused {
			t.Errorf("event %d: %+v, want %+v", i, e, w)
		}
	}
}
