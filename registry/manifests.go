package registry

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"time"

	"github.com/opencontainers/go-digest"

	"gatehouse/registry/index"
	"gatehouse/registry/manifest"
	"gatehouse/registry/store"
)

// getManifest serves a manifest by tag or digest, exactly as it was pushed and with the type it was pushed with.
func (g *Registry) getManifest(w http.ResponseWriter, c *call) error {
	m, err := g.findManifest(c)
	if err != nil {
		return err
	}
	if c.Method == http.MethodHead && g.missing.has(m.Digest) {
		return index.ErrManifestUnknown
	}
	h := w.Header()
	h.Set("Docker-Content-Digest", string(m.Digest))
	h.Set("Etag", `"`+string(m.Digest)+`"`)
	if matches(c.Header.Get("If-None-Match"), m.Digest) {
		w.WriteHeader(http.StatusNotModified)
		return nil
	}
	h.Set("Content-Type", m.MediaType)
	h.Set("Content-Length", strconv.FormatInt(m.Size, 10))
	if c.Method == http.MethodHead {
		w.WriteHeader(http.StatusOK)
		return nil
	}
	b, err := g.manifests.read(c.Context(), g.Store, m.Digest, m.Size)
	if err := g.missing.found(err, m.Digest); err != nil {
		return err
	}
	w.WriteHeader(http.StatusOK)
	_, _ = w.Write(b) // a client that has gone needs no answer
	return nil
}

func (g *Registry) findManifest(c *call) (index.Manifest, error) {
	if c.tag != "" {
		return g.Index.Tagged(c.Context(), c.name, c.tag)
	}
	if c.Method == http.MethodHead { // who pushes an index relies on the answer for its children
		return g.Index.PromiseManifest(c.Context(), c.name, c.digest)
	}
	return g.Index.Manifest(c.Context(), c.name, c.digest)
}

// putManifest takes a manifest: its bytes durable, then its names in one transaction, then 201.
func (g *Registry) putManifest(w http.ResponseWriter, c *call) error {
	body, err := readManifest(w, c.Request)
	if err != nil {
		return err
	}
	m, err := g.Manifests.Parse(c.Header.Get("Content-Type"), body)
	if err != nil {
		return err
	}
	tags, err := c.tags()
	if err != nil {
		return err
	}
	m.Digest = digest.FromBytes(body)
	if c.tag == "" {
		if m.Digest = c.digest.Algorithm().FromBytes(body); m.Digest != c.digest {
			return problem(codeDigestInvalid, "the manifest's digest is "+string(m.Digest))
		}
	}
	m.PushedBy = c.account
	if err := g.keepManifest(context.WithoutCancel(c.Context()), c.name, m, body, tags); err != nil {
		return err
	}
	h := w.Header()
	h.Set("Location", g.Origin(c.Request)+"/v2/"+c.name+"/manifests/"+string(m.Digest))
	h.Set("Docker-Content-Digest", string(m.Digest))
	h.Set("Content-Length", "0")
	if c.tag == "" {
		for _, tag := range tags {
			h.Add("OCI-Tag", tag)
		}
	}
	if m.Subject != "" {
		h.Set("OCI-Subject", string(m.Subject))
	}
	w.WriteHeader(http.StatusCreated)
	return nil
}

// maxTags is how many tags one push of a manifest may set.
const maxTags = 100

// tags returns the tags that a push sets: the one in the URL, or, beside a digest, those of its query.
func (c *call) tags() ([]string, error) {
	if c.tag != "" {
		return []string{c.tag}, nil
	}
	tags := c.URL.Query()["tag"]
	if len(tags) > maxTags {
		return nil, problem(codeTooManyTags, fmt.Sprintf("a push sets at most %d tags", maxTags))
	}
	for _, tag := range tags {
		if !validTag(tag) {
			return nil, invalidTag()
		}
	}
	return tags, nil
}

// manifestTimeout is enough for the largest manifest at 14 KiB a second.
const manifestTimeout = 5 * time.Minute

// readManifest reads the body of a manifest, which may be manifest.MaxSize bytes long whatever its header says.
// It has manifestTimeout for all of it: what is silent for long is cut elsewhere, but a byte now and then would do.
func readManifest(w http.ResponseWriter, r *http.Request) ([]byte, error) {
	_ = http.NewResponseController(w).SetReadDeadline(time.Now().Add(manifestTimeout)) // where the writer can
	if r.ContentLength > manifest.MaxSize {
		return nil, tooLarge()
	}
	body, err := io.ReadAll(io.LimitReader(r.Body, manifest.MaxSize+1))
	switch {
	case err != nil:
		return nil, &store.SourceError{Err: err}
	case len(body) > manifest.MaxSize:
		return nil, tooLarge()
	}
	return body, nil
}

func tooLarge() error {
	return problem(codeManifestTooLarge, fmt.Sprintf("a manifest has at most %d bytes", manifest.MaxSize))
}

// deleteManifest takes a tag away, or a manifest with all tags that point to it.
func (g *Registry) deleteManifest(w http.ResponseWriter, c *call) error {
	err := error(nil)
	if c.tag != "" {
		err = g.Index.DeleteTag(c.Context(), c.name, c.tag, c.account)
	} else {
		err = g.Index.DeleteManifest(c.Context(), c.name, c.digest, c.account)
	}
	if err != nil {
		return err
	}
	w.WriteHeader(http.StatusAccepted)
	return nil
}
