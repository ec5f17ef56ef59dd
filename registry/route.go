package registry

import (
	"net/http"
	"net/url"
	"strings"

	"github.com/google/uuid"
	"github.com/opencontainers/go-digest"

	"gatehouse/registry/manifest"
)

// kind is a shape of URL in the API.
type kind int

const (
	kindBase      kind = iota // /v2/
	kindCatalog               // /v2/_catalog
	kindTags                  // /v2/<name>/tags/list
	kindManifest              // /v2/<name>/manifests/<reference>
	kindBlob                  // /v2/<name>/blobs/<digest>
	kindUploads               // /v2/<name>/blobs/uploads/
	kindUpload                // /v2/<name>/blobs/uploads/<id>
	kindReferrers             // /v2/<name>/referrers/<digest>
)

// labels are distribution's names of these routes, as its metrics have them.
var labels = [...]string{
	kindBase: "base", kindCatalog: "catalog", kindTags: "tags", kindManifest: "manifest", kindBlob: "blob",
	kindUploads: "blob_upload", kindUpload: "blob_upload_chunk", kindReferrers: "referrers",
}

// route is a URL of the API, taken apart. What it holds is valid: a name, a tag and a digest follow their grammar.
type route struct {
	kind   kind
	name   string        // of the repository
	tag    string        // of kindManifest, unless digest is set
	digest digest.Digest // of kindBlob, kindManifest and kindReferrers
	upload string        // of kindUpload: a UUID in canonical form
}

// parse takes the path of a URL apart. Names are what is left when the fixed parts behind them are taken off, since they
// hold slashes; "tags", "manifests" and "blobs" may be components of a name, so the last one counts. prefix is what stands
// before /v2.
func parse(prefix string, u *url.URL) (route, error) {
	path, ok := strings.CutPrefix(u.Path, prefix)
	if ok {
		path, ok = strings.CutPrefix(path, "/v2")
	}
	switch {
	case ok && (path == "" || path == "/"):
		return route{kind: kindBase}, nil
	case ok && path == "/_catalog":
		return route{kind: kindCatalog}, nil
	case !ok || path[0] != '/':
		return route{}, problem(codeNotFound, "no such endpoint")
	}
	path = path[1:]

	if name, ok := strings.CutSuffix(path, "/tags/list"); ok {
		return named(route{kind: kindTags}, name)
	}
	dir, last := splitLast(path)
	switch name, parent := splitLast(dir); {
	case parent == "manifests":
		return parseReference(name, last)
	case parent == "blobs" && last == "uploads":
		return named(route{kind: kindUploads}, name)
	case parent == "blobs", parent == "referrers":
		d, err := parseDigest(last)
		if err != nil {
			return route{}, err
		}
		r := route{kind: kindBlob, digest: d}
		if parent == "referrers" {
			r.kind = kindReferrers
		}
		return named(r, name)
	case parent == "uploads":
		return parseUpload(name, last)
	}
	return route{}, problem(codeNotFound, "no such endpoint")
}

// parseReference takes a manifest's URL: what has a colon is a digest, else it is a tag.
func parseReference(name, reference string) (route, error) {
	if strings.Contains(reference, ":") {
		d, err := parseDigest(reference)
		if err != nil {
			return route{}, err
		}
		return named(route{kind: kindManifest, digest: d}, name)
	}
	if !validTag(reference) {
		return route{}, invalidTag()
	}
	return named(route{kind: kindManifest, tag: reference}, name)
}

func invalidTag() error {
	return problem(codeTagInvalid, "a tag is 1 to 128 letters, digits, '_', '.' or '-', not beginning with '.' or '-'")
}

// parseUpload takes the URL of an upload, whose folder above "uploads" is <name>/blobs. Without an id it is where uploads
// begin. Ids are made here, so that one of another form is simply not known.
func parseUpload(folder, id string) (route, error) {
	name, parent := splitLast(folder)
	if parent != "blobs" {
		return route{}, problem(codeNotFound, "no such endpoint")
	}
	if id == "" {
		return named(route{kind: kindUploads}, name)
	}
	if u, err := uuid.Parse(id); err != nil || u.String() != id {
		return route{}, problem(codeUploadUnknown, "")
	}
	return named(route{kind: kindUpload, upload: id}, name)
}

func named(r route, name string) (route, error) {
	if !validName(name) {
		return route{}, problem(codeNameInvalid, "a repository name is lower-case letters and digits, with single '.', '_', '__' or dashes between them, in components separated by '/', 255 characters at most")
	}
	r.name = name
	return r, nil
}

// splitLast splits at the last slash.
func splitLast(path string) (dir, last string) {
	i := strings.LastIndexByte(path, '/')
	if i < 0 {
		return "", path
	}
	return path[:i], path[i+1:]
}

// validName reports whether a repository's name follows the specification's grammar
// ("Pulling manifests": [a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*(\/[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*)*).
func validName(name string) bool {
	if len(name) > 255 {
		return false
	}
	for component := range strings.SplitSeq(name, "/") {
		if !validComponent(component) {
			return false
		}
	}
	return true
}

func validComponent(s string) bool {
	for {
		n := 0
		for n < len(s) && alphanumeric(s[n]) {
			n++
		}
		if n == 0 {
			return false
		}
		if s = s[n:]; s == "" {
			return true
		}
		switch {
		case s[0] == '-':
			s = strings.TrimLeft(s, "-")
		case strings.HasPrefix(s, "__"):
			s = s[2:]
		case s[0] == '.' || s[0] == '_':
			s = s[1:]
		default:
			return false
		}
	}
}

func alphanumeric(b byte) bool { return 'a' <= b && b <= 'z' || '0' <= b && b <= '9' }

// validTag reports whether a tag follows the specification's grammar: [a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}.
func validTag(tag string) bool {
	for i := range len(tag) {
		switch b := tag[i]; {
		case alphanumeric(b), 'A' <= b && b <= 'Z', b == '_':
		case i > 0 && (b == '.' || b == '-'):
		default:
			return false
		}
	}
	return tag != "" && len(tag) <= 128
}

// parseDigest takes the digest of a URL.
func parseDigest(s string) (digest.Digest, error) {
	d, err := manifest.ParseDigest(s)
	if err != nil {
		return "", problem(codeDigestInvalid, err.Error())
	}
	return d, nil
}

// Label names the endpoint of a request as distribution's metrics do, "other" for what is none.
func (g *Registry) Label(r *http.Request) string {
	route, err := parse(g.Prefix, r.URL)
	if err != nil {
		return "other"
	}
	return labels[route.kind]
}
