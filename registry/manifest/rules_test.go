package manifest

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
)

// urls is a policy with lists of expressions.
func urls(allow, deny []string) Policy { return Policy{AllowURLs: allow, DenyURLs: deny} }

func mustRules(t *testing.T, p Policy) Rules {
	t.Helper()
	r, err := NewRules(p)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// TestURLs: which URLs a layer may have. Where an expression matches makes no difference, a list is its members' union, and
// a URL must be one that a client could fetch, whatever the lists say.
func TestURLs(t *testing.T) {
	off := Policy{AnyURL: true}
	example := []string{`^https?://([^/]+\.)*example\.com/`}
	for _, test := range []struct {
		rules Policy
		url   string
		ok    bool
	}{
		{Policy{}, "https://example.com/x", false},
		{off, "https://example.com/x", true},
		{off, "http://example.com/x?y", true},
		{off, "ftp://example.com/x", false},
		{off, "file:///etc/passwd", false},
		{off, "//example.com/x", false},
		{off, "https://example.com/x#y", false},
		{off, "https://example.com/%zz", false},
		{off, "", false},
		{urls(example, nil), "https://example.com/x", true},
		{urls(example, nil), "https://cdn.example.com/x", true},
		{urls(example, nil), "https://example.com.evil.test/x", false},
		{urls(example, nil), "https://evil.test/https://example.com/", false},
		{urls(example, nil), "ftp://example.com/x", false},
		{urls(example, nil), "https://example.com/x#y", false},
		{urls(example, []string{"secret"}), "https://example.com/secret/x", false},
		{urls(example, []string{"secret"}), "https://example.com/x", true},
		{urls(nil, []string{"secret", "^http:"}), "https://anywhere.test/x", true},
		{urls(nil, []string{"secret", "^http:"}), "http://anywhere.test/x", false},
		{urls([]string{"^https://a/", "^https://b/"}, nil), "https://b/x", true},
		{urls([]string{"^https://a/|^https://b/$", "c"}, nil), "https://b/x", false}, // each is a group of its own
		{urls([]string{"(?i)^https://a/", "^https://b/"}, nil), "https://A/", true},
		{urls([]string{"(?i)^https://a/", "^https://b/"}, nil), "https://B/", false},
		{urls([]string{"x"}, []string{"x"}), "https://x/", false},
	} {
		if got := mustRules(t, test.rules).mayFetch(test.url); got != test.ok {
			t.Errorf("%+v: %s: %v, want %v", test.rules, test.url, got, test.ok)
		}
	}
	for _, bad := range []Policy{urls([]string{"("}, nil), urls(nil, []string{"a)(b"})} {
		if _, err := NewRules(bad); err == nil {
			t.Errorf("%+v was taken", bad)
		}
	}
}

// TestLayers: which layers must be here, by the type of the manifest, of the layer, and whether there are URLs.
func TestLayers(t *testing.T) {
	const nowhere, here, foreign = "refused", "here", "foreign"
	const allowed = `["https://example.com/x"]`
	for _, test := range []struct{ manifest, layer, urls, want string }{
		{DockerManifest, dockerForeign, allowed, foreign},
		{DockerManifest, dockerForeign, `["https://evil.test/x"]`, nowhere},
		{DockerManifest, dockerForeign, `["https://example.com/x","https://evil.test/x"]`, nowhere},
		{DockerManifest, dockerForeign, `["https://evil.test/x","https://example.com/x"]`, nowhere},
		{DockerManifest, dockerForeign, `[]`, nowhere},
		{DockerManifest, "application/vnd.docker.image.rootfs.diff.tar.gzip", `["https://evil.test/x"]`, here},
		{DockerManifest, ociForeign, `["https://evil.test/x"]`, here},
		{OCIManifest, ociForeign, allowed, foreign},
		{OCIManifest, ociForeignGzip, allowed, foreign},
		{OCIManifest, ociForeignGzip, `["https://evil.test/x"]`, nowhere},
		{OCIManifest, ociForeign, `[]`, here},
		{OCIManifest, ociLayer, allowed, here},
		{OCIManifest, ociLayerGzip, allowed, here},
		{OCIManifest, ociLayer, `["https://evil.test/x"]`, nowhere},
		{OCIManifest, ociLayerGzip, `["javascript:x"]`, nowhere},
		{OCIManifest, "application/vnd.example", `["https://evil.test/x"]`, here},
		{OCIManifest, dockerForeign, `["https://evil.test/x"]`, here},
	} {
		body := fmt.Sprintf(`{"schemaVersion":2,"mediaType":%q,"config":{"digest":%q,"size":2},"layers":[{"mediaType":%q,"digest":%q,"size":1,"urls":%s}]}`,
			test.manifest, one, test.layer, two, test.urls)
		m, err := mustRules(t, urls([]string{`^https://example\.com/`}, nil)).Parse(test.manifest, []byte(body))
		got := nowhere
		var refused *InvalidError
		switch {
		case err == nil && slices.Equal(m.Blobs, []digest.Digest{one, two}) && len(m.Foreign) == 0:
			got = here
		case err == nil && slices.Equal(m.Blobs, []digest.Digest{one}) && slices.Equal(m.Foreign, []digest.Digest{two}):
			got = foreign
		case !errors.As(err, &refused):
			t.Errorf("%s in %s: %+v, %v", test.layer, test.manifest, m, err)
		}
		if got != test.want {
			t.Errorf("%s in %s with %s: %s, want %s", test.layer, test.manifest, test.urls, got, test.want)
		}
	}
}

// TestPlatforms: which images an index may lack.
func TestPlatforms(t *testing.T) {
	three := strings.TrimSuffix(two, "2") + "3"
	body := `{"schemaVersion":2,"mediaType":"` + OCIIndex + `","manifests":[
		{"digest":"` + one + `","size":1,"platform":{"architecture":"amd64","os":"linux"}},
		{"digest":"` + two + `","size":1,"platform":{"architecture":"arm","os":"linux","variant":"v7"}},
		{"digest":"` + two + `","size":1,"platform":{"architecture":"arm","os":"linux","variant":"v6"}},
		{"digest":"` + three + `","size":1}]}`
	linux := func(architectures ...string) (list []Platform) {
		for _, a := range architectures {
			list = append(list, Platform{a, "linux"})
		}
		return list
	}
	every := []digest.Digest{one, two, two, digest.Digest(three)}
	for name, test := range map[string]struct {
		rules    Policy
		optional []digest.Digest
	}{
		"zero":              {Policy{}, nil},
		"all, with a list":  {Policy{Required: linux("amd64")}, nil},
		"none":              {Policy{Sparse: true}, every},
		"one":               {Policy{Sparse: true, Required: linux("amd64")}, []digest.Digest{two, two, digest.Digest(three)}},
		"another":           {Policy{Sparse: true, Required: linux("s390x")}, every},
		"two":               {Policy{Sparse: true, Required: linux("amd64", "arm")}, []digest.Digest{digest.Digest(three)}},
		"one without names": {Policy{Sparse: true, Required: []Platform{{}}}, every},
	} {
		m, err := mustRules(t, test.rules).Parse(OCIIndex, []byte(body))
		if err != nil || !slices.Equal(m.Optional, test.optional) || len(m.Manifests) != 4 {
			t.Errorf("%s: %v, %v, want %v", name, m.Optional, err, test.optional)
		}
	}
	// Needed for one platform is needed.
	twice := `{"schemaVersion":2,"manifests":[{"digest":"` + one + `","size":1},{"digest":"` + one + `","size":1,"platform":{"architecture":"amd64","os":"linux"}}]}`
	if m, err := mustRules(t, Policy{Sparse: true, Required: linux("amd64")}).Parse(OCIIndex, []byte(twice)); err != nil || len(m.Optional) != 0 {
		t.Errorf("%+v, %v", m, err)
	}
}

func TestClasses(t *testing.T) {
	const image, plugin, oci = "application/vnd.docker.container.image.v1+json", "application/vnd.docker.plugin.v1+json", "application/vnd.oci.image.config.v1+json"
	for _, test := range []struct {
		classes        []string
		mediaType      string
		config, denied string
	}{
		{nil, DockerManifest, plugin, ""},
		{nil, OCIManifest, "application/vnd.example", ""},
		{[]string{"image"}, DockerManifest, image, ""},
		{[]string{"image"}, OCIManifest, oci, ""},
		{[]string{"image"}, DockerManifest, plugin, "registry does not allow plugin manifest"},
		{[]string{"plugin"}, DockerManifest, plugin, ""},
		{[]string{"plugin"}, OCIManifest, oci, "registry does not allow image manifest"},
		{[]string{"image", "plugin"}, OCIManifest, "application/vnd.example", "unknown manifest class for application/vnd.example"},
		{[]string{"image", "plugin"}, OCIManifest, plugin, "unknown manifest class for " + plugin},
		{[]string{"image"}, DockerManifest, oci, "unknown manifest class for " + oci},
		{[]string{"image"}, DockerManifest, "", "unknown manifest class for "},
	} {
		body := fmt.Sprintf(`{"schemaVersion":2,"mediaType":%q,"config":{"mediaType":%q,"digest":%q,"size":2}}`, test.mediaType, test.config, one)
		_, err := mustRules(t, Policy{Classes: test.classes}).Parse(test.mediaType, []byte(body))
		var denied *DeniedError
		switch {
		case test.denied == "" && err == nil:
		case errors.As(err, &denied) && denied.Reason == test.denied:
		default:
			t.Errorf("%v, %s: %v, want %q", test.classes, test.config, err, test.denied)
		}
	}
	if _, err := mustRules(t, Policy{Classes: []string{"image"}}).Parse(OCIIndex, []byte(`{"schemaVersion":2,"manifests":[]}`)); err != nil {
		t.Errorf("an index has no class: %v", err)
	}
}
