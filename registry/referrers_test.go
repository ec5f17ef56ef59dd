package registry

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"

	"gatehouse/registry/manifest"
)

// refer pushes a manifest that refers to a subject, and returns its digest.
func (h *harness) refer(repo string, subject digest.Digest, artifactType, note string) string {
	h.Helper()
	h.blob(repo, "{}")
	body := fmt.Sprintf(`{"schemaVersion":2,"mediaType":%q,"artifactType":%q,"config":{"mediaType":"x","digest":%q,"size":2},"layers":[],`+
		`"subject":{"mediaType":%q,"digest":%q,"size":1},"annotations":{"note":%q}}`,
		manifest.OCIManifest, artifactType, digest.FromString("{}"), manifest.OCIManifest, subject, note)
	d := string(digest.FromString(body))
	a := h.want(h.do("PUT", "/v2/"+repo+"/manifests/"+d, strings.NewReader(body), "Content-Type: "+manifest.OCIManifest), 201)
	h.wantHeader(a, "OCI-Subject", string(subject))
	return d
}

// referrers returns what the API lists, following the links.
func (h *harness) referrers(path string) (list []referrer) {
	h.Helper()
	for path != "" {
		a := h.want(h.do("GET", path, nil), 200)
		h.wantHeader(a, "Content-Type", manifest.OCIIndex)
		var page struct {
			SchemaVersion int
			MediaType     string
			Manifests     []referrer
		}
		if err := json.Unmarshal(a.body, &page); err != nil || page.SchemaVersion != 2 || page.MediaType != manifest.OCIIndex || page.Manifests == nil {
			h.Fatalf("%v: %s", err, a.body)
		}
		list = append(list, page.Manifests...)
		path = strings.TrimSuffix(strings.TrimPrefix(a.Header.Get("Link"), "<"), `>; rel="next"`)
	}
	return list
}

func TestReferrers(t *testing.T) {
	h := newHarness(t, nil)
	subject := digest.FromBytes(h.image("a", "v1", "layer"))
	missing := digest.FromString("not pushed yet")
	if got := h.referrers("/v2/nowhere/referrers/" + string(missing)); len(got) != 0 {
		t.Errorf("of nothing: %v", got)
	}
	sbom, signature := h.refer("a", subject, "sbom", "1"), h.refer("a", subject, "signature", "2")
	h.refer("a", missing, "sbom", "3")
	h.refer("b", subject, "sbom", "4")
	got := h.referrers("/v2/a/referrers/" + string(subject))
	if len(got) != 2 {
		t.Fatalf("%d referrers, want 2: %v", len(got), got)
	}
	for _, r := range got {
		note := map[string]string{sbom: "1", signature: "2"}[string(r.Digest)]
		if note == "" || r.Annotations["note"] != note || r.MediaType != manifest.OCIManifest || r.Size == 0 || r.ArtifactType == "" {
			t.Errorf("referrer %+v", r)
		}
	}
	a := h.want(h.do("GET", "/v2/a/referrers/"+string(subject)+"?artifactType=signature", nil), 200)
	h.wantHeader(a, "OCI-Filters-Applied", "artifactType")
	if !bytes.Contains(a.body, []byte(signature)) || bytes.Contains(a.body, []byte(sbom)) {
		t.Errorf("filtered: %s", a.body)
	}
	if got := h.referrers("/v2/a/referrers/" + string(subject) + "?n=1"); len(got) != 2 {
		t.Errorf("page by page: %v", got)
	}
	if got := h.referrers("/v2/a/referrers/" + string(subject) + "?n=1&artifactType=sbom"); len(got) != 1 {
		t.Errorf("filtered, page by page: %v", got)
	}
	h.want(h.do("DELETE", "/v2/a/manifests/"+sbom, nil), 202)
	if got := h.referrers("/v2/a/referrers/" + string(subject)); len(got) != 1 || string(got[0].Digest) != signature {
		t.Errorf("after a deletion: %v", got)
	}
	if got := h.referrers("/v2/a/referrers/" + string(missing)); len(got) != 1 {
		t.Errorf("of a subject that is not there: %v", got)
	}
}

// TestReferrersWithLongAnnotations: an answer is bounded in bytes, and nothing is left out.
func TestReferrersWithLongAnnotations(t *testing.T) {
	h := newHarness(t, nil)
	subject := digest.FromString("subject")
	for i := range 5 {
		h.refer("a", subject, "x", fmt.Sprint(i)+strings.Repeat("x", 900<<10))
	}
	path := "/v2/a/referrers/" + string(subject)
	if a := h.do("GET", path, nil); len(a.body) > maxReferrersPage+1<<20 {
		t.Errorf("an answer of %d bytes", len(a.body))
	}
	if got := h.referrers(path); len(got) != 5 {
		t.Errorf("%d referrers in all, want 5", len(got))
	}
}

func TestTagParameters(t *testing.T) {
	h := newHarness(t, nil)
	m := h.manifest("a", "layer")
	for _, d := range []string{string(digest.FromBytes(m)), string(digest.SHA512.FromBytes(m))} {
		a := h.want(h.do("PUT", "/v2/a/manifests/"+d+"?tag=1.2.3&tag=1.2&tag=latest", bytes.NewReader(m), "Content-Type: "+manifest.OCIManifest), 201)
		if got := strings.Join(a.Header.Values("OCI-Tag"), ","); got != "1.2.3,1.2,latest" {
			t.Errorf("OCI-Tag: %s", got)
		}
		for _, tag := range []string{"1.2.3", "1.2", "latest"} {
			h.wantHeader(h.want(h.do("HEAD", "/v2/a/manifests/"+tag, nil), 200), "Docker-Content-Digest", d)
		}
	}
	d := string(digest.FromBytes(m))
	h.want(h.do("PUT", "/v2/a/manifests/"+d+"?tag=ok&tag=.bad", bytes.NewReader(m), "Content-Type: "+manifest.OCIManifest), 400, codeTagInvalid)
	h.want(h.do("PUT", "/v2/a/manifests/"+d+strings.Replace("?"+strings.Repeat("&tag=x", maxTags+1), "?&", "?", 1), bytes.NewReader(m), "Content-Type: "+manifest.OCIManifest), 414, codeTooManyTags)
	h.want(h.do("GET", "/v2/a/manifests/ok", nil), 404, codeManifestUnknown)
	a := h.want(h.do("PUT", "/v2/a/manifests/x?tag=y", bytes.NewReader(m), "Content-Type: "+manifest.OCIManifest), 201)
	h.wantHeader(a, "OCI-Tag", "")
	h.want(h.do("GET", "/v2/a/manifests/y", nil), 404, codeManifestUnknown)
}
