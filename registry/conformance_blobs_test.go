package registry

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/opencontainers/go-digest"
)

const (
	here     = "conformance/here"
	nextDoor = "conformance/next-door"
)

// wantBlob checks that a repository serves a blob by GET and HEAD.
//
// "Pulling blobs": 200, and "the digest of the uploaded blob in the header Docker-Content-Digest". "Checking if content exists in
// the registry": 200, the digest, and "the size in bytes of the uploaded blob or manifest in the header Content-Length".
func (h *harness) wantBlob(repo string, d digest.Digest, bytes string) {
	h.Helper()
	for _, method := range []string{"GET", "HEAD"} {
		a := h.want(h.do(method, "/v2/"+repo+"/blobs/"+string(d), nil), 200)
		h.wantHeader(a, "Docker-Content-Digest", string(d))
		h.wantHeader(a, "Content-Length", strconv.Itoa(len(bytes)))
		if method == "GET" && string(a.body) != bytes || method == "HEAD" && len(a.body) > 0 {
			h.Errorf("%s served %d bytes, want %d", method, len(a.body), len(bytes))
		}
	}
}

// wantNoBlob: "If the blob is not found in the repository, the response code MUST be 404 Not Found" ("Pulling blobs").
func (h *harness) wantNoBlob(repo string, d digest.Digest) {
	h.Helper()
	for _, method := range []string{"GET", "HEAD", "DELETE"} {
		h.want(h.do(method, "/v2/"+repo+"/blobs/"+string(d), nil), 404, codeBlobUnknown)
	}
}

// wantTaken checks the answer to a push and then the blob, and deletes it: "Upon success, the registry MUST respond with code
// 202 Accepted" ("Deleting Blobs").
func (h *harness) wantTaken(a answer, repo string, d digest.Digest, bytes string) {
	h.Helper()
	h.want(a, 201)
	h.wantHeader(a, "Location", "/v2/"+repo+"/blobs/"+string(d))
	h.wantHeader(a, "Docker-Content-Digest", string(d))
	h.wantBlob(repo, d, bytes)
	h.want(h.do("DELETE", "/v2/"+repo+"/blobs/"+string(d), nil), 202)
	h.wantNoBlob(repo, d)
}

// session begins an upload: 202 and a Location with a UUID ("POST then PUT"); "When pushing a blob with a digest algorithm other
// than sha256, the post request SHOULD include the digest-algorithm parameter" ("Pushing a blob in chunks"). No least length of
// chunks is named, so chunks may have any.
func (h *harness) session(repo string, algorithm digest.Algorithm) string {
	h.Helper()
	path := "/v2/" + repo + "/blobs/uploads/"
	if algorithm != digest.SHA256 {
		path += "?digest-algorithm=" + string(algorithm)
	}
	a := h.want(h.do("POST", path, nil, "Content-Length: 0"), 202)
	h.wantHeader(a, "OCI-Chunk-Min-Length", "")
	return a.Header.Get("Location")
}

// closing is the URL that ends an upload: "<blob-push-location>?digest=<digest>"; the Location has a query already.
func closing(location string, d digest.Digest) string {
	return location + "&digest=" + string(d)
}

// chunk sends bytes [from, to) of a blob, and returns where the upload goes on: 202, "Location", and "Range: 0-<end-of-range>"
// ("Pushing a blob in chunks").
func (h *harness) chunk(location, bytes string, from, to int) string {
	h.Helper()
	a := h.want(h.do("PATCH", location, strings.NewReader(bytes[from:to]), fmt.Sprintf("Content-Range: %d-%d", from, to-1)), 202)
	h.wantHeader(a, "Range", fmt.Sprintf("0-%d", to-1))
	return a.Header.Get("Location")
}

// disorder sends chunks that do not begin where the upload ends, by PATCH or as the closing PUT, and checks that they are
// refused and leave the upload as it is: "the registry MUST respond with a 416 Requested Range Not Satisfiable code"; the status
// after that is had by GET: 204, Location, Range. size is more than none.
func (h *harness) disorder(location, bytes string, size int, d digest.Digest) string {
	h.Helper()
	for _, from := range []int{0, size - 1, size + 1, len(bytes)} {
		header := fmt.Sprintf("Content-Range: %d-%d", from, from+4)
		a := h.want(h.do("PATCH", location, strings.NewReader("wrong"), header), 416, codeRangeInvalid)
		h.wantHeader(a, "Range", fmt.Sprintf("0-%d", size-1))
		h.want(h.do("PUT", closing(location, d), strings.NewReader("wrong"), header), 416, codeRangeInvalid)
	}
	a := h.want(h.do("GET", location, nil), 204)
	h.wantHeader(a, "Range", fmt.Sprintf("0-%d", size-1))
	return a.Header.Get("Location")
}

