package configs

import (
	"reflect"
	"strings"
	"testing"
)

// TestIssuer holds what auth.token may say about an outside issuer.
func TestIssuer(t *testing.T) {
	const base = "version: 0.1\nstorage: inmemory\nhttp: {addr: '127.0.0.1:5000'}\n"
	const names = "realm: 'https://auth.example.com/token', service: s, issuer: i, "
	const own = "auth: {htpasswd: {path: /u}, token: {service: s, issuer: i, realm: '', %}}\ntokenserver: {access: [{account: a, repository: '**', actions: ['*']}]}"
	const outside = "auth: {token: {" + names + "%}}"
	for _, test := range []struct{ frame, token, want string }{
		{outside, "rootcertbundle: /b.pem", ""},
		{outside, "jwks: /k.json", ""},
		{outside, "rootcertbundle: /b.pem, jwks: /k.json, signingalgorithms: [RS256, ES512, PS384, EdDSA]", ""},
		{outside, "rootcertbundle: '', jwks: '', signingalgorithms: []", "warning config.yml:4: auth.htpasswd: absent: there are no users, so nobody can log in"},
		{outside, "jwks: /k, signingalgorithms: [RS256, none]", "error config.yml:4: auth.token.signingalgorithms: \"none\" is none of EdDSA, ES256, ES384, ES512, RS256, RS384, RS512, PS256, PS384, PS512"},
		{outside, "jwks: /k, signingalgorithms: [HS256]", "error config.yml:4: auth.token.signingalgorithms: only HMACs, which no public key verifies: no token would ever be accepted"},
		{outside, "jwks: /k, signingalgorithms: [HS256, RS256]", "warning config.yml:4: auth.token.signingalgorithms: HS256, HS384, HS512 have no effect: no public key verifies them"},
		{outside, "jwks: /k, autoredirect: true", "warning config.yml:4: auth.token.realm: no effect with auth.token.autoredirect"},
		{"auth: {token: {service: s, issuer: i, jwks: /k, %}}", "autoredirect: yes", ""},
		{"auth: {token: {service: s, issuer: i, jwks: /k, %}}", "autoredirect: false", "error config.yml:4: auth.token.realm: sends clients to this server's own token server, while auth.token.jwks says to believe an outside issuer's tokens only: give the issuer's URL, or remove rootcertbundle and jwks to issue tokens here"},
		{"auth: {token: {service: s, issuer: i, rootcertbundle: /b, %}}", "realm: /token", "error config.yml:4: auth.token.realm: sends clients to this server's own token server, while auth.token.rootcertbundle says to believe an outside issuer's tokens only: give the issuer's URL, or remove rootcertbundle and jwks to issue tokens here"},
		{"auth: {token: {realm: 'https://a/', %}}", "jwks: /k", "error config.yml:4: auth.token.service: missing; write what the tokens of the issuer of auth.token.jwks say\n" +
			"error config.yml:4: auth.token.issuer: missing; write what the tokens of the issuer of auth.token.jwks say"},
		// LAIN: the names are in etcd, the keys in the file.
		{"etcd: {endpoints: ['a:1']}\nauth: {token: {%}}", "rootcertbundle: /lain/app/auth/server.pem", ""},
		{own, "autoredirect: true", ""},
		{own, "autoredirect: true, autoredirectpath: /auth", ""},
		{own, "autoredirect: true, autoredirectpath: 'https://a/auth'", "error config.yml:4: auth.token.autoredirectpath: not a path such as /auth/token"},
		{own, "autoredirect: true, autoredirectpath: //a/auth", "error config.yml:4: auth.token.autoredirectpath: not a path such as /auth/token"},
		{own, "autoredirect: true, autoredirectpath: '/a?b'", "error config.yml:4: auth.token.autoredirectpath: not a path such as /auth/token"},
		{own, "autoredirect: false, autoredirectpath: auth", ""},
		{own, "signingalgorithms: [ES256]", "error config.yml:4: auth.token.signingalgorithms: tokens are this server's own, each key with its one algorithm: remove the key, or name an outside issuer's keys with rootcertbundle or jwks"},
		{own, "realm: 'https://a/', jwks: /k", "error config.yml:4: auth.htpasswd: users of this server, while auth.token.jwks says that an outside issuer knows who users are: remove one of them\n" +
			"error config.yml:5: tokenserver.access: rules of this server's own token server, while auth.token.jwks says that an outside issuer grants access: remove one of them"},
	} {
		frame := test.frame
		if strings.Contains(test.token, "realm:") {
			frame = strings.Replace(frame, " realm: '',", "", 1)
		}
		_, warnings, err := Parse("config.yml", []byte(base+strings.Replace(frame, "%", test.token, 1)), nil)
		if got := strings.TrimSpace(outcome(warnings, err)); got != test.want {
			t.Errorf("%s with %s\ngot  %s\nwant %s", frame, test.token, got, test.want)
		}
	}
}

// TestIssuerAndSources: who has an outside issuer knows no users.
func TestIssuerAndSources(t *testing.T) {
	for _, source := range []string{"ldap: {}", "oidc: [{}]", "clientcertificates: {}"} {
		_, warnings, err := Parse("config.yml", []byte("version: 0.1\nstorage: inmemory\nauth: {token: {realm: 'https://a/', service: s, issuer: i, jwks: /k}}\n"+
			"tokenserver: {"+source+"}"), nil)
		name, _, _ := strings.Cut(source, ":")
		want := "error config.yml:4: tokenserver." + name + ": users of this server, while auth.token.jwks says that an outside issuer knows who users are"
		if got := outcome(warnings, err); !strings.Contains(got, want) {
			t.Errorf("%s: got %s, want %s", source, got, want)
		}
	}
}

// TestRedirect: the realm is on the client's own origin, whatever else it says.
func TestRedirect(t *testing.T) {
	for _, test := range []struct {
		token *TokenAuth
		want  Token
	}{
		{nil, Token{Service: "gatehouse", Issuer: "gatehouse"}},
		{&TokenAuth{Realm: "r", Service: "s", Issuer: "i", AutoRedirectPath: "/auth"}, Token{"r", "s", "i"}},
		{&TokenAuth{Realm: "r", Service: "s", Issuer: "i", AutoRedirect: true}, Token{"/auth/token", "s", "i"}},
		{&TokenAuth{Service: "s", Issuer: "i", AutoRedirect: true, AutoRedirectPath: "/auth"}, Token{"/auth", "s", "i"}},
	} {
		if got := (Auth{Token: test.token}).TokenOrDefault(); got != test.want {
			t.Errorf("%+v: got %+v, want %+v", test.token, got, test.want)
		}
	}
	all := &TokenAuth{SigningAlgorithms: []string{"HS256", "RS256", "HS512", "EdDSA"}}
	if got, want := all.Algorithms(), []string{"RS256", "EdDSA"}; !reflect.DeepEqual(got, want) {
		t.Errorf("algorithms are %v, want %v", got, want)
	}
}
