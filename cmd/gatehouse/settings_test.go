package main

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"

	"gatehouse/testbench"
)

// settings is a configuration that distribution 3.1 and gatehouse read alike; addr and rootdirectory come from variables.
const settings = `version: 0.1
log: {level: error, accesslog: {disabled: true}, fields: {service: registry}}
storage:
  filesystem: {rootdirectory: /nowhere}
  delete: {enabled: true}
  maintenance: {uploadpurging: {enabled: false}}
http:
  addr: 127.0.0.1:0
  prefix: /some/where/
  secret: test
  headers:
    X-Content-Type-Options: [nosniff]
    x-two: [a, b]
    Access-Control-Allow-Origin: ['*']
catalog: {maxentries: 3}
tags: {maxtags: 3}
validation:
  manifests:
    urls: {allow: ['^https?://([^/]+\.)*example\.com/', '^https://other\.test/$'], deny: ['^http:', secret]}
    indexes: {platforms: list, platformlist: [{architecture: amd64, os: linux}]}
policy: {repository: {classes: [image]}}
`

// twins are registry 3.1 and gatehouse on the same configuration, each with a tree of its own.
type twins struct {
	t            testing.TB
	theirs, ours string // URLs
}

func startTwins(t *testing.T, text string, environ ...string) *twins {
	t.Helper()
	config := filepath.Join(t.TempDir(), "config.yml")
	fatal(t, os.WriteFile(config, []byte(text), 0o600))
	root := func() string { return "REGISTRY_STORAGE_FILESYSTEM_ROOTDIRECTORY=" + t.TempDir() }
	theirs := testbench.StartRegistry3On(t, config, append(environ, root())...)
	return &twins{t: t, theirs: theirs.URL, ours: startOnFile(t, config, append(environ, root())...)}
}

// startOnFile runs gatehouse on a file, with plain HTTP, and returns its URL.
func startOnFile(t testing.TB, config string, environ ...string) string {
	t.Helper()
	program, err := built()
	fatal(t, err)
	addr := testbench.FreeAddr(t)
	cmd := exec.Command(program, "serve", "--addr", addr, config)
	cmd.Env = append(os.Environ(), environ...)
	testbench.StartCmd(t, cmd)
	testbench.Eventually(t, time.Minute, "gatehouse answers", func() error {
		answer, err := http.Get("http://" + addr + "/")
		if err != nil {
			return err
		}
		return answer.Body.Close()
	})
	return "http://" + addr
}

// compared are the headers that must be the same.
var compared = []string{"Docker-Distribution-Api-Version", "X-Content-Type-Options", "X-Two", "Access-Control-Allow-Origin", "Allow", "Link", "Location", "Docker-Content-Digest", "Content-Type"}

// reply is what is compared of an answer.
type reply struct {
	status int
	header map[string]string
	code   string // of the first error
}

// ask sends a request and takes the host and the state of an upload out of URLs.
func (tw *twins) ask(base, method, path, body string, headers ...string) (reply, []byte) {
	tw.t.Helper()
	r, err := http.NewRequestWithContext(tw.t.Context(), method, base+path, strings.NewReader(body))
	fatal(tw.t, err)
	for _, h := range headers {
		name, value, _ := strings.Cut(h, ": ")
		r.Header.Set(name, value)
	}
	answer, err := http.DefaultClient.Do(r)
	fatal(tw.t, err)
	defer answer.Body.Close()
	b, err := io.ReadAll(answer.Body)
	fatal(tw.t, err)
	got := reply{status: answer.StatusCode, header: map[string]string{}}
	for _, name := range compared {
		got.header[name] = strings.Join(answer.Header[name], ", ")
	}
	if to, err := url.Parse(got.header["Location"]); err == nil && got.header["Location"] != "" {
		got.header["Location"] = to.Path
		if id := answer.Header.Get("Docker-Upload-Uuid"); id != "" {
			got.header["Location"] = strings.ReplaceAll(to.Path, id, "<id>")
		}
	}
	var document struct{ Errors []struct{ Code string } }
	if json.Unmarshal(b, &document) == nil && len(document.Errors) > 0 {
		got.code = document.Errors[0].Code
	}
	return got, b
}

