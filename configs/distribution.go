package configs

// treatment says what becomes of a key that distribution knows and gatehouse has no setting for.
type treatment uint8

const (
	// ignored: a warning. Speed, comfort and reports are at stake, and what ignoring does is said.
	ignored treatment = iota
	// refused: an error, where ignoring would change who gets in, what is stored, what is accepted or who is told; unless the
	// value asks for nothing.
	refused
	// always refused, even without a value: the key itself asks for something.
	always
	// silent: read as it is meant elsewhere, or without effect in distribution as well.
	silent
)

// foreignKey is one key of distribution 2.8 or 3.1 without a setting here. Everything below it is foreign as well.
type foreignKey struct {
	path  string
	treat treatment
	// fine are values that ask for nothing that gatehouse does not do anyway: they pass without a word, as an absent or empty
	// value does, and a list whose items all are disabled.
	fine []string
	// weaker are values of a refused key that ask for less than gatehouse keeps: a warning is enough.
	weaker []string
	why    string
}

const (
	drivers       = "filesystem, s3 and inmemory"
	noDriver      = "this storage driver is not supported in this version; supported are " + drivers
	ownTokens     = "gatehouse signs and verifies its own tokens; tokens of another issuer are not supported in this version: remove the key"
	noClientCerts = "client certificates are not supported in this version"
	noProxy       = "a pull-through cache is not supported in this version"
	onDebugAddr   = "the listener of http.debug.addr always tells it"
)

// foreignKeys is from the configuration packages of distribution v2.8.3 and v3.1.2.
var foreignKeys = []foreignKey{
	{path: "loglevel", treat: silent}, // moved to log.level before it is looked at

	{path: "log.fields", why: "lines carry no fields of the file's"},
	{path: "log.hooks", why: "watch the log or the metrics instead"},
	{path: "log.reportcaller", fine: []string{"false"}},

	{path: "storage.filesystem.maxthreads", why: "the file system is used without a limit on threads"},
	{path: "storage.s3aws", treat: always, why: "write it as storage.s3"},
	{path: "storage.gcs", treat: always, why: noDriver},
	{path: "storage.azure", treat: always, why: noDriver},
	{path: "storage.swift", treat: always, why: noDriver},
	{path: "storage.oss", treat: always, why: noDriver},
	{path: "storage.rados", treat: always, why: noDriver},
	{path: "storage.redirect.disable", fine: []string{"true"}, why: "blobs are always served by gatehouse itself"},
	{path: "storage.cache", why: "the index answers without a cache"},
	{path: "storage.tag", why: "tags are in the index"},

	{path: "auth.none", treat: silent},
	{path: "auth.silly", treat: always, why: "distribution's access controller for tests is not supported; use htpasswd"},
	{path: "auth.token.rootcertbundle", treat: refused, why: ownTokens},
	{path: "auth.token.jwks", treat: refused, why: ownTokens},
	{path: "auth.token.signingalgorithms", treat: refused, why: "tokens are signed with ES256: remove the key"},
	{path: "auth.token.autoredirect", treat: refused, fine: []string{"false"}, why: "not supported: leave auth.token.realm empty, and the realm is /token on the origin that the client used"},
	{path: "auth.token.autoredirectpath", treat: silent}, // means nothing without autoredirect

	{path: "middleware.registry", treat: refused, why: "middleware is not supported, and may enforce what gatehouse would not"},
	{path: "middleware.repository", treat: refused, why: "middleware is not supported, and may enforce what gatehouse would not"},
	{path: "middleware.storage", why: "blobs are always served by gatehouse itself"},

	{path: "reporting", why: "watch the log or the metrics instead"},

	{path: "http.net", treat: refused, fine: []string{"tcp"}, why: "only tcp is supported in this version"},
	{path: "http.prefix", treat: refused, fine: []string{"/"}, why: "the registry is served at the root of the origin only"},
	{path: "http.headers", why: "answers carry no headers of the file's"},
	{path: "http.tls.clientcas", treat: refused, why: noClientCerts},
	{path: "http.tls.clientauth", treat: refused, why: noClientCerts},
	{path: "http.tls.minimumtls", treat: refused, fine: []string{"tls1.2"}, weaker: []string{"tls1.0", "tls1.1"}, why: "the least is tls1.2, and nothing else can be chosen in this version"},
	{path: "http.tls.ciphersuites", treat: refused, why: "cipher suites cannot be chosen in this version: remove the key for those of Go"},
	{path: "http.debug.prometheus.enabled", fine: []string{"true"}, why: onDebugAddr},
	{path: "http.debug.prometheus.path", fine: []string{"/metrics"}, why: onDebugAddr},
	{path: "http.http2.disabled", fine: []string{"false"}, why: "HTTP/2 is offered to clients that speak TLS"},
	{path: "http.h2c.enabled", fine: []string{"false"}, why: "HTTP/2 is offered with TLS only"},

	{path: "notifications.events", treat: silent}, // means nothing without endpoints
	{path: "notifications.endpoints", treat: refused, why: "notifications are not supported in this version, and somebody may rely on them: remove the endpoints or disable each"},

	{path: "redis", why: "the index answers without a cache"},

	{path: "health.storagedriver", why: onDebugAddr},
	{path: "health.file", why: onDebugAddr},
	{path: "health.http", why: onDebugAddr},
	{path: "health.tcp", why: onDebugAddr},

	{path: "catalog.maxentries", why: "the size of a page is gatehouse's own"},
	{path: "tags.maxtags", why: "the size of a page is gatehouse's own"},

	{path: "proxy.remoteurl", treat: refused, why: noProxy},
	{path: "proxy.username", treat: silent}, // the rest means nothing without remoteurl
	{path: "proxy.password", treat: silent},
	{path: "proxy.exec", treat: silent},
	{path: "proxy.ttl", treat: silent},
	{path: "proxy.cachewritetimeout", treat: silent},

	{path: "compatibility.schema1.enabled", fine: []string{"false"}, why: "manifests of schema 1 are not served"},
	{path: "compatibility.schema1.signingkeyfile", treat: silent},
	{path: "compatibility.schema1.disablesignaturestore", treat: silent},

	{path: "validation.enabled", fine: []string{"true"}, why: "manifests are always validated"},
	{path: "validation.disabled", fine: []string{"false"}, why: "manifests are always validated"},
	{path: "validation.manifests.urls.allow", treat: refused, why: "rules for foreign URLs are not supported in this version"},
	{path: "validation.manifests.urls.deny", treat: refused, why: "rules for foreign URLs are not supported in this version"},
	{path: "validation.manifests.indexes.platforms", treat: refused, fine: []string{"all"}, why: "indexes must be complete: what they name is required for every platform"},
	{path: "validation.manifests.indexes.platformlist", treat: silent}, // means nothing without platforms: list

	{path: "policy.repository.classes", treat: refused, why: "rules for media types are not supported in this version"},
}

// distributionsName are the names of Go fields that distribution's variables use where they differ from the key.
var distributionsName = map[string]string{
	"EVENTCONFIG":  "EVENTS",
	"FILECHECKERS": "FILE",
	"HTTPCHECKERS": "HTTP",
	"TCPCHECKERS":  "TCP",
}