const someBlob = "some bytes that make a blob, in three chunks: one, two, and three"

// inChunks pushes someBlob in three chunks, the last with the closing PUT if so asked, some out of order before if so asked.
func inChunks(lastWithPut, disorderly bool) func(*harness, digest.Algorithm) {
	return func(h *harness, algorithm digest.Algorithm) {
		d := algorithm.FromString(someBlob)
		location := h.session(here, algorithm)
		if disorderly {
			h.want(h.do("PATCH", location, strings.NewReader("wrong"), "Content-Range: 5-9"), 416, codeRangeInvalid) // the first chunk MUST begin with 0
		}
		location = h.chunk(location, someBlob, 0, 20)
		if disorderly {
			location = h.disorder(location, someBlob, 20, d)
		}
		location = h.chunk(location, someBlob, 20, 40)
		if disorderly {
			location = h.disorder(location, someBlob, 40, d)
		}
		var a answer
		if lastWithPut {
			a = h.do("PUT", closing(location, d), strings.NewReader(someBlob[40:]), fmt.Sprintf("Content-Range: 40-%d", len(someBlob)-1))
		} else {
			location = h.chunk(location, someBlob, 40, len(someBlob))
			a = h.do("PUT", closing(location, d), nil)
		}
		h.wantTaken(a, here, d, someBlob)
	}
}

// wellKnown pushes a blob in each of the ways that there are.
func wellKnown(bytes string) func(*harness, digest.Algorithm) {
	return func(h *harness, algorithm digest.Algorithm) {
		d := algorithm.FromString(bytes)
		h.wantTaken(h.do("POST", "/v2/"+here+"/blobs/uploads/?digest="+string(d), strings.NewReader(bytes)), here, d, bytes)
		h.wantTaken(h.do("PUT", closing(h.session(here, algorithm), d), strings.NewReader(bytes)), here, d, bytes)
		a := h.want(h.do("PATCH", h.session(here, algorithm), strings.NewReader(bytes)), 202)
		h.wantTaken(h.do("PUT", closing(a.Header.Get("Location"), d), nil), here, d, bytes)
	}
}

// badDigest pushes bytes under a digest that is not theirs, with an upload that send carries out but for its end, and then under
// digests that are none: "if the client provided digest is invalid or uses an unsupported algorithm, the registry SHOULD respond
// with a response code 400 Bad Request" ("Pushing blobs").
func badDigest(send func(h *harness, algorithm digest.Algorithm, d string) answer) func(*harness, digest.Algorithm) {
	return func(h *harness, algorithm digest.Algorithm) {
		other := algorithm.FromString("other bytes")
		h.want(send(h, algorithm, string(other)), 400, codeDigestInvalid)
		h.wantNoBlob(here, other)
		h.wantNoBlob(here, algorithm.FromString(someBlob))
		right := string(algorithm.FromString(someBlob))
		for _, d := range []string{right[:len(right)-1], right + "0", strings.ToUpper(right), "md5:d41d8cd98f00b204e9800998ecf8427e", "sha256:", "latest"} {
			h.want(send(h, algorithm, d), 400, codeDigestInvalid)
		}
	}
}

