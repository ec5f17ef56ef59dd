package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/golang-jwt/jwt/v5"

	"gatehouse/testbench"
)

// granted asks for a token as an account and returns what it grants, as scopes.
func (i *instance) granted(account, password, scope string) []string {
	i.t.Helper()
	i.user, i.password = account, password
	var answer struct{ Token string }
	_, body := i.want(200, "GET", "/token?service=gatehouse&scope="+strings.ReplaceAll(scope, " ", "&scope="), nil)
	fatal(i.t, json.Unmarshal(body, &answer))
	var claims struct {
		jwt.RegisteredClaims
		Access []struct {
			Name    string
			Actions []string
		}
	}
	_, _, err := jwt.NewParser().ParseUnverified(answer.Token, &claims)
	fatal(i.t, err)
	var list []string
	for _, a := range claims.Access {
		list = append(list, a.Name+":"+strings.Join(a.Actions, ","))
	}
	return list
}

// wantGranted is granted with what it must be.
func (i *instance) wantGranted(account, password, scope string, want ...string) {
	i.t.Helper()
	if got := i.granted(account, password, scope); !slices.Equal(got, want) {
		i.t.Errorf("%s is granted %v of %q, want %v", account, got, scope, want)
	}
}

// workload is an issuer's key, and the file with its public half.
func workload(t *testing.T) (sign func(claims jwt.MapClaims) string, jwks string) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	fatal(t, err)
	set, err := json.Marshal(jose.JSONWebKeySet{Keys: []jose.JSONWebKey{{Key: &private.PublicKey, KeyID: "1", Algorithm: "ES256", Use: "sig"}}})
	fatal(t, err)
	jwks = filepath.Join(t.TempDir(), "jwks.json")
	fatal(t, os.WriteFile(jwks, set, 0o600))
	return func(claims jwt.MapClaims) string {
		raw := jwt.NewWithClaims(jwt.SigningMethodES256, claims)
		raw.Header["kid"] = "1"
		signed, err := raw.SignedString(private)
		fatal(t, err)
		return signed
	}, jwks
}

// TestAccounts has one server with accounts of every source: what each may do, what the catalog shows it, what the audit log and
// `access explain` say, and that a directory which is away is no reason to ask anybody else.
func TestAccounts(t *testing.T) {
	slapd := testbench.StartSlapd(t)
	slapd.Modify(`
dn: uid=carol,ou=people,dc=example,dc=com
objectClass: inetOrgPerson
uid: carol
cn: Carol
sn: C
userPassword: the directory's

dn: cn=devs,ou=groups,dc=example,dc=com
objectClass: groupOfNames
cn: devs
member: uid=carol,ou=people,dc=example,dc=com
`)
	sign, jwks := workload(t)
	log := filepath.Join(t.TempDir(), "audit.log")
	environ := []string{
		fmt.Sprintf(`REGISTRY_TOKENSERVER_LDAP={urls: [%q], basedn: "ou=people,dc=example,dc=com", groups: {memberof: true}}`, slapd.URL),
		fmt.Sprintf(`REGISTRY_TOKENSERVER_OIDC=[{issuer: "https://ci.example.com", audience: registry, jwksfile: %q, `+
			`rules: [{claims: {owner: "42"}, account: "ci/${repo}"}]}]`, jwks),
		`REGISTRY_TOKENSERVER_ACCESS=[{account: alice, repository: "**", actions: ["*"]}, {group: devs, repository: "${group}/**", actions: [pull, push]},` +
			`{account: "*", address: 127.0.0.0/8, repository: "near/**", actions: [pull]}, {account: "*", address: 192.0.2.1, repository: "far/**", actions: [pull]},` +
			`{account: "ci/*", repository: "ci/**", actions: [push]}, {account: "*", actions: [catalog]}]`,
		"REGISTRY_TOKENSERVER_AUDIT_FILE=" + log,
	}
	i := startOn(t, filepath.Join(t.TempDir(), "data"), environ...)
	for _, repo := range []string{"devs/app", "secret/app", "near/app", "far/app"} {
		i.want(201, "PUT", "/v2/"+repo+"/manifests/v1", strings.NewReader(`{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[]}`),
			"Content-Type: application/vnd.oci.image.index.v1+json")
	}
	const both = "repository:devs/app:pull,push repository:secret/app:pull"
	i.wantGranted("alice", alicesWords, both, "devs/app:pull,push", "secret/app:pull")
	i.wantGranted("carol", "the directory's", both, "devs/app:pull,push")
	i.wantGranted("Carol", "the directory's", both, "devs/app:pull,push")
	claims := jwt.MapClaims{"iss": "https://ci.example.com", "aud": "registry", "sub": "x", "owner": "42", "repo": "app",
		"exp": time.Now().Add(time.Hour).Unix(), "iat": time.Now().Unix()}
	i.wantGranted("oidc", sign(claims), "repository:ci/app:pull,push", "ci/app:push")
	claims["owner"] = "43"
	i.user, i.password = "oidc", sign(claims)
	i.want(401, "GET", "/token", nil)
	i.user, i.password = "carol", "wrong"
	i.want(401, "GET", "/token", nil)

	i.user, i.password = "carol", "the directory's"
	if _, body := i.want(200, "GET", "/v2/_catalog", nil); string(body) != `{"repositories":["devs/app","near/app"]}`+"\n" {
		t.Errorf("the catalog shows carol %s", body)
	}
	t.Run("explain", func(t *testing.T) { explainDenied(t, i, log, environ) })
	t.Run("directory away", func(t *testing.T) {
		slapd.Kill()
		i.user, i.password = "carol", "another password"
		i.want(503, "GET", "/token", nil)
		i.want(503, "GET", "/v2/", nil)
		i.wantGranted("alice", alicesWords, "repository:secret/app:pull", "secret/app:pull")
		slapd.Restart()
		i.wantGranted("carol", "the directory's", "repository:devs/app:pull", "devs/app:pull")
	})
}

