package gateway

import (
	"context"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
)

// origin returns what o says to a request with the Host header host that came in on listener.
func origin(o Origin, host, listener string) string {
	ctx := context.Background()
	if listener != "" {
		addr, err := net.ResolveTCPAddr("tcp", listener)
		if err != nil {
			panic(err)
		}
		ctx = context.WithValue(ctx, http.LocalAddrContextKey, net.Addr(addr))
	}
	r := (&http.Request{Host: host, Header: http.Header{
		"Forwarded": {"host=evil.example"}, "X-Forwarded-Host": {"evil.example"}, "X-Forwarded-Proto": {"gopher"},
	}}).WithContext(ctx)
	return o.Of(r)
}

func parse(t *testing.T, s string) *url.URL {
	t.Helper()
	if s == "" {
		return nil
	}
	u, err := url.Parse(s)
	if err != nil {
		t.Fatal(err)
	}
	return u
}

func covers(names ...string) func(string) bool {
	return func(host string) bool { return slices.Contains(names, host) }
}

func TestOriginOverTLS(t *testing.T) {
	names := func() []string { return []string{"*.example.com", "first.example.com", "other.example.com"} }
	cert := covers("registry.example.com", "127.0.0.1", "::1", "localhost")
	for _, c := range []struct{ httpHost, host, want string }{
		// What the certificate covers is the client's own origin.
		{"", "registry.example.com", "https://registry.example.com"},
		{"", "registry.example.com:5000", "https://registry.example.com:5000"},
		{"", "registry.example.com:443", "https://registry.example.com:443"},
		{"", "Registry.EXAMPLE.com:5000", "https://registry.example.com:5000"},
		{"", "registry.example.com.:5000", "https://registry.example.com:5000"},
		{"", "registry.example.com.", "https://registry.example.com"},
		{"", "127.0.0.1:5000", "https://127.0.0.1:5000"},
		{"", "[::1]:5000", "https://[::1]:5000"},
		{"", "[0:0:0::1]", "https://[::1]"},
		{"", "localhost:5000", "https://localhost:5000"},
		{"https://hub.example.org", "localhost:5000", "https://localhost:5000"},
		// So is http.host's name, on whatever port.
		{"https://hub.example.org", "hub.example.org", "https://hub.example.org"},
		{"https://hub.example.org", "HUB.example.org.:8443", "https://hub.example.org:8443"},
		{"https://hub.example.org:8443", "hub.example.org", "https://hub.example.org"},
		{"https://[2001:DB8::1]", "[2001:db8:0::1]:5000", "https://[2001:db8::1]:5000"},
		// Anything else gets http.host, and https even if that says http.
		{"https://hub.example.org", "evil.example", "https://hub.example.org"},
		{"https://hub.example.org:8443", "evil.example:443", "https://hub.example.org:8443"},
		{"https://hub.example.org/path?x", "", "https://hub.example.org"},
		{"http://hub.example.org", "evil.example", "https://hub.example.org"},
		// Or the certificate's first name that is one, with the listener's port.
		{"", "evil.example", "https://first.example.com:5000"},
		{"", "", "https://first.example.com:5000"},
		{"", "sub.registry.example.com", "https://first.example.com:5000"},
	} {
		o := Origin{Covers: cert, Host: parse(t, c.httpHost), TLS: true, Names: names}
		if got := origin(o, c.host, "127.0.0.1:5000"); got != c.want {
			t.Errorf("http.host %q, Host %q: %s, want %s", c.httpHost, c.host, got, c.want)
		}
	}
}

func TestOriginWithoutTLS(t *testing.T) {
	for _, c := range []struct{ httpHost, host, want string }{
		{"", "registry.example.com:5000", "http://registry.example.com:5000"},
		{"", "REGISTRY.example.com", "http://registry.example.com"},
		{"", "[::1]:5000", "http://[::1]:5000"},
		{"", "", "http://10.0.0.1:5000"},
		{"", "user@evil.example", "http://10.0.0.1:5000"},
		// TLS may end in front of us: only http.host knows.
		{"https://hub.example.org", "hub.example.org", "https://hub.example.org"},
		{"https://hub.example.org", "hub.example.org:5000", "https://hub.example.org"},
		{"https://hub.example.org", "evil.example", "https://hub.example.org"},
		{"http://hub.example.org", "hub.example.org:5000", "http://hub.example.org:5000"},
		{"http://hub.example.org", "evil.example", "http://hub.example.org"},
	} {
		o := Origin{Host: parse(t, c.httpHost), Covers: covers("evil.example")}
		if got := origin(o, c.host, "10.0.0.1:5000"); got != c.want {
			t.Errorf("http.host %q, Host %q: %s, want %s", c.httpHost, c.host, got, c.want)
		}
	}
}

