// Package manifest reads manifests: what a document is, and what it needs. It is used for those that are pushed, which it judges
// strictly, and says what is wrong with the others.
package manifest

import (
	"encoding/json"
	"errors"
	"fmt"
	"mime"
	"strings"

	"github.com/opencontainers/go-digest"

	"gatehouse/registry/index"
)

// MaxSize is the most bytes a manifest may have: the specification asks for at least 4 MiB, distribution takes as many.
const MaxSize = 4 << 20

// The media types of manifests that are taken: distribution's four.
const (
	DockerManifest = "application/vnd.docker.distribution.manifest.v2+json"
	DockerList     = "application/vnd.docker.distribution.manifest.list.v2+json"
	OCIManifest    = "application/vnd.oci.image.manifest.v1+json"
	OCIIndex       = "application/vnd.oci.image.index.v1+json"
)

// InvalidError says what is wrong with a document, in words for whoever pushes it.
type InvalidError struct{ Reason string }

func (e *InvalidError) Error() string { return "manifest invalid: " + e.Reason }

func invalid(format string, args ...any) error {
	return &InvalidError{fmt.Sprintf(format, args...)}
}

// descriptor is what is read of an OCI content descriptor.
type descriptor struct {
	MediaType string        `json:"mediaType"`
	Digest    digest.Digest `json:"digest"`
	Size      int64         `json:"size"`
	URLs      []string      `json:"urls"`
	Platform  *Platform     `json:"platform"`
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

// Parse reads a manifest that was sent as contentType; the result lacks its digest. A document that could be read as
// two things is refused: clients and registry must not disagree on what it needs (CVE-2021-41190).
func (r Rules) Parse(contentType string, body []byte) (index.Manifest, error) {
	var doc document
	if err := unambiguous(body); err != nil {
		return index.Manifest{}, invalid("not an unambiguous JSON document: %v", err)
	}
	if err := json.Unmarshal(body, &doc); err != nil {
		return index.Manifest{}, invalid("not a JSON manifest: %v", err)
	}
	mediaType, err := doc.mediaType(contentType)
	if err != nil {
		return index.Manifest{}, err
	}
	m := index.Manifest{
		MediaType: mediaType, Size: int64(len(body)), ArtifactType: doc.ArtifactType, Annotations: doc.Annotations,
	}
	isIndex := mediaType == DockerList || mediaType == OCIIndex
	switch {
	case doc.SchemaVersion != 2:
		return m, invalid("schemaVersion is %d, and only 2 is taken; rebuild or convert images of docker 1.9 and older", doc.SchemaVersion)
	case isIndex && (doc.Config != nil || doc.Layers != nil):
		return m, invalid("an index has no config and no layers")
	case !isIndex && doc.Manifests != nil:
		return m, invalid("an image manifest has no manifests")
	case !isIndex && doc.Config == nil:
		return m, invalid("an image manifest has a config")
	}
	if err := r.class(mediaType, doc.Config); err != nil {
		return m, err
	}
	return m, doc.references(&m, r)
}

// mediaType settles what a document is: its Content-Type, which its mediaType must not contradict.
func (doc *document) mediaType(contentType string) (string, error) {
	sent := doc.MediaType
	if contentType != "" {
		t, _, err := mime.ParseMediaType(contentType)
		if err != nil {
			return "", invalid("Content-Type %q is no media type", contentType)
		}
		sent = t
	}
	if doc.MediaType != "" && !strings.EqualFold(doc.MediaType, sent) {
		return "", invalid("the manifest says it is %q, the Content-Type %q", doc.MediaType, sent)
	}
	switch sent {
	case DockerManifest, DockerList, OCIManifest, OCIIndex:
		return sent, nil
	}
	return "", invalid("media type %q is not one of a manifest: %s, %s, %s or %s",
		sent, OCIManifest, OCIIndex, DockerManifest, DockerList)
}

// references collects what the document names, and judges it by the rules.
func (doc *document) references(m *index.Manifest, rules Rules) error {
	if doc.Config != nil {
		if err := doc.Config.check(); err != nil {
			return err
		}
		m.Blobs = append(m.Blobs, doc.Config.Digest)
	}
	for _, d := range doc.Layers {
		if err := d.check(); err != nil {
			return err
		}
		foreign, err := rules.layer(m.MediaType, d)
		switch {
		case err != nil:
			return err
		case foreign:
			m.Foreign = append(m.Foreign, d.Digest)
		default:
			m.Blobs = append(m.Blobs, d.Digest)
		}
	}
	required := make(map[digest.Digest]bool, len(doc.Manifests))
	for _, d := range doc.Manifests {
		if err := d.check(); err != nil {
			return err
		}
		m.Manifests = append(m.Manifests, d.Digest)
		if rules.required(d) {
			required[d.Digest] = true
		}
	}
	for _, d := range m.Manifests {
		if !required[d] {
			m.Optional = append(m.Optional, d)
		}
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

// ParseDigest takes a digest of an algorithm that can be checked here: sha256 or sha512, in lower-case hexadecimal.
func ParseDigest(s string) (digest.Digest, error) {
	algorithm, hex, _ := strings.Cut(s, ":")
	valid := algorithm == "sha256" && len(hex) == 64 || algorithm == "sha512" && len(hex) == 128
	for i := 0; valid && i < len(hex); i++ {
		valid = '0' <= hex[i] && hex[i] <= '9' || 'a' <= hex[i] && hex[i] <= 'f'
	}
	if !valid {
		return "", errors.New("a digest is sha256:<64 hexadecimal digits> or sha512:<128>, in lower case")
	}
	return digest.Digest(s), nil
}

// check refuses a descriptor that points to nothing that could be here.
func (d descriptor) check() error {
	if _, err := ParseDigest(string(d.Digest)); err != nil {
		return invalid("a descriptor has the digest %.80q", d.Digest)
	}
	if d.Size < 0 {
		return invalid("the descriptor of %s has a negative size", d.Digest)
	}
	return nil
}
