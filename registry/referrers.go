package registry

import (
	"net/http"
	"net/url"

	"github.com/opencontainers/go-digest"

	"gatehouse/registry/index"
	"gatehouse/registry/manifest"
)

// maxReferrersPage bounds an answer in bytes too, since each referrer brings its annotations: the specification wants an answer
// to be no longer than a manifest may be.
const maxReferrersPage = 2 << 20

// referrer is the descriptor of a manifest that refers to another (specification, "Listing Referrers").
type referrer struct {
	MediaType    string            `json:"mediaType"`
	Size         int64             `json:"size"`
	Digest       digest.Digest     `json:"digest"`
	ArtifactType string            `json:"artifactType,omitempty"`
	Annotations  map[string]string `json:"annotations,omitempty"`
}

// getReferrers lists the manifests that name a digest as their subject, whether that is there or not, a page at a time.
func (g *Registry) getReferrers(w http.ResponseWriter, c *call) error {
	query := c.URL.Query()
	n, last, err := pagination(query, maxPage)
	if err != nil {
		return err
	}
	n = min(n, maxPage)
	artifactType := query.Get("artifactType")
	found, more, err := g.Index.Referrers(c.Context(), c.name, c.digest, artifactType, digest.Digest(last), n)
	if err != nil {
		return err
	}
	found, cut := fit(found, maxReferrersPage)
	h := w.Header()
	if artifactType != "" {
		h.Set("OCI-Filters-Applied", "artifactType")
	}
	if (more || cut) && len(found) > 0 {
		next := url.Values{"last": {string(found[len(found)-1].Digest)}}
		for _, name := range []string{"n", "artifactType"} {
			if query.Has(name) {
				next.Set(name, query.Get(name))
			}
		}
		h.Set("Link", "<"+c.URL.Path+"?"+next.Encode()+`>; rel="next"`)
	}
	list := make([]referrer, len(found))
	for i, m := range found {
		list[i] = referrer{m.MediaType, m.Size, m.Digest, m.ArtifactType, m.Annotations}
	}
	return writeDocument(w, http.StatusOK, manifest.OCIIndex, struct {
		SchemaVersion int        `json:"schemaVersion"`
		MediaType     string     `json:"mediaType"`
		Manifests     []referrer `json:"manifests"`
	}{2, manifest.OCIIndex, list})
}

// fit returns the first of the manifests whose descriptors have about so many bytes, at least one, and whether it left any.
func fit(list []index.Manifest, bytes int) ([]index.Manifest, bool) {
	for i, m := range list {
		bytes -= 256
		for name, value := range m.Annotations {
			bytes -= len(name) + len(value) + 8
		}
		if bytes < 0 && i > 0 {
			return list[:i], true
		}
	}
	return list, false
}
