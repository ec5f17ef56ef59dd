package registry

import (
	"bytes"
	"encoding/json"
	"maps"
	"net/url"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"github.com/opencontainers/go-digest"

	"gatehouse/registry/manifest"
)

// roundTrip pushes a data set, lists, pulls and queries it, and deletes it.
func (c *content) roundTrip() {
	c.h.Helper()
	c.push()
	c.wantTags()
	for _, d := range c.documents {
		c.h.wantDocument(d, append([]string{string(d.digest)}, d.tags...)...)
	}
	for d, b := range c.blobs {
		c.h.wantBlob(here, d, b)
	}
	c.wantReferrers()
	c.remove()
}

func (c *content) push() {
	c.h.Helper()
	for d, b := range c.blobs {
		c.h.want(c.h.do("PUT", closing(c.h.session(here, c.algorithm), d), strings.NewReader(b)), 201)
	}
	for _, d := range c.documents {
		c.h.putDocument(d, string(d.digest), c.asParams)
		for _, tag := range d.tags {
			if !c.asParams {
				c.h.putDocument(d, tag, false)
			}
		}
	}
}

// putDocument pushes a manifest. "Pushing Manifests": 201 and a Location that is pullable; the digest; an OCI-Tag for each tag
// that was a parameter. "Pushing Manifests with Subject": OCI-Subject.
func (h *harness) putDocument(d document, reference string, withTags bool) {
	h.Helper()
	path := "/v2/" + here + "/manifests/" + reference
	if withTags {
		path += "?" + url.Values{"tag": d.tags}.Encode()
	}
	a := h.want(h.do("PUT", path, bytes.NewReader(d.body), "Content-Type: "+d.mediaType), 201)
	h.wantHeader(a, "Location", "/v2/"+here+"/manifests/"+string(d.digest))
	h.wantHeader(a, "Docker-Content-Digest", string(d.digest))
	subject, _ := d.fields()
	h.wantHeader(a, "OCI-Subject", string(subject))
	if withTags && !slices.Equal(a.Header.Values("OCI-Tag"), d.tags) {
		h.Errorf("OCI-Tag: %q, want %q", a.Header.Values("OCI-Tag"), d.tags)
	}
	if got := h.do("GET", a.Header.Get("Location"), nil); got.StatusCode != 200 {
		h.Errorf("the Location of a manifest: %s", got.Status)
	}
}

// wantDocument checks a manifest by GET and HEAD under its digest and tags. "Pulling manifests": 200, "Docker-Content-Digest", the
// Content-Type that it was pushed with, without parameters; "The registry MUST store the manifest in the exact byte
// representation provided by the client". "Checking if content exists": Content-Length on HEAD.
func (h *harness) wantDocument(d document, references ...string) {
	h.Helper()
	for _, reference := range references {
		for _, method := range []string{"GET", "HEAD"} {
			a := h.want(h.do(method, "/v2/"+here+"/manifests/"+reference, nil, "Accept: "+d.mediaType), 200)
			h.wantHeader(a, "Content-Type", d.mediaType)
			h.wantHeader(a, "Docker-Content-Digest", string(d.digest))
			h.wantHeader(a, "Content-Length", strconv.Itoa(len(d.body)))
			if method == "GET" && !bytes.Equal(a.body, d.body) {
				h.Errorf("%s: other bytes than were pushed", reference)
			}
		}
	}
}

// tags returns a list of tags, as "tags/list" and a query say.
func (h *harness) tags(query string) ([]string, answer) {
	h.Helper()
	a := h.want(h.do("GET", "/v2/"+here+"/tags/list"+query, nil), 200)
	var list struct {
		Name string
		Tags []string
	}
	if err := json.Unmarshal(a.body, &list); err != nil || list.Name != here || list.Tags == nil {
		h.Fatalf("tags: %v: %s", err, a.body)
	}
	return list.Tags, a
}

// wantTags: "The list of tags MAY be empty if there are no tags on the repository", and is in the order of sort.Strings.
func (c *content) wantTags() {
	c.h.Helper()
	want := []string{}
	for _, d := range c.documents {
		want = append(want, d.tags...)
	}
	slices.Sort(want)
	if got, _ := c.h.tags(""); !slices.Equal(got, want) {
		c.h.Errorf("tags %q, want %q", got, want)
	}
	for i, last := range want {
		if got, _ := c.h.tags("?last=" + last); !slices.Equal(got, want[i+1:]) {
			c.h.Errorf("tags behind %s: %q, want %q", last, got, want[i+1:])
		}
	}
}

