package registry

import (
	"bytes"
	"fmt"
	"io"
	"log/slog"
	"mime"
	"mime/multipart"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"

	"gatehouse/registry/manifest"
)

// Fuzz targets for what clients write into headers and queries. Their corpora are in testdata/fuzz and run with the other tests.

// raw sends a request whose query and headers need not be well-formed, as a client can.
func (h *harness) raw(method, path, query string, body io.Reader, header http.Header) answer {
	r := httptest.NewRequestWithContext(h.Context(), method, "http://registry.test"+path, body)
	r.URL.RawQuery, r.Header = query, header
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return answer{w.Result(), w.Body.Bytes()}
}

// in returns the harness for one input.
func (h *harness) in(t *testing.T) *harness {
	return &harness{TB: t, Registry: h.Registry, driver: h.driver, header: h.header}
}

// newFuzzHarness returns a harness whose log does not go to f, which must not be used while there is input.
func newFuzzHarness(f *testing.F) *harness {
	h := newHarness(f, nil)
	h.Registry.Log = slog.New(slog.DiscardHandler)
	return h
}

// FuzzRange: whatever the Range header says, the answer is all of the blob, the part that Content-Range names, parts that each
// are what they say, or 416; and never much longer than the blob.
func FuzzRange(f *testing.F) {
	for _, s := range []string{"", "bytes=0-0", "bytes=-1", "bytes=5-", "bytes=9-3", "bytes=0-0,2-2,-1", "bytes=0-,0-,0-,0-", "bytes=99999999999999999999-", "items=0-1", "bytes=0-9\x00", "bytes=-0", "bytes=- 00", "bytes=-+0", "bytes=0-1,-0"} {
		f.Add(s)
	}
	h := newFuzzHarness(f)
	content := strings.Repeat("0123456789", 50)
	path := "/v2/a/blobs/" + string(h.blob("a", content))
	f.Fuzz(func(t *testing.T, header string) {
		h := h.in(t)
		a := h.raw("GET", path, "", nil, http.Header{"Range": {header}})
		mediaType, params, _ := mime.ParseMediaType(a.Header.Get("Content-Type"))
		switch {
		case a.StatusCode == 200:
			if string(a.body) != content {
				t.Errorf("%q: 200 with %d bytes", header, len(a.body))
			}
		case a.StatusCode == 206 && mediaType == "multipart/byteranges":
			parts := multipart.NewReader(bytes.NewReader(a.body), params["boundary"])
			total := 0
			for {
				p, err := parts.NextPart()
				if err == io.EOF {
					break
				}
				if err != nil {
					t.Fatalf("%q: %v", header, err)
				}
				b, _ := io.ReadAll(p)
				total += len(b)
				checkPart(t, header, p.Header.Get("Content-Range"), string(b), content)
			}
			if total > len(content) {
				t.Errorf("%q: %d bytes of a blob of %d", header, total, len(content))
			}
		case a.StatusCode == 206:
			checkPart(t, header, a.Header.Get("Content-Range"), string(a.body), content)
		case a.StatusCode != 416:
			t.Errorf("%q: %s", header, a.Status)
		}
	})
}

func checkPart(t *testing.T, header, contentRange, got, content string) {
	var first, last, size int
	if _, err := fmt.Sscanf(contentRange, "bytes %d-%d/%d", &first, &last, &size); err != nil || size != len(content) || last >= size || first > last || got != content[first:last+1] {
		t.Errorf("%q: %d bytes as %q, %v", header, len(got), contentRange, err)
	}
}

// FuzzContentRange: a chunk is taken only where its Content-Range begins at the end of the upload, and then at most as long as it
// says; what is refused leaves the upload as it is.
func FuzzContentRange(f *testing.F) {
	for _, s := range []string{"5-9", "0-4", "bytes 5-9/10", "5-9/*", "5-5", "5-4", "6-9", "5-18446744073709551615", "-", "", "5-9223372036854775807", "05-09", "5 - 9", "5-9,10-11"} {
		f.Add(s, true)
		f.Add(s, false)
	}
	h := newFuzzHarness(f)
	f.Fuzz(func(t *testing.T, header string, lengthKnown bool) {
		h := h.in(t)
		first, last, err := parseContentRange(header)
		if err == nil {
			if first < 0 || last < first || last-first+1 <= 0 {
				t.Fatalf("%q: %d to %d", header, first, last)
			}
			if f, l, err := parseContentRange(fmt.Sprintf("%d-%d", first, last)); err != nil || f != first || l != last {
				t.Errorf("%q: written as the specification has it: %d to %d, %v", header, f, l, err)
			}
		}
		begun := h.raw("POST", "/v2/a/blobs/uploads/", "", nil, http.Header{})
		u, _ := url.Parse(begun.Header.Get("Location"))
		h.raw("PATCH", u.Path, u.RawQuery, strings.NewReader("hello"), http.Header{})
		body := io.Reader(strings.NewReader("world"))
		if !lengthKnown {
			body = readerFunc(body.Read)
		}
		a := h.raw("PATCH", u.Path, u.RawQuery, body, http.Header{"Content-Range": {header}})
		want := "hello"
		switch {
		case header == "":
			want = "helloworld"
		case err == nil && first == 5 && (!lengthKnown || last == 9):
			want += "world"[:min(5, last-first+1)]
		}
		if (a.StatusCode == 202) != (want != "hello") || a.StatusCode >= 500 {
			t.Errorf("%q: %s", header, a.Status)
		}
		if got := h.raw("PUT", u.Path, u.RawQuery+"&digest="+string(digest.FromString(want)), nil, http.Header{}); got.StatusCode != 201 {
			t.Errorf("%q: the upload is not %q: %s", header, want, got.body)
		}
	})
}

