package registry

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"

	"gatehouse/registry/manifest"
)

// The files conformance_*_test.go hold the registry to the distribution specification, group by group of the official programme
// (github.com/opencontainers/distribution-spec, conformance/), whose commit is in programmeCommit. The groups and their names
// are the programme's, what is checked is ours, written from spec.md: sections are quoted by their headings.

// programmeCommit is where the lists below were read; specification and programme are of the same repository.
const programmeCommit = "967efdc079b91785ad18c77cc4f8991a47feefbf"

// blobTests are the programme's tests of blobs (run.go, TestBlobAPIs), each for sha256 and for sha512.
var blobTests = []string{
	"get-missing", "post only", "post+put", "chunked single", "stream", "mount", "mount anonymous", "mount missing", "post cancel",
	"chunked multi", "chunked multi and put chunk", "chunked out-of-order", "chunked out-of-order and put chunk",
	"range requests", "empty", "emptyJSON",
	"bad digest post only", "bad digest post+put", "bad digest chunked", "bad digest chunked and put chunk", "bad digest stream",
}

// otherTests are its tests of what is not there or malformed (run.go, TestAll), and of the base.
var otherTests = []string{"ping", "empty", "missing-manifest", "invalid-digest-format"}

// dataSets are the kinds of content that it pushes, lists, pulls and deletes (run.go, GenerateData).
var dataSets = []string{
	"image", "image-uncompressed", "large-manifest", "index", "nested-index", "empty-index", "artifact", "artifact-index",
	"artifact-without-layers", "artifacts-with-subject", "index-with-subject", "missing-subject", "data-field",
	"non-distributable-layers", "custom-fields", "no-layers", "sparse", "sha512", "tag-param-sha256", "tag-param-sha512",
	"bad-digest-image",
}

// apis are the parts of the API that it reports on (state.go).
var apis = []string{
	"Ping", "Tag listing", "Tag delete", "Tag delete atomic", "Blob upload cancel", "Blob push", "Blob post only", "Blob post put",
	"Blob chunked", "Blob streaming", "Blob mount", "Blob anonymous mount", "Blob get", "Blob get range", "Blob head", "Blob delete",
	"Blob delete atomic", "Manifest put by digest", "Manifest put by tag", "Manifest put with tag params",
	"Manifest put with subject", "Manifest get by digest", "Manifest get by tag", "Manifest head by digest", "Manifest head by tag",
	"Manifest delete", "Manifest delete atomic", "Referrers",
}

// TestConformance runs a subtest for each group of the programme.
func TestConformance(t *testing.T) {
	for _, algorithm := range []digest.Algorithm{digest.SHA256, digest.SHA512} {
		eachGroup(t, string(algorithm)+" blobs", blobTests, blobGroups, func(h *harness, test func(*harness, digest.Algorithm)) {
			test(h, algorithm)
		})
	}
	run := func(h *harness, test func(*harness)) { test(h) }
	eachGroup(t, "errors", otherTests, otherGroups, run)
	eachGroup(t, "data", dataSets, dataGroups, run)
	eachGroup(t, "api", apis, apiGroups, run)
}

// eachGroup runs the subtest of each of the names; one that has none fails, and so does one that is not among the names.
func eachGroup[F any](t *testing.T, part string, names []string, tests map[string]F, run func(*harness, F)) {
	for _, name := range names {
		t.Run(part+"/"+name, func(t *testing.T) {
			test, ok := tests[name]
			if !ok {
				t.Fatalf("the programme's group %q has no test here", name)
			}
			run(newHarness(t, nil), test)
		})
	}
	for _, name := range slices.Sorted(maps.Keys(tests)) {
		if !slices.Contains(names, name) {
			t.Errorf("%s/%s is no group of the programme at %s", part, name, programmeCommit)
		}
	}
}

// TestConformanceTable: the lists above are as long as the programme's, so that none of its groups went away from them.
func TestConformanceTable(t *testing.T) {
	for _, list := range []struct {
		name  string
		names []string
		want  int
	}{{"blob tests", blobTests, 21}, {"other tests", otherTests, 4}, {"data sets", dataSets, 21}, {"APIs", apis, 28}} {
		distinct := slices.Compact(slices.Sorted(slices.Values(list.names)))
		if len(distinct) != list.want || len(list.names) != list.want {
			t.Errorf("%d %s, %d of them distinct; the programme has %d", len(list.names), list.name, len(distinct), list.want)
		}
	}
}

