package configs

import (
	"crypto/tls"
	"reflect"
	"strings"
	"testing"
)

// plain is a file that needs no warning, and ends inside of the section http.
const plain = quiet + "http:\n  addr: 127.0.0.1:5000\n  "

// secured is plain with TLS.
const secured = plain + "tls:\n    certificate: /c\n    key: /k\n    "

func TestPrefixAndHost(t *testing.T) {
	for _, test := range []struct{ text, host, prefix string }{
		{"prefix: /registry", "", "/registry"},
		{"prefix: /registry/", "", "/registry"},
		{"prefix: /a/b-c_d.e~f/", "", "/a/b-c_d.e~f"},
		{"prefix: /", "", ""},
		{"prefix:", "", ""},
		{"prefix: ''", "", ""},
		{"host: https://registry.example.com", "https://registry.example.com", ""},
		{"host: https://registry.example.com/", "https://registry.example.com", ""},
		{"host: https://example.com/registry/", "https://example.com/registry", ""},
		{"host: https://example.com/a/b/\n  prefix: /c", "https://example.com/a/b", "/c"},
	} {
		c, warnings, err := Parse("config.yml", []byte(plain+test.text), nil)
		if text := outcome(warnings, err); text != "" {
			t.Errorf("%s: %s", test.text, text)
		} else if c.HTTP.Host != test.host || c.HTTP.Prefix != test.prefix {
			t.Errorf("%s: got host %q and prefix %q", test.text, c.HTTP.Host, c.HTTP.Prefix)
		}
	}
}

// What would be read in two ways, break the protocol or weaken what is safe is an error that says what to do; what has no
// effect is a warning.
func TestListenerChecks(t *testing.T) {
	const sets = ": the registry sets this header itself, and clients rely on it: remove it"
	const control = "a value has a line break or another control character"
	for _, test := range []struct{ text, want string }{
		{plain + "prefix: registry", `error config.yml:8: http.prefix: "registry" does not begin with /; write it like /registry`},
		{plain + "prefix: //evil", `error config.yml:8: http.prefix: "//evil" has an empty component; write it like /registry`},
		{plain + "prefix: /a/../b", `error config.yml:8: http.prefix: "/a/../b" has a component that is . or ..; write it like /registry`},
		{plain + `prefix: "/{name:.*}"`, `error config.yml:8: http.prefix: "/{name:.*}" has a character other than letters, digits, / - . _ ~; write it like /registry`},
		{plain + "prefix: /a%2fb", `error config.yml:8: http.prefix: "/a%2fb" has a character other than letters, digits, / - . _ ~; write it like /registry`},
		{plain + `prefix: "/a\r\nb"`, `error config.yml:8: http.prefix: "/a\r\nb" has a character other than letters, digits, / - . _ ~; write it like /registry`},

		{plain + "headers: {}", ""},
		{plain + "headers: {Strict-Transport-Security: [max-age=31536000], Access-Control-Allow-Origin: ['*']}", ""},
		{plain + "headers: {X: nosniff}", "error config.yml:8: http.headers.X: wants a list, not a single value"},
		{plain + "headers: [X]", "error config.yml:8: http.headers: wants a section (lines of key: value), not a list"},
		{plain + `headers: {X: ["a\r\nSet-Cookie: b"]}`, "error config.yml:8: http.headers.X: " + control},
		{plain + `headers: {X: [fine, "a\0b"]}`, "error config.yml:8: http.headers.X: " + control},
		{plain + `headers: {X: ["a\x7f"]}`, "error config.yml:8: http.headers.X: " + control},
		{plain + `headers: {"X: y": [z]}`, `error config.yml:8: http.headers."X: y": not the name of a header`},
		{plain + `headers: {"X\r\nY": [z]}`, `error config.yml:8: http.headers."X\r\nY": not the name of a header`},
		{plain + `headers: {"": [z]}`, `error config.yml:8: http.headers."": not the name of a header`},
		{plain + `headers: {"Ü": [z]}`, `error config.yml:8: http.headers.Ü: not the name of a header`},
		{plain + "headers: {X-A: [b], x-a: [c]}", "error config.yml:8: http.headers.x-a: given twice, in different spellings"},
		{plain + "headers: {content-length: [0]}", "error config.yml:8: http.headers.content-length" + sets},
		{plain + "headers: {Transfer-Encoding: [chunked]}", "error config.yml:8: http.headers.Transfer-Encoding" + sets},
		{plain + "headers: {Connection: [close]}", "error config.yml:8: http.headers.Connection" + sets},
		{plain + "headers: {docker-content-digest: ['sha256:0']}", "error config.yml:8: http.headers.docker-content-digest" + sets},
		{plain + "headers: {OCI-Subject: [x]}", "error config.yml:8: http.headers.OCI-Subject" + sets},
		{plain + "headers: {Location: [/]}", "error config.yml:8: http.headers.Location" + sets},
		{plain + "headers: {WWW-Authenticate: [Basic]}", "error config.yml:8: http.headers.WWW-Authenticate" + sets},

		{plain + "debug: {addr: 'localhost:1', prometheus: {path: /debug/health}}", `error config.yml:8: http.debug.prometheus.path: "/debug/health" is taken; write it like /metrics`},
		{plain + "debug: {addr: 'localhost:1', prometheus: {path: /}}", `error config.yml:8: http.debug.prometheus.path: "/" ends with /; write it like /metrics`},
		{plain + "debug: {addr: 'localhost:1', prometheus: {path: '/{x}'}}", `error config.yml:8: http.debug.prometheus.path: "/{x}" has a character other than letters, digits, / - . _ ~; write it like /metrics`},

		{secured + "minimumtls: tls1.3", ""},
		{secured + "minimumtls: tls1.1", "warning config.yml:11: http.tls.minimumtls: no effect: the least is tls1.2"},
		{secured + "minimumtls: ssl3", `error config.yml:11: http.tls.minimumtls: "ssl3" is none of tls1.2, tls1.3`},
		{plain + "tls: {minimumtls: tls1.3}", "warning config.yml:8: http.tls.minimumtls: no effect: the listener speaks plain HTTP"},
		{secured + "ciphersuites: [TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256]", ""},
		{secured + "ciphersuites: [TLS_NONE]", `error config.yml:11: http.tls.ciphersuites[0]: "TLS_NONE" is no cipher suite that is known; names are like TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256`},
		{secured + "ciphersuites: [TLS_RSA_WITH_RC4_128_SHA]", `error config.yml:11: http.tls.ciphersuites[0]: "TLS_RSA_WITH_RC4_128_SHA" is no cipher suite that is known; names are like TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256`},
		{secured + "ciphersuites: [TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384]", "warning config.yml:11: http.tls.ciphersuites: HTTP/2 is not offered: it needs TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256 or TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256"},
		{secured + "ciphersuites: [TLS_RSA_WITH_AES_128_CBC_SHA]\n  http2: {disabled: true}", "warning config.yml:11: http.tls.ciphersuites: TLS_RSA_WITH_AES_128_CBC_SHA is insecure"},
		{secured + "ciphersuites: [TLS_RSA_WITH_AES_128_CBC_SHA]\n    minimumtls: tls1.3", "warning config.yml:11: http.tls.ciphersuites: no effect with tls1.3, whose cipher suites cannot be chosen"},
		{plain + "tls: {ciphersuites: [TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256]}", "warning config.yml:8: http.tls.ciphersuites: no effect: the listener speaks plain HTTP"},

		{secured + "clientcas: [/ca]", ""},
		{secured + "clientcas: [/ca]\n    clientauth: require-and-verify-client-cert", ""},
		{secured + "clientcas: [/ca]\n    clientauth: request-client-cert", "warning config.yml:12: http.tls.clientauth: request-client-cert: certificates of clients are not verified, so that anybody can make one"},
		{secured + "clientcas: [/ca]\n    clientauth: require", `error config.yml:12: http.tls.clientauth: "require" is none of require-and-verify-client-cert, verify-client-cert-if-given, require-any-client-cert, request-client-cert`},
		{secured + "clientcas: ['']", "error config.yml:11: http.tls.clientcas: an item names no file"},
		{secured + "clientauth: require-and-verify-client-cert", "error config.yml:11: http.tls.clientauth: no client is asked for a certificate without http.tls.clientcas: name the files of the CAs, or remove the key"},
		{plain + "tls: {clientcas: [/ca]}", "error config.yml:8: http.tls.clientcas: the listener speaks plain HTTP, where no client is asked for a certificate: set http.tls.certificate and key, or remove the key"},
	} {
		_, warnings, err := Parse("config.yml", []byte(test.text), nil)
		if got := strings.TrimSuffix(outcome(warnings, err), "\n"); got != test.want {
			t.Errorf("%s\ngot\n%s\nwant\n%s\n", strings.TrimPrefix(test.text, quiet), got, test.want)
		}
	}
}

