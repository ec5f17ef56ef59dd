package registry

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"github.com/opencontainers/go-digest"

	"gatehouse/registry/index"
	"gatehouse/registry/store"
	"gatehouse/tokenserver/token"
)

// postUpload begins an upload, or saves one: a blob that the account may pull elsewhere is mounted, and one that comes with
// the request and its digest is taken at once.
func (g *Registry) postUpload(w http.ResponseWriter, c *call) error {
	query := c.URL.Query()
	if query.Get("mount") != "" {
		mounted, err := g.mount(w, c, query.Get("mount"), query.Get("from"))
		if mounted || err != nil {
			return err
		}
	}
	id := newSession()
	if query.Has("digest") {
		d, err := parseDigest(query.Get("digest"))
		if err != nil {
			return err
		}
		g.Store.Begin(c.name, id, d.Algorithm())
		u, err := g.Store.Upload(c.Context(), c.name, id, d.Algorithm())
		if err != nil {
			return err
		}
		defer u.Release()
		if err := g.take(w, c, u); err != nil {
			u.Cancel(context.WithoutCancel(c.Context()))
			return err
		}
		return nil
	}
	algorithm, err := c.algorithm()
	if err != nil {
		return err
	}
	g.Store.Begin(c.name, id, algorithm)
	g.uploadHeader(w.Header(), c, id, 0)
	w.WriteHeader(http.StatusAccepted)
	return nil
}

// algorithm returns what the upload's digest will be of: sha256 unless its URL says otherwise (specification, end-4c).
func (c *call) algorithm() (digest.Algorithm, error) {
	switch a := digest.Algorithm(c.URL.Query().Get("digest-algorithm")); a {
	case "", digest.SHA256:
		return digest.SHA256, nil
	case digest.SHA512:
		return a, nil
	}
	return "", problem(codeDigestInvalid, "digest-algorithm is sha256 or sha512")
}

// mount lets the repository serve a blob of another one: the one that is named, else any that the account may pull from. What
// cannot be mounted is no error: it is uploaded then.
func (g *Registry) mount(w http.ResponseWriter, c *call, mount, from string) (done bool, err error) {
	d, err := parseDigest(mount)
	if err != nil {
		return false, err
	}
	if g.missing.has(d) {
		return false, nil
	}
	sources := []string{from}
	if from == "" {
		if sources, err = g.sources(c, d); err != nil {
			return false, err
		}
	} else if !g.mayPull(c, from) {
		return false, nil
	}
	for _, source := range sources {
		switch err := g.adopt(c.Context(), source, false); {
		case err != nil && from == "": // no reason to refuse a push to another repository
			continue
		case err != nil:
			return false, err
		}
		switch err := g.Index.Mount(c.Context(), c.name, source, d); {
		case errors.Is(err, index.ErrBlobUnknown):
		case err != nil:
			return false, err
		default:
			g.created(w, c, d)
			return true, nil
		}
	}
	return false, nil
}

// maxSources is in how many repositories a blob is looked for that is mounted from nowhere in particular.
const maxSources = 100

// sources returns repositories that the account may pull from and that may have a blob: those in its grants, and those that
// have it and that the access rules let it pull from. What nobody asked for by name is never let known: without the right to
// pull, a blob that is there and one that is nowhere have the same answer.
func (g *Registry) sources(c *call, d digest.Digest) (names []string, err error) {
	for i := range c.grants.access {
		a := &c.grants.access[i]
		pulls := a.Type == "repository" && token.Allows(c.grants.access[i:i+1], a.Type, a.Name, "pull")
		if pulls && validName(a.Name) && len(names) < maxSources {
			names = append(names, a.Name)
		}
	}
	if !c.grants.everything && g.Auth.May == nil {
		return names, nil
	}
	holders, err := g.Index.Holders(c.Context(), d, maxSources)
	for _, name := range holders {
		if g.mayPull(c, name) {
			names = append(names, name)
		}
	}
	return names, err
}

// getUpload says how far an upload is.
func (g *Registry) getUpload(w http.ResponseWriter, c *call) error {
	algorithm, err := g.mayUpload(c)
	if err != nil {
		return err
	}
	size, err := g.Store.Status(c.Context(), c.name, c.upload, algorithm)
	if err != nil {
		return err
	}
	g.uploadHeader(w.Header(), c, c.upload, size)
	w.WriteHeader(http.StatusNoContent)
	return nil
}

