package certs

import (
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"
)

// LocalNames returns the names and addresses under which this machine can be reached, as far as it knows itself:
// localhost, its host name, and the addresses of its interfaces, IPv4 first. Addresses that need a zone (link-local ones)
// are left out, since no certificate can hold one.
func LocalNames() []string {
	names := []string{"localhost", "127.0.0.1", "::1"}
	add := func(name string) {
		if !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	if host, err := os.Hostname(); err == nil {
		if host = normalize(host); validName(host) {
			add(host)
		}
	}
	interfaces, err := net.InterfaceAddrs()
	if err != nil {
		return names // of the rest we know nothing: localhost is enough to begin with
	}
	var addresses []netip.Addr
	for _, a := range interfaces {
		if prefix, err := netip.ParsePrefix(a.String()); err == nil {
			if address := prefix.Addr().Unmap(); address.IsGlobalUnicast() {
				addresses = append(addresses, address)
			}
		}
	}
	slices.SortFunc(addresses, netip.Addr.Compare) // IPv4 sorts before IPv6
	for _, address := range addresses {
		add(address.String())
	}
	return names
}

// normalize returns the one form of host in which we compare, as x509 does: a DNS name in lower case (ASCII only: other
// letters have no case here) without its trailing dot, an IP address in its shortest form and without brackets.
func normalize(host string) string {
	bare := host
	if strings.HasPrefix(host, "[") && strings.HasSuffix(host, "]") {
		bare = host[1 : len(host)-1]
	}
	if address, err := netip.ParseAddr(bare); err == nil && address.Zone() == "" {
		return address.Unmap().String()
	}
	name := strings.TrimSuffix(host, ".")
	if _, err := netip.ParseAddr(name); err == nil {
		return host // an address has no trailing dot
	}
	lower := []byte(name)
	for i, c := range lower {
		if 'A' <= c && c <= 'Z' {
			lower[i] = c + 'a' - 'A'
		}
	}
	return string(lower)
}

// validName reports whether a normalized name may stand in a certificate of ours: an IP address without a zone, or a DNS
// name in ASCII (RFC 1123 section 2.1, and underscores, which some networks have) without a wildcard.
func validName(name string) bool {
	if address, err := netip.ParseAddr(name); err == nil {
		return address.Zone() == "" && !address.IsUnspecified()
	}
	if len(name) > 253 {
		return false
	}
	for label := range strings.SplitSeq(name, ".") {
		if label == "" || len(label) > 63 || label[0] == '-' || label[len(label)-1] == '-' {
			return false
		}
		for _, c := range []byte(label) {
			if c != '-' && c != '_' && (c < '0' || c > '9') && (c < 'a' || c > 'z') {
				return false
			}
		}
	}
	return true
}