// same sends a request to both. but says what is known to differ: "<header or status or code>: theirs → ours".
func (tw *twins) same(status int, method, path, body string, but []string, headers ...string) {
	tw.t.Helper()
	theirs, theirBody := tw.ask(tw.theirs, method, path, body, headers...)
	ours, ourBody := tw.ask(tw.ours, method, path, body, headers...)
	if theirs.status != status {
		tw.t.Errorf("%s %s: registry 3.1 says %d, want %d: %s", method, path, theirs.status, status, theirBody)
	}
	var differs []string
	note := func(what string, a, b any) {
		if a != b {
			differs = append(differs, fmt.Sprintf("%s: %v → %v", what, a, b))
		}
	}
	note("status", theirs.status, ours.status)
	note("code", theirs.code, ours.code)
	for _, name := range compared {
		note(name, theirs.header[name], ours.header[name])
	}
	if strings.Join(differs, "\n") != strings.Join(but, "\n") {
		tw.t.Errorf("%s %s: they differ in\n%s\nwant\n%s\nregistry 3.1: %s\ngatehouse: %s", method, path, strings.Join(differs, "\n"), strings.Join(but, "\n"), theirBody, ourBody)
	}
	if strings.Contains(path, "_catalog") && status == 200 && strings.TrimSpace(string(theirBody)) != strings.TrimSpace(string(ourBody)) {
		tw.t.Errorf("%s: registry 3.1 says %s, gatehouse %s", path, theirBody, ourBody)
	}
}

// push pushes a blob to both and compares where the answers point to.
func (tw *twins) push(prefix, repo, content string) digest.Digest {
	tw.t.Helper()
	d := digest.FromString(content)
	for _, base := range []string{tw.theirs, tw.ours} {
		r, err := http.Post(base+prefix+"/v2/"+repo+"/blobs/uploads/", "", nil)
		fatal(tw.t, err)
		fatal(tw.t, r.Body.Close())
		to, err := r.Location()
		fatal(tw.t, err)
		if !strings.HasPrefix(to.Path, prefix+"/v2/"+repo+"/blobs/uploads/") || to.Host != strings.TrimPrefix(base, "http://") {
			tw.t.Fatalf("%s: the upload is at %s", base, to)
		}
		query := to.Query()
		query.Set("digest", string(d))
		to.RawQuery = query.Encode()
		got, b := tw.ask("", "PUT", to.String(), content, "Content-Type: application/octet-stream")
		if got.status != 201 || got.header["Location"] != prefix+"/v2/"+repo+"/blobs/"+string(d) {
			tw.t.Fatalf("%s: %+v %s", base, got, b)
		}
	}
	return d
}

// imageWith is a manifest of a config and, for a URL, a layer from there that is nowhere else.
func imageWith(config digest.Digest, configType, layerType, at string) string {
	layer := ""
	if at != "" {
		layer = fmt.Sprintf(`{"mediaType":%q,"digest":%q,"size":1,"urls":[%q]}`, layerType, digest.FromString("elsewhere"), at)
	}
	return fmt.Sprintf(`{"schemaVersion":2,"mediaType":%q,"config":{"mediaType":%q,"digest":%q,"size":2},"layers":[%s]}`, ociManifest, configType, config, layer)
}

const (
	imageConfig = "application/vnd.oci.image.config.v1+json"
	ociForeign  = "application/vnd.oci.image.layer.nondistributable.v1.tar"
)

