package registry

import (
	"bytes"
	"fmt"
	"net/url"
	"slices"
	"strings"

	"github.com/opencontainers/go-digest"

	"gatehouse/registry/manifest"
)

// otherGroups are the programme's tests of what is not there or malformed.
var otherGroups = map[string]func(*harness){
	// "Determining Support": 200.
	"ping": func(h *harness) { h.want(h.do("GET", "/v2/", nil), 200) },
	// A repository that nobody pushed to has no tags, and that is 404 ("Endpoints", end-8a); but "If the registry supports the
	// referrers API, the registry MUST NOT return a 404 Not Found", and an "empty manifest list MUST be returned".
	"empty": func(h *harness) {
		h.want(h.do("GET", "/v2/"+here+"/tags/list", nil), 404, codeNameUnknown)
		h.wantListed("/v2/"+here+"/referrers/"+string(digest.FromString("nothing")), map[digest.Digest]referrer{})
	},
	// "Pulling manifests": 404; "An attempt to pull a nonexistent repository MUST return response code 404 Not Found".
	"missing-manifest": func(h *harness) {
		for _, reference := range []string{"missing", string(digest.FromString("missing")), string(digest.SHA512.FromString("missing"))} {
			h.want(h.do("GET", "/v2/"+here+"/manifests/"+reference, nil), 404, codeNameUnknown)
			h.want(h.do("DELETE", "/v2/"+here+"/manifests/"+reference, nil), 404, codeNameUnknown)
		}
		h.image(here, "there", "layer")
		for _, reference := range []string{"missing", string(digest.FromString("missing"))} {
			h.want(h.do("GET", "/v2/"+here+"/manifests/"+reference, nil), 404, codeManifestUnknown)
			h.want(h.do("HEAD", "/v2/"+here+"/manifests/"+reference, nil), 404, codeManifestUnknown)
		}
	},
	// "MUST be either (a) the digest of the manifest or (b) a tag. [It] MUST NOT be in any other format." For referrers: "If the
	// request is invalid, such as a <digest> with an invalid syntax, a 400 Bad Request MUST be returned."
	"invalid-digest-format": func(h *harness) {
		m := h.manifest(here, "layer")
		right := string(digest.FromBytes(m))
		for _, d := range []string{"sha256:baddigeststring", "sha256:", right[:len(right)-1], right + "0", strings.ToUpper(right), "sha384:" + strings.Repeat("0", 96)} {
			path := "/v2/" + here + "/manifests/" + d
			h.want(h.do("PUT", path, bytes.NewReader(m), "Content-Type: "+manifest.OCIManifest), 400, codeDigestInvalid)
			for _, method := range []string{"GET", "HEAD", "DELETE"} {
				h.want(h.do(method, path, nil), 400, codeDigestInvalid)
			}
			h.want(h.do("GET", "/v2/"+here+"/referrers/"+d, nil), 400, codeDigestInvalid)
		}
		for _, tag := range []string{".x", "-x", "a%20b", strings.Repeat("a", 129)} {
			h.want(h.do("PUT", "/v2/"+here+"/manifests/"+tag, bytes.NewReader(m), "Content-Type: "+manifest.OCIManifest), 400, codeTagInvalid)
		}
	},
}

// both runs a test of blobs for sha256 and sha512.
func both(names ...string) func(*harness) {
	return func(h *harness) {
		for _, name := range names {
			blobGroups[name](h, digest.SHA256)
			blobGroups[name](h, digest.SHA512)
		}
	}
}

// onImage runs a test with an image of two tags that was pushed.
func onImage(test func(*content, document)) func(*harness) {
	return func(h *harness) {
		c := newContent(h)
		d := c.image("image", nil, "one", "two")
		c.push()
		test(c, d)
	}
}

