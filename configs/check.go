package configs

import (
	"fmt"
	"net"
	"net/url"
	"slices"
	"strings"
	"time"
)

// checker looks at a whole configuration that was read: what its types cannot say.
type checker struct {
	c    *Config
	p    *problems
	at   map[string]position // where each key was found
	file position            // for what was found nowhere

	narrowed bool   // http.debug.addr had no host
	cut      string // http.host had this behind its last slash
}

// errorf reports an error at a key, or at the nearest section of it that is there; one error for a key is enough.
func (k *checker) errorf(path, format string, args ...any) {
	if !k.p.spoilt(path) {
		k.p.errorf(k.position(path), path, format, args...)
	}
}

// warnf reports a warning at a key. One of a key that is not there is not laid at the door of a variable that set another
// in the same section.
func (k *checker) warnf(path, format string, args ...any) {
	at := k.position(path)
	if at.variable != "" && !k.has(path) {
		at = k.file
	}
	k.p.warnf(at, path, format, args...)
}

func (k *checker) position(path string) position {
	for ; path != ""; path = parent(path) {
		if at, ok := k.at[path]; ok {
			return at
		}
	}
	return k.file
}

// has reports whether the file or a variable names the key.
func (k *checker) has(path string) bool {
	_, ok := k.at[path]
	return ok
}

// check reports every error.
func (k *checker) check() {
	c := k.c
	switch {
	case c.Version == "":
		k.errorf("version", "missing; the file must say version: 0.1")
	case c.Version != "0.1":
		k.errorf("version", "%s is not known; the only one is 0.1", quoteText(c.Version))
	}
	if !slices.Contains([]string{"error", "warn", "info", "debug"}, c.Log.Level) {
		k.errorf("log.level", "%s is none of error, warn, info, debug", quoteText(c.Log.Level))
	}
	if !slices.Contains([]string{"text", "json"}, c.Log.Formatter) {
		k.errorf("log.formatter", "%s is none of text, json, logstash", quoteText(c.Log.Formatter))
	}
	k.storage()
	k.auth()
	k.issuer()
	k.refresh()
	k.http()
	k.tls()
	k.handshakes()
	k.manifests()
	k.limits()
	k.gc()
	k.protection()
	k.access()
	k.keys()
	k.ldap()
	k.oidc()
	k.clientCertificates()
	k.etcd()
}

func (k *checker) storage() {
	s := k.c.Storage
	var named []string
	for _, driver := range []struct {
		name string
		set  bool
	}{{"filesystem", s.Filesystem != nil}, {"inmemory", s.InMemory != nil}, {"s3", s.S3 != nil}} {
		if driver.set {
			named = append(named, driver.name)
		}
	}
	switch {
	case len(named) == 0:
		k.errorf("storage", "no driver; name one of "+drivers)
	case len(named) > 1:
		k.errorf("storage", "more than one driver: %s", strings.Join(named, " and "))
	}
	if s.S3 == nil {
		return
	}
	if s.S3.Bucket == "" {
		k.errorf("storage.s3.bucket", "missing; name the bucket")
	}
	if s.S3.Region == "" && s.S3.RegionEndpoint == "" {
		k.errorf("storage.s3.region", "missing; name a region of AWS, or another server by storage.s3.regionendpoint")
	}
	if k.c.Index.Path == "" {
		k.errorf("index.path", "missing; with storage.s3 names are kept in a file on this machine, such as /var/lib/gatehouse/index.db")
	}
}

func (k *checker) auth() {
	a := k.c.Auth
	if k.has("auth.none") && (a.Htpasswd != nil || a.Token != nil) {
		k.errorf("auth.none", "stands beside another section of auth: remove one of them")
	}
	if a.Htpasswd != nil && a.Htpasswd.Path == "" {
		k.errorf("auth.htpasswd.path", "missing; name the file of users")
	}
	if t := a.Token; t != nil {
		if fault := realmFault(t.Realm, false); fault != "" {
			k.errorf("auth.token.realm", "%s; leave it empty for /token on the origin that the client used", fault)
		}
		if fault := quotableFault(t.Service); fault != "" {
			k.errorf("auth.token.service", "%s", fault)
		}
		if fault := quotableFault(t.Issuer); fault != "" {
			k.errorf("auth.token.issuer", "%s", fault)
		}
	}
}

