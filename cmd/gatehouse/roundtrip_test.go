package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"

	"gatehouse/testbench"
)

const ociIndex = "application/vnd.oci.image.index.v1+json"

// peer is a registry without authentication, whichever programme it is, and what it must serve.
type peer struct {
	t    testing.TB
	name string
	url  string
	*expectation
}

// expectation is what all registries over one tree must serve, one after the other.
type expectation struct {
	blobs     map[string][]byte // by "<repository>@<digest>"
	manifests map[string][]byte // likewise
	tags      map[string]string // digests by "<repository>:<tag>"
	gone      map[string]bool   // "<repository>/manifests/<reference>", or blobs
}

func expectNothing() *expectation {
	return &expectation{map[string][]byte{}, map[string][]byte{}, map[string]string{}, map[string]bool{}}
}

// send sends a request and wants a status.
func (p *peer) send(status int, method, path string, body []byte, headers ...string) (*http.Response, []byte) {
	p.t.Helper()
	if !strings.HasPrefix(path, "http") {
		path = p.url + path
	}
	r, err := http.NewRequestWithContext(p.t.Context(), method, path, bytes.NewReader(body))
	fatal(p.t, err)
	for _, h := range headers {
		name, value, _ := strings.Cut(h, ": ")
		r.Header.Add(name, value)
	}
	answer, err := http.DefaultClient.Do(r)
	fatal(p.t, err)
	defer answer.Body.Close()
	b, err := io.ReadAll(answer.Body)
	fatal(p.t, err)
	if answer.StatusCode != status {
		p.t.Fatalf("%s: %s %s: %s, want %d\n%.500s", p.name, method, path, answer.Status, status, b)
	}
	return answer, b
}

// blob pushes a blob under a digest of any algorithm.
func (p *peer) blob(repo string, d digest.Digest, content []byte) digest.Digest {
	p.t.Helper()
	begun, _ := p.send(202, "POST", "/v2/"+repo+"/blobs/uploads/", nil)
	to, err := begun.Location()
	fatal(p.t, err)
	query := to.Query()
	query.Set("digest", string(d))
	to.RawQuery = query.Encode()
	p.send(201, "PUT", to.String(), content, "Content-Type: application/octet-stream")
	p.blobs[repo+"@"+string(d)] = content
	return d
}

// image pushes an image of two blobs and returns its manifest's digest. With a layer of another digest it names that too.
func (p *peer) image(repo, name string, more string, tags ...string) digest.Digest {
	p.t.Helper()
	config, layer := fmt.Appendf(nil, `{"name":%q}`, name), []byte(strings.Repeat(name+" ", 1000))
	c, l := p.blob(repo, digest.FromBytes(config), config), p.blob(repo, digest.FromBytes(layer), layer)
	layers := fmt.Sprintf(`{"mediaType":"application/vnd.oci.image.layer.v1.tar","digest":%q,"size":%d}`, l, len(layer))
	m := fmt.Sprintf(`{"schemaVersion":2,"mediaType":%q,"config":{"mediaType":"application/vnd.oci.image.config.v1+json","digest":%q,"size":%d},"layers":[%s]%s}`,
		ociManifest, c, len(config), layers, more)
	return p.manifest(repo, ociManifest, m, tags...)
}

// manifest pushes a document by its digest, and to tags.
func (p *peer) manifest(repo, mediaType, document string, tags ...string) digest.Digest {
	p.t.Helper()
	d := digest.FromString(document)
	for _, reference := range append(tags, string(d)) {
		p.send(201, "PUT", "/v2/"+repo+"/manifests/"+reference, []byte(document), "Content-Type: "+mediaType)
	}
	p.manifests[repo+"@"+string(d)] = []byte(document)
	for _, tag := range tags {
		p.tags[repo+":"+tag] = string(d)
	}
	return d
}

// remove deletes a manifest by digest, with its tags, or a tag.
func (p *peer) remove(repo, reference string) {
	p.t.Helper()
	p.send(202, "DELETE", "/v2/"+repo+"/manifests/"+reference, nil)
	p.gone[repo+"/manifests/"+reference] = true
	delete(p.tags, repo+":"+reference)
	delete(p.manifests, repo+"@"+reference)
	maps.DeleteFunc(p.tags, func(tag, d string) bool {
		if strings.HasPrefix(tag, repo+":") && d == reference {
			p.gone[repo+"/manifests/"+strings.TrimPrefix(tag, repo+":")] = true
			return true
		}
		return false
	})
}

