// Package configs holds every setting of gatehouse as documented Go structs, and reads them: distribution's config.yml,
// the REGISTRY_* variables that override it, and the values that platform teams edit in etcd (package configs/etcd).
//
// A file is read strictly: an unknown key is an error that names the line and the nearest known key. A key that
// distribution knows and gatehouse has no use for is a warning. Nothing in this package starts anything.
package configs

import "time"

// Config is the whole configuration. Each constructor in gatehouse takes its own section, never the whole.
type Config struct {
	// Version is the format of the file; distribution's only one is "0.1". Required in a file.
	Version string `yaml:"version"`

	Log     Log     `yaml:"log"`
	Storage Storage `yaml:"storage"`
	Auth    Auth    `yaml:"auth"`
	HTTP    HTTP    `yaml:"http"`

	Catalog    Catalog    `yaml:"catalog"`
	Tags       Tags       `yaml:"tags"`
	Validation Validation `yaml:"validation"`
	Policy     Policy     `yaml:"policy"`

	// Sections of gatehouse's own.
	Gateway     Gateway     `yaml:"gateway"`
	TokenServer TokenServer `yaml:"tokenserver"`
	Etcd        Etcd        `yaml:"etcd"`
	Index       Index       `yaml:"index"`
	GC          GC          `yaml:"gc"`
}

// Log says what is logged and how. Logs go to standard error, access log lines included.
type Log struct {
	// Level is error, warn, info (the default) or debug.
	Level string `yaml:"level"`
	// Formatter is text (the default) or json; logstash is read as json.
	Formatter string `yaml:"formatter"`
	// Fields are added to every line.
	Fields map[string]string `yaml:"fields"`
	// ReportCaller adds the place in the source to every line.
	ReportCaller bool `yaml:"reportcaller"`
	// AccessLog.Disabled leaves out the line for each request.
	AccessLog AccessLog `yaml:"accesslog"`
}

// AccessLog is log.accesslog.
type AccessLog struct {
	Disabled bool `yaml:"disabled"`
}

// Storage says where bytes are kept. Exactly one driver is set.
type Storage struct {
	Filesystem *Filesystem `yaml:"filesystem"`
	S3         *S3         `yaml:"s3"`
	InMemory   *InMemory   `yaml:"inmemory"`
	Redirect   Redirect    `yaml:"redirect"`
	Delete     Delete      `yaml:"delete"`
	// Maintenance is what happens to the storage beside serving it.
	Maintenance Maintenance `yaml:"maintenance"`
}

// Filesystem is the driver that keeps distribution's tree in a folder.
type Filesystem struct {
	// RootDirectory is the folder above docker/registry/v2. Default /var/lib/registry, as distribution's.
	RootDirectory string `yaml:"rootdirectory"`
}

// S3 is the driver that keeps distribution's tree in a bucket of S3 or of a server that speaks its protocol. Names are kept on this
// machine, in the file that index.path must name. Keys and defaults are distribution's; package registry/driver/s3 says what
// each does.
type S3 struct {
	AccessKey                   string `yaml:"accesskey"`
	SecretKey                   Secret `yaml:"secretkey"`
	Region                      string `yaml:"region"`
	RegionEndpoint              string `yaml:"regionendpoint"` // implies forcepathstyle
	Bucket                      string `yaml:"bucket"`
	RootDirectory               string `yaml:"rootdirectory"`
	Secure                      *bool  `yaml:"secure"` // default true
	SkipVerify                  bool   `yaml:"skipverify"`
	ForcePathStyle              bool   `yaml:"forcepathstyle"`
	UseDualStack                bool   `yaml:"usedualstack"`
	Accelerate                  bool   `yaml:"accelerate"`
	UseFIPSEndpoint             bool   `yaml:"usefipsendpoint"`
	Encrypt                     bool   `yaml:"encrypt"`
	KeyID                       string `yaml:"keyid"`
	StorageClass                string `yaml:"storageclass"`
	ObjectACL                   string `yaml:"objectacl"`
	UserAgent                   string `yaml:"useragent"`
	ChunkSize                   int    `yaml:"chunksize"` // bytes
	MultipartCopyChunkSize      int    `yaml:"multipartcopychunksize"`
	MultipartCopyMaxConcurrency int    `yaml:"multipartcopymaxconcurrency"`
	MultipartCopyThresholdSize  int    `yaml:"multipartcopythresholdsize"`
	RedirectEndpoint            string `yaml:"redirectendpoint"`
	V4Auth                      *bool  `yaml:"v4auth"`   // no effect: requests are always signed with version 4
	LogLevel                    string `yaml:"loglevel"` // no effect
}

// InMemory is the driver that forgets everything when the server stops: for tests.
type InMemory struct{}

// Redirect is storage.redirect.
type Redirect struct {
	// Disable has the server send all blobs itself. Default false, as distribution's: where the driver is s3, clients fetch blobs
	// from the bucket, by URLs that work for 20 minutes.
	Disable bool `yaml:"disable"`
}

