package configs

import (
	"reflect"
	"slices"
	"testing"
)

func TestVariables(t *testing.T) {
	for name, test := range map[string]struct {
		text    string // of the file; quiet where empty
		environ []string
		ok      func(*Config) bool
	}{
		"a text":              {"", []string{"REGISTRY_HTTP_ADDR=:1"}, func(c *Config) bool { return c.HTTP.Addr == ":1" }},
		"a truth":             {"", []string{"REGISTRY_STORAGE_DELETE_ENABLED=true"}, func(c *Config) bool { return c.Storage.Delete.Enabled && c.Storage.Filesystem.RootDirectory == "/data" }},
		"a duration":          {"", []string{"REGISTRY_TOKENSERVER_LIFETIME=2m"}, func(c *Config) bool { return c.TokenServer.Lifetime.Minutes() == 2 }},
		"quotes":              {"", []string{`REGISTRY_HTTP_SECRET="#x"`}, func(c *Config) bool { return c.HTTP.Secret == "#x" }},
		"with an equals sign": {"", []string{"REGISTRY_HTTP_SECRET=a=b"}, func(c *Config) bool { return c.HTTP.Secret == "a=b" }},
		"unset":               {quiet + "http: {addr: \":1\", secret: s}", []string{"REGISTRY_HTTP_ADDR=", "REGISTRY_HTTP_SECRET="}, func(c *Config) bool { return c.HTTP.Addr == ":5000" && c.HTTP.Secret == "" }},
		"a section":           {quiet + "log: {level: warn}", []string{"REGISTRY_LOG={formatter: json}"}, func(c *Config) bool { return reflect.DeepEqual(c.Log, Log{Level: "info", Formatter: "json"}) }},
		"auth unset":          {"", []string{"REGISTRY_AUTH="}, func(c *Config) bool { return c.Auth == Auth{} }},
		"auth chosen":         {"", []string{"REGISTRY_AUTH_TOKEN_SERVICE=s", "REGISTRY_AUTH=token"}, func(c *Config) bool { return c.Auth.Htpasswd == nil && c.Auth.Token.Service == "s" }},
		"auth with a path":    {"", []string{"REGISTRY_AUTH=htpasswd", "REGISTRY_AUTH_HTPASSWD_PATH=/p", "REGISTRY_AUTH_HTPASSWD_REALM=r"}, func(c *Config) bool { return *c.Auth.Htpasswd == Htpasswd{"r", "/p"} }},
		"auth added":          {"version: 0.1\nstorage: inmemory", []string{"REGISTRY_AUTH_HTPASSWD_PATH=/p"}, func(c *Config) bool { return c.Auth.Htpasswd.Path == "/p" }},
		"storage chosen": {"", []string{"REGISTRY_STORAGE_DELETE_ENABLED=true", "REGISTRY_STORAGE=inmemory"}, func(c *Config) bool {
			return c.Storage.InMemory != nil && c.Storage.Filesystem == nil && c.Storage.Delete.Enabled
		}},
		"storage in short form": {"version: 0.1\nstorage: filesystem", []string{"REGISTRY_STORAGE_FILESYSTEM_ROOTDIRECTORY=/r"}, func(c *Config) bool { return c.Storage.Filesystem.RootDirectory == "/r" }},
		"into a null":           {"version: 0.1\nstorage: inmemory\nhttp:\n", []string{"REGISTRY_HTTP_TLS_KEY=/k", "REGISTRY_HTTP_TLS_CERTIFICATE=/c"}, func(c *Config) bool { return c.HTTP.TLS.Key == "/k" && c.HTTP.TLS.Certificate == "/c" }},
		"a list by number":      {"", []string{"REGISTRY_ETCD_ENDPOINTS_0=a:1", "REGISTRY_ETCD_ENDPOINTS_1=b:2"}, func(c *Config) bool { return slices.Equal(c.Etcd.Endpoints, []string{"a:1", "b:2"}) }},
		"an item replaced":      {quiet + "etcd: {endpoints: [\"a:1\", \"b:2\"]}", []string{"REGISTRY_ETCD_ENDPOINTS_1=c:3"}, func(c *Config) bool { return slices.Equal(c.Etcd.Endpoints, []string{"a:1", "c:3"}) }},
		"a list":                {"", []string{`REGISTRY_HTTP_TLS_LETSENCRYPT_HOSTS=[a.example.com, b.example.com]`}, func(c *Config) bool { return len(c.HTTP.TLS.LetsEncrypt.Hosts) == 2 }},
		"rules": {"", []string{`REGISTRY_TOKENSERVER_ACCESS=[{account: a, repository: b, actions: [pull]}]`}, func(c *Config) bool {
			return reflect.DeepEqual(c.TokenServer.Access, []Rule{{Account: Names{"a"}, Repository: Names{"b"}, Actions: []string{"pull"}}})
		}},
		"a part of a rule": {"", []string{`REGISTRY_TOKENSERVER_ACCESS_0_ACCOUNT=bob`}, func(c *Config) bool {
			return slices.Equal(c.TokenServer.Access[0].Account, []string{"bob"}) && slices.Equal(c.TokenServer.Access[0].Repository, []string{"**"})
		}},
		"a rule by its parts": {"", []string{"REGISTRY_TOKENSERVER_ACCESS_1_ACCOUNT=bob", "REGISTRY_TOKENSERVER_ACCESS_1_ACTIONS_0=pull", "REGISTRY_TOKENSERVER_ACCESS_1_REPOSITORY=b"}, func(c *Config) bool {
			return len(c.TokenServer.Access) == 2 && c.TokenServer.Access[1].Actions[0] == "pull"
		}},
		"an alias is not touched": {"version: 0.1\nstorage: inmemory\ntokenserver: {access: [{account: a, repository: a, actions: &p [pull]}, {account: b, repository: b, actions: *p}]}", []string{"REGISTRY_TOKENSERVER_ACCESS_1_ACTIONS_0=push"}, func(c *Config) bool {
			return c.TokenServer.Access[0].Actions[0] == "pull" && c.TokenServer.Access[1].Actions[0] == "push"
		}},
		"loglevel": {"", []string{"REGISTRY_LOGLEVEL=error"}, func(c *Config) bool { return c.Log.Level == "error" }},
	} {
		text := test.text
		if text == "" {
			text = quiet
		}
		c, _, err := Parse("config.yml", []byte(text), test.environ)
		if err != nil {
			t.Errorf("%s: %v", name, err)
		} else if !test.ok(c) {
			t.Errorf("%s: got %+v", name, c)
		}
	}
}

