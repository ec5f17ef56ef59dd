package registry

import (
	"bytes"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/opencontainers/go-digest"

	"gatehouse/registry/index"
)

// getBlob serves a blob, or the range of it that was asked for: one look at the index, one opening of the file, no lock. Or it
// says where the client finds it, and asks the driver nothing.
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
	if g.Redirect {
		if to := g.Store.Redirect(c.Context(), stored); to != "" {
			redirect(w, c.digest, to)
			return nil
		}
	}
	if size <= maxSmall {
		return g.getSmall(w, c, stored, size)
	}
	f, err := g.Store.Open(c.Context(), stored, size)
	if err := g.missing.found(err, stored, c.digest); err != nil {
		return err
	}
	defer f.Close()
	return serveBytes(w, c, f, size)
}

// maxSmall is the size of the largest blob that is served from memory, in bytes: the configurations of images, which every pull
// asks for. To open, read and close a file of 4 KiB was a fifth of serving it.
const maxSmall = 16 << 10

// getSmall is the end of getBlob for a small blob, whose bytes are checked when they are read for the first time.
func (g *Registry) getSmall(w http.ResponseWriter, c *call, stored digest.Digest, size int64) error {
	b, err := g.blobs.read(c.Context(), g.Store, stored, size)
	if err := g.missing.found(err, stored, c.digest); err != nil {
		return err
	}
	return serveBytes(w, c, bytes.NewReader(b), size)
}

// serveBytes answers with the bytes of a blob, or the range of them that was asked for.
func serveBytes(w http.ResponseWriter, c *call, content io.ReadSeeker, size int64) error {
	if err := settleRange(c.Request, size); err != nil {
		return err
	}
	blobHeader(w.Header(), c.digest)
	http.ServeContent(w, c.Request, "", time.Time{}, content)
	return nil
}

// redirect sends a client elsewhere for a blob, with distribution's status. The URL is a right to read that ends soon: nobody may
// keep it.
func redirect(w http.ResponseWriter, d digest.Digest, to string) {
	h := w.Header()
	h.Set("Location", to)
	h.Set("Docker-Content-Digest", string(d))
	h.Set("Cache-Control", "no-store")
	h.Set("Content-Length", "0")
	w.WriteHeader(http.StatusTemporaryRedirect)
}

// headBlob answers from the index alone, also where GET redirects. A client that pushes relies on the answer, so it is a
// promise that outlives what needs the blob now.
func (g *Registry) headBlob(w http.ResponseWriter, c *call) error {
	size, err := g.Index.Promise(c.Context(), c.name, c.digest)
	if err != nil {
		return err
	}
	if g.missing.has(c.digest) {
		return index.ErrBlobUnknown
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