// Delete is storage.delete.
type Delete struct {
	// Enabled allows DELETE of tags, manifests and blobs. Default false, as distribution's; then they are 405.
	Enabled bool `yaml:"enabled"`
}

// Maintenance is storage.maintenance.
type Maintenance struct {
	ReadOnly      ReadOnly      `yaml:"readonly"`
	UploadPurging UploadPurging `yaml:"uploadpurging"`
}

// ReadOnly is storage.maintenance.readonly: pushes and deletions are 405 while it is enabled.
type ReadOnly struct {
	Enabled bool `yaml:"enabled"`
}

// UploadPurging is storage.maintenance.uploadpurging: uploads that nobody went on with are removed.
type UploadPurging struct {
	// Enabled is true by default, as distribution's.
	Enabled bool `yaml:"enabled"`
	// Age is how long an upload must rest to be removed. Default 168h.
	Age time.Duration `yaml:"age"`
	// Interval between two looks. Default 24h.
	Interval time.Duration `yaml:"interval"`
	// DryRun only logs what would be removed.
	DryRun bool `yaml:"dryrun"`
}

// Auth says who users are and what a challenge names. With neither part, no etcd section and no access rules, everybody may
// do everything, as with distribution; Load warns of it.
type Auth struct {
	Htpasswd *Htpasswd  `yaml:"htpasswd"`
	Token    *TokenAuth `yaml:"token"`
}

// Htpasswd is a file of users, one `name:bcrypt-hash` a line. It is read again when it changes.
type Htpasswd struct {
	// Realm is read for distribution's sake; challenges name the token server instead.
	Realm string `yaml:"realm"`
	// Path of the file. Required.
	Path string `yaml:"path"`
}

// Token is what tokens and challenges say: TokenAuth's of the file, or, where etcd is configured, the JSON value of
// <etcd.prefix>/auth/registry, of which all three must be given.
type Token struct {
	// Realm is the URL of the token server as clients reach it. Empty: /token on the origin that the client used.
	Realm string `json:"realm"`
	// Service is the audience of tokens.
	Service string `json:"service"`
	// Issuer is the issuer of tokens.
	Issuer string `json:"issuer"`
}

// HTTP is the listener.
type HTTP struct {
	// Addr is host:port to listen on; an empty host is every address. Default ":5000".
	Addr string `yaml:"addr"`
	// Host is the registry's own URL as clients see it, such as https://registry.example.com. Where it is set, URLs in
	// answers begin with it unless the client used another origin that the certificate covers. A path is what clients see
	// before /v2/, whatever Prefix is; what follows its last slash is cut off. Without a slash at the end once read.
	Host string `yaml:"host"`
	// Prefix is the path below which the registry is served, such as /registry for /registry/v2/; the token server is
	// there as well as at the root. Once read it is empty or begins with a slash, and does not end with one. Clients ask for
	// /v2/ at the root of an origin, so something in front must add it. URLs in answers have it where neither Host nor
	// RelativeURLs is set, as distribution's do.
	Prefix string `yaml:"prefix"`
	// Headers are added to every answer of the registry; what the registry says itself comes first. Once read, names are in
	// canonical form.
	Headers map[string][]string `yaml:"headers"`
	// Secret authenticates the state in upload URLs. Default: made at first start and kept in the data directory.
	Secret Secret `yaml:"secret"`
	// RelativeURLs makes the URLs in answers paths, even where Host is set.
	RelativeURLs bool `yaml:"relativeurls"`
	// TLS; absent means plain HTTP.
	TLS TLS `yaml:"tls"`
	// HTTP2.Disabled leaves HTTP/1.1.
	HTTP2 HTTP2 `yaml:"http2"`
	// Debug is the listener for metrics, profiles and health: loopback only.
	Debug Debug `yaml:"debug"`
	// DrainTimeout is how long requests may finish after SIGTERM. Default 10m, also for 0, which is distribution's default and
	// there cuts every request off.
	DrainTimeout time.Duration `yaml:"draintimeout"`
}

// TLS chooses at most one source of certificates.
type TLS struct {
	// Certificate and Key are PEM files, read again when they change.
	Certificate string `yaml:"certificate"`
	Key         string `yaml:"key"`
	// MinimumTLS is tls1.2 (the default) or tls1.3.
	MinimumTLS string `yaml:"minimumtls"`
	// CipherSuites are those of TLS 1.2 that are offered, by Go's names. Default: Go's choice. Those of TLS 1.3 are not chosen.
	CipherSuites []string `yaml:"ciphersuites"`
	// ClientCAs are PEM files of those who sign clients' certificates. Where there are any, connections need one.
	ClientCAs []string `yaml:"clientcas"`
	// ClientAuth says how much a client's certificate is needed: require-and-verify-client-cert (the default),
	// verify-client-cert-if-given, require-any-client-cert or request-client-cert.
	ClientAuth string `yaml:"clientauth"`
	// LetsEncrypt orders certificates by ACME.
	LetsEncrypt LetsEncrypt `yaml:"letsencrypt"`
	// LocalCA issues certificates from a CA of our own kept in the data directory: the embedded default. Not in files.
	LocalCA bool `yaml:"-"`
}