// Variables of other programmes change nothing and stop nothing.
func TestVariablesOfOthers(t *testing.T) {
	calm := []byte(quiet + "http: {addr: \"127.0.0.1:5000\"}\n")
	want, _, err := Parse("config.yml", calm, nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct{ variable, want string }{
		{"REGISTRY_AUTH_FILE=/run/auth.json", ""},
		{"REGISTRY_CONFIGURATION_PATH=/etc/config.yml", ""},
		{"registry_http_addr=x", ""},
		{"REGISTRYHTTPADDR=x", ""},
		{"REGISTRY_PORT=tcp://10.0.0.1:5000", "warning REGISTRY_PORT: no setting has this name: ignored\n"},
		{"REGISTRY_SERVICE_HOST=10.0.0.1", "warning REGISTRY_SERVICE_HOST: no setting has this name: ignored\n"},
		{"REGISTRY_PORT_5000_TCP_ADDR=10.0.0.1", "warning REGISTRY_PORT_5000_TCP_ADDR: no setting has this name: ignored\n"},
		{"REGISTRY_AUTH_PORT=tcp://10.0.0.1:5000", "warning REGISTRY_AUTH_PORT: no setting has this name: ignored\n"},
		{"REGISTRY_AUTH_HTPASSWD_FILE=/x", "warning REGISTRY_AUTH_HTPASSWD_FILE: no setting has this name: ignored\n"},
		{"REGISTRY_HTTP_SERVICE_PORT=1", "warning REGISTRY_HTTP_SERVICE_PORT: no setting has this name: ignored\n"},
		{"REGISTRY_PROXY_PORT_80_TCP=tcp://10.0.0.1:80", "warning REGISTRY_PROXY_PORT_80_TCP: no setting has this name: ignored\n"},
		{"REGISTRY_REDIS_SERVICE_HOST=10.0.0.1", "warning REGISTRY_REDIS_SERVICE_HOST: redis: known to distribution, no effect here: the index answers without a cache\n"},
		{"REGISTRY_VERSION=2.8.3", "warning REGISTRY_VERSION: the version of a file cannot be overridden: ignored\n"},
		{"REGISTRY_=x", "warning REGISTRY_: no setting has this name: ignored\n"},
		{"REGISTRY_HTTP_ADDR_HOST=x", "warning REGISTRY_HTTP_ADDR_HOST: no setting has this name: ignored\n"},
		{"REGISTRY_http_addr=x", "warning REGISTRY_http_addr: no setting has this name: ignored; did you mean REGISTRY_HTTP_ADDR?\n"},
		{"REGISTRY_HTTP_ADRR=x", "warning REGISTRY_HTTP_ADRR: no setting has this name: ignored; did you mean REGISTRY_HTTP_ADDR?\n"},
	} {
		got, warnings, err := Parse("config.yml", calm, []string{test.variable})
		if text := outcome(warnings, err); text != test.want || !reflect.DeepEqual(got, want) {
			t.Errorf("%s: got %q, want %q; configuration %+v", test.variable, text, test.want, got)
		}
	}
}

// A value that does not fit is told with the variable's name, and never with what may be a secret.
func TestBadVariables(t *testing.T) {
	for _, test := range []struct{ variable, want string }{
		{"REGISTRY_STORAGE_DELETE_ENABLED=perhaps", `REGISTRY_STORAGE_DELETE_ENABLED: storage.delete.enabled: wants true or false, not "perhaps"`},
		{"REGISTRY_HTTP_SECRET=[hunter2]", `REGISTRY_HTTP_SECRET: http.secret: wants a single value, not a list`},
		{"REGISTRY_HTTP_SECRET=*hunter2", `REGISTRY_HTTP_SECRET: http.secret: not valid YAML: an alias without its anchor; put quotes around a value that begins with *`},
		{"REGISTRY_HTTP_SECRET=#hunter2", `REGISTRY_HTTP_SECRET: http.secret: the value reads as an empty YAML value; put quotes around it, or leave it empty to unset`},
		{"REGISTRY_HTTP_SECRET=@hunter2", `REGISTRY_HTTP_SECRET: http.secret: not valid YAML: found character that cannot start any token`},
		{"REGISTRY_HTTP_SECRET=!hunter2 x", `REGISTRY_HTTP_SECRET: http.secret: a YAML tag that means nothing here; put quotes around a value that begins with !`},
		{"REGISTRY_HTTP={secret: hunter2: x}", `REGISTRY_HTTP: http: not valid YAML: did not find expected ',' or '}'`},
		{"REGISTRY_HTTP=hunter2", `REGISTRY_HTTP: http: wants a section (lines of key: value), not a single value`},
		{"REGISTRY_AUTH_TOKEN=hunter2", `REGISTRY_AUTH_TOKEN: auth.token: wants a section (lines of key: value), not a single value`},
		{"REGISTRY_AUTH=htpaswd", `REGISTRY_AUTH: auth.htpaswd: unknown key; did you mean auth.htpasswd?`},
		{"REGISTRY_AUTH=token\nsilly", `REGISTRY_AUTH: auth."token silly": unknown key; did you mean auth.token?`},
		{"REGISTRY_AUTH_HTPASWD_PATH=/p", `REGISTRY_AUTH_HTPASWD_PATH: no setting has this name; did you mean REGISTRY_AUTH_HTPASSWD_PATH?`},
		{"REGISTRY_HTTP_TLS_CERTIFCATE=/c", `REGISTRY_HTTP_TLS_CERTIFCATE: no setting has this name; did you mean REGISTRY_HTTP_TLS_CERTIFICATE?`},
		{"REGISTRY_ETCD_ENDPOINTS_1=a:1", `REGISTRY_ETCD_ENDPOINTS_1: etcd.endpoints: has 0 items: number 1 would leave a gap`},
		{"REGISTRY_ETCD_ENDPOINTS_X=a:1", `REGISTRY_ETCD_ENDPOINTS_X: etcd.endpoints: an item of a list is named by its number, from 0`},
		{"REGISTRY_ETCD_ENDPOINTS_-1=a:1", `REGISTRY_ETCD_ENDPOINTS_-1: etcd.endpoints: an item of a list is named by its number, from 0`},
		{"REGISTRY_TOKENSERVER_ACCESS=", `REGISTRY_TOKENSERVER_ACCESS: tokenserver.access: cannot be unset: every user could do everything; set [] to deny everything, or remove the section from the file`},
		{"REGISTRY_TOKENSERVER_ACCESS_0=", `REGISTRY_TOKENSERVER_ACCESS_0: tokenserver.access[0]: an item cannot be unset; set the whole list`},
		{"REGISTRY_STORAGE_GCS_KEYFILE=hunter2", `REGISTRY_STORAGE_GCS_KEYFILE: storage.gcs: ` + noDriver},
		{"REGISTRY_PROXY_REMOTEURL=https://u:hunter2@example.com", `REGISTRY_PROXY_REMOTEURL: proxy.remoteurl: ` + noProxy},
		{"REGISTRY_ETCD_ENDPOINTS=['https://u:hunter2@etcd:1']", `REGISTRY_ETCD_ENDPOINTS: etcd.endpoints[0]: a URL with a user or password in it; write it like https://etcd.example.com:2379`},
		{"REGISTRY_ETCD_ENDPOINTS=https://u:hunter2@etcd:1", `REGISTRY_ETCD_ENDPOINTS: etcd.endpoints: wants a list, not a single value`},
		{"REGISTRY_HTTP_HOST=https://u:hunter2@%zz", `REGISTRY_HTTP_HOST: http.host: not a URL; write it like https://registry.example.com`},
	} {
		_, _, err := Parse("config.yml", []byte(quiet), []string{test.variable})
		if err == nil || err.Error() != test.want {
			t.Errorf("%s: got\n%v\nwant\n%s", test.variable, err, test.want)
		}
	}
}

func TestVariablesOfDistribution(t *testing.T) {
	_, warnings, err := Parse("config.yml", []byte(quiet), []string{
		"REGISTRY_NOTIFICATIONS_EVENTCONFIG_INCLUDEREFERENCES=true", "REGISTRY_HEALTH_FILECHECKERS_0_FILE=/x",
		"REGISTRY_NOTIFICATIONS_ENDPOINTS_0_URL=http://u:hunter2@x", "REGISTRY_HEALTH_STORAGEDRIVER_ENABLED=true",
	})
	want := `warning config.yml: http.tls: absent: passwords and tokens travel unencrypted to :5000
warning REGISTRY_HEALTH_FILECHECKERS_0_FILE: health.file: known to distribution, no effect here: checks of the file's own are not run; ask /readyz of the listener of http.debug.addr
warning REGISTRY_HEALTH_STORAGEDRIVER_ENABLED: health.storagedriver: known to distribution, no effect here: /readyz of the listener of http.debug.addr always looks at the storage
warning REGISTRY_NOTIFICATIONS_ENDPOINTS_0_URL: notifications.endpoints: known to distribution, no effect here: nobody is told of pushes, pulls and deletions; whoever relies on it must ask the API instead
`
	if got := outcome(warnings, err); got != want {
		t.Errorf("got\n%swant\n%s", got, want)
	}
}