// TestSettingsAsDistribution asks registry 3.1 and gatehouse the same, on one file.
func TestSettingsAsDistribution(t *testing.T) {
	tw := startTwins(t, settings)
	const at = "/some/where"
	config := tw.push(at, "a", "{}")
	for _, repo := range []string{"b", "c", "d"} {
		tw.push(at, repo, "{}")
	}
	plain := imageWith(config, imageConfig, "", "")
	put := func(status int, repo, reference, mediaType, body string, but ...string) {
		t.Helper()
		tw.same(status, "PUT", at+"/v2/"+repo+"/manifests/"+reference, body, but, "Content-Type: "+mediaType)
	}
	accept := "Accept: " + ociManifest + ", " + ociIndex

	t.Run("prefix and headers", func(t *testing.T) {
		tw.t = t
		put(201, "a", "v1", ociManifest, plain)
		tw.same(200, "GET", at+"/v2/", "", nil)
		tw.same(200, "GET", at+"/v2/a/manifests/v1", "", nil, accept)
		tw.same(404, "GET", at+"/v2/a/manifests/none", "", nil, accept)
		tw.same(200, "GET", at+"/v2/a/blobs/"+string(config), "", nil)
		tw.same(404, "GET", at+"/v2/a/blobs/"+string(digest.FromString("none")), "", nil)
		tw.same(202, "POST", at+"/v2/a/blobs/uploads/", "", nil)
		tw.same(200, "OPTIONS", at+"/v2/a/tags/list", "", nil)
		tw.same(405, "PUT", at+"/v2/a/tags/list", "", []string{"code:  → UNSUPPORTED", "Content-Type: text/plain; charset=utf-8 → application/json"})
		plainText := []string{"code:  → NOT_FOUND", "Docker-Distribution-Api-Version: registry/2.0 → ", "X-Content-Type-Options: nosniff → ", "Content-Type: text/plain; charset=utf-8 → application/json"}
		tw.same(404, "GET", "/v2/", "", plainText)
		tw.same(404, "GET", "/some/v2/", "", plainText)
	})

	t.Run("bounds of lists", func(t *testing.T) {
		tw.t = t
		for _, repo := range []string{"b", "c", "d"} {
			put(201, repo, "v1", ociManifest, plain)
		}
		for _, tag := range []string{"v2", "v3", "v4"} {
			put(201, "a", tag, ociManifest, plain)
		}
		for query, status := range map[string]int{"": 200, "?n=3": 200, "?n=4": 400, "?n=1001": 400, "?n=0": 200, "?n=-1": 400, "?n=x": 400, "?n=2&last=b": 200} {
			tw.same(status, "GET", at+"/v2/_catalog"+query, "", nil)
		}
		for query, status := range map[string]int{"?n=2": 200, "?n=3": 200, "?n=4": 200, "?n=1000": 200, "?n=0": 200, "?n=-1": 400, "?n=x": 400, "?n=3&last=v2": 200} {
			tw.same(status, "GET", at+"/v2/a/tags/list"+query, "", nil)
		}
		// A full page that is the last has a next one there, which is empty.
		tw.same(200, "GET", at+"/v2/a/tags/list?n=3&last=v1", "", []string{`Link: </some/where/v2/a/tags/list?last=v4&n=3>; rel="next" → `})
		// Who names no number gets all of them there, and a page and the way to the next here.
		tw.same(200, "GET", at+"/v2/a/tags/list", "", []string{`Link:  → </some/where/v2/a/tags/list?last=v3&n=3>; rel="next"`})
	})

	t.Run("URLs", func(t *testing.T) {
		tw.t = t
		for from, status := range map[string]int{
			"https://example.com/x": 201, "https://cdn.example.com/x": 201, "https://other.test/": 201,
			"https://other.test/x": 400, "https://example.com.evil.test/x": 400, "http://example.com/x": 400,
			"https://example.com/secret": 400, "https://example.com/#x": 400, "ftp://example.com/x": 400,
		} {
			if status == 201 {
				put(201, "a", "foreign", ociManifest, imageWith(config, imageConfig, ociForeign, from))
				// Where a layer could be here, it must be.
				put(400, "a", "foreign", ociManifest, imageWith(config, imageConfig, "application/vnd.oci.image.layer.v1.tar", from))
				continue
			}
			// A push that breaks the rules is not the server's fault: clients send it again after a 500.
			put(500, "a", "foreign", ociManifest, imageWith(config, imageConfig, ociForeign, from), "status: 500 → 400", "code: UNKNOWN → MANIFEST_INVALID")
		}
		put(400, "a", "artifact", ociManifest, imageWith(config, imageConfig, "application/vnd.example", "https://evil.test/"))
	})

	t.Run("platforms and classes", func(t *testing.T) {
		tw.t = t
		child := func(body, architecture string) string {
			return fmt.Sprintf(`{"mediaType":%q,"digest":%q,"size":%d,"platform":{"architecture":%q,"os":"linux"}}`, ociManifest, digest.FromString(body), len(body), architecture)
		}
		other := imageWith(config, imageConfig, ociForeign, "https://example.com/other")
		index := func(children ...string) string {
			return fmt.Sprintf(`{"schemaVersion":2,"mediaType":%q,"manifests":[%s]}`, ociIndex, strings.Join(children, ","))
		}
		put(400, "a", "index", ociIndex, index(child(other, "amd64")))
		put(201, "a", "index", ociIndex, index(child(plain, "amd64"), child(other, "arm64")))
		put(201, "a", "index", ociIndex, index(child(other, "arm64")))
		tw.same(200, "GET", at+"/v2/a/manifests/index", "", nil, accept)
		put(403, "a", "artifact", ociManifest, imageWith(config, "application/vnd.example", "", ""))
	})
}

