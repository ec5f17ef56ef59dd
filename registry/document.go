package registry

import (
	"encoding/json"
	"fmt"
	"mime"
	"strings"

	"github.com/opencontainers/go-digest"

	"gatehouse/registry/index"
)

// maxManifest is the most bytes a manifest may have: the specification asks for at least 4 MiB, distribution takes as many.
const maxManifest = 4 << 20

// The media types of manifests that are taken: distribution's four.
const (
	typeDockerManifest = "application/vnd.docker.distribution.manifest.v2+json"
	typeDockerList     = "application/vnd.docker.distribution.manifest.list.v2+json"
	typeOCIManifest    = "application/vnd.oci.image.manifest.v1+json"
	typeOCIIndex       = "application/vnd.oci.image.index.v1+json"
)

// descriptor is what is read of an OCI content descriptor.
type descriptor struct {
	MediaType string        `json:"mediaType"`
	Digest    digest.Digest `json:"digest"`
	Size      int64         `json:"size"`
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

// parseManifest reads a manifest that was sent as contentType; the result lacks its digest. A document that could be read as
// two things is refused: clients and registry must not disagree on what it needs (CVE-2021-41190).
func parseManifest(contentType string, body []byte) (index.Manifest, error) {
	var doc document
	if err := json.Unmarshal(body, &doc); err != nil {
		return index.Manifest{}, problem(codeManifestInvalid, "not a JSON manifest: "+err.Error())
	}
	mediaType, err := doc.mediaType(contentType)
	if err != nil {
		return index.Manifest{}, err
	}
	m := index.Manifest{
		MediaType: mediaType, Size: int64(len(body)), ArtifactType: doc.ArtifactType, Annotations: doc.Annotations,
	}
	isIndex := mediaType == typeDockerList || mediaType == typeOCIIndex
	switch {
	case doc.SchemaVersion != 2:
		return m, problem(codeManifestInvalid, fmt.Sprintf("schemaVersion is %d, and only 2 is taken; rebuild or convert images of docker 1.9 and older", doc.SchemaVersion))
	case isIndex && (doc.Config != nil || doc.Layers != nil):
		return m, problem(codeManifestInvalid, "an index has no config and no layers")
	case !isIndex && doc.Manifests != nil:
		return m, problem(codeManifestInvalid, "an image manifest has no manifests")
	case !isIndex && doc.Config == nil:
		return m, problem(codeManifestInvalid, "an image manifest has a config")
	}
	return m, doc.references(&m)
}

// mediaType settles what a document is: its Content-Type, which its mediaType must not contradict.
func (doc *document) mediaType(contentType string) (string, error) {
	sent := doc.MediaType
	if contentType != "" {
		t, _, err := mime.ParseMediaType(contentType)
		if err != nil {
			return "", problem(codeManifestInvalid, fmt.Sprintf("Content-Type %q is no media type", contentType))
		}
		sent = t
	}
	if doc.MediaType != "" && !strings.EqualFold(doc.MediaType, sent) {
		return "", problem(codeManifestInvalid, fmt.Sprintf("the manifest says it is %q, the Content-Type %q", doc.MediaType, sent))
	}
	switch sent {
	case typeDockerManifest, typeDockerList, typeOCIManifest, typeOCIIndex:
		return sent, nil
	}
	return "", problem(codeManifestInvalid, fmt.Sprintf("media type %q is not one of a manifest: %s, %s, %s or %s",
		sent, typeOCIManifest, typeOCIIndex, typeDockerManifest, typeDockerList))
}

// references collects what the document needs. Layers that are fetched from elsewhere are not needed here.
func (doc *document) references(m *index.Manifest) error {
	layers := doc.Layers
	if doc.Config != nil {
		layers = append([]descriptor{*doc.Config}, layers...)
	}
	for _, d := range layers {
		if err := d.check(); err != nil {
			return err
		}
		if len(d.URLs) == 0 {
			m.Blobs = append(m.Blobs, d.Digest)
		}
	}
	for _, d := range doc.Manifests {
		if err := d.check(); err != nil {
			return err
		}
		m.Manifests = append(m.Manifests, d.Digest)
	}
	if doc.Subject != nil {
		if err := doc.Subject.check(); err != nil {
			return err
		}
		m.Subject = doc.Subject.Digest
	}
	if m.ArtifactType == "" && doc.Config != nil {
		m.ArtifactType = doc.Config.MediaType // specification, "Listing Referrers"
	}
	return nil
}

// check refuses a descriptor that points to nothing that could be here.
func (d descriptor) check() error {
	if _, err := parseDigest(string(d.Digest)); err != nil {
		return problem(codeManifestInvalid, fmt.Sprintf("a descriptor has the digest %.80q", d.Digest))
	}
	if d.Size < 0 {
		return problem(codeManifestInvalid, fmt.Sprintf("the descriptor of %s has a negative size", d.Digest))
	}
	return nil
}
