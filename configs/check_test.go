package configs

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"strings"
	"testing"
)

// base is a file without rules, listener or users for tests to complete; it needs a warning for each.
const base = "version: 0.1\nstorage: inmemory\n"

func TestChecks(t *testing.T) {
	secure := base + "auth: {htpasswd: {path: /users}}\ntokenserver: {access: [{account: a, repository: \"**\", actions: [\"*\"]}]}\n"
	safe := secure + "http:\n  addr: 127.0.0.1:5000\n  "
	tls := secure + "http:\n  tls: {certificate: /c, key: /k}\n  "
	acme := secure + "http:\n  tls: {letsencrypt: {hosts: [a.example.com], "
	rules := base + "auth: {htpasswd: {path: /users}}\nhttp: {addr: \"[::1]:5000\"}\ntokenserver:\n  access:\n  - "
	for _, test := range []struct{ text, want string }{
		{safe, ""},
		{tls, ""},
		{acme + "}}", ""},

		{base, "warning config.yml: auth: no access control: everybody who reaches the registry may read, write and delete everything"},
		{base + "auth: none", "warning config.yml:3: auth: no access control: everybody who reaches the registry may read, write and delete everything"},
		{secure, "warning config.yml: http.tls: absent: passwords and tokens travel unencrypted to :5000"},
		{secure + "http: {addr: 10.0.0.1:80}", "warning config.yml:5: http.tls: absent: passwords and tokens travel unencrypted to 10.0.0.1:80"},
		{base + "http: {addr: \"localhost:5000\"}\nauth: {htpasswd: {path: /users}}", "warning config.yml: tokenserver.access: absent: every user of auth.htpasswd may do everything"},
		{base + "http: {addr: \"localhost:5000\"}\nauth: {htpasswd: {path: /users}}\ntokenserver: {access: []}", "warning config.yml:5: tokenserver.access: empty: no user may do anything"},
		{base + "http: {addr: \"localhost:5000\"}\nauth: {htpasswd: {path: /users}}\ntokenserver:\n  access:\n", "error config.yml:6: tokenserver.access: nothing; write rules, or [] to deny everything, or remove the key to let every user do everything"},
		{base + "http: {addr: \"localhost:5000\"}\nauth: {token: {}}", "warning config.yml:4: auth.htpasswd: absent: there are no users, so nobody can log in"},
		{base + "http: {addr: \"localhost:5000\"}\ntokenserver: {access: [{account: a, repository: b, actions: []}]}", "warning config.yml: auth.htpasswd: absent: there are no users, so nobody but robots can log in"},
		{base + "http: {addr: \"localhost:5000\"}\netcd: {endpoints: [\"a:1\"]}", "warning config.yml: auth.htpasswd: absent: there are no users, so nobody can log in"},

		{safe + "host: registry.example.com", "error config.yml:7: http.host: not an absolute URL such as https://registry.example.com; write it like https://registry.example.com"},
		{safe + "host: ftp://registry.example.com", "error config.yml:7: http.host: not a URL that begins with http:// or https://; write it like https://registry.example.com"},
		{safe + "host: https://registry.example.com/v2", `warning config.yml:7: http.host: "v2" follows the last slash and is cut off; end the URL in a slash to keep it`},
		{safe + "host: https://registry.example.com/a/../b/", "error config.yml:7: http.host: a URL with a path that has a component that is . or ..; write it like https://registry.example.com"},
		{safe + "host: https://registry.example.com?", "error config.yml:7: http.host: a URL with more than scheme, host, port and path; write it like https://registry.example.com"},
		{safe + "host: https://:5000", "error config.yml:7: http.host: not an absolute URL such as https://registry.example.com; write it like https://registry.example.com"},
		{tls + "host: http://registry.example.com", "warning config.yml:7: http.host: begins with http:// while the listener speaks TLS"},
		{acme + "}}\n  host: https://B.example.com", "warning config.yml:7: http.host: \"B.example.com\" is not among http.tls.letsencrypt.hosts: no certificate will cover it"},
		{acme + "}}\n  host: https://A.example.com", ""},

		{tls + "addr: 5000", `error config.yml:7: http.addr: "5000" is not host:port; write it like :5000 or 127.0.0.1:5000`},
		{tls + "addr: ':70000'", `error config.yml:7: http.addr: ":70000" has no port from 0 to 65535; write it like :5000 or 127.0.0.1:5000`},
		{tls + "addr: 'a:'", `error config.yml:7: http.addr: "a:" has no port from 0 to 65535; write it like :5000 or 127.0.0.1:5000`},
		{tls + "addr: https://a:1", `error config.yml:7: http.addr: "https://a:1" is a URL, not host:port; write it like :5000 or 127.0.0.1:5000`},
		{tls + "addr: ':https'", ""},
		{tls + "addr: '[::]:5000'", ""},
		{tls + "draintimeout: -1s", "error config.yml:7: http.draintimeout: negative"},
		{tls + "debug: {addr: ':5001'}", "warning config.yml:7: http.debug.addr: no host: listens on 127.0.0.1:5001 only"},
		{tls + "debug: {addr: '0.0.0.0:5001'}", `error config.yml:7: http.debug.addr: "0.0.0.0" is not a loopback address: profiles and metrics are for this machine only`},
		{tls + "debug: {addr: 'registry:5001'}", `error config.yml:7: http.debug.addr: "registry" is not a loopback address: profiles and metrics are for this machine only`},
		{tls + "debug: {addr: '127.0.0.9:5001'}", ""},

		{secure + "http: {tls: {certificate: /c}}", "error config.yml:5: http.tls.key: missing; http.tls.certificate is set"},
		{secure + "http: {tls: {key: /k}}", "error config.yml:5: http.tls.certificate: missing; http.tls.key is set"},
		{secure + "http: {tls: {certificate: /c, key: /k, letsencrypt: {hosts: [a.b]}}}", "error config.yml:5: http.tls: two sources of certificates: certificate with key, and letsencrypt; remove one of them"},
		{secure + "http: {tls: {letsencrypt: {email: a@b}}}", "error config.yml:5: http.tls.letsencrypt.hosts: missing; certificates are ordered for the names listed there only"},
		{secure + "http: {tls: {letsencrypt: {hosts: ['*.example.com']}}}", `error config.yml:5: http.tls.letsencrypt.hosts[0]: "*.example.com" is a wildcard, which cannot be proved with TLS-ALPN-01 (RFC 8737 section 3)`},
		{secure + "http: {tls: {letsencrypt: {hosts: ['https://a.example.com']}}}", `error config.yml:5: http.tls.letsencrypt.hosts[0]: "https://a.example.com" is not a DNS name`},
		{secure + "http: {tls: {letsencrypt: {hosts: ['a..b']}}}", `error config.yml:5: http.tls.letsencrypt.hosts[0]: "a..b" is not a DNS name`},
		{acme + "email: nobody}}", `error config.yml:6: http.tls.letsencrypt.email: "nobody" is not an address`},
		{acme + "directoryurl: 'http://ca.example.com/dir'}}", "error config.yml:6: http.tls.letsencrypt.directoryurl: not a URL that begins with https://"},
		{safe + "\ngateway: {acme: {checkinterval: 1m}}", "warning config.yml:8: gateway.acme: no effect without http.tls.letsencrypt"},

		{safe + "\ngateway: {headertimeout: 0, bodyidletimeout: -1s, maxheaderbytes: 100}", "error config.yml:8: gateway.headertimeout: 0s; it must be more than nothing\n" +
			"error config.yml:8: gateway.bodyidletimeout: -1s; it must be more than nothing\n" +
			"error config.yml:8: gateway.maxheaderbytes: 100 is not between 4096 and 16777216"},

		{base + "auth: {htpasswd: {path: /u}, token: {realm: //a/token, service: 'a\"b', issuer: \"a\\nb\"}}", "error config.yml:3: auth.token.realm: not a URL that begins with http:// or https://; leave it empty for /token on the origin that the client used\n" +
			"error config.yml:3: auth.token.service: contains a character other than printable ASCII without quotes and backslash\n" +
			"error config.yml:3: auth.token.issuer: contains a character other than printable ASCII without quotes and backslash"},
		{strings.Replace(safe, "/users}", "/users}, token: {realm: 'http://auth.example.com/'}", 1), "warning config.yml:3: auth.token.realm: begins with http://: clients would send passwords there unencrypted, and some refuse to"},
		{strings.Replace(safe, "/users}", "/users}, token: {realm: 'http://127.0.0.1:5000/token'}", 1), ""},
		{strings.Replace(safe, "/users}", "/users}, token: {realm: /token}", 1), ""},
		{strings.Replace(safe, "/users}", "/users}, token: {realm: 'https://a/token#x'}", 1), "error config.yml:3: auth.token.realm: a URL with a fragment; leave it empty for /token on the origin that the client used"},

		{strings.Replace(safe, "/users}", "/users}, token: {service: s}", 1) + "\netcd: {endpoints: ['a:1']}", "warning config.yml:3: auth.token: no effect: /lain/config/auth/registry in etcd decides"},
		{safe + "\netcd: {prefix: /x}", "warning config.yml:8: etcd.prefix: no effect without etcd.endpoints"},
		{safe + "\netcd: {endpoints: ['https://a:2379/v3'], prefix: x}", "error config.yml:8: etcd.endpoints[0]: a URL with more than scheme, host and port; write it like https://etcd.example.com:2379\n" +
			`error config.yml:8: etcd.prefix: "x" does not begin with /`},
		{safe + "\netcd: {endpoints: ['http://a', ':2379', 'u:p@a:2379', 'unix:///x']}", "error config.yml:8: etcd.endpoints[0]: is not host:port; write it like https://etcd.example.com:2379\n" +
			"error config.yml:8: etcd.endpoints[1]: names no host; write it like https://etcd.example.com:2379\n" +
			"error config.yml:8: etcd.endpoints[2]: with a user or password in it; write it like https://etcd.example.com:2379\n" +
			"error config.yml:8: etcd.endpoints[3]: not an absolute URL such as https://registry.example.com; write it like https://etcd.example.com:2379"},

		{rules + "{account: a, repository: a, actions: [pull, push, delete, '*']}", ""},
		{rules + "{repository: a, actions: [read]}", "error config.yml:7: tokenserver.access[0].account: missing; name a user, or \"*\" for all of them, or a group, or say anonymous: true\n" +
			"error config.yml:7: tokenserver.access[0].actions: \"read\" is none of pull, push, delete, catalog and \"*\""},
		{rules + "{account: dev**, repository: Team/app}", "error config.yml:7: tokenserver.access[0].account: \"dev**\" has two stars in a row; here one stands for any text\n" +
			"error config.yml:7: tokenserver.access[0].repository: \"Team/app\" has an upper-case letter, which no repository's name has\n" +
			"error config.yml:7: tokenserver.access[0].actions: missing; [] denies"},
		{rules + "{account: 'a:b', repository: '/a', actions: []}", "error config.yml:7: tokenserver.access[0].account: \"a:b\" cannot be a user's name: it contains a colon or a control character\n" +
			"error config.yml:7: tokenserver.access[0].repository: \"/a\" has an empty component, which no repository's name has"},
		{rules + "{account: a, repository: 'a?', actions: []}", "error config.yml:7: tokenserver.access[0].repository: \"a?\" has a character that no repository's name has; only * and ** are special"},
		{rules + "{account: a, repository: '***', actions: []}", "error config.yml:7: tokenserver.access[0].repository: \"***\" has three stars in a row; * matches within a component and ** across components"},
		{rules + "{account: a, repository: 'a/**', actions: [catalog]}", "error config.yml:7: tokenserver.access[0].actions: catalog lists every repository: only a rule for the repository \"**\" can grant it"},
		{rules + "{account: '*', repository: '**', actions: [pull]}\n  - {account: a, repository: b, actions: [push]}", "warning config.yml:8: tokenserver.access[1]: never decides: tokenserver.access[0] comes first and matches all that this does"},
		{rules + "{account: a, repository: b, actions: [pull]}\n  - {account: b, repository: b, actions: [pull]}\n  - {account: a, repository: b, actions: [push]}", "warning config.yml:9: tokenserver.access[2]: never decides: tokenserver.access[0] comes first and matches all that this does"},
	} {
		_, warnings, err := Parse("config.yml", []byte(test.text), nil)
		if got := strings.TrimSuffix(outcome(warnings, err), "\n"); got != test.want {
			t.Errorf("%s\ngot\n%s\nwant\n%s\n", test.text, got, test.want)
		}
	}
}

