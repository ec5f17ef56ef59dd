package configs

import (
	"reflect"
	"strings"
	"testing"
)

func TestManifestChecks(t *testing.T) {
	const weaker = "manifests may name layers at any URL, and indexes may lack images; clients will find them incomplete"
	const lack = "indexes may lack images; clients that want those will find them incomplete"
	const v = plain + "\nvalidation:\n  "
	for _, test := range []struct{ text, want string }{
		{v + "enabled: true", ""},
		{v + "enabled: false", ""}, // as distribution: only disabled disables
		{v + "disabled: false", ""},
		{v + "disabled: true", "warning config.yml:10: validation.disabled: " + weaker},
		{v + "disabled: true\n  enabled: true", ""},
		{v + "disabled: perhaps", `error config.yml:10: validation.disabled: wants true or false, not "perhaps"`},
		{v + `manifests: {urls: {allow: ['^https?://([^/]+\.)*example\.com/'], deny: ['^https?://www\.example\.com/']}}`, ""},
		{v + "manifests: {urls: {allow: ['a', '(']}}", `error config.yml:10: validation.manifests.urls.allow[1]: "(" is not a regular expression of RE2`},
		{v + "manifests: {urls: {deny: ['a(?=b)']}}", `error config.yml:10: validation.manifests.urls.deny[0]: "a(?=b)" is not a regular expression of RE2`},
		{v + "manifests: {urls: {allow: x}}", "error config.yml:10: validation.manifests.urls.allow: wants a list, not a single value"},
		{v + "manifests: {urls: {alow: [x]}}", "error config.yml:10: validation.manifests.urls.alow: unknown key; did you mean validation.manifests.urls.allow?"},
		{v + "manifests: {indexes: {platforms: all}}", ""},
		{v + "manifests: {indexes: {platforms: NONE}}", "warning config.yml:10: validation.manifests.indexes.platforms: " + lack},
		{v + "manifests: {indexes: {platforms: some}}", `error config.yml:10: validation.manifests.indexes.platforms: "some" is none of all, none, list`},
		{v + "manifests: {indexes: {platforms: list, platformlist: [{architecture: amd64, os: linux}]}}", "warning config.yml:10: validation.manifests.indexes.platforms: " + lack},
		{v + "manifests: {indexes: {platforms: list}}", "warning config.yml:10: validation.manifests.indexes.platformlist: absent: indexes must have the images of every platform"},
		{v + "manifests: {indexes: {platformlist: [{architecture: amd64, os: linux}]}}", "warning config.yml:10: validation.manifests.indexes.platformlist: no effect unless platforms is list"},
		{v + "manifests: {indexes: {platforms: list, platformlist: [{arch: amd64}]}}", "error config.yml:10: validation.manifests.indexes.platformlist[0].arch: unknown key"},

		{plain + "\ncatalog: {maxentries: -1}\ntags: {maxtags: 0}", ""},
		{plain + "\ntags: {maxtags: -1}", "error config.yml:9: tags.maxtags: negative"},
		{plain + "\ncatalog: {maxentries: many}", `error config.yml:9: catalog.maxentries: wants a whole number, not "many"`},
		{plain + "\npolicy: {repository: {classes: [image, plugin]}}", ""},
		{plain + "\npolicy: {repository: {classes: [images]}}", `error config.yml:9: policy.repository.classes[0]: "images" is none of image, plugin: no manifest is of that class`},
	} {
		_, warnings, err := Parse("config.yml", []byte(test.text), nil)
		if got := strings.TrimSuffix(outcome(warnings, err), "\n"); got != test.want {
			t.Errorf("%s\ngot\n%s\nwant\n%s\n", strings.TrimPrefix(test.text, plain), got, test.want)
		}
	}
}