// check looks at everything: each byte of what is there, and what is not.
func (p *peer) check() {
	p.t.Helper()
	accept := "Accept: " + strings.Join([]string{ociManifest, ociIndex, "application/vnd.docker.distribution.manifest.v2+json"}, ", ")
	for name, want := range p.manifests {
		repo, d, _ := strings.Cut(name, "@")
		answer, got := p.send(200, "GET", "/v2/"+repo+"/manifests/"+d, nil, accept)
		var document struct{ MediaType string }
		fatal(p.t, json.Unmarshal(want, &document))
		if !bytes.Equal(got, want) || answer.Header.Get("Docker-Content-Digest") != d {
			p.t.Errorf("%s: manifest %s has other bytes or another digest", p.name, name)
		}
		if got := answer.Header.Get("Content-Type"); document.MediaType != "" && got != document.MediaType {
			p.t.Errorf("%s: manifest %s has the type %q", p.name, name, got)
		}
	}
	for name, want := range p.blobs {
		repo, d, _ := strings.Cut(name, "@")
		if _, got := p.send(200, "GET", "/v2/"+repo+"/blobs/"+d, nil); !bytes.Equal(got, want) {
			p.t.Errorf("%s: blob %s has other bytes", p.name, name)
		}
	}
	tags := map[string][]string{}
	for name, want := range p.tags {
		repo, tag, _ := strings.Cut(name, ":")
		tags[repo] = append(tags[repo], tag)
		answer, _ := p.send(200, "HEAD", "/v2/"+repo+"/manifests/"+tag, nil, accept)
		if got := answer.Header.Get("Docker-Content-Digest"); got != want {
			p.t.Errorf("%s: %s is %s, want %s", p.name, name, got, want)
		}
	}
	for repo, want := range tags {
		var list struct{ Tags []string }
		_, b := p.send(200, "GET", "/v2/"+repo+"/tags/list", nil)
		fatal(p.t, json.Unmarshal(b, &list))
		slices.Sort(want)
		slices.Sort(list.Tags)
		if !slices.Equal(list.Tags, want) {
			p.t.Errorf("%s: tags of %s are %v, want %v", p.name, repo, list.Tags, want)
		}
	}
	for reference := range p.gone {
		p.send(404, "GET", "/v2/"+reference, nil, accept)
	}
}

// openGatehouse runs gatehouse on a tree, without authentication, and returns how to stop it in order.
func (x *expectation) openGatehouse(t testing.TB, config string) (p *peer, stop func()) {
	t.Helper()
	program, err := built()
	fatal(t, err)
	addr := testbench.FreeAddr(t)
	cmd := exec.Command(program, "serve", "--addr", addr, config)
	run := testbench.StartCmd(t, cmd)
	p = &peer{t: t, name: "gatehouse", url: "http://" + addr, expectation: x}
	testbench.Eventually(t, time.Minute, "gatehouse answers", func() error {
		answer, err := http.Get(p.url + "/v2/")
		if err != nil {
			return err
		}
		return answer.Body.Close()
	})
	return p, func() {
		t.Helper()
		if err := run.Stop(); err != nil {
			t.Fatalf("gatehouse stopped with %v", err)
		}
	}
}

// gatehouseConfig writes a configuration for a tree.
func gatehouseConfig(t testing.TB, root string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "config.yml")
	fatal(t, os.WriteFile(path, fmt.Appendf(nil, `version: 0.1
log: {level: warn}
storage:
  filesystem: {rootdirectory: %q}
  delete: {enabled: true}
http: {addr: "127.0.0.1:0"}
`, root), 0o600))
	return path
}

// verb runs a verb of gatehouse and wants an exit code.
func verb(t testing.TB, code int, args ...string) string {
	t.Helper()
	program, err := built()
	fatal(t, err)
	out, err := exec.Command(program, args...).CombinedOutput()
	got := 0
	if exit := (*exec.ExitError)(nil); errors.As(err, &exit) {
		got = exit.ExitCode()
	} else {
		fatal(t, err)
	}
	if got != code {
		t.Fatalf("gatehouse %v: exit code %d, want %d\n%s", args, got, code, out)
	}
	return string(out)
}

