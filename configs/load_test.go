package configs

import (
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"
)

// outcome writes warnings and error as an operator sees them, for comparison.
func outcome(warnings []Warning, err error) string {
	var b strings.Builder
	for _, w := range warnings {
		fmt.Fprintf(&b, "warning %s\n", w)
	}
	if err != nil {
		for line := range strings.SplitSeq(err.Error(), "\n") {
			fmt.Fprintf(&b, "error %s\n", line)
		}
	}
	return b.String()
}

// quiet is a file that needs no warning once its listener is on loopback or speaks TLS; tests add to it.
const quiet = `
version: 0.1
storage: {filesystem: {rootdirectory: /data}}
auth: {htpasswd: {path: /users}}
tokenserver: {access: [{account: admin, repository: "**", actions: ["*"]}]}
`

func TestEverySetting(t *testing.T) {
	got, warnings, err := Parse("config.yml", []byte(`
version: 0.1
log: {level: DEBUG, formatter: logstash, fields: {service: registry, Zone: 3, none: }, reportcaller: true, accesslog: {disabled: yes}}
storage:
  filesystem: {rootdirectory: /data}
  redirect: {disable: true}
  delete: {enabled: true}
  maintenance: {readonly: {enabled: true}, uploadpurging: {enabled: false, age: 1h, interval: 1m, dryrun: true}}
auth:
  htpasswd: {realm: basic-realm, path: /users}
  token: {realm: https://auth.example.com/token, service: registry.example.com, issuer: auth server}
http:
  addr: 127.0.0.1:5000
  host: https://registry.example.com:5000/
  secret: asecretforlocaldevelopment
  draintimeout: 30s
  relativeurls: true
  prefix: /registry/
  headers: {X-Content-Type-Options: [nosniff], x-frame-options: [DENY, "a\tb"], Access-Control-Allow-Credentials: [true]}
  http2: {disabled: true}
  tls:
    minimumtls: tls1.2
    ciphersuites: [TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256]
    clientcas: [/ca1.pem, /ca2.pem]
    clientauth: verify-client-cert-if-given
    letsencrypt: {cachefile: /acme, email: a@example.com, hosts: [registry.example.com], directoryurl: "https://ca.example.com/dir"}
  debug: {addr: "localhost:5001", prometheus: {enabled: true, path: /metrics2}}
catalog: {maxentries: 50}
tags: {maxtags: 60}
validation:
  enabled: true
  disabled: true
  manifests:
    urls: {allow: ["^https://a\\.example\\.com/"], deny: [secret]}
    indexes: {platforms: All, platformlist: []}
policy: {repository: {classes: [image]}}
gateway:
  headertimeout: 1s
  bodyidletimeout: 2s
  keepalivetimeout: 3s
  maxheaderbytes: 8192
  acme: {directoryca: /ca.pem, checkinterval: 4s}
tokenserver:
  lifetime: 60s
  access: [{account: "*", repository: "pub/**", actions: [pull]}, {account: bob, repository: a/*, actions: []}]
etcd: {endpoints: ["https://etcd.example.com:2379", "10.0.0.1:2379"], prefix: /other/}
index: {path: /index}
gc: {enabled: false, interval: 1m, grace: 2h, quarantine: 3m, untagged: Keep, rate: 4, scaninterval: 5h, breaker: {blobs: 6, percent: 7}}
`), nil)
	if text := outcome(warnings, err); text != "warning config.yml:11: auth.token: no effect: /other/auth/registry in etcd decides\n" {
		t.Fatal(text)
	}
	want := &Config{
		Version: "0.1",
		Log: Log{
			Level: "debug", Formatter: "json", Fields: map[string]string{"service": "registry", "Zone": "3"}, ReportCaller: true, AccessLog: AccessLog{Disabled: true},
		},
		Storage: Storage{Filesystem: &Filesystem{RootDirectory: "/data"}, Redirect: Redirect{Disable: true}, Delete: Delete{Enabled: true}, Maintenance: Maintenance{
			ReadOnly: ReadOnly{Enabled: true}, UploadPurging: UploadPurging{Age: time.Hour, Interval: time.Minute, DryRun: true},
		}},
		Auth: Auth{
			Htpasswd: &Htpasswd{Realm: "basic-realm", Path: "/users"},
			Token:    &TokenAuth{Realm: "https://auth.example.com/token", Service: "registry.example.com", Issuer: "auth server"},
		},
		HTTP: HTTP{
			Addr: "127.0.0.1:5000", Host: "https://registry.example.com:5000", Secret: "asecretforlocaldevelopment", DrainTimeout: 30 * time.Second, RelativeURLs: true,
			Prefix:  "/registry",
			Headers: map[string][]string{"X-Content-Type-Options": {"nosniff"}, "X-Frame-Options": {"DENY", "a\tb"}, "Access-Control-Allow-Credentials": {"true"}},
			HTTP2:   HTTP2{Disabled: true},
			TLS: TLS{
				MinimumTLS: "tls1.2", CipherSuites: []string{"TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256"},
				ClientCAs: []string{"/ca1.pem", "/ca2.pem"}, ClientAuth: "verify-client-cert-if-given",
				LetsEncrypt: LetsEncrypt{
					CacheFile: "/acme", Email: "a@example.com", Hosts: []string{"registry.example.com"}, DirectoryURL: "https://ca.example.com/dir",
				},
			},
			Debug: Debug{Addr: "localhost:5001", Prometheus: Prometheus{Path: "/metrics2"}},
		},
		Catalog: Catalog{MaxEntries: 50},
		Tags:    Tags{MaxTags: 60},
		Validation: Validation{Enabled: true, Disabled: true, Manifests: ValidationManifests{
			URLs:    ValidationURLs{Allow: []string{`^https://a\.example\.com/`}, Deny: []string{"secret"}},
			Indexes: ValidationIndexes{Platforms: "all", PlatformList: []Platform{}},
		}},
		Policy: Policy{Repository: RepositoryPolicy{Classes: []string{"image"}}},
		Gateway: Gateway{
			HeaderTimeout: time.Second, BodyIdleTimeout: 2 * time.Second, KeepAliveTimeout: 3 * time.Second, MaxHeaderBytes: 8192,
			ACME: ACME{DirectoryCA: "/ca.pem", CheckInterval: 4 * time.Second},
		},
		TokenServer: TokenServer{Lifetime: time.Minute, Refresh: defaultRefresh(), Keys: defaultKeys(), Protection: defaultProtection(), Access: []Rule{
			{Account: Names{"*"}, Repository: Names{"pub/**"}, Actions: []string{"pull"}},
			{Account: Names{"bob"}, Repository: Names{"a/*"}, Actions: []string{}},
		}},
		Etcd:  Etcd{Endpoints: []string{"https://etcd.example.com:2379", "10.0.0.1:2379"}, Prefix: "/other"},
		Index: Index{Path: "/index"},
		GC:    GC{Interval: time.Minute, Grace: 2 * time.Hour, Quarantine: 3 * time.Minute, Untagged: "keep", Rate: 4, ScanInterval: 5 * time.Hour, Breaker: Breaker{Blobs: 6, Percent: 7}},
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
}

func TestDefaultsOfFile(t *testing.T) {
	c, _, err := Parse("config.yml", []byte("version: 0.1\nstorage: filesystem\n"), nil)
	if err != nil {
		t.Fatal(err)
	}
	want := defaults()
	want.Version = "0.1"
	want.Log = Log{Level: "info", Formatter: "text"}
	want.Storage.Filesystem = &Filesystem{RootDirectory: "/var/lib/registry"}
	want.HTTP.Addr, want.HTTP.DrainTimeout = ":5000", 10*time.Minute
	want.Catalog.MaxEntries, want.Tags.MaxTags = 1000, 1000
	want.Validation.Manifests.Indexes.Platforms = "all"
	want.Etcd.Prefix = "/lain/config"
	want.Index.Path = "/var/lib/registry/gatehouse/index.db"
	if !reflect.DeepEqual(c, want) {
		t.Errorf("got  %+v\nwant %+v", c, want)
	}
	if got := c.Auth.TokenOrDefault(); got != (Token{Service: "gatehouse", Issuer: "gatehouse"}) {
		t.Errorf("token without a section is %+v", got)
	}
	if c.DataDir() != "/var/lib/registry/gatehouse" {
		t.Errorf("data directory is %s", c.DataDir())
	}
}

// The forms in which distribution's users write their files.
func TestForms(t *testing.T) {
	for name, test := range map[string]struct {
		text string
		ok   func(*Config) bool
	}{
		"version as text": {`{version: "0.1", storage: inmemory}`, func(c *Config) bool { return c.Storage.InMemory != nil && c.DataDir() == "" && c.Index.Path == "" }},
		"s3": {"version: 0.1\nstorage: {s3: {bucket: b, regionendpoint: \"minio:9000\", accesskey: a, secretkey: hunter2, secure: no, v4auth: true, chunksize: 5242880, rootdirectory: /x}}\nindex: {path: /var/lib/gatehouse/index.db}", func(c *Config) bool {
			s := c.Storage.S3
			return s.Bucket == "b" && s.RegionEndpoint == "minio:9000" && s.SecretKey == "hunter2" && !*s.Secure && *s.V4Auth && s.ChunkSize == 5<<20 && c.DataDir() == "/var/lib/gatehouse"
		}},
		"driver without value":  {"version: 0.1\nstorage:\n  inmemory:\n", func(c *Config) bool { return c.Storage.InMemory != nil }},
		"driver with a null":    {"version: 0.1\nstorage:\n  filesystem: ~\n", func(c *Config) bool { return c.Storage.Filesystem.RootDirectory == "/var/lib/registry" }},
		"auth none":             {"version: 0.1\nstorage: inmemory\nauth: none", func(c *Config) bool { return c.Auth == Auth{} }},
		"auth none, as section": {"version: 0.1\nstorage: inmemory\nauth: {none: {}}", func(c *Config) bool { return c.Auth == Auth{} }},
		"empty sections":        {"version: 0.1\nstorage: inmemory\nauth:\nhttp:\n  tls:\nlog:\n", func(c *Config) bool { return !c.HTTP.TLS.Enabled() && c.Log.Level == "info" }},
		"loglevel":              {"version: 0.1\nstorage: inmemory\nloglevel: warn", func(c *Config) bool { return c.Log.Level == "warn" }},
		"loglevel and log":      {"version: 0.1\nstorage: inmemory\nloglevel: warn\nlog: {level: error}", func(c *Config) bool { return c.Log.Level == "error" }},
		"loglevel beside log":   {"version: 0.1\nstorage: inmemory\nloglevel: warn\nlog: {formatter: json}", func(c *Config) bool { return reflect.DeepEqual(c.Log, Log{Level: "warn", Formatter: "json"}) }},
		"number for a text":     {"version: 0.1\nstorage: inmemory\nhttp: {secret: 12345}", func(c *Config) bool { return c.HTTP.Secret == "12345" }},
		"zero draining":         {"version: 0.1\nstorage: inmemory\nhttp: {draintimeout: 0}", func(c *Config) bool { return c.HTTP.DrainTimeout == 10*time.Minute }},
		"anchors and merging": {"version: 0.1\nstorage: inmemory\ntokenserver:\n  access:\n  - &r {account: a, repository: a/**, actions: &p [pull]}\n  - {<<: *r, account: b}\n  - {account: c, repository: c, actions: *p}\n",
			func(c *Config) bool {
				return reflect.DeepEqual(c.TokenServer.Access, []Rule{
					{Account: Names{"a"}, Repository: Names{"a/**"}, Actions: []string{"pull"}}, {Account: Names{"b"}, Repository: Names{"a/**"}, Actions: []string{"pull"}},
					{Account: Names{"c"}, Repository: Names{"c"}, Actions: []string{"pull"}}})
			}},
	} {
		c, _, err := Parse("config.yml", []byte(test.text), nil)
		if err != nil {
			t.Errorf("%s: %v", name, err)
		} else if !test.ok(c) {
			t.Errorf("%s: got %+v", name, c)
		}
	}
}

func TestLoad(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "config.yml")
	if err := os.WriteFile(path, []byte(quiet+"htpp: {}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, _, err := Load(path, nil); err == nil || !strings.HasPrefix(err.Error(), path+":6: htpp: unknown key; did you mean http?") {
		t.Errorf("error %v does not begin with file and line", err)
	}
	if err := os.WriteFile(path, []byte(quiet+"#"+strings.Repeat("x", maxFileSize)), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, _, err := Load(path, nil); err == nil || !strings.Contains(err.Error(), "larger than 1048576 bytes") {
		t.Errorf("a file of more than 1 MiB: %v", err)
	}
	for _, missing := range []string{filepath.Join(dir, "none.yml"), dir} {
		if _, _, err := Load(missing, nil); err == nil || !strings.Contains(err.Error(), missing) {
			t.Errorf("%s: error %v does not name it", missing, err)
		}
	}
}

func TestDefault(t *testing.T) {
	c, warnings, err := Default("gatehouse-data", nil)
	if text := outcome(warnings, err); text != "" {
		t.Fatal(text)
	}
	switch {
	case c.Storage.Filesystem.RootDirectory != "gatehouse-data", !c.Storage.Delete.Enabled, c.HTTP.Addr != ":5000", !c.HTTP.TLS.LocalCA,
		c.Auth.Htpasswd.Path != filepath.Join("gatehouse-data", "gatehouse", "htpasswd"),
		!reflect.DeepEqual(c.TokenServer.Access, []Rule{{Account: Names{"admin"}, Repository: Names{"**"}, Actions: []string{"*"}}}):
		t.Errorf("got %+v", c)
	}
	for name, test := range map[string]struct {
		environ []string
		ok      func(*Config) bool
	}{
		"data elsewhere": {[]string{"REGISTRY_STORAGE_FILESYSTEM_ROOTDIRECTORY=/srv"}, func(c *Config) bool { return c.Auth.Htpasswd.Path == "/srv/gatehouse/htpasswd" }},
		"own users":      {[]string{"REGISTRY_AUTH_HTPASSWD_PATH=/users"}, func(c *Config) bool { return c.Auth.Htpasswd.Path == "/users" }},
		"in memory": {[]string{"REGISTRY_STORAGE=inmemory"}, func(c *Config) bool {
			return c.DataDir() == "" && c.Auth.Htpasswd.Path == filepath.Join("gatehouse-data", "gatehouse", "htpasswd")
		}},
		"own certificate": {[]string{"REGISTRY_HTTP_TLS_CERTIFICATE=/c", "REGISTRY_HTTP_TLS_KEY=/k"}, func(c *Config) bool { return !c.HTTP.TLS.LocalCA && c.HTTP.TLS.Enabled() }},
		"auth removed":    {[]string{"REGISTRY_AUTH="}, func(c *Config) bool { return c.Auth == Auth{} }},
	} {
		c, _, err := Default("gatehouse-data", test.environ)
		if err != nil {
			t.Errorf("%s: %v", name, err)
		} else if !test.ok(c) {
			t.Errorf("%s: got %+v", name, c)
		}
	}
	if _, _, err := Default("d", []string{"REGISTRY_HTTP_ADDR=5000"}); err == nil {
		t.Error("a bad address in a variable passed")
	}
}

func TestExamples(t *testing.T) {
	files, err := filepath.Glob("example/*.yml")
	if err != nil || len(files) != 2 {
		t.Fatalf("examples: %v, %v", files, err)
	}
	for _, file := range files {
		_, warnings, err := Load(file, nil)
		if text := outcome(warnings, err); text != "" {
			t.Error(text)
		}
	}
}
