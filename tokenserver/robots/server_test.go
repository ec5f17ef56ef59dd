package robots

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"gatehouse/configs"
	"gatehouse/tokenserver"
	"gatehouse/tokenserver/access"
	"gatehouse/tokenserver/refresh"
	"gatehouse/tokenserver/token"
)

// oneKey is tokenserver.Keys with one.
type oneKey struct{ key *token.Key }

func (o oneKey) Active() *token.Key        { return o.key }
func (o oneKey) Public() []token.PublicKey { return []token.PublicKey{o.key.Public()} }

// newServer returns a token server whose accounts are y's robots, whose access rules allow every account everything, and which has
// refresh tokens.
func newServer(t *testing.T, y *yard) *tokenserver.Server {
	t.Helper()
	rules, err := access.New(nil, true)
	if err != nil {
		t.Fatal(err)
	}
	key, err := token.GenerateKey()
	if err != nil {
		t.Fatal(err)
	}
	quiet, now := slog.New(slog.DiscardHandler), func() time.Time { return y.at }
	tokens, err := refresh.New(refresh.Options{Dir: filepath.Join(t.TempDir(), "refresh"), Now: now, Logger: quiet})
	if err != nil {
		t.Fatal(err)
	}
	s, err := tokenserver.New(tokenserver.Options{
		Users: tokenserver.NewSources(tokenserver.Source{Name: "robot", Authenticator: y.Robots, Owns: y.Owns}),
		Rules: rules, Keys: oneKey{key}, Refresh: tokens, Now: now, Logger: quiet,
		Auth: configs.NewValue(configs.Token{Service: "registry.example", Issuer: "house"}),
	})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// answer is the token server's.
type answer struct {
	status    int
	Scope     string `json:"scope"`
	Refresh   string `json:"refresh_token"`
	ExpiresIn int    `json:"expires_in"`
}

// post asks for a token by OAuth2.
func post(t *testing.T, s *tokenserver.Server, form url.Values) answer {
	t.Helper()
	form.Set("service", "registry.example")
	form.Set("client_id", "test")
	r := httptest.NewRequest("POST", "/token", strings.NewReader(form.Encode()))
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	w := httptest.NewRecorder()
	s.ServeHTTP(w, r)
	a := answer{status: w.Code}
	if err := json.Unmarshal(w.Body.Bytes(), &a); err != nil {
		t.Fatal(err)
	}
	return a
}

// TestScopeBindsEveryWay is T-SEC-20: a robot may do the same with Basic on the registry, by a token and by a refresh token, whatever
// the access rules allow.
func TestScopeBindsEveryWay(t *testing.T) {
	y := newYard(t)
	secret := y.add("ci", "team-a/**", time.Time{})
	s := newServer(t, y)
	password := url.Values{"grant_type": {"password"}, "username": {"robot$ci"}, "password": {secret}, "access_type": {"offline"}}
	first := post(t, s, password)
	if first.status != 200 || first.Refresh == "" {
		t.Fatalf("login: %+v", first)
	}
	for scope, want := range map[string]string{
		"repository:team-a/app:pull,push": "repository:team-a/app:pull,push",
		"repository:team-a/app:*":         "repository:team-a/app:pull,push",
		"repository:team-b/app:pull,push": "", "registry:catalog:*": "", "repository:team-a/app:delete": "", "repository:team-a:pull": "",
	} {
		wanted, err := token.ParseScopes([]string{scope})
		if err != nil {
			t.Fatal(err)
		}
		_, granted, err := s.Authenticate(httptest.NewRequest(http.MethodGet, "/v2/", nil), "robot$ci", secret, wanted)
		basic := ""
		for _, a := range granted {
			basic += a.String()
		}
		password.Set("scope", scope)
		byPassword := post(t, s, password)
		byRefresh := post(t, s, url.Values{"grant_type": {"refresh_token"}, "refresh_token": {first.Refresh}, "scope": {scope}})
		if err != nil || basic != want || byPassword.Scope != want ||
			byRefresh.Scope != want || byPassword.status != 200 || byRefresh.status != 200 {
			t.Errorf("%s: Basic %q, %v; password %+v; refresh %+v; want %q", scope, basic, err, byPassword, byRefresh, want)
		}
	}
}

// TestRefreshTokensEndWithTheRobot: by rotation, removal, a new robot of the name, and expiry; no token outlives it.
func TestRefreshTokensEndWithTheRobot(t *testing.T) {
	for name, end := range map[string]func(*yard) error{
		"rotated": func(y *yard) error { _, err := y.Rotate("ci", nil); return err },
		"removed": func(y *yard) error { return y.Remove("ci") },
		"made anew": func(y *yard) error {
			err := y.Remove("ci")
			y.add("ci", "a", time.Time{})
			return err
		},
		"expired": func(y *yard) error { y.at = y.at.Add(time.Minute); return nil },
	} {
		t.Run(name, func(t *testing.T) {
			y := newYard(t)
			secret := y.add("ci", "a", y.at.Add(time.Minute))
			s := newServer(t, y)
			login := post(t, s, url.Values{"grant_type": {"password"}, "username": {"robot$ci"}, "password": {secret}, "access_type": {"offline"}})
			if login.status != 200 || login.ExpiresIn != 60 {
				t.Fatalf("login: %+v", login)
			}
			again := url.Values{"grant_type": {"refresh_token"}, "refresh_token": {login.Refresh}}
			if a := post(t, s, again); a.status != 200 {
				t.Fatalf("before: %+v", a)
			}
			if err := end(y); err != nil {
				t.Fatal(err)
			}
			if a := post(t, s, again); a.status == 200 {
				t.Errorf("after: %+v", a)
			}
		})
	}
}

// TestUnknownRobotIsAnsweredAsAWrongSecret is T-SEC-15 for robots: status, header and body are the same.
func TestUnknownRobotIsAnsweredAsAWrongSecret(t *testing.T) {
	y := newYard(t)
	ci, old := y.add("ci", "a", time.Time{}), y.add("old", "a", y.at.Add(time.Minute))
	y.at = y.at.Add(time.Minute)
	s := newServer(t, y)
	ask := func(account, secret string) string {
		r := httptest.NewRequest("GET", "/token", nil)
		r.SetBasicAuth(account, secret)
		w := httptest.NewRecorder()
		s.ServeHTTP(w, r)
		return fmt.Sprint(w.Code, w.Header(), w.Body)
	}
	want := ask("robot$ci", newSecret())
	for what, got := range map[string]string{"unknown": ask("robot$x", ci), "another's": ask("robot$old", ci),
		"expired":         ask("robot$old", old),
		"a person's name": ask("alice", ci), "traversal": ask("robot$../ci", ci), "nonsense": ask("robot$ci", "x")} {
		if got != want || !strings.HasPrefix(got, "401") {
			t.Errorf("%s: %s\nwant %s", what, got, want)
		}
	}
	if got := ask("robot$ci", ci); !strings.HasPrefix(got, "200") {
		t.Errorf("the right one: %s", got)
	}
}