func TestHandshakes(t *testing.T) {
	const wanted, other = "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256", "TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384"
	for text, want := range map[string]struct {
		version uint16
		suites  []uint16
		clients tls.ClientAuthType
		http2   bool
	}{
		"":                                   {tls.VersionTLS12, nil, tls.NoClientCert, true},
		"minimumtls: tls1.0":                 {tls.VersionTLS12, nil, tls.NoClientCert, true},
		"minimumtls: tls1.3":                 {tls.VersionTLS13, nil, tls.NoClientCert, true},
		"ciphersuites: [" + wanted + "]":     {tls.VersionTLS12, []uint16{tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256}, tls.NoClientCert, true},
		"ciphersuites: [" + other + "]":      {tls.VersionTLS12, []uint16{tls.TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384}, tls.NoClientCert, false},
		"clientcas: [/ca]":                   {tls.VersionTLS12, nil, tls.RequireAndVerifyClientCert, true},
		"clientcas: [/ca]\n    clientauth: ": {tls.VersionTLS12, nil, tls.RequireAndVerifyClientCert, true},
		"clientcas: [/ca]\n    clientauth: verify-client-cert-if-given":    {tls.VersionTLS12, nil, tls.VerifyClientCertIfGiven, true},
		"clientcas: [/ca]\n    clientauth: require-any-client-cert":        {tls.VersionTLS12, nil, tls.RequireAnyClientCert, true},
		"\n  http2: {disabled: true}":                                      {tls.VersionTLS12, nil, tls.NoClientCert, false},
		"minimumtls: tls1.3\n    ciphersuites: [" + other + "]":            {tls.VersionTLS13, nil, tls.NoClientCert, true},
		"minimumtls: tls1.3\n    ciphersuites: []\n  http2: {disabled: y}": {tls.VersionTLS13, nil, tls.NoClientCert, false},
	} {
		c, _, err := Parse("config.yml", []byte(secured+text), nil)
		if err != nil {
			t.Errorf("%s: %v", text, err)
			continue
		}
		s := c.HTTP.TLS
		if s.MinVersion() != want.version || !reflect.DeepEqual(s.Suites(), want.suites) || s.Clients() != want.clients || c.HTTP.OffersHTTP2() != want.http2 {
			t.Errorf("%s: got version %x, suites %v, clients %v, HTTP/2 %v", text, s.MinVersion(), s.Suites(), s.Clients(), c.HTTP.OffersHTTP2())
		}
	}
}