func (k *checker) tls() {
	t := k.c.HTTP.TLS
	le := t.LetsEncrypt
	switch {
	case t.Certificate != "" && t.Key == "":
		k.errorf("http.tls.key", "missing; http.tls.certificate is set")
	case t.Key != "" && t.Certificate == "":
		k.errorf("http.tls.certificate", "missing; http.tls.key is set")
	case t.Certificate != "" && le.Enabled():
		k.errorf("http.tls", "two sources of certificates: certificate with key, and letsencrypt; remove one of them")
	}
	if !le.Enabled() {
		return
	}
	if len(le.Hosts) == 0 {
		k.errorf("http.tls.letsencrypt.hosts", "missing; certificates are ordered for the names listed there only")
	}
	for i, h := range le.Hosts {
		if fault := certificateNameFault(h); fault != "" {
			k.errorf(fmt.Sprintf("http.tls.letsencrypt.hosts[%d]", i), "%s %s", quoteText(h), fault)
		}
	}
	if le.Email != "" && !strings.Contains(le.Email, "@") {
		k.errorf("http.tls.letsencrypt.email", "%s is not an address", quoteText(le.Email))
	}
	if le.DirectoryURL != "" {
		if fault := urlFault(le.DirectoryURL, "https"); fault != "" {
			k.errorf("http.tls.letsencrypt.directoryurl", "%s", fault)
		}
	}
}

func (k *checker) limits() {
	g, purging := k.c.Gateway, k.c.Storage.Maintenance.UploadPurging
	for _, d := range []struct {
		path  string
		value time.Duration
	}{
		{"gateway.headertimeout", g.HeaderTimeout},
		{"gateway.bodyidletimeout", g.BodyIdleTimeout},
		{"gateway.keepalivetimeout", g.KeepAliveTimeout},
		{"gateway.acme.checkinterval", g.ACME.CheckInterval},
		{"storage.maintenance.uploadpurging.age", purging.Age},
		{"storage.maintenance.uploadpurging.interval", purging.Interval},
	} {
		if d.value <= 0 {
			k.errorf(d.path, "%s; it must be more than nothing", d.value)
		}
	}
	if g.MaxHeaderBytes < 4<<10 || g.MaxHeaderBytes > 16<<20 {
		k.errorf("gateway.maxheaderbytes", "%d is not between 4096 and 16777216", g.MaxHeaderBytes)
	}
	switch l := k.c.TokenServer.Lifetime; {
	case l < 5*time.Second:
		k.errorf("tokenserver.lifetime", "%s; a token needs 5s at least to be of use", l)
	case l < time.Minute:
		k.warnf("tokenserver.lifetime", "%s; clients assume that a token lives for 60s at least, and ask twice when it does not", l)
	}
}

func (k *checker) etcd() {
	e := k.c.Etcd
	for i, endpoint := range e.Endpoints {
		if fault := endpointFault(endpoint); fault != "" {
			k.errorf(fmt.Sprintf("etcd.endpoints[%d]", i), "%s; write it like https://etcd.example.com:2379", fault)
		}
	}
	if !strings.HasPrefix(e.Prefix+"/", "/") {
		k.errorf("etcd.prefix", "%s does not begin with /", quoteText(e.Prefix))
	} else if fault := quotableFault(e.Prefix); fault != "" {
		k.errorf("etcd.prefix", "%s", fault)
	}
}

// endpointFault says why text is no etcd endpoint, a URL or host:port, or "". It never shows text: a password may be in
// it.
func endpointFault(text string) string {
	if strings.Contains(text, "://") {
		if fault := urlFault(text, "http", "https"); fault != "" {
			return fault
		}
		u, err := url.Parse(text)
		if err != nil || (u.Path != "" && u.Path != "/") || u.RawQuery != "" {
			return "a URL with more than scheme, host and port"
		}
		text = u.Host
	}
	if strings.ContainsRune(text, '@') {
		return "with a user or password in it"
	}
	if fault := addrFault(text); fault != "" {
		return fault
	}
	if host, _, _ := net.SplitHostPort(text); host == "" {
		return "names no host"
	}
	return ""
}

// addrFault says why text is no host:port, or "".
func addrFault(text string) string {
	if strings.Contains(text, "://") {
		return "is a URL, not host:port"
	}
	host, port, err := net.SplitHostPort(text)
	if err != nil {
		return "is not host:port"
	}
	if _, err := net.LookupPort("tcp", port); err != nil || port == "" {
		return "has no port from 0 to 65535"
	}
	if strings.ContainsAny(host, "/ @?#") {
		return "has no valid host"
	}
	return ""
}

// loopback reports whether host is a name or address of this machine for itself.
func loopback(host string) bool {
	return strings.EqualFold(host, "localhost") || net.ParseIP(host).IsLoopback()
}

// certificateNameFault says why a certificate cannot be ordered for name, or "".
func certificateNameFault(name string) string {
	if net.ParseIP(name) != nil {
		return ""
	}
	if strings.HasPrefix(name, "*.") {
		return "is a wildcard, which cannot be proved with TLS-ALPN-01 (RFC 8737 section 3)"
	}
	if name == "" || len(name) > 253 {
		return "is not a DNS name"
	}
	for label := range strings.SplitSeq(name, ".") {
		bad := strings.Trim(label, "-") != label || strings.ContainsFunc(label, func(r rune) bool {
			return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && r != '-' && r != '_'
		})
		if label == "" || len(label) > 63 || bad {
			return "is not a DNS name"
		}
	}
	return ""
}
