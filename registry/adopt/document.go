package adopt

import (
	"encoding/json"
	"errors"
	"fmt"

	"github.com/opencontainers/go-digest"

	"gatehouse/registry/index"
	"gatehouse/registry/manifest"
)

var (
	errSchema1  = errors.New("a manifest of docker 1.9 or older: pull and push its image with a newer docker, elsewhere, to convert it")
	errDocument = errors.New("not a manifest that is served")
)

// descriptor is what is read of an OCI content descriptor.
type descriptor struct {
	MediaType string        `json:"mediaType"`
	Digest    digest.Digest `json:"digest"`
	URLs      []string      `json:"urls"`
}

// document is what is read of a manifest or an index of any of the types.
type document struct {
	SchemaVersion int               `json:"schemaVersion"`
	MediaType     string            `json:"mediaType"`
	ArtifactType  string            `json:"artifactType"`
	Config        *descriptor       `json:"config"`
	Layers        []descriptor      `json:"layers"`
	Manifests     []descriptor      `json:"manifests"`
	Subject       *descriptor       `json:"subject"`
	Annotations   map[string]string `json:"annotations"`
}

// parse reads a stored manifest as distribution does, which served it: package manifest is stricter with what is pushed. A
// document without mediaType is an index when it has manifests, else an image (distribution, manifest/ocischema).
func parse(d digest.Digest, body []byte) (index.Manifest, error) {
	var doc document
	if err := json.Unmarshal(body, &doc); err != nil {
		return index.Manifest{}, fmt.Errorf("%w: %w", errDocument, err)
	}
	if doc.SchemaVersion == 1 {
		return index.Manifest{}, errSchema1
	}
	m := index.Manifest{
		Digest: d, MediaType: doc.MediaType, Size: int64(len(body)), ArtifactType: doc.ArtifactType, Annotations: doc.Annotations,
	}
	switch {
	case doc.SchemaVersion != 2:
		return m, fmt.Errorf("%w: its schemaVersion is %d", errDocument, doc.SchemaVersion)
	case doc.MediaType == "" && len(doc.Manifests) > 0:
		m.MediaType = manifest.OCIIndex
	case doc.MediaType == "":
		m.MediaType = manifest.OCIManifest
	}
	switch m.MediaType {
	case manifest.DockerManifest, manifest.OCIManifest:
		if doc.Config == nil {
			return m, fmt.Errorf("%w: an image without a config", errDocument)
		}
		doc.Manifests = nil
	case manifest.DockerList, manifest.OCIIndex:
		doc.Config, doc.Layers = nil, nil
	default:
		return m, fmt.Errorf("%w: its mediaType is %.80q", errDocument, m.MediaType)
	}
	return m, doc.references(&m)
}

// references collects what the document needs. Layers that are fetched from elsewhere are not needed here; one that is here stays.
func (doc *document) references(m *index.Manifest) error {
	layers := doc.Layers
	if doc.Config != nil {
		layers = append([]descriptor{*doc.Config}, layers...)
		if m.ArtifactType == "" {
			m.ArtifactType = doc.Config.MediaType // specification, "Listing Referrers"
		}
	}
	for _, l := range layers {
		if len(l.URLs) == 0 {
			m.Blobs = append(m.Blobs, l.Digest)
		} else if _, err := manifest.ParseDigest(string(l.Digest)); err == nil {
			m.Foreign = append(m.Foreign, l.Digest)
		}
	}
	for _, child := range doc.Manifests {
		m.Manifests = append(m.Manifests, child.Digest)
	}
	if doc.Subject != nil {
		m.Subject = doc.Subject.Digest
	}
	for _, d := range append(append([]digest.Digest{}, m.Blobs...), m.Manifests...) {
		if _, err := manifest.ParseDigest(string(d)); err != nil {
			return fmt.Errorf("%w: a descriptor has the digest %.80q", errDocument, d)
		}
	}
	if _, err := manifest.ParseDigest(string(m.Subject)); m.Subject != "" && err != nil {
		return fmt.Errorf("%w: its subject is %.80q", errDocument, m.Subject)
	}
	return nil
}
