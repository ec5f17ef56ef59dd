package configs

import (
	"cmp"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"time"
)

// Load reads the file at path, overridden by the REGISTRY_* variables of environ (entries NAME=value, as os.Environ gives),
// fills in defaults and checks the whole. An error names everything that is wrong, one problem a line, each with file
// and line or with its variable; it never shows a secret. Warnings come with a nil error and with others. Nothing but the
// file is looked at: whether the files that it names exist is their readers' business.
func Load(path string, environ []string) (*Config, []Warning, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, nil, fmt.Errorf("could not open the configuration: %w", err)
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxFileSize+1))
	if err != nil {
		return nil, nil, fmt.Errorf("could not read the configuration: %w", err)
	}
	return Parse(path, data, environ)
}

// Parse is Load for a file whose content is data and whose name in errors is name.
func Parse(name string, data []byte, environ []string) (*Config, []Warning, error) {
	var p problems
	tree := parseTree(data, position{file: name}, &p)
	if tree == nil {
		return nil, p.warnings(), p.err()
	}
	c := readTree(tree, environ, false, &p)
	return c, p.warnings(), p.err()
}

// Default returns the embedded configuration, for a start without a file: data below dataDir, a certificate from a local
// CA unless variables choose another, users in <DataDir>/htpasswd, of which "admin" may do everything. Variables override
// it as they do a file.
func Default(dataDir string, environ []string) (*Config, []Warning, error) {
	const text = `
version: "0.1"
storage: {delete: {enabled: true}}
auth: {htpasswd: {}}
tokenserver: {access: [{account: admin, repository: "**", actions: ["*"]}]}
`
	var p problems
	at := position{file: "embedded default"}
	tree := parseTree([]byte(text), at, &p)
	fs := &node{kind: mapping, at: at}
	fs.put("rootdirectory", at, &node{kind: scalar, at: at, text: dataDir})
	tree.get("storage").put("filesystem", at, fs)
	users := filepath.Join(dataDir, "gatehouse", "htpasswd")
	tree.get("auth").get("htpasswd").put("path", at, &node{kind: scalar, at: at, text: users})

	c := readTree(tree, environ, true, &p)
	if err := p.err(); err != nil {
		return nil, p.warnings(), err
	}
	if c.Auth.Htpasswd != nil && c.Auth.Htpasswd.Path == users && c.DataDir() != "" {
		c.Auth.Htpasswd.Path = filepath.Join(c.DataDir(), "htpasswd")
	}
	return c, p.warnings(), nil
}

// readTree makes a Config of a file's tree, or of the embedded one: variables, types, defaults, checks. Nil when p has
// errors.
func readTree(tree *node, environ []string, embedded bool, p *problems) *Config {
	root := newSchema()
	x := patcher{root: root, p: p}
	for _, v := range overrides(environ) {
		x.apply(tree, v)
	}
	moveLogLevel(tree, p)

	c := defaults()
	d := decoder{root: root, p: p, at: make(map[string]position)}
	d.decode(tree, root, reflect.ValueOf(c).Elem(), "")
	c.complete(embedded)
	k := checker{c: c, p: p, at: d.at, file: position{file: tree.at.file}}
	k.check()
	if len(p.errs) > 0 {
		return nil
	}
	k.consider()
	return c
}

// moveLogLevel reads distribution's deprecated loglevel as log.level.
func moveLogLevel(tree *node, p *problems) {
	old := tree.get("loglevel")
	if old == nil || old.kind == null {
		return
	}
	log := tree.get("log")
	if log == nil || log.kind == null {
		log = &node{kind: mapping, at: old.at}
		tree.put("log", old.at, log)
	}
	if level := log.get("level"); level != nil && level.kind != null {
		p.warnf(old.at, "loglevel", "deprecated and without effect: log.level is set")
		return
	}
	p.warnf(old.at, "loglevel", "deprecated: use log.level")
	if log.kind == mapping {
		log.put("level", old.at, old)
	}
}

// defaults is a Config before anything is read: the settings that may not be zero, so that a zero in a file is refused.
func defaults() *Config {
	return &Config{
		Storage: Storage{Maintenance: Maintenance{
			UploadPurging: UploadPurging{Enabled: true, Age: 7 * 24 * time.Hour, Interval: 24 * time.Hour},
		}},
		Gateway: Gateway{
			HeaderTimeout:    10 * time.Second,
			BodyIdleTimeout:  time.Minute,
			KeepAliveTimeout: 2 * time.Minute,
			MaxHeaderBytes:   64 << 10,
			ACME:             ACME{CheckInterval: 10 * time.Minute},
		},
		TokenServer: TokenServer{Lifetime: 5 * time.Minute, Refresh: defaultRefresh(), Keys: defaultKeys(), Protection: defaultProtection()},
		GC:          defaultGC(),
	}
}

// complete fills in what is empty, and puts those that have several spellings into one.
func (c *Config) complete(embedded bool) {
	c.Log.Level = strings.ToLower(cmp.Or(c.Log.Level, "info"))
	c.Log.Formatter = cmp.Or(c.Log.Formatter, "text")
	if c.Log.Formatter == "logstash" {
		c.Log.Formatter = "json"
	}
	if fs := c.Storage.Filesystem; fs != nil {
		fs.RootDirectory = cmp.Or(fs.RootDirectory, "/var/lib/registry")
	}
	if t := c.Auth.Token; t != nil {
		t.Service = cmp.Or(t.Service, defaultTokenName)
		t.Issuer = cmp.Or(t.Issuer, defaultTokenName)
	}
	c.HTTP.Addr = cmp.Or(c.HTTP.Addr, ":5000")
	c.HTTP.DrainTimeout = cmp.Or(c.HTTP.DrainTimeout, 10*time.Minute)
	if c.Catalog.MaxEntries < 1 {
		c.Catalog.MaxEntries = defaultPage
	}
	c.Tags.MaxTags = cmp.Or(c.Tags.MaxTags, defaultPage)
	platforms := &c.Validation.Manifests.Indexes.Platforms
	*platforms = strings.ToLower(cmp.Or(*platforms, "all"))
	c.HTTP.TLS.LocalCA = embedded && !c.HTTP.TLS.Enabled()
	c.Etcd.Prefix = strings.TrimRight(cmp.Or(c.Etcd.Prefix, "/lain/config"), "/")
	if dir := c.DataDir(); dir != "" {
		c.Index.Path = cmp.Or(c.Index.Path, filepath.Join(dir, "index.db"))
		if le := &c.HTTP.TLS.LetsEncrypt; le.Enabled() {
			le.CacheFile = cmp.Or(le.CacheFile, filepath.Join(dir, "acme"))
		}
	}
}

// DataDir is the folder for what gatehouse keeps beside distribution's tree: index.db, keys/, ca/, acme/, htpasswd,
// lastgood/: in the root of a file system, else where index.path is. It is empty for storage in memory: then the caller
// chooses a temporary folder.
func (c *Config) DataDir() string {
	switch {
	case c.Storage.Filesystem != nil:
		return filepath.Join(c.Storage.Filesystem.RootDirectory, "gatehouse")
	case c.Storage.S3 != nil && c.Index.Path != "":
		return filepath.Dir(c.Index.Path)
	}
	return ""
}