// apiGroups are the parts of the API by their names in the programme.
var apiGroups = map[string]func(*harness){
	"Ping":                 otherGroups["ping"],
	"Tag listing":          conformTagListing,
	"Blob upload cancel":   both("post cancel"),
	"Blob push":            both("post only", "post+put", "chunked single", "stream"),
	"Blob post only":       both("post only", "bad digest post only"),
	"Blob post put":        both("post+put", "bad digest post+put"),
	"Blob chunked":         both("chunked single", "chunked multi", "chunked out-of-order", "bad digest chunked"),
	"Blob streaming":       both("stream", "bad digest stream"),
	"Blob mount":           both("mount", "mount missing"),
	"Blob anonymous mount": both("mount anonymous", "mount missing"),
	"Blob get":             both("get-missing", "empty", "emptyJSON"),
	"Blob get range":       both("range requests"),
	"Blob head":            both("get-missing", "empty"),
	// "If blob deletion is disabled, the registry MUST respond with either a 400 Bad Request or a 405 Method Not Allowed."
	"Blob delete": func(h *harness) {
		d := h.blob(here, "layer")
		h.Delete = false
		h.want(h.do("DELETE", "/v2/"+here+"/blobs/"+string(d), nil), 405, codeUnsupported)
		h.Delete = true
		h.want(h.do("DELETE", "/v2/"+here+"/blobs/"+string(d), nil), 202)
		h.want(h.do("DELETE", "/v2/"+here+"/blobs/"+string(d), nil), 404, codeBlobUnknown)
	},
	"Blob delete atomic": func(h *harness) {
		for _, repo := range []string{here, nextDoor} {
			h.blob(repo, "layer")
		}
		d := digest.FromString("layer")
		h.want(h.do("DELETE", "/v2/"+here+"/blobs/"+string(d), nil), 202)
		h.wantNoBlob(here, d)
		h.wantBlob(nextDoor, d, "layer")
	},
	"Tag delete": onImage(func(c *content, d document) {
		c.h.Delete = false
		c.h.want(c.h.do("DELETE", "/v2/"+here+"/manifests/one", nil), 405, codeUnsupported)
		c.h.Delete = true
		c.h.want(c.h.do("DELETE", "/v2/"+here+"/manifests/one", nil), 202)
		c.h.wantDocument(d, "two", string(d.digest))
	}),
	"Tag delete atomic": onImage(func(c *content, _ document) {
		c.h.want(c.h.do("DELETE", "/v2/"+here+"/manifests/one", nil), 202)
		c.h.want(c.h.do("GET", "/v2/"+here+"/manifests/one", nil), 404, codeManifestUnknown)
		if got, _ := c.h.tags(""); !slices.Equal(got, []string{"two"}) {
			c.h.Errorf("tags %q", got)
		}
	}),
	"Manifest put by digest": func(h *harness) {
		c := newContent(h)
		c.image("image", nil)
		c.push()
		c.wantTags() // none: a digest names no tag
	},
	// A tag moves with the push of another manifest, and the first stays pullable by digest.
	"Manifest put by tag": func(h *harness) {
		c := newContent(h)
		first, second := c.image("first", nil, "tag"), c.image("second", nil, "tag")
		c.push()
		h.wantDocument(second, "tag", string(second.digest))
		h.wantDocument(first, string(first.digest))
	},
	"Manifest put with tag params": conformTagParams,
	"Manifest put with subject":    dataGroups["artifacts-with-subject"],
	"Manifest get by digest":       onImage(func(c *content, d document) { c.h.wantDocument(d, string(d.digest)) }),
	"Manifest head by digest":      onImage(func(c *content, d document) { c.h.wantDocument(d, string(d.digest)) }),
	"Manifest get by tag":          onImage(conformAccept),
	"Manifest head by tag":         onImage(conformAccept),
	// "Once deleted, a GET to /v2/<name>/manifests/<digest> and any tag pointing to that digest will return a 404."
	"Manifest delete": onImage(func(c *content, d document) {
		c.h.Delete = false
		c.h.want(c.h.do("DELETE", "/v2/"+here+"/manifests/"+string(d.digest), nil), 405, codeUnsupported)
		c.h.wantDocument(d, "one", "two", string(d.digest))
		c.h.Delete = true
		c.remove()
	}),
	"Manifest delete atomic": onImage(func(c *content, d document) {
		other := c.image("other", nil, "other")
		c.push()
		c.h.want(c.h.do("DELETE", "/v2/"+here+"/manifests/"+string(d.digest), nil), 202)
		for _, reference := range []string{"one", "two", string(d.digest)} {
			c.h.want(c.h.do("GET", "/v2/"+here+"/manifests/"+reference, nil), 404, codeManifestUnknown)
		}
		c.h.wantDocument(other, "other")
	}),
	"Referrers": conformReferrers,
}

// conformAccept: "The client SHOULD include an Accept header"; one that does not, or takes anything, gets what was pushed. So does
// one that names other types: there is but one representation (content-negotiation.md leaves it to the registry).
func conformAccept(c *content, d document) {
	for _, accept := range []string{"", "*/*", d.mediaType, "application/*", manifest.DockerManifest, "text/html, */*;q=0.1", ";;,,q="} {
		for _, reference := range []string{"one", string(d.digest)} {
			a := c.h.do("GET", "/v2/"+here+"/manifests/"+reference, nil, "Accept: "+accept)
			c.h.wantHeader(c.h.want(a, 200), "Content-Type", d.mediaType)
		}
	}
	r := c.h.do("HEAD", "/v2/"+here+"/manifests/two", nil) // no Accept at all
	c.h.wantHeader(c.h.want(r, 200), "Content-Type", d.mediaType)
}