func TestTokenValidate(t *testing.T) {
	good := Token{Realm: "https://auth.example.com/token", Service: "registry.example.com", Issuer: "auth server"}
	if err := good.Validate(true); err != nil {
		t.Error(err)
	}
	for _, test := range []struct {
		token Token
		whole bool
		want  string
	}{
		{Token{}, true, "realm: empty\nservice: empty\nissuer: empty"},
		{Token{}, false, "service: empty\nissuer: empty"},
		{Token{"", "s", "i"}, false, ""},
		{Token{"/token", "s", "i"}, false, ""},
		{Token{"/token", "s", "i"}, true, "realm: not an absolute URL such as https://registry.example.com"},
		{Token{"https://a b/", "s", "i"}, true, "realm: contains a space"},
		{Token{"https://u:hunter2@a/", "s", "i"}, true, "realm: a URL with a user or password in it"},
		{Token{"mailto:a@b", "s", "i"}, true, "realm: not an absolute URL such as https://registry.example.com"},
		{Token{"https://a/", `s", error="`, "i"}, true, "service: contains a character other than printable ASCII without quotes and backslash"},
		{Token{"https://a/", "s", strings.Repeat("i", 3000)}, true, "issuer: too long"},
	} {
		got := ""
		if err := test.token.Validate(test.whole); err != nil {
			got = err.Error()
		}
		if got != test.want {
			t.Errorf("%+v: got %q, want %q", test.token, got, test.want)
		}
	}
}

func TestSecret(t *testing.T) {
	c, _, err := Parse("config.yml", []byte(base+"http: {secret: hunter2}"), nil)
	if err != nil {
		t.Fatal(err)
	}
	if string(c.HTTP.Secret) != "hunter2" {
		t.Error("the secret is lost")
	}
	var log bytes.Buffer
	slog.New(slog.NewJSONHandler(&log, nil)).Info("m", "secret", c.HTTP.Secret, "config", c)
	slog.New(slog.NewTextHandler(&log, nil)).Info("m", "secret", c.HTTP.Secret, "config", c)
	inJSON, err := json.Marshal(c)
	if err != nil {
		t.Fatal(err)
	}
	for _, shown := range []string{
		log.String(), string(inJSON), fmt.Sprint(c.HTTP), fmt.Sprintf("%+v %#v %q %s", *c, *c, c.HTTP.Secret, c.HTTP.Secret),
	} {
		if strings.Contains(shown, "hunter2") || !strings.Contains(shown, "***") {
			t.Errorf("shown as %s", shown)
		}
	}
	if Secret("").String() != "" {
		t.Error("an empty secret looks like one")
	}
}