// FuzzIfNoneMatch: 304 means that the header names this digest or everything, and says nothing else.
func FuzzIfNoneMatch(f *testing.F) {
	d := digest.FromString("layer")
	for _, s := range []string{"", "*", `"` + string(d) + `"`, `W/"` + string(d) + `"`, string(d), `"x", "` + string(d) + `"`, string(d) + "0", `"*"`, ",,,", `"` + string(sha256Of) + `"`} {
		f.Add(s)
	}
	h := newFuzzHarness(f)
	h.image("a", "v1", "layer")
	m := h.do("HEAD", "/v2/a/manifests/v1", nil).Header.Get("Docker-Content-Digest")
	paths := map[string]string{"/v2/a/blobs/" + string(d): string(d), "/v2/a/manifests/v1": m, "/v2/a/manifests/" + m: m}
	f.Fuzz(func(t *testing.T, header string) {
		h := h.in(t)
		for path, d := range paths {
			for _, method := range []string{"GET", "HEAD"} {
				a := h.raw(method, path, "", nil, http.Header{"If-None-Match": {header}})
				named := strings.Contains(header, d) || strings.Contains(header, "*")
				if a.StatusCode != 200 && (a.StatusCode != 304 || !named || len(a.body) > 0) {
					t.Errorf("%s %s with %q: %s", method, path, header, a.Status)
				}
				if exact := strings.TrimSpace(header); (exact == `"`+d+`"` || exact == "*") && a.StatusCode != 304 {
					t.Errorf("%s %s with %q: %s", method, path, header, a.Status)
				}
			}
		}
	})
}

// FuzzPage: whatever the query of a list says, the answer is a page of what sorts behind "last", in order and no longer than "n"
// and maxPage, or 400; and its Link leads on.
func FuzzPage(f *testing.F) {
	for _, s := range []string{"", "n=2", "n=0", "n=2&last=v1", "last=v1", "last=", "n=-1", "n=1e3", "n=%32", "n=2;last=v1", "n=1&n=2", "last=%00", "last=../../x", "last=%ff%ff", "%zz", "n=9223372036854775808", "n=+1", "n=２"} {
		f.Add(s)
	}
	h := newFuzzHarness(f)
	tags := []string{"V1", "_", "latest", "v1", "v1.0", "v1.1", "v2"}
	m := h.manifest("a", "layer")
	for _, tag := range tags {
		h.want(h.do("PUT", "/v2/a/manifests/"+tag, bytes.NewReader(m), "Content-Type: "+manifest.OCIManifest), 201)
	}
	f.Fuzz(func(t *testing.T, query string) {
		h := h.in(t)
		values, _ := url.ParseQuery(query)
		n, last := values.Get("n"), values.Get("last")
		a := h.raw("GET", "/v2/a/tags/list", query, nil, http.Header{})
		asked, err := strconv.ParseUint(n, 10, 63)
		if n != "" && err != nil {
			h.want(a, 400, codePagination)
			return
		}
		want := slices.Clone(tags)
		want = slices.DeleteFunc(want, func(tag string) bool { return last != "" && tag <= last })
		more := false
		if n != "" && asked < uint64(len(want)) {
			more = asked > 0
			want = want[:asked]
		}
		if body := fmt.Sprintf(`{"name":"a","tags":[%s]}`+"\n", quotedList(want)); a.StatusCode != 200 || string(a.body) != body {
			t.Errorf("%q: %s %s, want %s", query, a.Status, a.body, body)
		}
		if link := a.Header.Get("Link"); (link != "") != more {
			t.Errorf("%q: Link %q", query, link)
		} else if more {
			h.want(h.do("GET", h.link(a), nil), 200)
		}
		for _, path := range []string{"/v2/_catalog", "/v2/a/referrers/" + string(sha256Of)} {
			if a := h.raw("GET", path, query, nil, http.Header{}); a.StatusCode != 200 {
				t.Errorf("%s?%q: %s", path, query, a.Status)
			}
		}
	})
}

func quotedList(list []string) string {
	var b strings.Builder
	for i, s := range list {
		if i > 0 {
			b.WriteByte(',')
		}
		b.WriteString(strconv.Quote(s))
	}
	return b.String()
}

// FuzzTagQuery: a push by digest sets the tags of its query, all of which are tags, or none.
func FuzzTagQuery(f *testing.F) {
	for _, s := range []string{"", "tag=a", "tag=a&tag=b", "tag=", "tag=.a", "tag=a%2fb", "tag=a&tag=-", "tag=%00", "tag", "Tag=a", "tag=a;tag=b", "%zz&tag=a", "tag=a&tag=a"} {
		f.Add(s)
	}
	h := newFuzzHarness(f)
	d := string(digest.FromString("not the manifest's"))
	m := h.manifest("a", "layer")
	f.Fuzz(func(t *testing.T, query string) {
		h := h.in(t)
		// The digest is another's, so that nothing is written: tags are judged before it.
		a := h.raw("PUT", "/v2/a/manifests/"+d, query, bytes.NewReader(m), http.Header{"Content-Type": {manifest.OCIManifest}})
		values, _ := url.ParseQuery(query)
		want := codeDigestInvalid
		for _, tag := range values["tag"] {
			if !tagGrammar.MatchString(tag) || strings.HasSuffix(tag, "\n") {
				want = codeTagInvalid
			}
		}
		if len(values["tag"]) > maxTags {
			want = codeTooManyTags
		}
		h.want(a, want.status, want)
	})
}
