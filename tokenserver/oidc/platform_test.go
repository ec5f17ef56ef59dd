package oidc

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"encoding/base64"
	"encoding/json"
	"errors"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"gatehouse/configs"
	"gatehouse/testbench"
	"gatehouse/tokenserver"
)

// platform is an issuer: a real HTTPS server with OpenID Connect's configuration and keys, that can be stopped and started again.
type platform struct {
	t      *testing.T
	issuer string
	addr   string
	cert   testbench.Certificate

	mu       sync.Mutex
	keys     []jose.JSONWebKey
	document string // in place of the configuration
	asked    int    // for keys
	server   *http.Server
}

// newPlatform starts an issuer that has keys.
func newPlatform(t *testing.T, keys ...signer) *platform {
	t.Helper()
	p := &platform{t: t, addr: testbench.FreeAddr(t), cert: testbench.NewCertificate(t, "127.0.0.1")}
	p.issuer = "https://" + p.addr + "/issuer"
	p.publish(keys...)
	p.start()
	t.Cleanup(p.stop)
	return p
}

func (p *platform) start() {
	p.t.Helper()
	pair, err := tls.LoadX509KeyPair(p.cert.CertFile, p.cert.KeyFile)
	if err != nil {
		p.t.Fatal(err)
	}
	l, err := net.Listen("tcp", p.addr)
	if err != nil {
		p.t.Fatal(err)
	}
	p.server = &http.Server{Handler: p, ErrorLog: slog.NewLogLogger(slog.DiscardHandler, 0)}
	go p.server.Serve(tls.NewListener(l, &tls.Config{Certificates: []tls.Certificate{pair}}))
}

func (p *platform) stop() { p.server.Close() }

// publish replaces the keys.
func (p *platform) publish(keys ...signer) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.keys = nil
	for _, k := range keys {
		p.keys = append(p.keys, jose.JSONWebKey{Key: k.key.Public(), KeyID: k.kid, Algorithm: string(k.algorithm), Use: "sig"})
	}
}

// fetches is how often keys were asked for.
func (p *platform) fetches() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.asked
}

func (p *platform) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch r.URL.Path {
	case "/issuer/.well-known/openid-configuration":
		if p.document != "" {
			w.Write([]byte(p.document))
			return
		}
		json.NewEncoder(w).Encode(map[string]any{"issuer": p.issuer, "jwks_uri": "https://" + p.addr + "/keys",
			"id_token_signing_alg_values_supported": []string{"none", "HS256", "RS256"}})
	case "/keys":
		p.asked++
		json.NewEncoder(w).Encode(jose.JSONWebKeySet{Keys: p.keys})
	default:
		http.NotFound(w, r)
	}
}

// signer is a key of an issuer.
type signer struct {
	kid       string
	algorithm jose.SignatureAlgorithm
	key       crypto.Signer
}

func newSigner(t *testing.T, kid string, algorithm jose.SignatureAlgorithm) signer {
	t.Helper()
	var key crypto.Signer
	var err error
	switch algorithm {
	case jose.EdDSA:
		_, key, err = ed25519.GenerateKey(rand.Reader)
	case jose.ES256:
		key, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	case jose.ES384:
		key, err = ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	case jose.RS256, jose.RS384, jose.PS256:
		key, err = rsa.GenerateKey(rand.Reader, 2048)
	default:
		err = errors.New("no such algorithm in tests")
	}
	if err != nil {
		t.Fatal(err)
	}
	return signer{kid, algorithm, key}
}

// claims are those of a token; with changes some of them.
type claims map[string]any

func (c claims) with(changes claims) claims {
	c = maps.Clone(c)
	for name, value := range changes {
		if c[name] = value; value == nil {
			delete(c, name)
		}
	}
	return c
}