// TestValidationAsDistribution: what is taken without the section, and with it switched off. Layers from elsewhere are the
// specification's, so without a word about URLs they are taken here.
func TestValidationAsDistribution(t *testing.T) {
	const text = "version: 0.1\nlog: {level: error, accesslog: {disabled: true}}\nstorage: {filesystem: {rootdirectory: /nowhere}}\nhttp: {addr: 127.0.0.1:0}\n"
	refused := []string{"status: 500 → 400", "code: UNKNOWN → MANIFEST_INVALID"}
	for environ, want := range map[string]struct{ foreign, ours, index int }{
		"":                                  {500, 201, 400},
		"REGISTRY_VALIDATION_ENABLED=false": {500, 201, 400},
		"REGISTRY_VALIDATION_ENABLED=true":  {500, 400, 400},
		"REGISTRY_VALIDATION_DISABLED=true": {201, 201, 201},
		"REGISTRY_VALIDATION={disabled: true, enabled: true}":     {500, 400, 400},
		"REGISTRY_VALIDATION_MANIFESTS_URLS_DENY=[evil]":          {201, 201, 400},
		"REGISTRY_VALIDATION_MANIFESTS_INDEXES_PLATFORMS=none":    {500, 201, 201},
		"REGISTRY_VALIDATION_MANIFESTS_INDEXES={platforms: LIST}": {500, 201, 400},
	} {
		t.Run(environ, func(t *testing.T) {
			tw := startTwins(t, text, environ)
			config := tw.push("", "a", "{}")
			for base, status := range map[string]int{tw.theirs: want.foreign, tw.ours: want.ours} {
				got, b := tw.ask(base, "PUT", "/v2/a/manifests/foreign", imageWith(config, imageConfig, ociForeign, "https://example.com/"), "Content-Type: "+ociManifest)
				if got.status != status {
					t.Errorf("a layer from elsewhere: %s says %d, want %d: %s", base, got.status, status, b)
				}
			}
			tw.same(500, "PUT", "/v2/a/manifests/foreign", imageWith(config, imageConfig, ociForeign, "ftp://example.com/"), refused, "Content-Type: "+ociManifest)
			index := fmt.Sprintf(`{"schemaVersion":2,"mediaType":%q,"manifests":[{"mediaType":%q,"digest":%q,"size":1,"platform":{"architecture":"amd64","os":"linux"}}]}`, ociIndex, ociManifest, config)
			tw.same(want.index, "PUT", "/v2/a/manifests/index", index, nil, "Content-Type: "+ociIndex)
			// What an image is made of must be here in any case.
			tw.same(400, "PUT", "/v2/a/manifests/image", imageWith(digest.FromString("none"), imageConfig, "", ""), nil, "Content-Type: "+ociManifest)
		})
	}
}

// TestLocationsAsDistribution: what URLs in answers begin with, as host, prefix and relativeurls have it.
func TestLocationsAsDistribution(t *testing.T) {
	const text = "version: 0.1\nlog: {level: error, accesslog: {disabled: true}}\nstorage: {filesystem: {rootdirectory: /nowhere}}\nhttp: {addr: 127.0.0.1:0, prefix: /in}\n"
	for environ, want := range map[string]string{
		"":                                "/in",
		"REGISTRY_HTTP_RELATIVEURLS=true": "",
		"REGISTRY_HTTP_HOST=https://r.example.com":                         "https://r.example.com",
		"REGISTRY_HTTP_HOST=https://r.example.com/":                        "https://r.example.com",
		"REGISTRY_HTTP_HOST=https://r.example.com/out/":                    "https://r.example.com/out",
		"REGISTRY_HTTP_HOST=https://r.example.com:8443/out/side/":          "https://r.example.com:8443/out/side",
		"REGISTRY_HTTP_HOST=https://r.example.com/lost":                    "https://r.example.com",
		"REGISTRY_HTTP={host: 'https://r.example.com/x/', prefix: '/in/'}": "https://r.example.com/x",
	} {
		t.Run(environ, func(t *testing.T) {
			tw := startTwins(t, text, environ)
			for _, base := range []string{tw.theirs, tw.ours} {
				answer, err := http.Post(base+"/in/v2/a/blobs/uploads/", "", nil)
				fatal(t, err)
				fatal(t, answer.Body.Close())
				got, _, _ := strings.Cut(answer.Header.Get("Location"), "/v2/a/blobs/uploads/")
				if got = strings.TrimPrefix(got, base); got != want || answer.StatusCode != 202 {
					t.Errorf("%s: %s, the upload is at %s, want it below %q", base, answer.Status, answer.Header.Get("Location"), want)
				}
			}
		})
	}
}