// fill pushes what a registry has in practice.
func (p *peer) fill() {
	first := p.image("team/app", "first", "", "v1", "v2", "old")
	second := p.image("team/app", "second", "", "v2", "latest") // v2 moves
	p.image("team/app", "signature", fmt.Sprintf(`,"subject":{"mediaType":%q,"digest":%q,"size":1}`, ociManifest, first))
	p.image("team", "above", "", "v1") // team holds team/app

	var children []string
	for _, platform := range []string{"amd64", "arm64"} {
		d := p.image("team/app", platform, "")
		children = append(children, fmt.Sprintf(`{"mediaType":%q,"digest":%q,"size":%d,"platform":{"architecture":%q,"os":"linux"}}`,
			ociManifest, d, len(p.manifests["team/app@"+string(d)]), platform))
	}
	p.manifest("team/app", ociIndex, fmt.Sprintf(`{"schemaVersion":2,"mediaType":%q,"manifests":[%s]}`, ociIndex, strings.Join(children, ",")), "multi")

	content := []byte("named by a longer digest")
	long := p.blob("team/app", digest.SHA512.FromBytes(content), content)
	config := []byte(`{"long":true}`)
	c := p.blob("team/app", digest.FromBytes(config), config)
	p.manifest("team/app", ociManifest, fmt.Sprintf(`{"schemaVersion":2,"mediaType":%q,"config":{"mediaType":"application/vnd.oci.image.config.v1+json","digest":%q,"size":%d},"layers":[{"mediaType":"application/vnd.oci.image.layer.v1.tar","digest":%q,"size":%d}]}`,
		ociManifest, c, len(config), long, len(content)), "sha512")
	// No mediaType in the document: it is only in the Content-Type then.
	p.manifest("team/app", ociManifest, fmt.Sprintf(`{"schemaVersion":2,"config":{"mediaType":"application/vnd.oci.image.config.v1+json","digest":%q,"size":%d},"layers":[]}`, c, len(config)), "untyped")

	third := p.image("team/app", "third", "", "deleted", "deleted-too")
	p.remove("team/app", string(third))
	_ = second
}

// TestRoundTrip moves a tree from registry 2.8 to gatehouse, on to registry 3.1 and back: each serves exactly what the one
// before left.
func TestRoundTrip(t *testing.T) {
	root, x := t.TempDir(), expectNothing()
	config := gatehouseConfig(t, root)

	two := testbench.StartRegistry2(t, root)
	p := &peer{t: t, name: "registry 2.8", url: two.URL, expectation: x}
	p.fill()
	p.check()
	two.Kill()

	p, stop := x.openGatehouse(t, config)
	p.check()
	p.image("team/app", "fourth", "", "v1", "fourth") // v1 moves
	p.image("new/repository", "fifth", "", "v1")
	p.remove("team/app", "old")
	p.remove("team/app", string(p.image("team/app", "sixth", "", "sixth")))
	content := []byte("gatehouse keeps it under its own digest")
	p.blob("new/repository", digest.SHA512.FromBytes(content), content)
	long := digest.SHA512.FromString("named by a longer digest")
	p.send(201, "POST", "/v2/new/repository/blobs/uploads/?mount="+string(long)+"&from=team/app", nil)
	x.blobs["new/repository@"+string(long)] = x.blobs["team/app@"+string(long)]
	p.check()
	stop()
	if out := verb(t, 0, "fsck", "--digests", config); !strings.Contains(out, "\n0 defects") {
		t.Errorf("fsck after gatehouse: %s", out)
	}

	three := testbench.StartRegistry3(t, root)
	p = &peer{t: t, name: "registry 3.1", url: three.URL, expectation: x}
	p.check()
	moved := p.image("team/app", "seventh", "", "v1", "seventh")
	p.remove("team/app", "fourth")
	p.remove("team/app", x.tags["team/app:latest"])
	p.image("another", "eighth", "", "v1")
	p.check()
	three.Kill()

	// The index does not know yet: fsck says so, and adopting again makes it follow.
	out := verb(t, 1, "fsck", config)
	for _, want := range []string{"not indexed: repository another", "wrong link: repository team/app, path docker/registry/v2/repositories/team/app/_manifests/tags/v1/current/link", string(moved)} {
		if !strings.Contains(out, want) {
			t.Errorf("fsck after registry 3.1 does not say %q:\n%s", want, out)
		}
	}
	verb(t, 0, "adopt", "--again", config)
	verb(t, 0, "fsck", "--digests", config)
	if out := verb(t, 0, "adopt", "--status", config); !strings.Contains(out, "adoption: done") {
		t.Errorf("status: %s", out)
	}
	p, stop = x.openGatehouse(t, config)
	p.check()
	p.image("another", "ninth", "", "v1")
	p.check()
	stop()
	verb(t, 0, "fsck", "--digests", config)
}
