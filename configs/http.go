package configs

import (
	"crypto/tls"
	"maps"
	"net"
	"net/textproto"
	"net/url"
	"slices"
	"strings"
)

// http checks the listener, and brings what has several spellings into one.
func (k *checker) http() {
	h := &k.c.HTTP
	if fault := addrFault(h.Addr); fault != "" {
		k.errorf("http.addr", "%s %s; write it like :5000 or 127.0.0.1:5000", quoteText(h.Addr), fault)
	}
	if h.Host != "" {
		k.host()
	}
	if fault := pathFault(h.Prefix); fault != "" && h.Prefix != "" {
		k.errorf("http.prefix", "%s %s; write it like /registry", quoteText(h.Prefix), fault)
	}
	h.Prefix = strings.TrimSuffix(h.Prefix, "/")
	k.headers()
	if h.DrainTimeout < 0 {
		k.errorf("http.draintimeout", "negative")
	}
	k.debug()
}

// host checks http.host. distribution resolves the registry's URLs against it (registry/api/v2/urls.go), so that what
// follows the last slash of its path does not count.
func (k *checker) host() {
	h := &k.c.HTTP
	fault := urlFault(h.Host, "http", "https")
	u, err := url.Parse(h.Host)
	if fault == "" && err == nil {
		switch {
		case u.RawQuery != "" || u.ForceQuery:
			fault = "a URL with more than scheme, host, port and path"
		case u.Path != "" && pathFault(u.Path) != "":
			fault = "a URL with a path that " + pathFault(u.Path)
		}
	}
	if fault != "" || err != nil {
		k.errorf("http.host", "%s; write it like https://registry.example.com", fault)
		return
	}
	folder, last := u.Path[:strings.LastIndexByte(u.Path, '/')+1], u.Path[strings.LastIndexByte(u.Path, '/')+1:]
	if last != "" {
		k.cut = last
	}
	u.Path = strings.TrimSuffix(folder, "/")
	h.Host = u.String()
}

// debug checks the debug listener.
func (k *checker) debug() {
	d := &k.c.HTTP.Debug
	if fault := metricsPathFault(d.Prometheus.Path); fault != "" && d.Prometheus.Path != "" {
		k.errorf("http.debug.prometheus.path", "%s %s; write it like /metrics", quoteText(d.Prometheus.Path), fault)
	}
	if d.Addr == "" {
		return
	}
	if fault := addrFault(d.Addr); fault != "" {
		k.errorf("http.debug.addr", "%s %s; write it like 127.0.0.1:5001", quoteText(d.Addr), fault)
	} else if host, port, _ := net.SplitHostPort(d.Addr); host == "" {
		d.Addr, k.narrowed = net.JoinHostPort("127.0.0.1", port), true
	} else if !loopback(host) {
		k.errorf("http.debug.addr", "%s is not a loopback address: profiles and metrics are for this machine only", quoteText(host))
	}
}

// pathFault says why text is no path that URLs of the registry could begin with, or "".
func pathFault(text string) string {
	switch {
	case !strings.HasPrefix(text, "/"):
		return "does not begin with /"
	case strings.Contains(text, "//"):
		return "has an empty component"
	}
	for part := range strings.SplitSeq(text, "/") {
		if part == "." || part == ".." {
			return "has a component that is . or .."
		}
	}
	other := func(r rune) bool {
		return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && !strings.ContainsRune("/-._~", r)
	}
	if strings.ContainsFunc(text, other) {
		return "has a character other than letters, digits, / - . _ ~"
	}
	return ""
}

// metricsPathFault says why metrics cannot be at text, or "".
func metricsPathFault(text string) string {
	if fault := pathFault(text); fault != "" {
		return fault
	}
	switch {
	case strings.HasSuffix(text, "/"):
		return "ends with /"
	case text == "/debug" || strings.HasPrefix(text, "/debug/") || text == "/livez" || text == "/readyz":
		return "is taken"
	}
	return ""
}

// ours are the headers that no file may set: they frame the answer (RFC 9110 section 7.6.1, RFC 9112), or the API gives
// them a meaning that differs from answer to answer. Those that begin with Docker- and Oci- are ours, too.
var ours = []string{
	"Connection", "Keep-Alive", "Proxy-Connection", "Transfer-Encoding", "Te", "Trailer", "Upgrade", "Content-Length",
	"Content-Type", "Content-Encoding", "Content-Range", "Accept-Ranges", "Date", "Etag", "Last-Modified", "Location",
	"Link", "Range", "Allow", "Retry-After", "Www-Authenticate", "Proxy-Authenticate",
}

// headers checks http.headers.
func (k *checker) headers() {
	if k.c.HTTP.Headers == nil {
		return
	}
	canonical := make(map[string][]string, len(k.c.HTTP.Headers))
	for _, name := range slices.Sorted(maps.Keys(k.c.HTTP.Headers)) {
		path, values := join("http.headers", quoteKey(name)), k.c.HTTP.Headers[name]
		known := textproto.CanonicalMIMEHeaderKey(name)
		switch _, twice := canonical[known]; {
		case !isToken(name):
			k.errorf(path, "not the name of a header")
		case slices.Contains(ours, known) || strings.HasPrefix(known, "Docker-") || strings.HasPrefix(known, "Oci-"):
			k.errorf(path, "the registry sets this header itself, and clients rely on it: remove it")
		case twice:
			k.errorf(path, "given twice, in different spellings")
		case slices.ContainsFunc(values, controls):
			k.errorf(path, "a value has a line break or another control character")
		}
		canonical[known] = values
	}
	k.c.HTTP.Headers = canonical
}

// isToken reports whether text is a token (RFC 9110 section 5.6.2).
func isToken(text string) bool {
	return text != "" && !strings.ContainsFunc(text, func(r rune) bool {
		return r <= ' ' || r >= 0x7f || strings.ContainsRune(`"(),/:;<=>?@[\]{}`, r)
	})
}

// controls reports whether text cannot be the value of a header (RFC 9110 section 5.5).
func controls(text string) bool {
	return strings.ContainsFunc(text, func(r rune) bool { return r < ' ' && r != '\t' || r == 0x7f })
}

// BasePath is what clients see before /v2/: the path of Host where that is set, nothing where URLs are relative, else Prefix.
// distribution builds URLs so (registry/handlers/app.go, registry/api/v2/urls.go): whoever sets Host says that something in
// front maps one path to the other.
func (h HTTP) BasePath() string {
	switch u, err := url.Parse(h.Host); {
	case h.Host != "" && err == nil:
		return u.Path
	case h.RelativeURLs:
		return ""
	}
	return h.Prefix
}

// OffersHTTP2 reports whether the listener offers HTTP/2, which needs one of two cipher suites where it may meet TLS 1.2 (RFC
// 9113 section 9.2.2; Go's server does not start without).
func (h HTTP) OffersHTTP2() bool {
	if h.HTTP2.Disabled {
		return false
	}
	suites := h.TLS.Suites()
	return len(suites) == 0 || slices.Contains(suites, tls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256) ||
		slices.Contains(suites, tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256)
}