// wantReferrers: "Listing Referrers". Each subject lists exactly the documents that name it, in full and by artifact type.
func (c *content) wantReferrers() {
	c.h.Helper()
	want := make(map[digest.Digest]map[digest.Digest]referrer)
	for _, d := range c.documents {
		if subject, r := d.fields(); subject != "" {
			if want[subject] == nil {
				want[subject] = make(map[digest.Digest]referrer)
			}
			want[subject][d.digest] = r
		}
	}
	for subject, all := range want {
		path := "/v2/" + here + "/referrers/" + string(subject)
		c.h.wantListed(path, all)
		for _, r := range all {
			filtered := maps.Clone(all)
			maps.DeleteFunc(filtered, func(_ digest.Digest, other referrer) bool { return other.ArtifactType != r.ArtifactType })
			if r.ArtifactType != "" {
				query := "?" + url.Values{"artifactType": {r.ArtifactType}}.Encode()
				c.h.wantListed(path+query, filtered)
				c.h.wantHeader(c.h.do("GET", path+query, nil), "OCI-Filters-Applied", "artifactType")
			}
		}
	}
}

func (h *harness) wantListed(path string, want map[digest.Digest]referrer) {
	h.Helper()
	got := make(map[digest.Digest]referrer)
	for _, r := range h.referrers(path) {
		got[r.Digest] = r
	}
	if !reflect.DeepEqual(got, want) {
		h.Errorf("%s: %v, want %v", path, got, want)
	}
}

// remove deletes all, what names before what is named, and checks that it is gone at once. "Deleting tags", "Deleting
// Manifests": 202, and then 404 for the tag, and for the digest "and any tag pointing to that digest".
func (c *content) remove() {
	c.h.Helper()
	gone := func(reference string) {
		c.h.want(c.h.do("DELETE", "/v2/"+here+"/manifests/"+reference, nil), 202)
		for _, method := range []string{"GET", "HEAD", "DELETE"} {
			if a := c.h.do(method, "/v2/"+here+"/manifests/"+reference, nil); a.StatusCode != 404 {
				c.h.Errorf("%s %s after it was deleted: %s", method, reference, a.Status)
			}
		}
	}
	for _, d := range slices.Backward(c.documents) {
		for i, tag := range d.tags {
			if i > 0 { // the first goes with its manifest
				gone(tag)
				c.h.wantDocument(d, string(d.digest))
			}
		}
		gone(string(d.digest))
		for _, tag := range d.tags {
			if a := c.h.do("GET", "/v2/"+here+"/manifests/"+tag, nil); a.StatusCode != 404 {
				c.h.Errorf("tag %s of a manifest that was deleted: %s", tag, a.Status)
			}
		}
	}
	for d := range c.blobs {
		c.h.want(c.h.do("DELETE", "/v2/"+here+"/blobs/"+string(d), nil), 202)
		c.h.wantNoBlob(here, d)
	}
}

// dataTest returns the test of a data set that fill describes.
func dataTest(fill func(*content)) func(*harness) {
	return func(h *harness) {
		c := newContent(h)
		fill(c)
		c.roundTrip()
	}
}

// twoPlatforms adds an index of two images with tags.
func twoPlatforms(c *content, name string, fields descriptor, tags ...string) document {
	return c.index([]document{c.image(name+" amd64", fields), c.image(name+" arm64", fields)}, fields, tags...)
}

// artifact returns the fields of an artifact of a type, about a subject.
func artifact(c *content, artifactType string, subject document, more descriptor) descriptor {
	fields := descriptor{
		"artifactType": artifactType, "config": c.blob(emptyType, "{}"), "layers": []descriptor{c.blob(artifactType, "bytes of "+artifactType)},
		"annotations": descriptor{"org.example.note": "of " + artifactType},
	}
	if subject.digest != "" {
		fields["subject"] = subject.describe()
	}
	maps.Copy(fields, more)
	return fields
}