// blobGroups are the tests of blobs by their names in the programme.
var blobGroups = map[string]func(*harness, digest.Algorithm){
	"get-missing": func(h *harness, algorithm digest.Algorithm) {
		h.wantNoBlob(here, algorithm.FromString("never pushed"))
		h.want(h.do("PUT", closing(h.session(nextDoor, algorithm), algorithm.FromString("there")), strings.NewReader("there")), 201)
		h.wantNoBlob(here, algorithm.FromString("there"))
	},
	"post only": func(h *harness, algorithm digest.Algorithm) {
		d := algorithm.FromString(someBlob)
		h.wantTaken(h.do("POST", "/v2/"+here+"/blobs/uploads/?digest="+string(d), strings.NewReader(someBlob)), here, d, someBlob)
	},
	"post+put": func(h *harness, algorithm digest.Algorithm) {
		d := algorithm.FromString(someBlob)
		h.wantTaken(h.do("PUT", closing(h.session(here, algorithm), d), strings.NewReader(someBlob)), here, d, someBlob)
		// The parameter is a SHOULD: without it the digest of the closing PUT decides.
		h.wantTaken(h.do("PUT", closing(h.session(here, digest.SHA256), d), strings.NewReader(someBlob)), here, d, someBlob)
	},
	"chunked single": func(h *harness, algorithm digest.Algorithm) {
		d := algorithm.FromString(someBlob)
		location := h.chunk(h.session(here, algorithm), someBlob, 0, len(someBlob))
		h.wantTaken(h.do("PUT", closing(location, d), nil), here, d, someBlob)
	},
	"chunked multi":                      inChunks(false, false),
	"chunked multi and put chunk":        inChunks(true, false),
	"chunked out-of-order":               inChunks(false, true),
	"chunked out-of-order and put chunk": inChunks(true, true),
	// A PATCH with neither Content-Range nor Content-Length takes what comes, as docker sends it.
	"stream": func(h *harness, algorithm digest.Algorithm) {
		d := algorithm.FromString(someBlob)
		a := h.want(h.do("PATCH", h.session(here, algorithm), readerFunc(strings.NewReader(someBlob).Read)), 202)
		h.wantHeader(a, "Range", fmt.Sprintf("0-%d", len(someBlob)-1))
		h.wantTaken(h.do("PUT", closing(a.Header.Get("Location"), d), nil), here, d, someBlob)
	},
	// "Mounting a blob from another repository": 201 and a Location.
	"mount": func(h *harness, algorithm digest.Algorithm) {
		d := algorithm.FromString(someBlob)
		h.want(h.do("PUT", closing(h.session(nextDoor, algorithm), d), strings.NewReader(someBlob)), 201)
		h.wantTaken(h.do("POST", "/v2/"+here+"/blobs/uploads/?from="+nextDoor+"&mount="+string(d), nil), here, d, someBlob)
		h.wantBlob(nextDoor, d, someBlob)
	},
	// "The registry MAY treat the from parameter as optional, and it MAY cross-mount the blob if it can be found."
	"mount anonymous": func(h *harness, algorithm digest.Algorithm) {
		d := algorithm.FromString(someBlob)
		h.want(h.do("PUT", closing(h.session(nextDoor, algorithm), d), strings.NewReader(someBlob)), 201)
		h.wantTaken(h.do("POST", "/v2/"+here+"/blobs/uploads/?mount="+string(d), nil), here, d, someBlob)
	},
	// "if a registry … is unable to mount the requested blob, it SHOULD return a 202": an upload that goes on.
	"mount missing": func(h *harness, algorithm digest.Algorithm) {
		const bytes = "what nobody has"
		d := algorithm.FromString(bytes)
		for _, from := range []string{"", "&from=" + nextDoor} {
			a := h.want(h.do("POST", "/v2/"+here+"/blobs/uploads/?mount="+string(d)+from, nil), 202)
			h.wantTaken(h.do("PUT", closing(a.Header.Get("Location"), d), strings.NewReader(bytes)), here, d, bytes)
		}
	},
	// "Cancel a blob upload": 204; then there is no such upload.
	"post cancel": func(h *harness, algorithm digest.Algorithm) {
		location := h.session(here, algorithm)
		location = h.chunk(location, someBlob, 0, 20)
		h.want(h.do("DELETE", location, nil, "Content-Length: 0"), 204)
		for _, method := range []string{"GET", "PATCH", "DELETE"} {
			h.want(h.do(method, location, strings.NewReader("x")), 404, codeUploadUnknown)
		}
		h.want(h.do("PUT", closing(location, algorithm.FromString(someBlob)), strings.NewReader(someBlob[20:])), 404, codeUploadUnknown)
	},
	"range requests": conformRanges,
	"empty":          wellKnown(""),
	"emptyJSON":      wellKnown("{}"),
	"bad digest post only": badDigest(func(h *harness, _ digest.Algorithm, d string) answer {
		return h.do("POST", "/v2/"+here+"/blobs/uploads/?digest="+d, strings.NewReader(someBlob))
	}),
	"bad digest post+put": badDigest(func(h *harness, algorithm digest.Algorithm, d string) answer {
		return h.do("PUT", h.session(here, algorithm)+"&digest="+d, strings.NewReader(someBlob))
	}),
	"bad digest chunked": badDigest(func(h *harness, algorithm digest.Algorithm, d string) answer {
		location := h.chunk(h.session(here, algorithm), someBlob, 0, 20)
		return h.do("PUT", h.chunk(location, someBlob, 20, len(someBlob))+"&digest="+d, nil)
	}),
	"bad digest chunked and put chunk": badDigest(func(h *harness, algorithm digest.Algorithm, d string) answer {
		location := h.chunk(h.session(here, algorithm), someBlob, 0, 20)
		return h.do("PUT", location+"&digest="+d, strings.NewReader(someBlob[20:]), fmt.Sprintf("Content-Range: 20-%d", len(someBlob)-1))
	}),
	"bad digest stream": badDigest(func(h *harness, algorithm digest.Algorithm, d string) answer {
		a := h.want(h.do("PATCH", h.session(here, algorithm), readerFunc(strings.NewReader(someBlob).Read)), 202)
		return h.do("PUT", a.Header.Get("Location")+"&digest="+d, nil)
	}),
}