// conformTagParams: end-7b. Beyond the ten tags of the data set: none is set when one is none, there are too many, or the
// manifest is refused; beside a tag in the URL they mean nothing.
func conformTagParams(h *harness) {
	dataGroups["tag-param-sha256"](h)
	c := newContent(h)
	d := c.image("image", nil)
	c.push()
	put := func(reference string, tags ...string) answer {
		return h.do("PUT", "/v2/"+here+"/manifests/"+reference+"?"+url.Values{"tag": tags}.Encode(), bytes.NewReader(d.body), "Content-Type: "+d.mediaType)
	}
	h.want(put(string(d.digest), "good", "not/good"), 400, codeTagInvalid)
	h.want(put(string(d.digest), "good", ""), 400, codeTagInvalid)
	h.want(put(string(d.digest), make([]string, maxTags+1)...), 414, codeTooManyTags)
	h.want(put(string(digest.FromString("other")), "good"), 400, codeDigestInvalid)
	c.wantTags()
	a := h.want(put(string(d.digest), "twice", "twice"), 201)
	if got := a.Header.Values("OCI-Tag"); !slices.Contains(got, "twice") {
		h.Errorf("OCI-Tag: %q", got)
	}
	h.wantHeader(h.want(put("plain", "param"), 201), "OCI-Tag", "")
	if got, _ := h.tags(""); !slices.Equal(got, []string{"plain", "twice"}) {
		h.Errorf("tags %q", got)
	}
}

// conformTagListing: "Listing Tags". n and last, the Link of a page that is not the last, no Link with n=0, and at most maxPage.
func conformTagListing(h *harness) {
	m := h.manifest(here, "layer")
	var want []string
	for i := range maxPage + 5 {
		want = append(want, fmt.Sprintf("t%d", i))
	}
	slices.Sort(want)
	for part := range slices.Chunk(want, maxTags) {
		h.want(h.do("PUT", "/v2/"+here+"/manifests/"+string(digest.FromBytes(m))+"?"+url.Values{"tag": part}.Encode(),
			bytes.NewReader(m), "Content-Type: "+manifest.OCIManifest), 201)
	}
	for query, most := range map[string]int{"": maxPage, "?n=1": 1, "?n=400": 400, "?n=100000": maxPage, "?n=18446744073709551615": 0, "?n=9223372036854775807": maxPage} {
		if most == 0 {
			h.want(h.do("GET", "/v2/"+here+"/tags/list"+query, nil), 400, codePagination)
			continue
		}
		page, a := h.tags(query)
		if !slices.Equal(page, want[:most]) || h.link(a) == "" {
			h.Errorf("%s: %d tags and the Link %q, want %d and more", query, len(page), a.Header.Get("Link"), most)
		}
		if got := h.follow("/v2/" + here + "/tags/list" + query); most > 1 && !slices.Equal(got, want) {
			h.Errorf("%s: page by page %d tags, want %d", query, len(got), len(want))
		}
	}
	for query, expected := range map[string][]string{
		"?n=0": {}, "?n=0&last=t1": {}, "?last=zz": {}, "?n=5&last=" + want[len(want)-6]: want[len(want)-5:], "?last=" + want[len(want)-3]: want[len(want)-2:],
		"?n=2000&last=" + want[10]: want[11:][:min(maxPage, len(want)-11)], "?n=3&last=t99999": {},
	} {
		if got, a := h.tags(query); !slices.Equal(got, expected) || a.Header.Get("Link") != "" {
			h.Errorf("%s: %q and the Link %q, want %q and none", query, got, a.Header.Get("Link"), expected)
		}
	}
}

// follow returns all tags, page by page.
func (h *harness) follow(path string) (all []string) {
	h.Helper()
	for pages := 0; path != ""; pages++ {
		if pages > maxPage+5 {
			h.Fatal("there is always a next page")
		}
		page, a := h.tags(strings.TrimPrefix(path, "/v2/"+here+"/tags/list"))
		all = append(all, page...)
		path = h.link(a)
	}
	return all
}

// conformReferrers: "Listing Referrers", page by page: "A Link header MUST be included in the response when the descriptor list
// cannot be returned in a single manifest", and it keeps the filter.
func conformReferrers(h *harness) {
	dataGroups["artifacts-with-subject"](h)
	c := newContent(h)
	subject := c.image("subject", nil)
	want, signatures := make(map[digest.Digest]referrer), make(map[digest.Digest]referrer)
	for i := range 7 {
		kind := []string{sbomType, signatureType}[i%2]
		d := c.image(fmt.Sprint(i), artifact(c, kind, subject, descriptor{"annotations": descriptor{"i": fmt.Sprint(i)}}))
		_, r := d.fields()
		want[d.digest] = r
		if kind == signatureType {
			signatures[d.digest] = r
		}
	}
	c.push()
	path := "/v2/" + here + "/referrers/" + string(subject.digest)
	for _, n := range []string{"1", "2", "7", "8", "5000"} {
		h.wantListed(path+"?n="+n, want)
		filter := url.Values{"n": {n}, "artifactType": {signatureType}}.Encode()
		h.wantListed(path+"?"+filter, signatures)
		h.wantHeader(h.do("GET", path+"?"+filter, nil), "OCI-Filters-Applied", "artifactType")
	}
	h.wantHeader(h.do("GET", path, nil), "OCI-Filters-Applied", "")
	h.wantListed(path+"?artifactType=application/none", map[digest.Digest]referrer{})
	h.wantListed("/v2/"+nextDoor+"/referrers/"+string(subject.digest), map[digest.Digest]referrer{})
}
