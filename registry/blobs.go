package registry

import (
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/opencontainers/go-digest"
)

// getBlob serves a blob, or the range of it that was asked for: one look at the index, one opening of the file, no lock.
func (g *Registry) getBlob(w http.ResponseWriter, c *call) error {
	stored, size, err := g.Index.Locate(c.Context(), c.name, c.digest)
	if err != nil {
		return err
	}
	if matches(c.Header.Get("If-None-Match"), c.digest) {
		blobHeader(w.Header(), c.digest)
		w.WriteHeader(http.StatusNotModified)
		return nil
	}
	f, err := g.Store.Open(c.Context(), stored, size)
	if err != nil {
		return err
	}
	defer f.Close()
	blobHeader(w.Header(), c.digest)
	http.ServeContent(w, c.Request, "", time.Time{}, f)
	return nil
}

// headBlob answers from the index alone.
func (g *Registry) headBlob(w http.ResponseWriter, c *call) error {
	size, err := g.Index.Blob(c.Context(), c.name, c.digest)
	if err != nil {
		return err
	}
	blobHeader(w.Header(), c.digest)
	if matches(c.Header.Get("If-None-Match"), c.digest) {
		w.WriteHeader(http.StatusNotModified)
		return nil
	}
	w.Header().Set("Accept-Ranges", "bytes")
	w.Header().Set("Content-Length", strconv.FormatInt(size, 10))
	w.WriteHeader(http.StatusOK)
	return nil
}

// deleteBlob takes a blob away from the repository. Its bytes stay until nothing needs them.
func (g *Registry) deleteBlob(w http.ResponseWriter, c *call) error {
	if err := g.Index.UnlinkBlob(c.Context(), c.name, c.digest); err != nil {
		return err
	}
	w.WriteHeader(http.StatusAccepted)
	return nil
}

// blobHeader sets the header of a blob, which is the same for ever.
func blobHeader(h http.Header, d digest.Digest) {
	h.Set("Docker-Content-Digest", string(d))
	h.Set("Etag", `"`+string(d)+`"`)
	h.Set("Cache-Control", "max-age=31536000")
	h.Set("Content-Type", "application/octet-stream")
}

// matches reports whether an If-None-Match header names a digest, quoted as an ETag is or, as some clients have it, bare.
func matches(header string, d digest.Digest) bool {
	for tag := range strings.SplitSeq(header, ",") {
		tag = strings.TrimPrefix(strings.TrimSpace(tag), "W/")
		if strings.Trim(tag, `"`) == string(d) || tag == "*" {
			return true
		}
	}
	return false
}
