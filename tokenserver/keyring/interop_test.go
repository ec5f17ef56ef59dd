package keyring

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"testing"
	"time"

	"gatehouse/testbench"
	"gatehouse/tokenserver/token"
)

// trusting starts a real registry that verifies tokens with a bundle and, if it is not empty, with a JWK set, and returns what it
// answers to a token.
func trusting(t *testing.T, program string, bundle, jwks []byte) func(raw string) int {
	t.Helper()
	dir := t.TempDir()
	config, set := filepath.Join(dir, "config.yml"), ""
	if len(jwks) > 0 {
		set = ", jwks: " + filepath.Join(dir, "jwks.json")
	}
	text := fmt.Sprintf(`version: 0.1
log: {level: error, accesslog: {disabled: true}}
storage: {inmemory: {}}
http: {secret: test}
auth: {token: {realm: "https://auth.example.com/token", service: s, issuer: i, rootcertbundle: %q%s}}
`, filepath.Join(dir, "bundle.pem"), set)
	for name, data := range map[string][]byte{"config.yml": []byte(text), "bundle.pem": bundle, "jwks.json": jwks} {
		if err := os.WriteFile(filepath.Join(dir, name), data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	d := testbench.StartDistribution(t, program, config)
	return func(raw string) int {
		t.Helper()
		r, err := http.NewRequest("GET", d.URL+"/v2/", nil)
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Authorization", "Bearer "+raw)
		answer, err := http.DefaultClient.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		if err := answer.Body.Close(); err != nil {
			t.Fatal(err)
		}
		return answer.StatusCode
	}
}

// distributions are the registries of others that tokens are for.
var distributions = []string{"docker-registry", "registry-3.0", "registry"}

// TestDistributionX5C: a registry that was told of the token CA once accepts every key, without a restart.
func TestDistributionX5C(t *testing.T) {
	for _, program := range distributions {
		t.Run(program, func(t *testing.T) {
			b := newBench(t)
			b.o.Now, b.o.X5C = nil, true
			b.at = time.Now()
			b.open()
			ask := trusting(t, program, b.export(), nil)
			for _, algorithm := range []string{token.ES256, token.ES256, token.RS256} {
				raw := b.sign()
				if got := ask(raw); got != 200 {
					t.Errorf("a token of %s is answered %d", b.ring.Active().Public().Algorithm(), got)
				}
				if got := ask(raw[:len(raw)-9] + "AAAAAAAAA"); got != 401 {
					t.Errorf("a forged token is answered %d", got)
				}
				b.rotate(Rotation{Now: true, Algorithm: algorithm})
				b.ring.tick()
			}
			b.rotate(Rotation{Now: true, RenewCA: true})
			b.ring.tick()
			if got := ask(b.sign()); got != 401 {
				t.Errorf("a token of another CA is answered %d", got)
			}
		})
	}
}

// TestDistributionBundle: without x5c registry 2.x finds a key by its libtrust id among the certificates, an imported one that has
// run out included, and registry 3.x in the JWK set.
func TestDistributionBundle(t *testing.T) {
	for _, program := range distributions {
		t.Run(program, func(t *testing.T) {
			b := newBench(t)
			b.o.Now = nil
			b.at = time.Now()
			old := newKey(t, token.RS256)
			if _, err := b.folder().Import(old, ownCertificate(t, old), true); err != nil {
				t.Fatal(err)
			}
			b.open()
			b.rotate(Rotation{})
			b.ring.tick()
			var jwks []byte
			if program != "docker-registry" {
				var err error
				if jwks, err = token.MarshalJWKS(b.ring.Public()); err != nil {
					t.Fatal(err)
				}
			}
			ask := trusting(t, program, b.ring.Certificates(), jwks)
			for range 2 {
				if got := ask(b.sign()); got != 200 {
					t.Errorf("a token of %s is answered %d", b.ring.Active().Public().Algorithm(), got)
				}
				b.rotate(Rotation{Now: true})
				b.ring.tick()
			}
			b.rotate(Rotation{Now: true})
			b.ring.tick()
			if got := ask(b.sign()); got != 401 {
				t.Errorf("a token of a key that is not among them is answered %d", got)
			}
		})
	}
}
