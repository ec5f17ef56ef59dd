package gateway

import (
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
)

// Origin finds the scheme, host and port under which the client reached us, for URLs in answers: clients check that the
// realm of a challenge is on the origin they asked. It trusts the Host header only as far as the certificate or http.host
// vouches for it, and no other header at all. Safe for concurrent use if Covers and Names are.
type Origin struct {
	// Covers reports whether a client that verifies names may use host, a DNS name in lower case or an IP literal, without
	// port. nil: no name.
	Covers func(host string) bool
	// Host is http.host; nil when not set. Its path does not count.
	Host *url.URL
	// Path is what clients see before /v2/: empty, or a path without a slash at its end.
	Path string
	// TLS says what the listener speaks.
	TLS bool
	// Names are the certificate's names, best first. nil: none.
	Names func() []string
}

// Base returns what the URLs of the registry and of the token server begin with: Of and Path.
func (o Origin) Base(r *http.Request) string { return o.Of(r) + o.Path }

// Of returns scheme://host[:port], without a path.
//
// Over TLS it is always https: the host and port that the client named where the certificate covers the name or http.host
// has it; else http.host; else the certificate's first name with the listener's port.
//
// Without TLS nothing can vouch for a name but http.host, whose scheme may be https because something in front ends TLS: it
// is the answer where it is set, except that a client which used its name over plain http keeps its port. Where http.host
// is not set, the client is told what it said, if that is a host at all.
func (o Origin) Of(r *http.Request) string {
	host, port, ok := splitHost(r.Host)
	ours := ok && o.Host != nil && host == o.hostName()
	switch {
	case ok && o.TLS && (ours || o.Covers != nil && o.Covers(host)):
		return "https://" + joinHost(host, port)
	case o.Host != nil && o.TLS:
		return "https://" + o.Host.Host
	case o.Host != nil && !(ours && o.Host.Scheme == "http"):
		return o.Host.Scheme + "://" + o.Host.Host
	case ok && !o.TLS:
		return "http://" + joinHost(host, port)
	}
	return o.fallback(r)
}

// hostName is http.host's host as splitHost writes it.
func (o Origin) hostName() string {
	host, _, _ := splitHost(o.Host.Host)
	return host
}

// fallback is the origin for a client that named no host that is ours.
func (o Origin) fallback(r *http.Request) string {
	scheme, usual := "http", 80
	if o.TLS {
		scheme, usual = "https", 443
	}
	host, port := "localhost", ""
	if addr, ok := r.Context().Value(http.LocalAddrContextKey).(*net.TCPAddr); ok {
		host = addr.AddrPort().Addr().Unmap().WithZone("").String()
		if addr.Port != usual {
			port = strconv.Itoa(addr.Port)
		}
	}
	if o.Names != nil {
		for _, name := range o.Names() {
			if !strings.HasPrefix(name, "*") {
				host = name
				break
			}
		}
	}
	return scheme + "://" + joinHost(host, port)
}

// splitHost takes a Host header apart: a DNS name in lower case without a final dot, or an IP literal in its usual form
// without brackets; and the port's digits, empty where there is none. ok is false for whatever is neither, and for a zone.
func splitHost(s string) (host, port string, ok bool) {
	host = s
	if strings.HasPrefix(s, "[") {
		literal, rest, found := strings.Cut(s[1:], "]")
		addr, err := netip.ParseAddr(literal)
		if !found || err != nil || !addr.Is6() || addr.Zone() != "" {
			return "", "", false
		}
		if rest == "" {
			return addr.String(), "", true
		}
		return addr.String(), rest[1:], rest[0] == ':' && isPort(rest[1:])
	}
	if i := strings.IndexByte(s, ':'); i >= 0 {
		host, port = s[:i], s[i+1:]
		if !isPort(port) {
			return "", "", false
		}
	}
	host = strings.ToLower(strings.TrimSuffix(host, "."))
	return host, port, isName(host)
}

// joinHost is the inverse.
func joinHost(host, port string) string {
	if strings.Contains(host, ":") {
		host = "[" + host + "]"
	}
	if port == "" {
		return host
	}
	return host + ":" + port
}

// isPort reports whether s is a port in its shortest form.
func isPort(s string) bool {
	n, err := strconv.ParseUint(s, 10, 16)
	return err == nil && n > 0 && s[0] != '0'
}

// isName reports whether s is a DNS name of letters, digits, hyphens and underscores, or an IPv4 literal.
func isName(s string) bool {
	if len(s) > 253 {
		return false
	}
	for label := range strings.SplitSeq(s, ".") {
		if label == "" || len(label) > 63 || label[0] == '-' || label[len(label)-1] == '-' {
			return false
		}
		for i := range len(label) {
			c := label[i]
			if (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '-' && c != '_' {
				return false
			}
		}
	}
	return true
}
