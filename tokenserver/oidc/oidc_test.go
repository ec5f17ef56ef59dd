package oidc

import (
	"crypto/hmac"
	"crypto/sha256"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"gatehouse/configs"
	"gatehouse/tokenserver"
)

func TestPlatforms(t *testing.T) {
	key := newSigner(t, "one", jose.RS256)
	p := newPlatform(t, key)
	now := newClock()
	for name, test := range map[string]struct {
		claims claims
		rules  []configs.OIDCRule
		want   string
		groups []string
	}{
		"GitHub": {p.github(now.now), []configs.OIDCRule{
			{Claims: map[string]string{"repository_owner_id": "66"}, Account: "never"},
			{Claims: map[string]string{"repository_owner_id": "65", "ref": "refs/heads/*"}, Account: "github/${repository}",
				Groups: []string{"ci", "ci/${environment}", "ci"}},
			{Claims: map[string]string{"repository_owner_id": "65"}, Account: "never"},
		}, "github/octo-org/octo-repo", []string{"ci", "ci/prod"}},
		"GitLab": {p.gitlab(now.now), []configs.OIDCRule{
			{Claims: map[string]string{"namespace_id": "72", "ref_protected": "true", "groups_direct": "mygroup/**", "runner_id": "1"},
				Account: "gitlab/${project_id}", Groups: []string{"gitlab", "${groups_direct}"}},
		}, "gitlab/20", []string{"gitlab", "mygroup/mysubgroup", "other"}},
		"Kubernetes": {p.kubernetes(now.now), []configs.OIDCRule{
			{Claims: map[string]string{"sub": "system:serviceaccount:my-namespace:*", "kubernetes.io/namespace": "my-*"},
				Account: "k8s/${kubernetes.io/namespace}/${kubernetes.io/serviceaccount/name}"},
		}, "k8s/my-namespace/my-serviceaccount", nil},
	} {
		t.Run(name, func(t *testing.T) {
			c := p.section()
			c.Rules = test.rules
			s := open(t, Options{Now: now.Now}, c)
			raw := key.sign(t, test.claims, nil)
			who := mustLogin(t, s, raw, test.want)
			if !slices.Equal(who.Groups, test.groups) {
				t.Errorf("it is in %q, not in %q", who.Groups, test.groups)
			}
			if exp := time.Unix(test.claims["exp"].(int64), 0); !who.Until.Equal(exp) {
				t.Errorf("it ends at %v, not at %v", who.Until, exp)
			}
			now := newClock()
			now.pass(2 * time.Hour)
			mustRefuse(t, open(t, Options{Now: now.Now}, c), raw)
		})
	}
}

func TestAlgorithms(t *testing.T) {
	for _, algorithm := range []jose.SignatureAlgorithm{jose.RS256, jose.RS384, jose.PS256, jose.ES256, jose.ES384, jose.EdDSA} {
		t.Run(string(algorithm), func(t *testing.T) {
			key, other := newSigner(t, "one", algorithm), newSigner(t, "two", jose.ES256)
			p := newPlatform(t, key, other)
			s := open(t, Options{}, p.section())
			mustLogin(t, s, key.sign(t, p.github(time.Now()), nil), "github/octo-org/octo-repo")
			mustLogin(t, s, key.sign(t, p.github(time.Now()), map[jose.HeaderKey]any{"kid": ""}), "github/octo-org/octo-repo")
			mustRefuse(t, s, key.sign(t, p.github(time.Now()), map[jose.HeaderKey]any{"kid": "two"}))
		})
	}
}