// conformRanges: "A registry SHOULD support the Range request header in accordance with RFC 9110 (section 14)".
func conformRanges(h *harness, algorithm digest.Algorithm) {
	bytes := strings.Repeat("0123456789", 100)
	d := algorithm.FromString(bytes)
	h.want(h.do("PUT", closing(h.session(here, algorithm), d), strings.NewReader(bytes)), 201)
	for asked, want := range map[string]struct {
		status   int
		from, to int // of the bytes that are served
	}{
		"bytes=0-0":      {206, 0, 1},
		"bytes=100-299":  {206, 100, 300},
		"bytes=100-":     {206, 100, 1000},
		"bytes=-100":     {206, 900, 1000},
		"bytes=-5000":    {206, 0, 1000}, // 14.1.2: longer than all is all
		"bytes=990-5000": {206, 990, 1000},
		"bytes=999-":     {206, 999, 1000},
		"bytes=1000-":    {416, 0, 0},
		"bytes=300-100":  {416, 0, 0}, // an invalid range may be refused or ignored (14.2)
		"lines=1-2":      {416, 0, 0}, // an unknown unit, likewise
		"bytes=-0":       {416, 0, 0}, // 14.1.2: a suffix of no bytes is unsatisfiable
	} {
		a := h.want(h.do("GET", "/v2/"+here+"/blobs/"+string(d), nil, "Range: "+asked), want.status)
		if want.status != 206 {
			continue
		}
		h.wantHeader(a, "Content-Range", fmt.Sprintf("bytes %d-%d/%d", want.from, want.to-1, len(bytes)))
		h.wantHeader(a, "Docker-Content-Digest", string(d))
		h.wantHeader(a, "Content-Length", strconv.Itoa(want.to-want.from))
		if string(a.body) != bytes[want.from:want.to] {
			h.Errorf("%s: %d bytes that are not those", asked, len(a.body))
		}
	}
	// 13.1.5: a range of what has changed since would not fit; what is named by its digest has not.
	path := "/v2/" + here + "/blobs/" + string(d)
	h.want(h.do("GET", path, nil, "Range: bytes=1-2", `If-Range: "`+string(d)+`"`), 206)
	h.want(h.do("GET", path, nil, "Range: bytes=1-2", `If-Range: "other"`), 200)
	h.want(h.do("GET", path, nil, "Range: bytes=1-2", `If-None-Match: "`+string(d)+`"`), 304)
	none := algorithm.FromString("")
	h.want(h.do("PUT", closing(h.session(here, algorithm), none), nil), 201)
	for _, asked := range []string{"bytes=0-", "bytes=-1", "bytes=0-0"} {
		h.wantHeader(h.want(h.do("GET", "/v2/"+here+"/blobs/"+string(none), nil, "Range: "+asked), 200), "Content-Length", "0")
	}
	if a := h.want(h.do("HEAD", path, nil, "Range: bytes=1-2"), 200); a.Header.Get("Content-Length") != "1000" { // 14.2: for GET alone
		h.Errorf("HEAD with a range: Content-Length %s", a.Header.Get("Content-Length"))
	}
}
