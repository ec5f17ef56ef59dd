package configs

import (
	"slices"
	"strings"
	"testing"
)

// secureBase is a file without a warning, for sections of tokenserver to be added to.
const secureBase = base + "auth: {htpasswd: {path: /users}}\nhttp: {addr: \"127.0.0.1:5000\", tls: {certificate: /c, key: /k, CLIENTS}}\n" +
	"tokenserver:\n  access: [{account: a, repository: \"**\", actions: [\"*\"]}]\n  "

// TestIdentitySections has for each section what is wrong with it, in any order; nothing for one that is good.
func TestIdentitySections(t *testing.T) {
	const dir = `urls: ["ldaps://a.example.com"], basedn: "dc=example"`
	const rule = `rules: [{claims: {sub: a}, account: "ci/${sub}"}]`
	for section, want := range map[string]string{
		"ldap: {" + dir + "}":           "",
		"ldap: {" + dir + "} # NORULES": "tokenserver.ldap: tokenserver.access is missing",
		`oidc: [{issuer: "https://a", audience: b, ` + rule + "}] # NORULES": "tokenserver.oidc: tokenserver.access is missing",
		`clientcertificates: {account: "${cn}"} # clientcas: [/a], NORULES`:  "tokenserver.clientcertificates: tokenserver.access is missing",
		"ldap: {}": "urls: missing|basedn: missing",
		`ldap: {basedn: a, urls: ["ldap://a.example.com", "http://a", "ldaps://u@a", "ldaps://a/dc=a", "ldaps://"]}`: "urls[0]: begins with ldap://|urls[1]: not a URL that begins with ldap:// or ldaps://|" +
			"urls[2]: a URL with a user|urls[3]: a URL with more|urls[4]: not an absolute URL",
		`ldap: {basedn: a, urls: ["ldap://127.0.0.1:389", "ldap://localhost", "ldap://[::1]"]}`:                      "",
		`ldap: {basedn: a, urls: ["ldap://a.example.com"], starttls: true}`:                                          "",
		`ldap: {basedn: a, urls: ["ldap://a.example.com"], insecure: true}`:                                          "",
		"ldap: {" + dir + ", starttls: true}":                                                                        "urls[0]: begins with ldaps://",
		"ldap: {" + dir + ", binddn: cn=a}":                                                                          "binddn: has no password",
		"ldap: {" + dir + ", password: a}":                                                                           "binddn: missing",
		"ldap: {" + dir + ", binddn: cn=a, password: a, passwordfile: /a}":                                           "passwordfile: stands beside",
		"ldap: {" + dir + ", filter: (uid=a)}":                                                                       "filter: does not say {account}",
		"ldap: {" + dir + ", timeout: -1s, connections: -1}":                                                         "timeout: -1s|connections: -1",
		"ldap: {" + dir + ", groups: {memberof: true, filter: \"(member={dn})\", basedn: a}}":                        "groups.filter: stands beside",
		"ldap: {" + dir + ", groups: {filter: (member=a), basedn: a, name: ou, nested: deep}}":                       "groups.filter: says neither|groups.name: \"ou\"|groups.nested: \"deep\"",
		"ldap: {" + dir + ", groups: {filter: \"(member={dn})\"}}":                                                   "groups.basedn: missing",
		"ldap: {" + dir + ", groups: {nested: search}}":                                                              "groups.nested: no groups",
		"ldap: {" + dir + ", groups: {filter: \"(memberUid={account})\", basedn: a, nested: chain}}":                 "groups.nested: chain needs",
		"ldap: {" + dir + ", groups: {filter: \"(memberUid={account})\", basedn: a, nested: search}}":                "groups.nested: search needs",
		"ldap: {" + dir + `, groups: {memberof: true, nested: chain, basedn: a, map: {"cn=a,dc=b": x, "cn=c": ""}}}`: "groups.map.cn=c: no name",

		"oidc: [{issuer: \"https://a.example.com\", audience: b, " + rule + "}]": "",
		"oidc: [{}]": "[0].issuer: not an absolute URL|[0].audience: missing|[0].rules: missing",
		"oidc: [{issuer: \"http://a.example.com\", audience: b, " + rule + "}, {issuer: \"http://127.0.0.1:1\", audience: b, " + rule + "}]": "[0].issuer: begins with http://",
		"oidc: [{issuer: \"https://a\", audience: b, " + rule + "}, {issuer: \"https://a\", audience: c, " + rule + "}]":                     "[1].issuer: tokenserver.oidc[0] is the same",
		"oidc: [{issuer: \"https://a?b\", audience: b, jwksfile: /a, cafile: /b, " + rule + "}]":                                             "[0].issuer: a URL with a query|[0].cafile: no effect",
		`oidc: [{issuer: "https://a", audience: b, rules: [{account: a}, {claims: {a: "", b: "***"}, account: "a*", groups: ["${", "${a}"]}, {claims: {a: b}}]}]`: "rules[0].claims: missing|" +
			"rules[1].claims.a: no value|rules[1].claims.b: \"***\"|rules[1].account: \"a*\" has a star|rules[1].groups[0]: \"${\"|rules[2].account: missing",

		`clientcertificates: {account: "cert/${cn}", groups: ["${ou}", all]} # clientcas: [/a]`: "",
		`clientcertificates: {account: "robot$${cn}"} # clientcas: [/a]`:                        "account: \"robot$${cn}\" begins with robot$",
		`clientcertificates: {account: "robot${cn}"} # clientcas: [/a]`:                         "",
		`oidc: [{issuer: "https://a", audience: b, rules: [{claims: {a: b}, account: "robot$ci"}, {claims: {a: b}, account: "robot$${a}"}]}]`: "rules[0].account: \"robot$ci\" begins with robot$|" +
			"rules[1].account: \"robot$${a}\" begins",
		`oidc: [{issuer: "https://a", audience: b, rules: [{claims: {a: b}, account: "robot${a}"}]}]`:       "",
		`clientcertificates: {account: "${cn}"}`:                                                            "clientcertificates: no client is asked",
		`clientcertificates: {account: "${cn}"} # clientcas: [/a], clientauth: request-client-cert`:         "clientcertificates: certificates are not verified",
		`clientcertificates: {account: "${cn}"} # clientcas: [/a], clientauth: verify-client-cert-if-given`: "",
		`clientcertificates: {account: "everybody", groups: ["${cn}"]} # clientcas: [/a]`:                   "account: \"everybody\" says none|groups[0]: ${cn} is none of",
		`clientcertificates: {account: "${ou}", groups: [""]} # clientcas: [/a]`:                            "account: ${ou} is none of|groups[0]: missing",
	} {
		section, clients, _ := strings.Cut(section, " # ")
		text := secureBase
		if before, ok := strings.CutSuffix(clients, "NORULES"); ok {
			clients, text = before, text[:strings.Index(text, "access:")]
		}
		_, _, err := Parse("config.yml", []byte(strings.Replace(text, "CLIENTS", clients, 1)+section), nil)
		var got []string
		if err != nil {
			got = slices.Collect(strings.SplitSeq(strings.TrimSpace(err.Error()), "\n"))
		}
		var parts []string
		if want != "" {
			parts = strings.Split(want, "|")
		}
		if len(got) != len(parts) {
			t.Errorf("%s\ngot %q\nwant %q", section, got, parts)
			continue
		}
		for _, p := range parts {
			if !slices.ContainsFunc(got, func(line string) bool { return strings.Contains(line, p) }) {
				t.Errorf("%s\ngot %q\nwithout %q", section, got, p)
			}
		}
	}
}

func TestIdentitySectionsAreRead(t *testing.T) {
	text := strings.Replace(secureBase, "CLIENTS", "", 1) + `oidc: [{issuer: "https://a", audience: b, rules: [{claims: {"kubernetes.io/Namespace": "CI-*"}, account: "k8s/${sub}"}]}]
  ldap: {urls: ["ldaps://a"], basedn: "dc=a", binddn: "cn=b", groups: {memberof: true, map: {"CN=A,DC=b": Devs}}}
`
	c, _, err := Parse("config.yml", []byte(text), []string{"REGISTRY_TOKENSERVER_LDAP_PASSWORD=hidden", "REGISTRY_TOKENSERVER_LDAP_STARTTLS=false"})
	if err != nil {
		t.Fatal(err)
	}
	if v := c.TokenServer.OIDC[0].Rules[0].Claims["kubernetes.io/Namespace"]; v != "CI-*" {
		t.Errorf("a claim is %q", v)
	}
	if l := c.TokenServer.LDAP; string(l.Password) != "hidden" || l.Groups.Map["CN=A,DC=b"] != "Devs" {
		t.Errorf("%+v", l)
	}
}