func TestHostileTokens(t *testing.T) {
	key, thief := newSigner(t, "one", jose.RS256), newSigner(t, "one", jose.RS256)
	p := newPlatform(t, key)
	other := newPlatform(t, newSigner(t, "one", jose.ES256))
	s := open(t, Options{Reserved: func(a string) bool { return a == "github/root" }}, p.section(), other.section())
	now := time.Now()
	good := p.github(now)
	mustLogin(t, s, key.sign(t, good, nil), "github/octo-org/octo-repo")
	mustLogin(t, s, key.sign(t, good.with(claims{"aud": []string{"other", audience}}), nil), "github/octo-org/octo-repo")
	mustLogin(t, s, key.sign(t, good.with(claims{"nbf": nil, "iat": nil}), nil), "github/octo-org/octo-repo")
	mustLogin(t, s, key.sign(t, good.with(claims{"iat": now.Unix() + 30, "nbf": now.Unix() + 30}), nil), "github/octo-org/octo-repo")

	for name, c := range map[string]claims{
		"another audience":       {"aud": "https://other.example.com"},
		"other audiences":        {"aud": []string{"a", audience + "/"}},
		"no audience":            {"aud": nil},
		"an empty list":          {"aud": []string{}},
		"audience is a number":   {"aud": 1},
		"audience is a section":  {"aud": claims{"x": audience}},
		"another issuer":         {"iss": "https://example.com"},
		"a known other issuer":   {"iss": other.issuer},
		"issuer with a slash":    {"iss": p.issuer + "/"},
		"no issuer":              {"iss": nil},
		"issuer is a list":       {"iss": []string{p.issuer}},
		"ended":                  {"exp": now.Unix() - 1},
		"no end":                 {"exp": nil},
		"end is null":            {"exp": json.RawMessage("null")},
		"end is a text":          {"exp": fmt.Sprint(now.Unix() + 100)},
		"end is far":             {"exp": json.RawMessage("1e300")},
		"end is before 1970":     {"exp": -1},
		"not yet":                {"nbf": now.Unix() + 3600},
		"nbf is a text":          {"nbf": "soon"},
		"made in the future":     {"iat": now.Unix() + 3600},
		"iat is a list":          {"iat": []int{1}},
		"another owner":          {"repository_owner_id": "66"},
		"owner is a number":      {"repository_owner_id": 66},
		"owner with a fraction":  {"repository_owner_id": json.RawMessage("65.0")},
		"owner is a star":        {"repository_owner_id": "*"},
		"owner with a space":     {"repository_owner_id": "65 "},
		"owner is a section":     {"repository_owner_id": claims{"65": "65"}},
		"owner is null":          {"repository_owner_id": json.RawMessage("null")},
		"no owner":               {"repository_owner_id": nil},
		"no repository":          {"repository": nil},
		"empty repository":       {"repository": ""},
		"repositories":           {"repository": []string{"octo-org/octo-repo"}},
		"repository is a star":   {"repository": "*"},
		"repository with a line": {"repository": "a\nb"},
		"repository to the left": {"repository": "a\u202eb"},
		"repository is long":     {"repository": strings.Repeat("r", 256)},
		"another's account":      {"repository": "root"},
		"giant":                  {"more": strings.Repeat("x", maxToken)},
	} {
		t.Run(name, func(t *testing.T) { mustRefuse(t, s, key.sign(t, good.with(c), nil)) })
	}
	// A place in a claim is no place.
	mustLogin(t, s, key.sign(t, good.with(claims{"repository": "${actor}"}), nil), "github/${actor}")

	mustRefuse(t, s, thief.sign(t, good, nil)) // another key of this kid
	asked := other.fetches()
	for name, header := range map[string]map[jose.HeaderKey]any{
		"jwk":  {"jwk": jose.JSONWebKey{Key: thief.key.Public(), KeyID: "one"}},
		"jku":  {"jku": "https://" + other.addr + "/keys"},
		"x5u":  {"x5u": "https://" + other.addr + "/keys"},
		"kid":  {"kid": "../../etc/passwd"},
		"crit": {"crit": []string{"exp"}, "exp": 1},
	} {
		t.Run("header "+name, func(t *testing.T) { mustRefuse(t, s, thief.sign(t, good, header)) })
	}
	if n := other.fetches() - asked; n != 0 {
		t.Errorf("another issuer was asked %d times", n)
	}
	for name, header := range map[string]map[jose.HeaderKey]any{
		"jwk": {"jwk": jose.JSONWebKey{Key: thief.key.Public(), KeyID: "one"}}, "jku": {"jku": "https://" + other.addr + "/keys"},
	} {
		t.Run("real, with "+name, func(t *testing.T) { mustLogin(t, s, key.sign(t, good, header), "github/octo-org/octo-repo") })
	}
	mustRefuse(t, s, key.sign(t, good, map[jose.HeaderKey]any{"crit": []string{"b64"}, "b64": true}))
}

func TestForgedSignatures(t *testing.T) {
	key := newSigner(t, "one", jose.RS256)
	p := newPlatform(t, key)
	s := open(t, Options{}, p.section())
	good := p.github(time.Now())
	public, err := x509.MarshalPKIXPublicKey(key.key.Public())
	if err != nil {
		t.Fatal(err)
	}
	jwk, err := json.Marshal(jose.JSONWebKey{Key: key.key.Public(), KeyID: "one"})
	if err != nil {
		t.Fatal(err)
	}
	none := func([]byte) []byte { return nil }
	for name, header := range map[string]string{
		"none": `{"alg":"none","kid":"one"}`, "None": `{"alg":"None","kid":"one"}`, "empty": `{"alg":"","kid":"one"}`,
		"absent": `{"kid":"one"}`, "RS256 without a signature": `{"alg":"RS256","kid":"one"}`, "a list": `{"alg":["RS256"],"kid":"one"}`,
		"no JSON": `{"alg"`,
	} {
		t.Run(name, func(t *testing.T) { mustRefuse(t, s, forge(t, header, good, none)) })
	}
	for name, secret := range map[string][]byte{
		"DER": public, "PEM": pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: public}), "JWK": jwk, "nothing": nil,
	} {
		t.Run("HS256 by "+name, func(t *testing.T) {
			mustRefuse(t, s, forge(t, `{"alg":"HS256","kid":"one"}`, good, func(input []byte) []byte {
				mac := hmac.New(sha256.New, secret)
				mac.Write(input)
				return mac.Sum(nil)
			}))
		})
	}
	raw := key.sign(t, good, nil)
	parts := strings.Split(raw, ".")
	evil := strings.Split(key.sign(t, good.with(claims{"repository": "octo-org/other"}), nil), ".")
	for name, text := range map[string]string{
		"another's signature": parts[0] + "." + parts[1] + "." + evil[2], "cut": raw[:len(raw)-4], "longer": raw + "AAAA",
		"four parts": raw + ".", "two parts": parts[0] + "." + parts[1], "a line at the end": raw + "\n",
		"padded":     parts[0] + "." + parts[1] + "." + parts[2] + "=",
		"JSON":       `{"payload":"` + parts[1] + `","protected":"` + parts[0] + `","signature":"` + parts[2] + `"}`,
		"a password": "secret", "nothing": "", "dots": "eyJ..", "a header": "eyJ.a.b",
	} {
		t.Run(name, func(t *testing.T) { mustRefuse(t, s, text) })
	}
}