// Variables reach into maps and lists, by distribution's rules.
func TestVariablesOfMapsAndLists(t *testing.T) {
	const headers = "headers: {X-Foo: [a], X-Bar: [b]}"
	for name, test := range map[string]struct {
		text    string
		environ []string
		ok      func(*Config) bool
	}{
		"all headers": {headers, []string{"REGISTRY_HTTP_HEADERS={X-Content-Type-Options: [nosniff]}"}, func(c *Config) bool {
			return reflect.DeepEqual(c.HTTP.Headers, map[string][]string{"X-Content-Type-Options": {"nosniff"}})
		}},
		"a header": {headers, []string{"REGISTRY_HTTP_HEADERS_X-BAZ=[c, d]"}, func(c *Config) bool {
			return reflect.DeepEqual(c.HTTP.Headers, map[string][]string{"X-Foo": {"a"}, "X-Bar": {"b"}, "X-Baz": {"c", "d"}})
		}},
		"a header of the file": {headers, []string{"REGISTRY_HTTP_HEADERS_X-FOO=[c]"}, func(c *Config) bool {
			return reflect.DeepEqual(c.HTTP.Headers, map[string][]string{"X-Foo": {"c"}, "X-Bar": {"b"}})
		}},
		"a value of a header": {headers, []string{"REGISTRY_HTTP_HEADERS_X-FOO_1=c"}, func(c *Config) bool {
			return reflect.DeepEqual(c.HTTP.Headers["X-Foo"], []string{"a", "c"})
		}},
		"a header removed": {headers, []string{"REGISTRY_HTTP_HEADERS_X-FOO="}, func(c *Config) bool {
			return reflect.DeepEqual(c.HTTP.Headers, map[string][]string{"X-Bar": {"b"}})
		}},
		"a header without a file's": {"", []string{"REGISTRY_HTTP_HEADERS_X-FOO=[c]"}, func(c *Config) bool {
			return reflect.DeepEqual(c.HTTP.Headers, map[string][]string{"X-Foo": {"c"}})
		}},
		"a field":  {"", []string{"REGISTRY_LOG_FIELDS_SERVICE=registry"}, func(c *Config) bool { return c.Log.Fields["service"] == "registry" }},
		"a prefix": {"", []string{"REGISTRY_HTTP_PREFIX=/a/"}, func(c *Config) bool { return c.HTTP.Prefix == "/a" }},
		"bounds": {"", []string{"REGISTRY_CATALOG_MAXENTRIES=7", "REGISTRY_TAGS_MAXTAGS=8"}, func(c *Config) bool {
			return c.Catalog.MaxEntries == 7 && c.Tags.MaxTags == 8
		}},
		"rules": {"", []string{
			"REGISTRY_VALIDATION_DISABLED=true", "REGISTRY_VALIDATION_MANIFESTS_URLS_ALLOW_0=a", `REGISTRY_VALIDATION_MANIFESTS_URLS_DENY=["b"]`,
			"REGISTRY_VALIDATION_MANIFESTS_INDEXES_PLATFORMS=List", "REGISTRY_VALIDATION_MANIFESTS_INDEXES_PLATFORMLIST_0_ARCHITECTURE=amd64",
			"REGISTRY_VALIDATION_MANIFESTS_INDEXES_PLATFORMLIST_0_OS=linux", "REGISTRY_POLICY_REPOSITORY_CLASSES=[image]",
		}, func(c *Config) bool {
			return c.Validation.Off() && reflect.DeepEqual(c.Validation.Manifests, ValidationManifests{
				URLs:    ValidationURLs{Allow: []string{"a"}, Deny: []string{"b"}},
				Indexes: ValidationIndexes{Platforms: "list", PlatformList: []Platform{{"amd64", "linux"}}},
			}) && reflect.DeepEqual(c.Policy.Repository.Classes, []string{"image"})
		}},
		"TLS": {"tls: {certificate: /c, key: /k}", []string{"REGISTRY_HTTP_TLS_CLIENTCAS_0=/ca", "REGISTRY_HTTP_TLS_MINIMUMTLS=tls1.3", "REGISTRY_HTTP_HTTP2_DISABLED=true"}, func(c *Config) bool {
			return reflect.DeepEqual(c.HTTP.TLS.ClientCAs, []string{"/ca"}) && c.HTTP.TLS.MinimumTLS == "tls1.3" && c.HTTP.HTTP2.Disabled
		}},
	} {
		c, _, err := Parse("config.yml", []byte(plain+test.text), test.environ)
		if err != nil {
			t.Errorf("%s: %v", name, err)
		} else if !test.ok(c) {
			t.Errorf("%s: got %+v", name, c)
		}
	}
	const bad = "REGISTRY_HTTP_HEADERS_X-FOO=[\"a\\r\\nSet-Cookie: b\"]"
	if _, _, err := Parse("config.yml", []byte(plain), []string{bad}); err == nil ||
		err.Error() != "REGISTRY_HTTP_HEADERS_X-FOO: http.headers.x-foo: a value has a line break or another control character" {
		t.Errorf("%s: %v", bad, err)
	}
}
