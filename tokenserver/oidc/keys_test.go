package oidc

import (
	"crypto/rand"
	"crypto/rsa"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/prometheus/client_golang/prometheus"

	"gatehouse/testbench"
	"gatehouse/tokenserver"
)

const octo = "github/octo-org/octo-repo"

func TestRotation(t *testing.T) {
	one, two := newSigner(t, "one", jose.ES256), newSigner(t, "two", jose.RS256)
	p := newPlatform(t, one)
	now := newClock()
	s := open(t, Options{Now: now.Now}, p.section())
	sign := func(k signer) string { return k.sign(t, p.github(now.Now()), nil) }
	mustLogin(t, s, sign(one), octo)
	mustLogin(t, s, sign(one), octo)
	if n := p.fetches(); n != 1 {
		t.Errorf("keys were fetched %d times, not once", n)
	}
	p.publish(one, two)
	now.pass(fetchEvery)
	mustLogin(t, s, sign(two), octo) // an unknown key has them fetched
	mustLogin(t, s, sign(one), octo)
	if n := p.fetches(); n != 2 {
		t.Errorf("keys were fetched %d times, not twice", n)
	}
	// A key that is withdrawn is used for one request more, beside which keys are fetched.
	p.publish(two)
	now.pass(freshFor)
	mustLogin(t, s, sign(one), octo)
	testbench.Eventually(t, time.Minute, "the end of a key", func() error {
		if _, err := s.Authenticate(t.Context(), "any", sign(one)); !errors.Is(err, tokenserver.ErrBadCredentials) {
			return fmt.Errorf("it is still used: %v", err)
		}
		return nil
	})
	// After a long rest for none.
	p.publish(one)
	now.pass(2 * freshFor)
	mustRefuse(t, s, sign(two))
	mustLogin(t, s, sign(one), octo)
}

func TestUnknownKeysDoNotFlood(t *testing.T) {
	one := newSigner(t, "one", jose.ES256)
	p := newPlatform(t, one)
	now := newClock()
	s := open(t, Options{Now: now.Now}, p.section())
	mustLogin(t, s, one.sign(t, p.github(now.Now()), nil), octo)
	flood := func() {
		var all sync.WaitGroup
		for i := range 50 {
			raw := one.sign(t, p.github(now.Now()), map[jose.HeaderKey]any{"kid": fmt.Sprint("unknown ", i)})
			all.Go(func() { mustRefuse(t, s, raw) })
		}
		all.Wait()
	}
	flood()
	if n := p.fetches(); n != 1 {
		t.Errorf("keys were fetched %d times in a moment, not once", n)
	}
	now.pass(fetchEvery)
	flood()
	if n := p.fetches(); n != 2 {
		t.Errorf("keys were fetched %d times, not twice", n)
	}
}

func TestOutage(t *testing.T) {
	one, two := newSigner(t, "one", jose.ES256), newSigner(t, "two", jose.ES256)
	p := newPlatform(t, one)
	p.stop()
	now := newClock()
	metrics := prometheus.NewRegistry()
	o := Options{Now: now.Now, Dir: filepath.Join(t.TempDir(), "oidc"), Metrics: metrics}
	s := open(t, o, p.section())
	sign := func(k signer) string { return k.sign(t, p.github(now.Now()), nil) }
	mustFail(t, s, sign(one)) // no keys, ever
	mustFail(t, s, sign(two))
	p.start()
	mustFail(t, s, sign(one)) // not asked again yet
	now.pass(fetchEvery)
	mustLogin(t, s, sign(one), octo)

	p.stop()
	now.pass(1000 * time.Hour)
	mustLogin(t, s, sign(one), octo)
	now.pass(fetchEvery)
	mustFail(t, s, sign(two)) // it may be one that came since
	forged := p.github(now.Now())
	mustRefuse(t, s, newSigner(t, "one", jose.ES256).sign(t, forged, nil))

	// Another process has the keys from disk.
	o.Metrics = nil
	s = open(t, o, p.section())
	mustLogin(t, s, sign(one), octo)
	mustFail(t, s, sign(two))
	p.publish(two)
	p.start()
	now.pass(retryEvery)
	mustRefuse(t, s, sign(one))
	mustLogin(t, s, sign(two), octo)
	families, err := metrics.Gather()
	if err != nil || len(families) != 3 {
		t.Errorf("%d metrics, %v", len(families), err)
	}
}

func TestKeptKeys(t *testing.T) {
	one := newSigner(t, "one", jose.ES256)
	p := newPlatform(t, one)
	dir := t.TempDir()
	now := newClock()
	mustLogin(t, open(t, Options{Dir: dir, Now: now.Now}, p.section()), one.sign(t, p.github(now.Now()), nil), octo)
	p.stop()
	files, err := filepath.Glob(filepath.Join(dir, "*.json"))
	if err != nil || len(files) != 1 {
		t.Fatalf("%q, %v", files, err)
	}
	info, err := os.Stat(files[0])
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", info.Mode(), err)
	}
	data, err := os.ReadFile(files[0])
	if err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{
		"broken": "{", "empty": "", "of another issuer": strings.Replace(string(data), p.issuer, "https://example.com", 1),
		"huge": strings.Repeat(" ", maxDocument+1) + string(data),
	} {
		t.Run(name, func(t *testing.T) {
			if err := os.WriteFile(files[0], []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
			mustFail(t, open(t, Options{Dir: dir, Now: now.Now}, p.section()), one.sign(t, p.github(now.Now()), nil))
		})
	}
}

