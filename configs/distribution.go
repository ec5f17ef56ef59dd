package configs

// treatment says what becomes of a key that distribution knows and gatehouse has no setting for.
type treatment uint8

const (
	// ignored: a warning. Speed, comfort and reports are at stake, and what ignoring does is said.
	ignored treatment = iota
	// refused: an error, where ignoring would change who gets in, what is stored or what is accepted; unless the value asks for
	// nothing.
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
	why  string
}

const (
	drivers     = "filesystem, s3 and inmemory"
	noDriver    = "this storage driver is not supported in this version; supported are " + drivers
	noProxy     = "a pull-through cache is not supported in this version, and without it pushes would be taken: remove the section"
	onDebugAddr = "the listener of http.debug.addr always has the metrics"
	noChecks    = "checks of the file's own are not run; ask /readyz of the listener of http.debug.addr"
)

// foreignKeys is from the configuration packages of distribution v2.8.3 and v3.1.2.
var foreignKeys = []foreignKey{
	{path: "loglevel", treat: silent}, // moved to log.level before it is looked at

	{path: "log.hooks", why: "watch the log or the metrics instead"},

	{path: "storage.filesystem.maxthreads", why: "the file system is used without a limit on threads"},
	{path: "storage.s3aws", treat: always, why: "write it as storage.s3"},
	{path: "storage.gcs", treat: always, why: noDriver},
	{path: "storage.azure", treat: always, why: noDriver},
	{path: "storage.swift", treat: always, why: noDriver},
	{path: "storage.oss", treat: always, why: noDriver},
	{path: "storage.rados", treat: always, why: noDriver},
	{path: "storage.cache", why: "the index answers without a cache"},
	{path: "storage.tag", why: "tags are in the index"},

	{path: "auth.none", treat: silent},
	{path: "auth.silly", treat: always, why: "distribution's access controller for tests is not supported; use htpasswd"},

	{path: "middleware.registry", treat: refused, why: "middleware is not supported, and may enforce what gatehouse would not"},
	{path: "middleware.repository", treat: refused, why: "middleware is not supported, and may enforce what gatehouse would not"},
	{path: "middleware.storage", why: "blobs are always served by gatehouse itself"},

	{path: "reporting", why: "watch the log or the metrics instead"},

	{path: "http.net", treat: refused, fine: []string{"tcp"}, why: "only tcp is supported in this version"},
	{path: "http.debug.prometheus.enabled", fine: []string{"true"}, why: onDebugAddr},
	{path: "http.h2c.enabled", fine: []string{"false"}, why: "HTTP/2 is offered with TLS only"},

	{path: "notifications.events", treat: silent}, // means nothing without endpoints
	{path: "notifications.endpoints", why: "nobody is told of pushes, pulls and deletions; whoever relies on it must ask the API instead"},

	{path: "redis", why: "the index answers without a cache"},

	{path: "health.storagedriver", why: "/readyz of the listener of http.debug.addr always looks at the storage"},
	{path: "health.file", why: noChecks},
	{path: "health.http", why: noChecks},
	{path: "health.tcp", why: noChecks},

	{path: "proxy.remoteurl", treat: refused, why: noProxy},
	{path: "proxy.username", treat: silent}, // the rest means nothing without remoteurl
	{path: "proxy.password", treat: silent},
	{path: "proxy.exec", treat: silent},
	{path: "proxy.ttl", treat: silent},
	{path: "proxy.cachewritetimeout", treat: silent},

	{path: "compatibility.schema1.enabled", fine: []string{"false"}, why: "manifests of schema 1 are not served"},
	{path: "compatibility.schema1.signingkeyfile", treat: silent},
	{path: "compatibility.schema1.disablesignaturestore", treat: silent},
}

// distributionsName are the names of Go fields that distribution's variables use where they differ from the key.
var distributionsName = map[string]string{
	"EVENTCONFIG":  "EVENTS",
	"FILECHECKERS": "FILE",
	"HTTPCHECKERS": "HTTP",
	"TCPCHECKERS":  "TCP",
}
