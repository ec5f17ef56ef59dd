package configs

import (
	"net"
	"net/url"
	"slices"
	"strings"
)

// consider warns of what is allowed and probably not meant. The configuration has no errors.
func (k *checker) consider() {
	k.considerAccess()
	k.considerListener()
	k.considerNames()
	k.considerHandshakes()
	k.considerManifests()
	k.unreachable()
	c := k.c
	if len(c.Etcd.Endpoints) == 0 && k.has("etcd.prefix") {
		k.warnf("etcd.prefix", "no effect without etcd.endpoints")
	}
	k.considerIssuer()
	if len(c.Etcd.Endpoints) > 0 && c.Auth.Token != nil && !c.Auth.Token.Outside() {
		k.warnf("auth.token", "no effect: %s/auth/registry in etcd decides", c.Etcd.Prefix)
	}
	if k.has("gateway.acme") && !c.HTTP.TLS.LetsEncrypt.Enabled() {
		k.warnf("gateway.acme", "no effect without http.tls.letsencrypt")
	}
}

// secured reports whether requests need credentials.
func (c *Config) secured() bool {
	return c.Auth.Htpasswd != nil || c.Auth.Token != nil || len(c.Etcd.Endpoints) > 0 || c.TokenServer.Access != nil
}

// considerAccess warns of who may do what.
func (k *checker) considerAccess() {
	c := k.c
	switch {
	case !c.secured():
		k.warnf("auth", "no access control: everybody who reaches the registry may read, write and delete everything")
	case c.Auth.Token.Outside():
	case c.Auth.Htpasswd == nil && c.TokenServer.Access == nil:
		k.warnf("auth.htpasswd", "absent: there are no users, so nobody can log in")
	case c.Auth.Htpasswd == nil && c.TokenServer.LDAP == nil && len(c.TokenServer.OIDC) == 0 && c.TokenServer.ClientCertificates == nil:
		k.warnf("auth.htpasswd", "absent: there are no users, so nobody but robots can log in")
	case c.TokenServer.Access == nil:
		k.warnf("tokenserver.access", "absent: every user of auth.htpasswd may do everything")
	case len(c.TokenServer.Access) == 0:
		k.warnf("tokenserver.access", "empty: no user may do anything")
	}
}

// considerListener warns of what can be overheard.
func (k *checker) considerListener() {
	h := k.c.HTTP
	host, _, _ := net.SplitHostPort(h.Addr)
	if k.c.secured() && !h.TLS.Enabled() && !loopback(host) {
		k.warnf("http.tls", "absent: passwords and tokens travel unencrypted to %s", h.Addr)
	}
	if k.narrowed {
		k.warnf("http.debug.addr", "no host: listens on %s only", h.Debug.Addr)
	}
}

// considerNames warns of URLs that clients would be sent to in vain.
func (k *checker) considerNames() {
	h := k.c.HTTP
	if k.cut != "" {
		k.warnf("http.host", "%s follows the last slash and is cut off; end the URL in a slash to keep it", quoteText(k.cut))
	}
	if u, err := url.Parse(h.Host); err == nil && h.Host != "" {
		hosts := h.TLS.LetsEncrypt.Hosts
		if h.TLS.LetsEncrypt.Enabled() && !slices.ContainsFunc(hosts, func(n string) bool { return strings.EqualFold(n, u.Hostname()) }) {
			k.warnf("http.host", "%s is not among http.tls.letsencrypt.hosts: no certificate will cover it", quoteText(u.Hostname()))
		}
		if h.TLS.Enabled() && u.Scheme == "http" {
			k.warnf("http.host", "begins with http:// while the listener speaks TLS")
		}
	}
	if t := k.c.Auth.Token; t != nil {
		if u, err := url.Parse(t.Realm); err == nil && u.Scheme == "http" && !loopback(u.Hostname()) {
			k.warnf("auth.token.realm", "begins with http://: clients would send passwords there unencrypted, and some refuse to")
		}
	}
}
