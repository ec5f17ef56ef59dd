package main

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"math/rand/v2"
)

// Media types, from the OCI image specification 1.1.
const (
	mediaTypeIndex    = "application/vnd.oci.image.index.v1+json"
	mediaTypeManifest = "application/vnd.oci.image.manifest.v1+json"
	mediaTypeConfig   = "application/vnd.oci.image.config.v1+json"
	mediaTypeLayer    = "application/vnd.oci.image.layer.v1.tar+gzip"
)

// accept is what a client can take.
const accept = "Accept: " + mediaTypeManifest + ", " + mediaTypeIndex

// blob is bytes with their digest.
type blob struct {
	digest string
	bytes  []byte
}

func newBlob(b []byte) blob { return blob{digestOf(b), b} }

func digestOf(b []byte) string {
	sum := sha256.Sum256(b)
	return "sha256:" + hex.EncodeToString(sum[:])
}

// image is a manifest with all that it needs: blobs, or children where it is an index.
type image struct {
	blob
	mediaType string
	blobs     []blob
	children  []*image
}

// The specification's JSON, as far as the soak needs it.
type (
	descriptor struct {
		MediaType string `json:"mediaType"`
		Digest    string `json:"digest"`
		Size      int    `json:"size"`
	}
	document struct {
		SchemaVersion int               `json:"schemaVersion"`
		MediaType     string            `json:"mediaType"`
		ArtifactType  string            `json:"artifactType,omitempty"`
		Config        *descriptor       `json:"config,omitempty"`
		Layers        []descriptor      `json:"layers,omitempty"`
		Manifests     []descriptor      `json:"manifests,omitempty"`
		Subject       *descriptor       `json:"subject,omitempty"`
		Annotations   map[string]string `json:"annotations,omitempty"`
	}
)

func (b blob) descriptor(mediaType string) descriptor {
	return descriptor{mediaType, b.digest, len(b.bytes)}
}

// newImage makes an image of blobs, the first of which is its configuration. nonce makes it another one, unless it is "";
// subject makes it a referrer, unless it is nil.
func newImage(blobs []blob, nonce string, subject *image) *image {
	config := blobs[0].descriptor(mediaTypeConfig)
	doc := document{SchemaVersion: 2, MediaType: mediaTypeManifest, Config: &config, Layers: []descriptor{}}
	for _, b := range blobs[1:] {
		doc.Layers = append(doc.Layers, b.descriptor(mediaTypeLayer))
	}
	if subject != nil {
		d := subject.descriptor(subject.mediaType)
		doc.Subject, doc.ArtifactType = &d, "application/vnd.example.signature"
	}
	return doc.image(nonce, blobs, nil)
}

// subject returns the digest of what an image refers to.
func (i *image) subject() string {
	var doc document
	if json.Unmarshal(i.bytes, &doc) != nil || doc.Subject == nil {
		return ""
	}
	return doc.Subject.Digest
}

// newIndex makes an index of images or of other indexes.
func newIndex(children []*image, nonce string) *image {
	doc := document{SchemaVersion: 2, MediaType: mediaTypeIndex}
	for _, c := range children {
		doc.Manifests = append(doc.Manifests, c.descriptor(c.mediaType))
	}
	return doc.image(nonce, nil, children)
}

func (doc document) image(nonce string, blobs []blob, children []*image) *image {
	if nonce != "" {
		doc.Annotations = map[string]string{"org.example.nonce": nonce}
	}
	b, err := json.Marshal(doc)
	if err != nil {
		panic(err) // strings and numbers
	}
	return &image{newBlob(b), doc.MediaType, blobs, children}
}

// needs calls each with the digest of all that an image needs, itself too.
func (i *image) needs(each func(digest string)) {
	each(i.digest)
	for _, b := range i.blobs {
		each(b.digest)
	}
	for _, c := range i.children {
		c.needs(each)
	}
}

// Sizes of what is pushed around: many clients share few blobs, so that each is pushed, needed, let go of, collected and pushed
// again all the time.
const (
	poolBlobs  = 40
	poolImages = 50
	poolRepos  = 10
	poolTags   = 2 // that clients quarrel over, in each repository
	maxBlob    = 300 << 10
)

// pool is the content that all clients share.
type pool struct {
	blobs  []blob
	images []*image // indexes too, one of them nested
	byName map[string]*image
	repos  []string
	tags   []string
}

// newPool makes the content of a seed.
func newPool(r *rand.Rand) *pool {
	p := &pool{byName: map[string]*image{}}
	for i := range poolBlobs {
		size := min(i, 1) * int(float64(maxBlob)*r.Float64()*r.Float64()*r.Float64()) // the first has no bytes
		b := make([]byte, size)
		for j := range b {
			b[j] = byte(r.Uint32())
		}
		p.blobs = append(p.blobs, newBlob(b))
	}
	for range poolImages * 7 / 10 {
		p.images = append(p.images, newImage(p.some(r), "", nil))
	}
	for len(p.images) < poolImages-3 {
		p.images = append(p.images, newIndex(p.children(r, len(p.images)), ""))
	}
	for len(p.images) < poolImages {
		p.images = append(p.images, newIndex([]*image{p.images[r.IntN(5)], p.images[poolImages-4-r.IntN(5)]}, ""))
	}
	for _, i := range p.images {
		p.byName[i.digest] = i
	}
	for i := range poolRepos {
		p.repos = append(p.repos, fmt.Sprintf("team%d/app%d", i%3, i))
	}
	for i := range poolTags {
		p.tags = append(p.tags, fmt.Sprintf("v%d", i))
	}
	return p
}

// some returns a few blobs; some of them are taken far more often than others.
func (p *pool) some(r *rand.Rand) (blobs []blob) {
	seen := map[int]bool{}
	for n := 2 + r.IntN(3); len(blobs) < n; {
		i := int(float64(poolBlobs) * r.Float64() * r.Float64())
		if !seen[i] {
			seen[i] = true
			blobs = append(blobs, p.blobs[i])
		}
	}
	return blobs
}

// children returns a few of the first n images.
func (p *pool) children(r *rand.Rand, n int) (list []*image) {
	for _, i := range r.Perm(min(n, poolImages*7/10))[:2+r.IntN(2)] {
		list = append(list, p.images[i])
	}
	return list
}

// blob returns a blob of the pool by its digest, or none.
func (p *pool) blob(digest string) blob {
	for _, b := range p.blobs {
		if b.digest == digest {
			return b
		}
	}
	return blob{}
}

// pick returns one of a list.
func pick[T any](r *rand.Rand, list []T) T { return list[r.IntN(len(list))] }