// explainDenied finds out why a push was denied, as an operator would: from the line of the audit log to the rule.
func explainDenied(t *testing.T, i *instance, log string, environ []string) {
	i.wantGranted("carol", "the directory's", "repository:secret/app:pull,push")
	text, err := os.ReadFile(log)
	fatal(t, err)
	lines := strings.Split(strings.TrimSpace(string(text)), "\n")
	var line struct {
		Account, Source, Rule string
		Groups, Asked         []string
		Granted               []string
	}
	fatal(t, json.Unmarshal([]byte(lines[len(lines)-1]), &line))
	if line.Account != "carol" || line.Source != "ldap" || line.Rule != "none" || !slices.Equal(line.Groups, []string{"devs"}) || len(line.Granted) != 0 ||
		!slices.Equal(line.Asked, []string{"repository:secret/app:pull,push"}) {
		t.Errorf("the audit line of a denied push is %s", lines[len(lines)-1])
	}
	if strings.Contains(string(text), "the directory's") || strings.Contains(string(text), alicesWords) {
		t.Error("there is a password in the audit log")
	}
	path, err := built()
	fatal(t, err)
	for question, want := range map[string]string{
		"carol secret/app push": "carol may not push to secret/app",
		"carol devs/app push":   "carol may push to devs/app",
	} {
		cmd := exec.Command(path, append([]string{"access", "explain", "--data", i.data}, strings.Fields(question)...)...)
		cmd.Env = append(os.Environ(), environ...)
		out, err := cmd.CombinedOutput()
		if err != nil || !strings.HasPrefix(string(out), want) {
			t.Errorf("access explain %s: %v\n%s", question, err, out)
		}
		t.Logf("access explain %s\n%s", question, out)
	}
	t.Log(lines[len(lines)-1])
}

// TestAccountsOfCertificates: who shows a certificate and no password gets a token as the account that it names, whoever shows none
// is anonymous, and a password counts before a certificate.
func TestAccountsOfCertificates(t *testing.T) {
	known, stranger := testbench.NewCertificate(t, "node-7.example.com"), testbench.NewCertificate(t, "node-8.example.com")
	i := startOn(t, filepath.Join(t.TempDir(), "data"),
		fmt.Sprintf("REGISTRY_HTTP_TLS_CLIENTCAS=[%q]", known.CAFile), "REGISTRY_HTTP_TLS_CLIENTAUTH=verify-client-cert-if-given",
		`REGISTRY_TOKENSERVER_CLIENTCERTIFICATES={account: "cert/${dns}"}`,
		`REGISTRY_TOKENSERVER_ACCESS=[{account: alice, repository: "**", actions: ["*"]}, {account: "cert/node-*", repository: "base/**", actions: [pull]}]`)
	const scope = "repository:base/app:pull,push"
	show := func(c testbench.Certificate) {
		pair, err := tls.LoadX509KeyPair(c.CertFile, c.KeyFile)
		fatal(t, err)
		transport := i.Client.Transport.(*http.Transport).Clone()
		transport.TLSClientConfig.Certificates = []tls.Certificate{pair}
		i.Client = &http.Client{Transport: transport}
		t.Cleanup(transport.CloseIdleConnections)
	}
	anonymous := "Authorization: Basic Og==" // nobody, in Basic's words
	ask := func() string {
		_, body := i.want(200, "GET", "/token?service=gatehouse&scope="+scope, nil, anonymous)
		return string(body)
	}
	i.wantGranted("alice", alicesWords, scope, "base/app:pull,push")
	if body := ask(); strings.Contains(claimsOf(t, body), `base/app`) {
		t.Errorf("without a certificate: %s", body)
	}
	show(known)
	if claims := claimsOf(t, ask()); !strings.Contains(claims, `"sub":"cert/node-7.example.com"`) || !strings.Contains(claims, `["pull"]`) {
		t.Errorf("with a certificate: %s", claims)
	}
	i.wantGranted("alice", alicesWords, scope, "base/app:pull,push")
	show(stranger)
	if _, _, err := i.do("GET", "/token", nil, anonymous); err == nil || !strings.Contains(err.Error(), "certificate") {
		t.Errorf("with a certificate of another CA: %v", err)
	}
}

// claimsOf returns the payload of the token in an answer.
func claimsOf(t *testing.T, body string) string {
	t.Helper()
	var answer struct{ Token string }
	fatal(t, json.Unmarshal([]byte(body), &answer))
	parts := strings.Split(answer.Token, ".")
	payload, err := base64.RawURLEncoding.DecodeString(parts[1])
	fatal(t, err)
	return string(payload)
}
