package gc_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"strings"

	"github.com/opencontainers/go-digest"

	"gatehouse/registry/manifest"
)

// answer is what came back.
type answer struct {
	*http.Response
	body []byte
}

// ask sends a request to the registry. A body that is a manifest has its type as the header.
func (b *bench) ask(method, path, body string, headers ...string) answer {
	r := httptest.NewRequestWithContext(b.ctx, method, "http://registry.test"+path, strings.NewReader(body))
	for _, header := range headers {
		name, value, _ := strings.Cut(header, ": ")
		r.Header.Set(name, value)
	}
	w := httptest.NewRecorder()
	b.registry.ServeHTTP(w, r)
	content, err := io.ReadAll(w.Result().Body)
	if err != nil {
		b.Error(err)
	}
	return answer{w.Result(), content}
}

// must is ask for what has to have a status.
func (b *bench) must(status int, method, path, body string, headers ...string) answer {
	b.Helper()
	a := b.ask(method, path, body, headers...)
	if a.StatusCode != status {
		b.Fatalf("%s %s: %s, want %d: %s", method, path, a.Status, status, a.body)
	}
	return a
}

// blob pushes a blob.
func (b *bench) blob(repo, content string) digest.Digest {
	b.Helper()
	d := digest.FromString(content)
	b.must(201, "POST", "/v2/"+repo+"/blobs/uploads/?digest="+string(d), content)
	return d
}

// put pushes a manifest and remembers that it has to be there: by a tag, or with "" by its digest.
func (b *bench) put(repo, tag, document string) digest.Digest {
	b.Helper()
	d := digest.FromString(document)
	b.must(201, "PUT", "/v2/"+repo+"/manifests/"+tagOr(tag, d), document, "Content-Type: "+typeOf(document))
	b.told(repo, tag, d)
	return d
}

// try is put where the answer may also be a clean refusal: something is gone, or being deleted.
func (b *bench) try(repo, tag, document string) bool {
	b.Helper()
	d := digest.FromString(document)
	a := b.ask("PUT", "/v2/"+repo+"/manifests/"+tagOr(tag, d), document, "Content-Type: "+typeOf(document))
	switch a.StatusCode {
	case 201:
		b.told(repo, tag, d)
		return true
	case 400, 404, 503:
		if bytes.Contains(a.body, []byte("MANIFEST_BLOB_UNKNOWN")) || a.StatusCode != 400 {
			return false
		}
	}
	b.Errorf("PUT %s:%s: %s: %s", repo, tag, a.Status, a.body)
	return false
}

// told remembers what a client was told.
func (b *bench) told(repo, tag string, d digest.Digest) {
	if tag != "" {
		b.acked[repo+":"+tag] = d
	} else {
		b.loose[repo+"@"+string(d)] = d
	}
}

func tagOr(tag string, d digest.Digest) string {
	if tag != "" {
		return tag
	}
	return string(d)
}

func typeOf(document string) string {
	var doc struct{ MediaType string }
	_ = json.Unmarshal([]byte(document), &doc)
	return doc.MediaType
}

// image pushes an image of a config and layers, given by what they hold.
func (b *bench) image(repo, tag string, contents ...string) digest.Digest {
	b.Helper()
	for _, content := range contents {
		b.blob(repo, content)
	}
	return b.put(repo, tag, imageOf(contents...))
}

// untag deletes a tag.
func (b *bench) untag(repo, tag string) {
	b.Helper()
	b.must(202, "DELETE", "/v2/"+repo+"/manifests/"+tag, "")
	delete(b.acked, repo+":"+tag)
}

// remove deletes a manifest with its tags.
func (b *bench) remove(repo string, d digest.Digest) {
	b.Helper()
	b.must(202, "DELETE", "/v2/"+repo+"/manifests/"+string(d), "")
	b.forget(repo, d)
}

// forget is for a manifest that nobody was promised any more.
func (b *bench) forget(repo string, d digest.Digest) {
	maps.DeleteFunc(b.acked, func(name string, to digest.Digest) bool { return to == d && strings.HasPrefix(name, repo+":") })
	delete(b.loose, repo+"@"+string(d))
}

// descriptor is a part of a document that names something.
func descriptor(d digest.Digest, more ...string) string {
	return fmt.Sprintf(`{"mediaType":"application/x","digest":%q,"size":1%s}`, d, strings.Join(append([]string{""}, more...), ","))
}

// imageOf returns the manifest of an image of a config and layers.
func imageOf(contents ...string) string {
	var layers []string
	for _, content := range contents[1:] {
		layers = append(layers, descriptor(digest.FromString(content)))
	}
	return imageWith(descriptor(digest.FromString(contents[0])), layers)
}

func imageWith(config string, layers []string, more ...string) string {
	return fmt.Sprintf(`{"schemaVersion":2,"mediaType":%q,"config":%s,"layers":[%s]%s}`, manifest.OCIManifest, config,
		strings.Join(layers, ","), strings.Join(append([]string{""}, more...), ","))
}

// subject is the part of a document that says what it refers to.
func subject(d digest.Digest) string { return `"subject":` + descriptor(d) }

// indexOf returns an index of manifests.
func indexOf(children ...digest.Digest) string {
	var list bytes.Buffer
	for i, d := range children {
		if i > 0 {
			list.WriteByte(',')
		}
		list.WriteString(descriptor(d))
	}
	return fmt.Sprintf(`{"schemaVersion":2,"mediaType":%q,"manifests":[%s]}`, manifest.OCIIndex, list.String())
}