func TestHostileDiscovery(t *testing.T) {
	one := newSigner(t, "one", jose.ES256)
	p := newPlatform(t, one)
	inPlain := httptest.NewServer(p)
	defer inPlain.Close()
	for name, document := range map[string]string{
		"no JSON": "<html>", "another issuer": `{"issuer":"https://example.com","jwks_uri":"https://` + p.addr + `/keys"}`,
		"no keys":       `{"issuer":"` + p.issuer + `"}`,
		"keys in plain": `{"issuer":"` + p.issuer + `","jwks_uri":"` + inPlain.URL + `/keys"}`,
		"keys in files": `{"issuer":"` + p.issuer + `","jwks_uri":"file:///etc/passwd"}`,
		"not there":     `{"issuer":"` + p.issuer + `","jwks_uri":"https://` + p.addr + `/none"}`,
		"endless": `{"issuer":"` + p.issuer + `","jwks_uri":"https://` + p.addr + `/keys","more":"` +
			strings.Repeat("x", maxDocument) + `"}`,
	} {
		t.Run(name, func(t *testing.T) {
			p.mu.Lock()
			p.document = document
			p.mu.Unlock()
			mustFail(t, open(t, Options{}, p.section()), one.sign(t, p.github(time.Now()), nil))
		})
	}
	p.mu.Lock()
	p.document = ""
	p.mu.Unlock()
	c := p.section()
	mustLogin(t, open(t, Options{}, c), one.sign(t, p.github(time.Now()), nil), octo)
	c.CAFile = testbench.NewCertificate(t, "127.0.0.1").CAFile
	mustFail(t, open(t, Options{}, c), one.sign(t, p.github(time.Now()), nil))
	c.CAFile = ""
	mustFail(t, open(t, Options{}, c), one.sign(t, p.github(time.Now()), nil))
}

func TestRedirects(t *testing.T) {
	https, err := http.NewRequest(http.MethodGet, "https://example.com/", nil)
	if err != nil {
		t.Fatal(err)
	}
	client, err := newClient("")
	if err != nil {
		t.Fatal(err)
	}
	for to, allowed := range map[string]bool{"https://other.example.com/": true, "http://example.com/": false, "file:///etc/passwd": false} {
		r, err := http.NewRequest(http.MethodGet, to, nil)
		if err != nil {
			t.Fatal(err)
		}
		if err := client.CheckRedirect(r, []*http.Request{https}); (err == nil) != allowed {
			t.Errorf("from https to %s: %v", to, err)
		}
		if err := client.CheckRedirect(r, []*http.Request{https, https, https, https}); err == nil {
			t.Error("redirects do not end")
		}
	}
}

func TestUnusableKeys(t *testing.T) {
	short, err := rsa.GenerateKey(rand.Reader, 1024)
	if err != nil {
		t.Fatal(err)
	}
	good := newSigner(t, "good", jose.ES256)
	key := func(k jose.JSONWebKey) string {
		data, err := json.Marshal(k)
		if err != nil {
			t.Fatal(err)
		}
		return string(data)
	}
	for name, text := range map[string]string{
		"a secret":     key(jose.JSONWebKey{Key: []byte("0123456789abcdef0123456789abcdef"), KeyID: "k"}),
		"private":      key(jose.JSONWebKey{Key: good.key, KeyID: "k"}),
		"encryption":   key(jose.JSONWebKey{Key: good.key.Public(), KeyID: "k", Use: "enc"}),
		"short":        key(jose.JSONWebKey{Key: short.Public(), KeyID: "k"}),
		"HS256 by EC":  key(jose.JSONWebKey{Key: good.key.Public(), KeyID: "k", Algorithm: "HS256"}),
		"ES384 by 256": key(jose.JSONWebKey{Key: good.key.Public(), KeyID: "k", Algorithm: "ES384"}),
		"unknown":      `{"kty":"new","kid":"k"}`,
		"no section":   `1`,
	} {
		t.Run(name, func(t *testing.T) {
			if set, err := parseKeys([]byte(`{"keys":[` + text + `]}`)); err == nil {
				t.Errorf("%d keys are taken", len(set))
			}
			both := `{"keys":[` + text + `,` + key(jose.JSONWebKey{Key: good.key.Public(), KeyID: "good"}) + `]}`
			if set, err := parseKeys([]byte(both)); err != nil || len(set) != 1 || set[0].KeyID != "good" {
				t.Errorf("beside a good one: %d keys, %v", len(set), err)
			}
		})
	}
	for _, text := range []string{"", "[]", `{"keys":{}}`, `{"keys":[]}`, "null"} {
		if _, err := parseKeys([]byte(text)); err == nil {
			t.Errorf("%q is a set", text)
		}
	}
}
