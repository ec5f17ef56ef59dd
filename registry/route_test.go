package registry

import (
	"errors"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
)

var (
	sha256Of = digest.FromString("x")
	sha512Of = digest.SHA512.FromString("x")
)

const someUUID = "0195a1f2-7d3c-4c6f-9d2a-0c2f5a7b9e11"

func TestParse(t *testing.T) {
	for path, want := range map[string]route{
		"/v2":                                         {kind: kindBase},
		"/v2/":                                        {kind: kindBase},
		"/v2/_catalog":                                {kind: kindCatalog},
		"/v2/a/tags/list":                             {kind: kindTags, name: "a"},
		"/v2/tags/list/tags/list":                     {kind: kindTags, name: "tags/list"},
		"/v2/a/b/c/manifests/latest":                  {kind: kindManifest, name: "a/b/c", tag: "latest"},
		"/v2/a/manifests/manifests/v1":                {kind: kindManifest, name: "a/manifests", tag: "v1"},
		"/v2/a/blobs/manifests/_x.Y-1":                {kind: kindManifest, name: "a/blobs", tag: "_x.Y-1"},
		"/v2/a/manifests/" + string(sha256Of):         {kind: kindManifest, name: "a", digest: sha256Of},
		"/v2/a/manifests/" + string(sha512Of):         {kind: kindManifest, name: "a", digest: sha512Of},
		"/v2/a/blobs/" + string(sha512Of):             {kind: kindBlob, name: "a", digest: sha512Of},
		"/v2/a/referrers/" + string(sha256Of):         {kind: kindReferrers, name: "a", digest: sha256Of},
		"/v2/a/blobs/uploads/":                        {kind: kindUploads, name: "a"},
		"/v2/a/blobs/uploads":                         {kind: kindUploads, name: "a"},
		"/v2/uploads/blobs/uploads/":                  {kind: kindUploads, name: "uploads"},
		"/v2/a/blobs/uploads/" + someUUID:             {kind: kindUpload, name: "a", upload: someUUID},
		"/v2/blobs/uploads/blobs/uploads/" + someUUID: {kind: kindUpload, name: "blobs/uploads", upload: someUUID},
		"/v2/a-b__c.d_e/f---g/tags/list":              {kind: kindTags, name: "a-b__c.d_e/f---g"},
	} {
		got, err := parse("", &url.URL{Path: path})
		if err != nil || got != want {
			t.Errorf("%s: %+v, %v; want %+v", path, got, err, want)
		}
	}
}

func TestParseRefuses(t *testing.T) {
	for path, want := range map[string]code{
		"":                     codeNotFound,
		"/":                    codeNotFound,
		"/v2x":                 codeNotFound,
		"/v1/_ping":            codeNotFound,
		"/v2//":                codeNotFound,
		"/v2/_catalog/":        codeNotFound,
		"/v2/a":                codeNotFound,
		"/v2/a/tags/list/":     codeNotFound,
		"/v2/a/tags":           codeNotFound,
		"/v2//tags/list":       codeNameInvalid,
		"/v2/tags/list":        codeNotFound,
		"/v2/manifests/latest": codeNameInvalid,
		"/v2/../tags/list":     codeNameInvalid,
		"/v2/a/../b/tags/list": codeNameInvalid,
		"/v2/a/./b/tags/list":  codeNameInvalid,
		"/v2/a//b/tags/list":   codeNameInvalid,
		"/v2/_a/tags/list":     codeNameInvalid,
		"/v2/A/tags/list":      codeNameInvalid,
		"/v2/a_/tags/list":     codeNameInvalid,
		"/v2/a..b/tags/list":   codeNameInvalid,
		"/v2/a___b/tags/list":  codeNameInvalid,
		"/v2/a.-b/tags/list":   codeNameInvalid,
		"/v2/é/tags/list":      codeNameInvalid,
		"/v2/a\x00/tags/list":  codeNameInvalid,
		"/v2/a\\b/tags/list":   codeNameInvalid,
		"/v2/" + strings.Repeat("a", 256) + "/tags/list": codeNameInvalid,
		"/v2/a/manifests/":                                     codeTagInvalid,
		"/v2/a/manifests/..":                                   codeTagInvalid,
		"/v2/a/manifests/.x":                                   codeTagInvalid,
		"/v2/a/manifests/-x":                                   codeTagInvalid,
		"/v2/a/manifests/x y":                                  codeTagInvalid,
		"/v2/a/manifests/@":                                    codeTagInvalid,
		"/v2/a/manifests/x\x10":                                codeTagInvalid,
		"/v2/a/manifests/" + strings.Repeat("a", 129):          codeTagInvalid,
		"/v2/a/manifests/sha256:abc":                           codeDigestInvalid,
		"/v2/a/manifests/md5:d41d8cd98f00b204e9800998ecf8427e": codeDigestInvalid,
		"/v2/a/blobs/" + strings.ToUpper(string(sha256Of)):     codeDigestInvalid,
		"/v2/a/blobs/latest":                                   codeDigestInvalid,
		"/v2/a/blobs/":                                         codeDigestInvalid,
		"/v2/a/blobs/uploads/../../x":                          codeNotFound,
		"/v2/a/blobs/uploads/1":                                codeUploadUnknown,
		"/v2/a/blobs/uploads/" + strings.ToUpper(someUUID):     codeUploadUnknown,
		"/v2/a/blobs/uploads/{" + someUUID + "}":               codeUploadUnknown,
		"/v2/a/blobs/uploads/" + someUUID + "/":                codeNotFound,
		"/v2/a/uploads/" + someUUID:                            codeNotFound,
	} {
		_, err := parse("", &url.URL{Path: path})
		var p *apiError
		if !errors.As(err, &p) || p.code != want {
			t.Errorf("%q: %v, want %s", path, err, want.name)
		}
	}
}

