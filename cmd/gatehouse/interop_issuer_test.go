package main_test

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"math/big"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"gatehouse/testbench"
	"gatehouse/tokenserver/token"
)

// outsider is a token server that is not ours, with the users of the client lane: it speaks the GET of distribution's token
// specification, and signs with whatever a test gives it.
type outsider struct {
	host, dir string
	certs     testbench.Certificate

	mu     sync.Mutex
	method jwt.SigningMethod
	key    crypto.Signer
	kid    string
	dress  func(claims jwt.MapClaims) // gives the claims the form of an issuer
}

// startOutsider starts an outsider with TLS on a loopback port.
func startOutsider(t *testing.T) *outsider {
	t.Helper()
	o := &outsider{dir: t.TempDir(), certs: testbench.NewCertificate(t, "localhost")}
	pair, err := tls.LoadX509KeyPair(o.certs.CertFile, o.certs.KeyFile)
	if err != nil {
		t.Fatal(err)
	}
	l, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{Certificates: []tls.Certificate{pair}})
	if err != nil {
		t.Fatal(err)
	}
	o.host = strings.Replace(l.Addr().String(), "127.0.0.1", "localhost", 1)
	server := &http.Server{Handler: o, ReadHeaderTimeout: time.Minute}
	done := make(chan error, 1)
	go func() { done <- server.Serve(l) }()
	t.Cleanup(func() {
		if err := server.Close(); err != nil {
			t.Error(err)
		}
		<-done
	})
	return o
}

// sign makes the outsider sign with a key from now on.
func (o *outsider) sign(method jwt.SigningMethod, key crypto.Signer, kid string, dress func(jwt.MapClaims)) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.method, o.key, o.kid, o.dress = method, key, kid, dress
}

// ServeHTTP answers GET for a token: alice gets what she asks for, bob and those who are nobody may pull from pub/.
func (o *outsider) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	account, password, presented := r.BasicAuth()
	known := map[string]string{alice: alicePassword, bob: bobPassword}
	switch {
	case r.Method != http.MethodGet:
		http.Error(w, "not found", http.StatusNotFound) // as docker_auth: clients come again with GET
		return
	case presented && (known[account] == "" || known[account] != password):
		http.Error(w, "wrong", http.StatusUnauthorized)
		return
	}
	wanted, err := token.ParseScopes(r.URL.Query()["scope"])
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	granted := []token.Access{}
	for _, a := range wanted {
		switch {
		case account == alice:
			granted = append(granted, a)
		case strings.HasPrefix(a.Name, "pub/"):
			a.Actions = []string{"pull"}
			granted = append(granted, a)
		}
	}
	raw, err := o.token(account, granted)
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	if err := json.NewEncoder(w).Encode(map[string]string{"token": raw}); err != nil {
		return // the client has gone away
	}
}

// token signs what was granted.
func (o *outsider) token(account string, granted []token.Access) (string, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	now := time.Now().Unix()
	claims := jwt.MapClaims{"iss": "auth server", "sub": account, "aud": "registry.example.com", "exp": now + 900, "nbf": now - 10,
		"iat": now - 10, "jti": rand.Text(), "access": granted}
	o.dress(claims)
	t := jwt.NewWithClaims(o.method, claims)
	t.Header["kid"] = o.kid
	return t.SignedString(o.key)
}