// Enabled reports whether the listener speaks TLS.
func (t TLS) Enabled() bool {
	return t.LocalCA || t.Certificate != "" || t.Key != "" || t.LetsEncrypt.Enabled()
}

// LetsEncrypt is distribution's name for ACME (RFC 8555); any CA will do.
type LetsEncrypt struct {
	// CacheFile is the folder for account, certificates and keys. Default: acme/ in the data directory.
	CacheFile string `yaml:"cachefile"`
	// Email is the account's contact.
	Email string `yaml:"email"`
	// Hosts are the names to order certificates for. Required: no name is ever ordered because a client asked for it.
	Hosts []string `yaml:"hosts"`
	// DirectoryURL is the CA's directory. Default Let's Encrypt's production directory.
	DirectoryURL string `yaml:"directoryurl"`
}

// Enabled reports whether certificates are ordered by ACME.
func (l LetsEncrypt) Enabled() bool {
	return l.Email != "" || len(l.Hosts) > 0 || l.DirectoryURL != "" || l.CacheFile != ""
}

// Debug is http.debug.
type Debug struct {
	// Addr is host:port. An empty host means 127.0.0.1; a host that is not loopback is refused. Empty: no debug listener.
	Addr       string     `yaml:"addr"`
	Prometheus Prometheus `yaml:"prometheus"`
}

// Prometheus is http.debug.prometheus.
type Prometheus struct {
	// Path is where the debug listener has the metrics besides /metrics.
	Path string `yaml:"path"`
}

// HTTP2 is http.http2.
type HTTP2 struct {
	Disabled bool `yaml:"disabled"`
}

// Gateway is the front door: limits, and what distribution has no key for.
type Gateway struct {
	// HeaderTimeout bounds the time from connection (or the previous request's end) to a complete header. Default 10s.
	HeaderTimeout time.Duration `yaml:"headertimeout"`
	// BodyIdleTimeout bounds the time between two reads of a request body and two writes of an answer. There is no limit on
	// the whole of either: a push may take hours. Default 1m.
	BodyIdleTimeout time.Duration `yaml:"bodyidletimeout"`
	// KeepAliveTimeout closes a connection without requests. Default 2m.
	KeepAliveTimeout time.Duration `yaml:"keepalivetimeout"`
	// MaxHeaderBytes bounds request line and header. Default 65536: tokens for hundreds of scopes are long.
	MaxHeaderBytes int `yaml:"maxheaderbytes"`
	// ACME completes http.tls.letsencrypt.
	ACME ACME `yaml:"acme"`
}

// ACME is what http.tls.letsencrypt has no key for.
type ACME struct {
	// DirectoryCA is a PEM file of roots to trust for the directory's own TLS: for a private CA. Default: the system's roots.
	DirectoryCA string `yaml:"directoryca"`
	// CheckInterval is how often certificates are looked at for renewal. Default 10m; a CA that issues for less than two hours
	// wants a tenth of the lifetime.
	CheckInterval time.Duration `yaml:"checkinterval"`
}

// TokenServer issues tokens.
type TokenServer struct {
	// Access is the list of rules: the first that matches who asks and the repository decides, and none means no. Nil, which is
	// absent in the file, with auth.htpasswd: every user may do everything, as with distribution; Load warns of it.
	Access []Rule `yaml:"access"`
	// Lifetime of a token. Default 5m, at least 5s; clients assume that it is 60s or more.
	Lifetime time.Duration `yaml:"lifetime"`
	// Keys is how the keys that sign tokens are replaced.
	Keys Keys `yaml:"keys"`
	// X5C has tokens carry a certificate of the token CA (`gatehouse key export`), so that registries that trust that accept them
	// from any key. Default false; it adds some 600 bytes to a token.
	X5C bool `yaml:"x5c"`
	// Refresh is about refresh tokens.
	Refresh Refresh `yaml:"refresh"`
	// LDAP, OIDC and ClientCertificates are accounts of others: a directory's, workloads', and those of who shows a certificate.
	LDAP               *LDAP               `yaml:"ldap"`
	OIDC               []OIDC              `yaml:"oidc"`
	ClientCertificates *ClientCertificates `yaml:"clientcertificates"`
	// Protection and Audit are about guessed passwords, and about who asked for what.
	Protection Protection `yaml:"protection"`
	Audit      Audit      `yaml:"audit"`
}

// Etcd is the store where platform teams edit configuration.
type Etcd struct {
	// Endpoints are URLs or host:port. Empty: no etcd.
	Endpoints []string `yaml:"endpoints"`
	// Prefix of all keys. Default /lain/config.
	Prefix string `yaml:"prefix"`
}

// Index is where gatehouse keeps names.
type Index struct {
	// Path of the file. Default: gatehouse/index.db in the storage root. Required with storage.s3: what else the server keeps is
	// in the same folder then.
	Path string `yaml:"path"`
}