func TestOriginFallback(t *testing.T) {
	none := func() []string { return nil }
	for _, c := range []struct {
		o              Origin
		listener, want string
	}{
		{Origin{TLS: true, Names: func() []string { return []string{"a.example"} }}, "0.0.0.0:443", "https://a.example"},
		{Origin{TLS: true, Names: func() []string { return []string{"::1"} }}, "[::1]:443", "https://[::1]"},
		{Origin{TLS: true, Names: func() []string { return []string{"::1"} }}, "[::1]:5000", "https://[::1]:5000"},
		{Origin{TLS: true, Names: func() []string { return []string{"*.a.example"} }}, "10.0.0.1:443", "https://10.0.0.1"},
		{Origin{TLS: true, Names: none}, "10.0.0.1:5000", "https://10.0.0.1:5000"},
		{Origin{TLS: true}, "[::ffff:10.0.0.1]:5000", "https://10.0.0.1:5000"},
		{Origin{TLS: true}, "", "https://localhost"},
		{Origin{}, "10.0.0.1:80", "http://10.0.0.1"},
	} {
		if got := origin(c.o, "a b", c.listener); got != c.want {
			t.Errorf("%+v: %s, want %s", c.o, got, c.want)
		}
	}
}

// hostile are Host headers that must never be quoted in an answer, although everything is covered here.
var hostile = []string{
	"", " ", ".", "..", "a..b", "-a", "a-", "a b", "a\tb", "a\r\nSet-Cookie: x", "a\x00b", "a\"b", "a'b", "a,b", "a;b", "a/b", "a\\b",
	"a?b", "a#b", "a%41", "a%", "user@a", "user:pass@a", "a@b:80", "https://a", "//a", "a:", "a:0", "a:00", "a:080", "a:65536",
	"a:99999999999", "a:-1", "a:+80", "a:80:80", "a:b", "a: 80", ":80", "[", "[]", "[]:80", "[::1", "::1", "::1:80", "[::1]80", "[::1]x:80",
	"[::1]:", "[::1]:0", "[::1]:99999", "[::1%25eth0]", "[fe80::1%eth0]:80", "[127.0.0.1]", "[a]", "[::1]]", "[[::1]]", "a]", "ä.example",
	"a\u202eb", "a\xff", "*.example", "*", strings.Repeat("a", 64), strings.Repeat("a.", 127) + "aa", strings.Repeat("a", 70000),
}

func TestHostileHost(t *testing.T) {
	everything := func(string) bool { return true }
	for _, host := range hostile {
		for _, o := range []Origin{
			{TLS: true, Covers: everything, Names: func() []string { return []string{"safe.example"} }},
			{TLS: true, Covers: everything, Host: parse(t, "https://safe.example")},
			{Host: parse(t, "https://safe.example")},
			{Host: parse(t, "http://safe.example")},
			{Names: func() []string { return []string{"safe.example"} }},
		} {
			got := origin(o, host, "")
			if got != "https://safe.example" && got != "http://safe.example" {
				t.Errorf("Host %q: %q", host, got)
			}
		}
	}
}

func FuzzOrigin(f *testing.F) {
	for _, host := range append(hostile, "a.example:5000", "[2001:db8::1]:443", "10.0.0.1") {
		f.Add(host)
	}
	o := Origin{TLS: true, Covers: func(string) bool { return true }}
	f.Fuzz(func(t *testing.T, host string) {
		got := origin(o, host, "")
		u, err := url.Parse(got)
		if err != nil || u.Scheme != "https" || u.String() != got || u.User != nil || u.Path != "" || u.Host == "" {
			t.Errorf("Host %q: %q is no origin (%v)", host, got, err)
		}
		if strings.ContainsAny(got, "\"\\ \t\r\n,;<>@") {
			t.Errorf("Host %q: %q breaks a header", host, got)
		}
		// What was understood is understood again, the same way.
		if again := origin(o, u.Host, ""); again != got {
			t.Errorf("Host %q: %q, then %q", host, got, again)
		}
	})
}

// Over a real connection, where net/http fills the Host and the listener's address in.
func TestOriginOfARequest(t *testing.T) {
	for _, p := range []protocol{h1, h2} {
		o := Origin{TLS: true, Covers: covers("127.0.0.1"), Names: func() []string { return []string{"registry.example.com"} }}
		d := open(t, p, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { _, _ = w.Write([]byte(o.Of(r))) }), nil)
		c := d.client(p)
		if _, body := d.do(c, d.request("GET", "/v2/", nil)); body != d.base {
			t.Errorf("%s: %q, want %q", p, body, d.base)
		}
		r := d.request("GET", "/v2/", nil)
		r.Host = "evil.example:1"
		_, port, _ := net.SplitHostPort(d.Addr().String())
		if _, body := d.do(c, r); body != "https://registry.example.com:"+port {
			t.Errorf("%s: %q", p, body)
		}
	}
}