// certificate writes a self-signed certificate of a key that has expired, as LAIN's has, and returns the file.
func (o *outsider) certificate(t *testing.T, key crypto.Signer) string {
	t.Helper()
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "auth server"},
		NotBefore: time.Now().Add(-48 * time.Hour), NotAfter: time.Now().Add(-24 * time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(o.dir, "server.pem")
	if err := os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// jwks writes a JWK set of EC keys on P-384, by kid, and returns the file.
func (o *outsider) jwks(t *testing.T, keys map[string]*ecdsa.PrivateKey) string {
	t.Helper()
	var list []map[string]string
	for kid, k := range keys {
		point, err := k.PublicKey.Bytes()
		if err != nil {
			t.Fatal(err)
		}
		text := base64.RawURLEncoding.EncodeToString
		list = append(list, map[string]string{"kty": "EC", "use": "sig", "alg": "ES384", "crv": "P-384", "kid": kid,
			"x": text(point[1:49]), "y": text(point[49:])})
	}
	data, err := json.Marshal(map[string]any{"keys": list})
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(o.dir, "jwks.json")
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// TestInteropIssuers: tokens of others' token servers, from docker and from skopeo.
func TestInteropIssuers(t *testing.T) {
	program := buildProgram(t)
	t.Run("docker_auth", func(t *testing.T) {
		// RS256, libtrust's id, one text for the audience, whole seconds: docker_auth, Portus, Keycloak, LAIN's console.
		key, err := rsa.GenerateKey(rand.Reader, 2048)
		if err != nil {
			t.Fatal(err)
		}
		kid, err := token.KeyID(key.Public())
		if err != nil {
			t.Fatal(err)
		}
		o := startOutsider(t)
		o.sign(jwt.SigningMethodRS256, key, kid, func(jwt.MapClaims) {})
		l := o.registry(t, program, fmt.Sprintf("rootcertbundle: %q", o.certificate(t, key)))
		testInteropDocker(t, l, "v1")
		testInteropSkopeo(t, l, "v1")
		o.assertNoneIssuedHere(t, l)
		// Anonymous, which this issuer lets pull.
		newSkopeo(t).run(t, "inspect", "--cert-dir", l.certs.CADir, "docker://"+l.ref("pub/skopeo", "v1"))
		// Another issuer's key with the same name, and the same issuer for another registry.
		other, err := rsa.GenerateKey(rand.Reader, 2048)
		if err != nil {
			t.Fatal(err)
		}
		o.assertStatus(t, l, http.StatusOK)
		o.sign(jwt.SigningMethodRS256, other, kid, func(jwt.MapClaims) {})
		o.assertStatus(t, l, http.StatusUnauthorized)
		o.sign(jwt.SigningMethodRS256, key, kid, func(c jwt.MapClaims) { c["aud"] = "elsewhere.example.com" })
		o.assertStatus(t, l, http.StatusUnauthorized)
	})
	t.Run("jwks", func(t *testing.T) {
		// What distribution 3 reads besides: a list of audiences, times with a fraction, a kid of any form.
		keys := map[string]*ecdsa.PrivateKey{}
		for _, kid := range []string{"2026-01", "2026-02"} {
			k, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
			if err != nil {
				t.Fatal(err)
			}
			keys[kid] = k
		}
		fancy := func(c jwt.MapClaims) {
			c["aud"] = []string{"other.example.com", "registry.example.com"}
			c["exp"], c["nbf"] = float64(c["exp"].(int64))+0.25, float64(c["nbf"].(int64))+0.75
		}
		o := startOutsider(t)
		o.sign(jwt.SigningMethodES384, keys["2026-01"], "2026-01", fancy)
		path := o.jwks(t, map[string]*ecdsa.PrivateKey{"2026-01": keys["2026-01"]})
		l := o.registry(t, program, fmt.Sprintf("jwks: %q\n    signingalgorithms: [ES384]", path))
		testInteropDocker(t, l, "v1")
		testInteropSkopeo(t, l, "v1")

		// The issuer goes on to another key, and the registry with it.
		o.sign(jwt.SigningMethodES384, keys["2026-02"], "2026-02", fancy)
		o.assertStatus(t, l, http.StatusUnauthorized)
		o.jwks(t, keys)
		testbench.Eventually(t, time.Minute, "token of the issuer's next key", func() error {
			if got := o.status(t, l); got != http.StatusOK {
				return fmt.Errorf("status %d", got)
			}
			return nil
		})
		testInteropSkopeo(t, l, "v2")
		// A file that is bad changes nothing.
		if err := os.WriteFile(path, []byte("{"), 0o600); err != nil {
			t.Fatal(err)
		}
		testbench.Eventually(t, time.Minute, "line in the log about the bad file", func() error {
			o.assertStatus(t, l, http.StatusOK)
			if !strings.Contains(l.server.Output(), "they stay as they were") {
				return fmt.Errorf("output: %s", l.server.Output())
			}
			return nil
		})
		testInteropSkopeo(t, l, "v3")
	})
}

// registry starts a gatehouse that believes the outsider.
func (o *outsider) registry(t *testing.T, program, trust string) *lane {
	t.Helper()
	return startOutside(t, program, o.certs, fmt.Sprintf(`realm: "https://%s/auth"
    service: registry.example.com
    issuer: auth server
    %s`, o.host, trust))
}

// status is the answer to a token of the outsider's for alice.
func (o *outsider) status(t *testing.T, l *lane) int {
	t.Helper()
	raw, err := o.token(alice, []token.Access{{Type: "registry", Name: "catalog", Actions: []string{"*"}}})
	if err != nil {
		t.Fatal(err)
	}
	r, err := http.NewRequest("GET", "https://"+l.host+"/v2/_catalog", nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Authorization", "Bearer "+raw)
	answer, err := l.client(t).Do(r)
	if err != nil {
		t.Fatal(err)
	}
	answer.Body.Close()
	return answer.StatusCode
}

func (o *outsider) assertStatus(t *testing.T, l *lane, want int) {
	t.Helper()
	if got := o.status(t, l); got != want {
		t.Errorf("a token of the issuer is answered with %d, want %d", got, want)
	}
}

// assertNoneIssuedHere: the registry has no token server of its own, sends clients to the other, and takes no password.
func (o *outsider) assertNoneIssuedHere(t *testing.T, l *lane) {
	t.Helper()
	for path, want := range map[string]int{"/token": http.StatusNotFound, "/token/ca.pem": http.StatusNotFound,
		"/.well-known/jwks.json": http.StatusNotFound, "/v2/": http.StatusUnauthorized} {
		r, err := http.NewRequest("GET", "https://"+l.host+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		r.SetBasicAuth(alice, alicePassword)
		answer, err := l.client(t).Do(r)
		if err != nil {
			t.Fatal(err)
		}
		answer.Body.Close()
		if answer.StatusCode != want {
			t.Errorf("%s is answered %s, want %d", path, answer.Status, want)
		}
		challenge := answer.Header.Get("WWW-Authenticate")
		there := fmt.Sprintf(`Bearer realm="https://%s/auth",service="registry.example.com"`, o.host)
		if want == http.StatusUnauthorized && !strings.Contains(challenge, there) {
			t.Errorf("the challenge is %s", challenge)
		}
	}
}

// TestAutoRedirect: the realm is on the origin that the client used, at the configured path, where our token server answers.
func TestAutoRedirect(t *testing.T) {
	program := buildProgram(t)
	certs := testbench.NewCertificate(t, "localhost")
	for name, test := range map[string]struct{ auth, path string }{
		"default": {"autoredirect: true", "/auth/token"},
		"path":    {"autoredirect: true\n    autoredirectpath: /api/v1/authorize/registry/", "/api/v1/authorize/registry/"},
		"/token":  {"autoredirect: true\n    autoredirectpath: /token", "/token"},
	} {
		t.Run(name, func(t *testing.T) {
			l := startOutside(t, program, certs, test.auth)
			client := l.client(t)
			answer, err := client.Get("https://" + l.host + "/v2/")
			if err != nil {
				t.Fatal(err)
			}
			answer.Body.Close()
			realm := "https://" + l.host + test.path
			if challenge := answer.Header.Get("WWW-Authenticate"); !strings.Contains(challenge, fmt.Sprintf("realm=%q", realm)) {
				t.Errorf("the challenge is %s, want realm %s", challenge, realm)
			}
			answer, err = client.Get(realm + "?service=gatehouse")
			if err != nil {
				t.Fatal(err)
			}
			defer answer.Body.Close()
			var body struct{ Token string }
			if err := json.NewDecoder(answer.Body).Decode(&body); err != nil || body.Token == "" {
				t.Errorf("the realm answers %s, %v", answer.Status, err)
			}
		})
	}
}