const (
	sbomType      = "application/vnd.example.sbom.v1"
	signatureType = "application/vnd.example.signature.v1+json"
)

// dataGroups are the data sets by their names in the programme. What an image manifest and an index hold is the image
// specification's (manifest.md, image-index.md).
var dataGroups = map[string]func(*harness){
	"image": dataTest(func(c *content) { c.image("image", nil, "image", "another-tag") }),
	"image-uncompressed": dataTest(func(c *content) {
		c.image("image", descriptor{"layers": []descriptor{c.blob(layerType, "a tar")}}, "uncompressed")
	}),
	// "Client and registry implementations SHOULD expect to be able to support manifest pushes of at least 4 megabytes."
	"large-manifest": func(h *harness) {
		c := newContent(h)
		d := c.image("large", descriptor{"annotations": descriptor{"org.example.long": strings.Repeat("A", 4_000_000)}}, "large")
		if len(d.body) < 4_000_000 || len(d.body) > manifest.MaxSize {
			h.Fatalf("a large manifest of %d bytes", len(d.body))
		}
		c.roundTrip()
		h.want(h.do("PUT", "/v2/"+here+"/manifests/larger", bytes.NewReader(append(d.body, bytes.Repeat([]byte(" "), 300_000)...)),
			"Content-Type: "+d.mediaType), 413, codeManifestTooLarge)
	},
	"index": dataTest(func(c *content) { twoPlatforms(c, "index", nil, "index") }),
	"nested-index": dataTest(func(c *content) {
		c.index([]document{twoPlatforms(c, "one", nil), twoPlatforms(c, "two", nil)}, nil, "index-of-indexes")
	}),
	"empty-index": dataTest(func(c *content) { c.index(nil, nil, "empty-index") }),
	"artifact":    dataTest(func(c *content) { c.image("artifact", artifact(c, sbomType, document{}, nil), "artifact") }),
	"artifact-index": dataTest(func(c *content) {
		c.index([]document{c.image("one", artifact(c, sbomType, document{}, nil))}, descriptor{"artifactType": sbomType}, "artifact-index")
	}),
	"artifact-without-layers": dataTest(func(c *content) {
		c.image("bare", artifact(c, sbomType, document{}, descriptor{"layers": []descriptor{c.blob(emptyType, "{}")}}), "without-layers")
	}),
	"artifacts-with-subject": dataTest(func(c *content) {
		subject := c.image("subject", nil, "subject")
		c.image("an image", descriptor{"subject": subject.describe()}) // its artifact type is its config's media type
		c.image("sbom", artifact(c, sbomType, subject, nil), "sbom")
		c.image("signature", artifact(c, signatureType, subject, nil), "signature")
		c.image("another signature", artifact(c, signatureType, subject, descriptor{"annotations": descriptor{"n": "2"}}))
	}),
	// "If the artifactType is empty or missing in an index, the artifactType MUST be omitted."
	"index-with-subject": dataTest(func(c *content) {
		subject := twoPlatforms(c, "subject", nil, "subject")
		c.index([]document{c.image("sbom", nil)}, descriptor{"artifactType": sbomType, "subject": subject.describe()}, "sbom")
		c.index(nil, descriptor{"subject": subject.describe(), "annotations": descriptor{"untyped": "yes"}})
	}),
	// "A registry MUST initially accept an otherwise valid manifest with a subject field that references a manifest that does not
	// exist in the repository".
	"missing-subject": dataTest(func(c *content) {
		missing := document{mediaType: manifest.OCIManifest, digest: digest.FromString("not here"), body: []byte("not here")}
		c.image("sbom", artifact(c, sbomType, missing, nil), "sbom")
	}),
	"data-field": dataTest(func(c *content) {
		config := c.blob(configType, `{"os":"linux"}`)
		config["data"] = []byte(`{"os":"linux"}`)
		c.image("data", descriptor{"config": config}, "data-field")
	}),
	// Layers that are fetched from elsewhere need not be here, where the operator allows their URLs (validation.manifests.urls).
	"non-distributable-layers": func(h *harness) {
		h.allow(manifest.Policy{AllowURLs: []string{`^https://store\.example\.com/`}})
		c := newContent(h)
		foreign := func(mediaType, name string) descriptor {
			d := digest.FromString(name)
			return descriptor{"mediaType": mediaType, "digest": d, "size": 12345, "urls": []string{"https://store.example.com/" + d.Encoded()}}
		}
		c.image("base", descriptor{"layers": []descriptor{
			foreign("application/vnd.oci.image.layer.nondistributable.v1.tar+gzip", "one"),
			foreign("application/vnd.oci.image.layer.nondistributable.v1.tar", "two"), c.blob(layerType, "ours"),
		}}, "non-distributable")
		c.roundTrip()
	},
	"custom-fields": dataTest(func(c *content) {
		twoPlatforms(c, "custom", descriptor{"org.example.extra": descriptor{"any": []int{1, 2}}}, "custom-fields")
	}),
	"no-layers":        dataTest(func(c *content) { c.image("no layers", descriptor{"layers": []descriptor{}}, "no-layers") }),
	"sparse":           conformSparse,
	"sha512":           dataTest(func(c *content) { c.algorithm = digest.SHA512; twoPlatforms(c, "sha512", nil) }),
	"tag-param-sha256": dataTest(func(c *content) { c.asParams = true; twoPlatforms(c, "tags", nil, tenTags...) }),
	"tag-param-sha512": dataTest(func(c *content) {
		c.asParams, c.algorithm = true, digest.SHA512
		twoPlatforms(c, "tags", nil, tenTags...)
	}),
	"bad-digest-image": func(h *harness) {
		c := newContent(h)
		d := c.image("bad", nil)
		c.documents = nil
		c.push()
		h.want(h.do("PUT", "/v2/"+here+"/manifests/"+string(d.digest), bytes.NewReader(append(d.body, "  "...)), "Content-Type: "+d.mediaType), 400, codeDigestInvalid)
		h.want(h.do("GET", "/v2/"+here+"/manifests/"+string(d.digest), nil), 404, codeNameUnknown)
	},
}