// descriptor is an OCI content descriptor, with whatever fields a test gives it.
type descriptor map[string]any

// document is a manifest or an index to push.
type document struct {
	mediaType string
	body      []byte
	digest    digest.Digest
	tags      []string
}

// describe returns the descriptor of a document.
func (d document) describe() descriptor {
	return descriptor{"mediaType": d.mediaType, "digest": d.digest, "size": len(d.body)}
}

// content is a data set: blobs, and documents in an order in which they can be pushed.
type content struct {
	h         *harness
	algorithm digest.Algorithm
	blobs     map[digest.Digest]string
	documents []document
	asParams  bool // tags come with the push by digest
}

func newContent(h *harness) *content {
	return &content{h: h, algorithm: digest.SHA256, blobs: make(map[digest.Digest]string)}
}

// blob adds a blob and returns its descriptor.
func (c *content) blob(mediaType, bytes string) descriptor {
	d := c.algorithm.FromString(bytes)
	c.blobs[d] = bytes
	return descriptor{"mediaType": mediaType, "digest": d, "size": len(bytes)}
}

const (
	configType = "application/vnd.oci.image.config.v1+json"
	emptyType  = "application/vnd.oci.empty.v1+json"
	layerType  = "application/vnd.oci.image.layer.v1.tar"
)

// image adds an image manifest with a config and two layers, unless fields say otherwise.
func (c *content) image(name string, fields descriptor, tags ...string) document {
	doc := descriptor{
		"schemaVersion": 2, "mediaType": manifest.OCIManifest,
		"config": c.blob(configType, fmt.Sprintf(`{"architecture":"amd64","os":"linux","author":%q}`, name)),
		"layers": []descriptor{c.blob(layerType+"+gzip", "first layer of "+name), c.blob(layerType+"+gzip", "second layer of "+name)},
	}
	return c.document(manifest.OCIManifest, doc, fields, tags)
}

// index adds an index of documents.
func (c *content) index(children []document, fields descriptor, tags ...string) document {
	list := []descriptor{}
	for i, child := range children {
		d := child.describe()
		if child.mediaType == manifest.OCIManifest {
			d["platform"] = descriptor{"os": "linux", "architecture": []string{"amd64", "arm64"}[i%2]}
		}
		list = append(list, d)
	}
	doc := descriptor{"schemaVersion": 2, "mediaType": manifest.OCIIndex, "manifests": list}
	return c.document(manifest.OCIIndex, doc, fields, tags)
}

func (c *content) document(mediaType string, doc, fields descriptor, tags []string) document {
	maps.Copy(doc, fields)
	body, err := json.Marshal(doc)
	if err != nil {
		c.h.Fatal(err)
	}
	d := document{mediaType: mediaType, body: body, digest: c.algorithm.FromBytes(body), tags: tags}
	c.documents = append(c.documents, d)
	return d
}

// subject returns what a document says of its subject, artifact type and annotations; "" and nil for nothing.
func (d document) fields() (subject digest.Digest, want referrer) {
	var doc struct {
		ArtifactType string
		Annotations  map[string]string
		Config       struct{ MediaType string }
		Subject      struct{ Digest digest.Digest }
	}
	if err := json.Unmarshal(d.body, &doc); err != nil {
		panic(err) // documents are made here
	}
	if doc.ArtifactType == "" {
		doc.ArtifactType = doc.Config.MediaType
	}
	return doc.Subject.Digest, referrer{d.mediaType, int64(len(d.body)), d.digest, doc.ArtifactType, doc.Annotations}
}

// link returns where the Link header of a page leads, "" for the last page (RFC 8288; specification, "Listing Tags").
func (h *harness) link(a answer) string {
	h.Helper()
	header := a.Header.Get("Link")
	if header == "" {
		return ""
	}
	target, ok := strings.CutSuffix(strings.TrimPrefix(header, "<"), `>; rel="next"`)
	if !ok || !strings.HasPrefix(header, "<") {
		h.Fatalf("Link: %s", header)
	}
	return target
}