// nameGrammar is the specification's own expression: the reference for the hand-written validName.
var nameGrammar = regexp.MustCompile(`^[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*(\/[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*)*$`)
var tagGrammar = regexp.MustCompile(`^[a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}$`)

func FuzzGrammar(f *testing.F) {
	for _, s := range []string{"", "a", "a/b", "a__b", "a_-b", "a--b", "a-", "/", "a/", "A", "latest", "_", ".", "a.b_c-d"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if got, want := validName(s), len(s) <= 255 && nameGrammar.MatchString(s); got != want {
			t.Errorf("validName(%q) = %v", s, got)
		}
		if got, want := validTag(s), tagGrammar.MatchString(s); got != want {
			t.Errorf("validTag(%q) = %v", s, got)
		}
	})
}

func FuzzParse(f *testing.F) {
	f.Add("/v2/a/manifests/latest")
	f.Add("/v2/a/blobs/uploads/" + someUUID)
	f.Add("/v2/a/blobs/" + string(sha256Of))
	f.Fuzz(func(t *testing.T, path string) {
		r, err := parse("", &url.URL{Path: path})
		if err != nil {
			return
		}
		if r.kind != kindBase && r.kind != kindCatalog && !nameGrammar.MatchString(r.name) {
			t.Errorf("%q gave the name %q", path, r.name)
		}
		if r.tag != "" && !tagGrammar.MatchString(r.tag) {
			t.Errorf("%q gave the tag %q", path, r.tag)
		}
		if r.digest != "" && r.digest.Validate() != nil {
			t.Errorf("%q gave the digest %q", path, r.digest)
		}
	})
}

func TestParseContentRange(t *testing.T) {
	for header, want := range map[string][2]int64{"0-0": {0, 0}, "5-9": {5, 9}, "bytes 5-9": {5, 9}, "bytes 5-9/10": {5, 9}, "5-9/*": {5, 9}} {
		first, last, err := parseContentRange(header)
		if err != nil || first != want[0] || last != want[1] {
			t.Errorf("%s: %d, %d, %v", header, first, last, err)
		}
	}
	for _, header := range []string{"-", "5", "5-", "-5", "9-5", "a-b", "0x1-5", "+1-5", "1-9223372036854775808", " 1-5", "bytes=1-5"} {
		if _, _, err := parseContentRange(header); err == nil {
			t.Errorf("%q was taken", header)
		}
	}
}

func TestLabel(t *testing.T) {
	for path, want := range map[string]string{"/v2/": "base", "/v2/a/manifests/b": "manifest", "/v2/a/blobs/uploads/": "blob_upload", "/x": "other"} {
		if got := new(Registry).Label(&http.Request{URL: &url.URL{Path: path}}); got != want {
			t.Errorf("%s is labelled %q, want %q", path, got, want)
		}
	}
}
