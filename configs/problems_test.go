package configs

import (
	"strings"
	"testing"
)

// Each file is told everything that is wrong with it, at once, by line.
func TestProblems(t *testing.T) {
	for _, test := range []struct{ name, text, want string }{
		{"empty", "", `
error config.yml: version: missing; the file must say version: 0.1
error config.yml: storage: no driver; name one of filesystem, s3 and inmemory`},
		{"no section", "gatehouse", `
error config.yml: version: missing; the file must say version: 0.1
error config.yml: storage: no driver; name one of filesystem, s3 and inmemory
error config.yml:1: wants a section (lines of key: value), not a single value`},
		{"not YAML", "version: 0.1\nstorage: [", `
error config.yml:2: not valid YAML: did not find expected node content`},
		{"alias without anchor", "version: 0.1\nhttp: {secret: *hunter2}", `
error config.yml: not valid YAML: an alias without its anchor; put quotes around a value that begins with *`},
		{"two documents", "version: 0.1\nstorage: inmemory\nauth: none\n---\nversion: 0.1\n", `
error config.yml:4: more than one YAML document`},
		{"several at once", `
version: 0.2
log: {level: verbose, formatter: xml}
htttp:
  addr: :5000
storage:
  fileystem: {rootdirectory: /data}
http:
  address: :5000
  certificate: /cert
  draintimeout: 60
  secret: [hunter2]
  tls: on
tokenserver:
  lifetime: -5m
  access: {account: admin}
gateway:
  maxheaderbytes: many
`, `
error config.yml:2: version: "0.2" is not known; the only one is 0.1
error config.yml:3: log.level: "verbose" is none of error, warn, info, debug
error config.yml:3: log.formatter: "xml" is none of text, json, logstash
error config.yml:4: htttp: unknown key; did you mean http?
error config.yml:7: storage.fileystem: unknown key; did you mean storage.filesystem?
error config.yml:9: http.address: unknown key; did you mean http.addr?
error config.yml:10: http.certificate: unknown key; did you mean http.tls.certificate?
error config.yml:11: http.draintimeout: wants a duration with its unit, such as 30s or 10m, not "60"
error config.yml:12: http.secret: wants a single value, not a list
error config.yml:13: http.tls: wants a section (lines of key: value), not a single value
error config.yml:15: tokenserver.lifetime: -5m0s; a token needs 5s at least to be of use
error config.yml:16: tokenserver.access: wants a list, not a section
error config.yml:18: gateway.maxheaderbytes: wants a whole number, not "many"`},
		{"twice", "version: 0.1\nstorage: inmemory\nhttp: {addr: \":1\"}\nhttp: {addr: \":2\"}", `
error config.yml:4: http: given twice, first in line 3`},
		{"strange keys", "version: 0.1\nstorage: inmemory\n[a]: b\n\"\\e[31m\": c\n? {x: y}\n: z\n", `
error config.yml:3: a key that is not a single value
error config.yml:4: "\x1b[31m": unknown key
error config.yml:5: a key that is not a single value`},
		{"tag", "version: 0.1\nstorage: inmemory\nhttp: {secret: !!binary aGk=, addr: !addr x}", `
error config.yml:3: a YAML tag that means nothing here; put quotes around a value that begins with !
error config.yml:3: a YAML tag that means nothing here; put quotes around a value that begins with !`},
		{"alias of itself", "version: 0.1\nstorage: inmemory\nhttp: &l {tls: {key: *l}}\n", `
error config.yml:3: an alias inside of what it stands for`},
		{"unsupported drivers", "version: 0.1\nstorage: {s3: {bucket: b, secretkey: hunter2}}\n", `
error config.yml: index.path: missing; with storage.s3 names are kept in a file on this machine, such as /var/lib/gatehouse/index.db
error config.yml:2: storage.s3.region: missing; name a region of AWS, or another server by storage.s3.regionendpoint`},
		{"unsupported driver by name", "version: 0.1\nstorage: gcs\n", `
error config.yml:2: storage.gcs: this storage driver is not supported in this version; supported are filesystem, s3 and inmemory`},
		{"unknown driver", "version: 0.1\nstorage: tape\n", `
error config.yml:2: storage.tape: unknown key or storage driver; supported drivers are filesystem, s3 and inmemory`},
		{"two drivers", "version: 0.1\nstorage: {filesystem: , inmemory: }\n", `
error config.yml:2: storage: more than one driver: filesystem and inmemory`},
		{"unknown auth", "version: 0.1\nstorage: inmemory\nauth: htpaswd\n", `
error config.yml:3: auth.htpaswd: unknown key; did you mean auth.htpasswd?`},
		{"auth without its path", "version: 0.1\nstorage: inmemory\nauth: htpasswd\n", `
error config.yml:3: auth.htpasswd.path: missing; name the file of users`},
		{"auth none and more", "version: 0.1\nstorage: inmemory\nauth: {none: , htpasswd: {path: /users}}\n", `
error config.yml:3: auth.none: stands beside another section of auth: remove one of them`},
		{"items", "version: 0.1\nstorage: inmemory\netcd: {endpoints: [~, {a: b}, 1.2.3.4]}\n", `
error config.yml:3: etcd.endpoints[0]: an empty item
error config.yml:3: etcd.endpoints[1]: wants a single value, not a section
error config.yml:3: etcd.endpoints[2]: is not host:port; write it like https://etcd.example.com:2379`},
	} {
		_, warnings, err := Parse("config.yml", []byte(test.text), nil)
		if err == nil {
			t.Errorf("%s: no error", test.name)
		}
		if got := outcome(warnings, err); got != strings.TrimPrefix(test.want, "\n")+"\n" {
			t.Errorf("%s: got\n%swant%s", test.name, got, test.want)
		}
	}
}

func TestProblemsAreBounded(t *testing.T) {
	text := "version: 0.1\nstorage: inmemory\n"
	for i := range 1000 {
		text += strings.Repeat("z", i) + "k: 1\n"
	}
	_, _, err := Parse("config.yml", []byte(text), nil)
	if err == nil || len(err.Error()) > 16<<10 || !strings.HasSuffix(err.Error(), " more errors") {
		t.Errorf("error has %d bytes", len(err.Error()))
	}
}

// A file whose aliases stand for a thousand million values is refused, not built.
func TestAliasBomb(t *testing.T) {
	text := "version: 0.1\nstorage: inmemory\nredis:\n  a: &a [x,x,x,x,x,x,x,x,x,x]\n"
	for c := 'b'; c < 'k'; c++ {
		text += "  " + string(c) + ": &" + string(c) + " [" + strings.Repeat("*"+string(c-1)+",", 9) + "*" + string(c-1) + "]\n"
	}
	for name, text := range map[string]string{
		"wide": text,
		"deep": "version: 0.1\nredis: " + strings.Repeat("[", 5000) + strings.Repeat("]", 5000),
		"long": "redis: [" + strings.Repeat("x,", 2*maxNodes) + "]",
	} {
		if _, _, err := Parse("config.yml", []byte(text), nil); err == nil || !strings.Contains(err.Error(), "more than") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestNearest(t *testing.T) {
	names := newSchema().names()
	for word, want := range map[string]string{
		"HTTP": "http", "htpt": "http", "https": "http", "storag": "storage", "tokenservers": "tokenserver", "gc": "gc", "gx": "", "ui": "", "x": "", "": "",
		"address": "", "notification": "notifications", "something": "", "tsl": "",
	} {
		if got := nearest(word, names); got != want {
			t.Errorf("nearest(%q) = %q, want %q", word, got, want)
		}
	}
}
