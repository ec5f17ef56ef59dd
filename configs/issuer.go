package configs

import (
	"cmp"
	"slices"
	"strings"
)

// TokenAuth is auth.token of the file: what tokens and challenges say, and whose tokens they are. With RootCertBundle or JWKS they
// are an outside issuer's, as with distribution: the registry believes those keys alone, and our own token server issues
// nothing. Otherwise it issues and verifies them itself.
type TokenAuth struct {
	// Realm is the URL of the token server as clients reach it. Empty: /token on the origin that the client used. Without effect
	// where AutoRedirect is set or etcd is configured. Required with an outside issuer.
	Realm string `yaml:"realm"`
	// Service is the audience of tokens. Default "gatehouse". Required with an outside issuer, unless etcd says it.
	Service string `yaml:"service"`
	// Issuer is the issuer of tokens. Default "gatehouse". Required with an outside issuer, unless etcd says it.
	Issuer string `yaml:"issuer"`
	// RootCertBundle is a PEM file of certificates of the outside issuer. It is read again when it changes.
	RootCertBundle string `yaml:"rootcertbundle"`
	// JWKS is a file with a JWK set of the outside issuer. It is read again when it changes.
	JWKS string `yaml:"jwks"`
	// SigningAlgorithms are the only ones that the outside issuer's tokens may have. Default: all that are known but HMACs.
	SigningAlgorithms []string `yaml:"signingalgorithms"`
	// AutoRedirect makes AutoRedirectPath on the origin that the client used the realm.
	AutoRedirect bool `yaml:"autoredirect"`
	// AutoRedirectPath is a path for AutoRedirect, where our own token server answers too. Default /auth/token.
	AutoRedirectPath string `yaml:"autoredirectpath"`
}

// defaultAutoRedirectPath is distribution's.
const defaultAutoRedirectPath = "/auth/token"

// algorithms are the names that distribution 3 knows for signingalgorithms; hmacs are those among them that no public key
// verifies.
var (
	algorithms = []string{"EdDSA", "ES256", "ES384", "ES512", "RS256", "RS384", "RS512", "PS256", "PS384", "PS512"}
	hmacs      = []string{"HS256", "HS384", "HS512"}
)

// Outside reports whether tokens are an outside issuer's.
func (t *TokenAuth) Outside() bool { return t != nil && (t.RootCertBundle != "" || t.JWKS != "") }

// Algorithms are the SigningAlgorithms that exist for public keys; empty for all.
func (t *TokenAuth) Algorithms() []string {
	return slices.DeleteFunc(slices.Clone(t.SigningAlgorithms), func(name string) bool { return slices.Contains(hmacs, name) })
}

// Redirect is the path of AutoRedirect, or "" without it.
func (t *TokenAuth) Redirect() string {
	if t == nil || !t.AutoRedirect {
		return ""
	}
	return cmp.Or(t.AutoRedirectPath, defaultAutoRedirectPath)
}

// names is what tokens and challenges say.
func (t *TokenAuth) names() Token {
	return Token{Realm: cmp.Or(t.Redirect(), t.Realm), Service: t.Service, Issuer: t.Issuer}
}

// issuer checks what auth.token says about whose tokens are believed.
func (k *checker) issuer() {
	t := k.c.Auth.Token
	if t == nil {
		return
	}
	if path := t.Redirect(); path != "" {
		if fault := realmFault(path, false); fault != "" || !strings.HasPrefix(path, "/") || strings.ContainsAny(path, "?#") {
			k.errorf("auth.token.autoredirectpath", "not a path such as %s", defaultAutoRedirectPath)
		}
	}
	if !t.Outside() {
		if len(t.SigningAlgorithms) > 0 {
			k.errorf("auth.token.signingalgorithms",
				"tokens are this server's own, each key with its one algorithm: remove the key, or name an outside issuer's keys with "+
					"rootcertbundle or jwks")
		}
		return
	}
	for _, name := range t.SigningAlgorithms {
		if !slices.Contains(algorithms, name) && !slices.Contains(hmacs, name) {
			k.errorf("auth.token.signingalgorithms", "%s is none of %s", quoteText(name), strings.Join(algorithms, ", "))
		}
	}
	if len(t.SigningAlgorithms) > 0 && len(t.Algorithms()) == 0 {
		k.errorf("auth.token.signingalgorithms", "only HMACs, which no public key verifies: no token would ever be accepted")
	}
	k.contradictions(t)
}

// contradictions reports what cannot go with an outside issuer, whose keys t has.
func (k *checker) contradictions(t *TokenAuth) {
	keys := "auth.token.rootcertbundle"
	if t.RootCertBundle == "" {
		keys = "auth.token.jwks"
	}
	if len(k.c.Etcd.Endpoints) == 0 {
		if !t.AutoRedirect && (t.Realm == "" || strings.HasPrefix(t.Realm, "/")) {
			k.errorf("auth.token.realm", "sends clients to this server's own token server, while %s says to believe an outside issuer's "+
				"tokens only: give the issuer's URL, or remove rootcertbundle and jwks to issue tokens here", keys)
		}
		for _, name := range []string{"service", "issuer"} {
			if path := "auth.token." + name; !k.has(path) {
				k.errorf(path, "missing; write what the tokens of the issuer of %s say", keys)
			}
		}
	}
	for _, source := range []struct {
		path  string
		there bool
	}{
		{"auth.htpasswd", k.c.Auth.Htpasswd != nil}, {"tokenserver.ldap", k.c.TokenServer.LDAP != nil},
		{"tokenserver.oidc", len(k.c.TokenServer.OIDC) > 0}, {"tokenserver.clientcertificates", k.c.TokenServer.ClientCertificates != nil},
	} {
		if source.there {
			k.errorf(source.path, "users of this server, while %s says that an outside issuer knows who users are: remove one of them", keys)
		}
	}
	if k.c.TokenServer.Access != nil {
		k.errorf("tokenserver.access", "rules of this server's own token server, while %s says that an outside issuer grants access: "+
			"remove one of them", keys)
	}
}

// considerIssuer warns of parts of auth.token without effect.
func (k *checker) considerIssuer() {
	t := k.c.Auth.Token
	if t == nil || len(k.c.Etcd.Endpoints) > 0 {
		return
	}
	if t.AutoRedirect && t.Realm != "" {
		k.warnf("auth.token.realm", "no effect with auth.token.autoredirect")
	}
	if t.Outside() && len(t.Algorithms()) < len(t.SigningAlgorithms) {
		k.warnf("auth.token.signingalgorithms", "%s have no effect: no public key verifies them", strings.Join(hmacs, ", "))
	}
}