// sign makes a token. header is added to what the key says.
func (s signer) sign(t *testing.T, c any, header map[jose.HeaderKey]any) string {
	t.Helper()
	o := &jose.SignerOptions{ExtraHeaders: map[jose.HeaderKey]any{"kid": s.kid, "typ": "JWT"}}
	maps.Copy(o.ExtraHeaders, header)
	if o.ExtraHeaders["kid"] == "" {
		delete(o.ExtraHeaders, "kid")
	}
	with, err := jose.NewSigner(jose.SigningKey{Algorithm: s.algorithm, Key: s.key}, o)
	if err != nil {
		t.Fatal(err)
	}
	payload, err := json.Marshal(c)
	if err != nil {
		t.Fatal(err)
	}
	jws, err := with.Sign(payload)
	if err != nil {
		t.Fatal(err)
	}
	raw, err := jws.CompactSerialize()
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

// forge makes a token of any header, with a signature by sign over what is signed.
func forge(t *testing.T, header string, c claims, sign func(input []byte) []byte) string {
	t.Helper()
	payload, err := json.Marshal(c)
	if err != nil {
		t.Fatal(err)
	}
	encode := base64.RawURLEncoding.EncodeToString
	input := encode([]byte(header)) + "." + encode(payload)
	return input + "." + encode(sign([]byte(input)))
}

const audience = "https://registry.example.com"

// github are the claims of a token of GitHub Actions, as its documentation shows them.
func (p *platform) github(now time.Time) claims {
	return claims{
		"jti": "example-id", "sub": "repo:octo-org/octo-repo:environment:prod", "environment": "prod", "aud": audience,
		"ref": "refs/heads/main", "sha": "example-sha", "repository": "octo-org/octo-repo", "repository_owner": "octo-org",
		"actor_id": "12", "repository_visibility": "private", "repository_id": "74", "repository_owner_id": "65", "run_id": "1",
		"run_number": "10", "run_attempt": "2", "runner_environment": "github-hosted", "actor": "octocat", "workflow": "example",
		"head_ref": "", "base_ref": "", "event_name": "workflow_dispatch", "ref_type": "branch",
		"job_workflow_ref": "octo-org/octo-automation/.github/workflows/oidc.yml@refs/heads/main",
		"iss":              p.issuer, "nbf": now.Add(-10 * time.Minute).Unix(), "exp": now.Add(5 * time.Minute).Unix(), "iat": now.Unix(),
	}
}

// gitlab are those of an ID token of GitLab.
func (p *platform) gitlab(now time.Time) claims {
	return claims{
		"namespace_id": "72", "namespace_path": "my-group", "project_id": "20", "project_path": "my-group/my-project", "user_id": "1",
		"user_login": "sample-user", "user_identities": []any{map[string]any{"provider": "github", "extern_uid": "2435223452345"}},
		"pipeline_id": "574", "pipeline_source": "push", "job_id": "302", "ref": "feature-branch-1", "ref_type": "branch",
		"ref_path": "refs/heads/feature-branch-1", "ref_protected": "true", "groups_direct": []any{"mygroup/mysubgroup", "other"},
		"runner_id": 1, "runner_environment": "self-hosted", "sha": "714a629c0b401fdce83e847fc9589983fc6f46bc",
		"jti": "235b3a54-b797-45c7-ae9a-f72d7bc6ef5b", "iat": now.Unix(), "nbf": now.Add(-5 * time.Second).Unix(),
		"exp": now.Add(time.Hour).Unix(), "iss": p.issuer, "sub": "project_path:my-group/my-project:ref_type:branch:ref:feature-branch-1",
		"aud": audience,
	}
}

// kubernetes are those of a projected token of a service account.
func (p *platform) kubernetes(now time.Time) claims {
	return claims{
		"aud": []any{audience}, "exp": now.Add(time.Hour).Unix(), "iat": now.Unix(), "nbf": now.Unix(), "iss": p.issuer,
		"jti": "ea28ed49-2e11-4280-9ec5-bc3d1d84661a",
		"kubernetes.io": map[string]any{
			"namespace": "my-namespace", "node": map[string]any{"name": "my-node", "uid": "646e7c5e-32d6-4d42-9dbd-e504e6cbe6b1"},
			"pod":            map[string]any{"name": "my-pod", "uid": "5e0bd49b-f040-43b0-99b7-22765a53f7f3"},
			"serviceaccount": map[string]any{"name": "my-serviceaccount", "uid": "14ee3fa4-a7e2-420f-9f9a-dbc4507c3798"},
			"warnafter":      now.Add(50 * time.Minute).Unix(),
		},
		"sub": "system:serviceaccount:my-namespace:my-serviceaccount",
	}
}

// clock is a clock that stands until it is moved.
type clock struct {
	mu  sync.Mutex
	now time.Time
}

func newClock() *clock { return &clock{now: time.Now()} }

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *clock) pass(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

// section is the configuration for p: one rule, by which any of the octo-org's repositories is ci/REPOSITORY.
func (p *platform) section() configs.OIDC {
	return configs.OIDC{Issuer: p.issuer, Audience: audience, CAFile: p.cert.CAFile, Rules: []configs.OIDCRule{{
		Claims: map[string]string{"repository_owner_id": "65"}, Account: "github/${repository}", Groups: []string{"ci"},
	}}}
}

func open(t *testing.T, o Options, list ...configs.OIDC) *Issuers {
	t.Helper()
	s, err := New(list, o, slog.New(slog.NewTextHandler(t.Output(), nil)))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func mustLogin(t *testing.T, s *Issuers, raw, want string) tokenserver.Identity {
	t.Helper()
	if !s.Owns("any", raw) {
		t.Error("the token is not taken for one of the issuer's")
	}
	who, err := s.Authenticate(t.Context(), "any", raw)
	if err != nil {
		t.Fatalf("the token is no login: %v", err)
	}
	if who.Account != want {
		t.Fatalf("the token is %q, not %q", who.Account, want)
	}
	return who
}

func mustRefuse(t *testing.T, s *Issuers, raw string) {
	t.Helper()
	who, err := s.Authenticate(t.Context(), "any", raw)
	if !errors.Is(err, tokenserver.ErrBadCredentials) || who.Account != "" || who.Groups != nil {
		t.Errorf("the token is %+v, %v; not ErrBadCredentials", who, err)
	}
}

// mustFail checks that a token cannot be judged.
func mustFail(t *testing.T, s *Issuers, raw string) {
	t.Helper()
	who, err := s.Authenticate(t.Context(), "any", raw)
	if err == nil || errors.Is(err, tokenserver.ErrBadCredentials) || errors.Is(err, tokenserver.ErrBusy) || who.Account != "" {
		t.Errorf("the token is %+v, %v; not the failure of an issuer", who, err)
	}
	if err != nil && strings.Contains(err.Error(), raw) {
		t.Errorf("the error shows the token: %v", err)
	}
}