func TestOwns(t *testing.T) {
	key := newSigner(t, "one", jose.ES256)
	p := newPlatform(t, key)
	c := p.section()
	c.Login = "oidc"
	s := open(t, Options{}, c)
	raw := key.sign(t, p.github(time.Now()), nil)
	if !s.Owns("", raw) || !s.Owns("alice", raw) || !s.Owns("oidc", raw) {
		t.Error("a token is not owned")
	}
	for _, no := range []string{"", "secret", "eyJ", "eyJ..", "eyJ.eyJ.x", raw + ".x", key.sign(t, claims{"iss": "https://example.com"}, nil),
		key.sign(t, claims{}, nil), key.sign(t, []string{p.issuer}, nil), "x" + raw} {
		if s.Owns("oidc", no) {
			t.Errorf("%q is owned", no)
		}
	}
	if who, err := s.Authenticate(t.Context(), "oidc", raw); err != nil || who.Account == "" {
		t.Errorf("%+v, %v", who, err)
	}
	for _, account := range []string{"", "any", "OIDC"} {
		if who, err := s.Authenticate(t.Context(), account, raw); !errors.Is(err, tokenserver.ErrBadCredentials) {
			t.Errorf("as %q: %+v, %v", account, who, err)
		}
	}
	// Beside others the token is this source's alone.
	s = open(t, Options{}, p.section())
	sources := tokenserver.NewSources(s.Source(), tokenserver.Source{Name: "never", Authenticator: s})
	if who, err := sources.Authenticate(t.Context(), "any", raw); err != nil || who.Source != "oidc" {
		t.Errorf("%+v, %v", who, err)
	}
	known := tokenserver.Identity{Account: "github/octo-org/octo-repo", Source: "oidc"}
	if _, err := sources.Recheck(t.Context(), known); !errors.Is(err, tokenserver.ErrBadCredentials) {
		t.Errorf("checked again without a token: %v", err)
	}
}

func TestKeyFile(t *testing.T) {
	one, two := newSigner(t, "one", jose.ES256), newSigner(t, "two", jose.ES256)
	p := newPlatform(t)
	p.stop()
	file := filepath.Join(t.TempDir(), "jwks.json")
	write := func(keys ...signer) {
		t.Helper()
		p.publish(keys...)
		data, err := json.Marshal(jose.JSONWebKeySet{Keys: p.keys})
		if err == nil {
			err = os.WriteFile(file, data, 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	c := p.section()
	c.JWKSFile, c.CAFile = file, ""
	if _, err := New([]configs.OIDC{c}, Options{}, slog.New(slog.DiscardHandler)); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a file that is missing: %v", err)
	}
	write()
	if _, err := New([]configs.OIDC{c}, Options{}, slog.New(slog.DiscardHandler)); err == nil {
		t.Error("a file without keys is taken")
	}
	write(one)
	now := newClock()
	s := open(t, Options{Now: now.Now}, c)
	byOne, byTwo := one.sign(t, p.github(now.now), nil), two.sign(t, p.github(now.now), nil)
	mustLogin(t, s, byOne, "github/octo-org/octo-repo")
	mustRefuse(t, s, byTwo)
	write(two)
	now.pass(freshFileFor)
	mustRefuse(t, s, byOne)
	mustLogin(t, s, byTwo, "github/octo-org/octo-repo")
	if err := os.WriteFile(file, []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	now.pass(freshFileFor)
	mustLogin(t, s, byTwo, "github/octo-org/octo-repo") // what was good stays
	if err := errors.Join(os.Remove(file), syscall.Mkfifo(file, 0o600)); err != nil {
		t.Fatal(err)
	}
	now.pass(freshFileFor)
	mustLogin(t, s, byTwo, "github/octo-org/octo-repo") // and nobody waits for a pipe
	if _, err := New([]configs.OIDC{c}, Options{}, slog.New(slog.DiscardHandler)); err == nil || !strings.Contains(err.Error(), "regular file") {
		t.Errorf("a pipe: %v", err)
	}
}