// tenTags: a registry "SHOULD support pushing at least 10 tags per request".
var tenTags = strings.Fields("1 1.2 1.2.3 1.2.3-a latest stable T _x y.z w-1")

// conformSparse: "A registry MAY reject a manifest … with descriptors in other fields that reference a manifest or blob that does
// not exist in the registry. When a manifest is rejected for this reason, it MUST result in one or more MANIFEST_BLOB_UNKNOWN
// errors" ("Push"). This one does, names each, and keeps nothing; where all is there, it takes the same bytes, and where the
// operator says that indexes may lack images, it takes those too.
func conformSparse(h *harness) {
	c := newContent(h)
	image := c.image("sparse", nil)
	index := c.index([]document{image}, nil)
	sparse := func(d document, missing ...digest.Digest) {
		h.Helper()
		for _, reference := range []string{string(d.digest), "sparse"} {
			a := h.want(h.do("PUT", "/v2/"+here+"/manifests/"+reference, bytes.NewReader(d.body), "Content-Type: "+d.mediaType), 400, codeManifestBlobUnknown)
			for _, m := range missing {
				if !strings.Contains(string(a.body), string(m)) {
					h.Errorf("the answer does not name %s: %s", m, a.body)
				}
			}
			h.want(h.do("GET", "/v2/"+here+"/manifests/"+reference, nil), 404, codeNameUnknown)
		}
	}
	missing := digest.FromString("first layer of sparse")
	sparse(index, image.digest)
	for d, b := range c.blobs {
		if d != missing {
			h.want(h.do("PUT", closing(h.session(here, c.algorithm), d), strings.NewReader(b)), 201)
		}
	}
	sparse(image, missing)
	sparse(index, image.digest)
	c.roundTrip()

	h.allow(manifest.Policy{Sparse: true})
	c = newContent(h)
	c.index([]document{{mediaType: manifest.OCIManifest, body: []byte("not here"), digest: digest.FromString("not here")}}, nil, "sparse")
	c.roundTrip()
}

// allow makes the registry judge manifests as an operator has said.
func (h *harness) allow(p manifest.Policy) {
	h.Helper()
	rules, err := manifest.NewRules(p)
	if err != nil {
		h.Fatal(err)
	}
	h.Manifests = rules
}