// patchUpload adds to an upload.
func (g *Registry) patchUpload(w http.ResponseWriter, c *call) error {
	u, err := g.upload(c)
	if err != nil {
		return err
	}
	defer u.Release()
	if err := g.add(w, c, u); err != nil {
		return err
	}
	g.uploadHeader(w.Header(), c, c.upload, u.Size())
	w.WriteHeader(http.StatusAccepted)
	return nil
}

// putUpload adds what comes with the request, if anything, and makes a blob of the upload.
func (g *Registry) putUpload(w http.ResponseWriter, c *call) error {
	u, err := g.upload(c)
	if err != nil {
		return err
	}
	defer u.Release()
	return g.take(w, c, u)
}

// deleteUpload gives an upload up.
func (g *Registry) deleteUpload(w http.ResponseWriter, c *call) error {
	u, err := g.upload(c)
	if err != nil {
		return err
	}
	defer u.Release()
	u.Cancel(c.Context())
	w.WriteHeader(http.StatusNoContent)
	return nil
}

// upload returns the session that a request is about.
func (g *Registry) upload(c *call) (*store.Upload, error) {
	algorithm, err := g.mayUpload(c)
	if err != nil {
		return nil, err
	}
	return g.Store.Upload(c.Context(), c.name, c.upload, algorithm)
}

// add appends the body of a request to an upload. A chunk must begin where the upload ends.
func (g *Registry) add(w http.ResponseWriter, c *call, u *store.Upload) error {
	body := io.Reader(c.Body)
	if header := c.Header.Get("Content-Range"); header != "" {
		first, last, err := parseContentRange(header)
		if err != nil {
			return problem(codeRangeInvalid, err.Error())
		}
		if first != u.Size() {
			g.uploadHeader(w.Header(), c, c.upload, u.Size())
			return problem(codeRangeInvalid, fmt.Sprintf("the upload has %d bytes, the chunk begins at %d", u.Size(), first))
		}
		if c.ContentLength >= 0 && c.ContentLength != last-first+1 {
			return problem(codeSizeInvalid, fmt.Sprintf("Content-Range names %d bytes, Content-Length %d", last-first+1, c.ContentLength))
		}
		body = io.LimitReader(body, last-first+1)
	}
	if c.ContentLength == 0 {
		return nil
	}
	return u.Append(c.Context(), body)
}

// take adds the body of a request to an upload and makes the blob of its "digest" of it: durable, then named, then 201.
func (g *Registry) take(w http.ResponseWriter, c *call, u *store.Upload) error {
	d, err := parseDigest(c.URL.Query().Get("digest"))
	if err != nil {
		return err
	}
	u.Expect(d)
	if err := g.add(w, c, u); err != nil {
		return err
	}
	ctx := context.WithoutCancel(c.Context()) // what is complete is kept, even if the client has gone
	if err := g.keepBlob(ctx, c.name, u, d); err != nil {
		return err
	}
	g.created(w, c, d)
	return nil
}

// created answers that the repository has a blob.
func (g *Registry) created(w http.ResponseWriter, c *call, d digest.Digest) {
	h := w.Header()
	h.Set("Location", g.Origin(c.Request)+"/v2/"+c.name+"/blobs/"+string(d))
	h.Set("Docker-Content-Digest", string(d))
	h.Set("Content-Length", "0")
	w.WriteHeader(http.StatusCreated)
}

// uploadHeader sets where an upload goes on, and how far it is. "0-0" stands for nothing, as distribution has it.
func (g *Registry) uploadHeader(h http.Header, c *call, id string, size int64) {
	query := url.Values{"_state": {base64.RawURLEncoding.EncodeToString(g.uploadState(c.name, id, c.account))}}
	if a := c.URL.Query().Get("digest-algorithm"); a != "" {
		query.Set("digest-algorithm", a)
	}
	h.Set("Location", g.Origin(c.Request)+"/v2/"+c.name+"/blobs/uploads/"+id+"?"+query.Encode())
	h.Set("Docker-Upload-Uuid", id)
	h.Set("Range", "0-"+strconv.FormatInt(max(size-1, 0), 10))
	h.Set("Content-Length", "0")
}

// parseContentRange takes "<first>-<last>", the specification's form, with or without RFC 9110's "bytes " and "/<length>".
func parseContentRange(header string) (first, last int64, err error) {
	s := strings.TrimPrefix(header, "bytes ")
	s, _, _ = strings.Cut(s, "/")
	a, b, _ := strings.Cut(s, "-")
	f, errFirst := strconv.ParseUint(a, 10, 62)
	l, errLast := strconv.ParseUint(b, 10, 62)
	if errFirst != nil || errLast != nil || l < f {
		return 0, 0, errors.New("Content-Range is <first byte>-<last byte>")
	}
	return int64(f), int64(l), nil
}
