package registry

import (
	"net/http"
	"slices"
	"strings"
)

// endpoint is a row of the API's table. Rows are written without field names, so that one without its need does not compile.
type endpoint struct {
	id      string // in the specification's table of endpoints
	method  string
	kind    kind
	need    need // what the account must be allowed
	deletes bool // refused unless deletion is enabled
	serve   func(*Registry, http.ResponseWriter, *call) error
}

// endpoints is the API.
var endpoints = [...]endpoint{
	{"end-1", http.MethodGet, kindBase, needsAccount, false, (*Registry).getBase},
	{"end-1", http.MethodHead, kindBase, needsAccount, false, (*Registry).getBase},
	{"end-2", http.MethodGet, kindBlob, needsPull, false, (*Registry).getBlob},
	{"end-2", http.MethodHead, kindBlob, needsPull, false, (*Registry).headBlob},
	{"end-3", http.MethodGet, kindManifest, needsPull, false, (*Registry).getManifest},
	{"end-3", http.MethodHead, kindManifest, needsPull, false, (*Registry).getManifest},
	{"end-4a", http.MethodPost, kindUploads, needsPushOrMount, false, (*Registry).postUpload}, // end-4b and end-11 too
	{"end-5", http.MethodPatch, kindUpload, needsPush, false, (*Registry).patchUpload},
	{"end-6", http.MethodPut, kindUpload, needsPush, false, (*Registry).putUpload},
	{"end-7", http.MethodPut, kindManifest, needsPush, false, (*Registry).putManifest},
	{"end-8a", http.MethodGet, kindTags, needsPull, false, (*Registry).getTags},
	{"end-9", http.MethodDelete, kindManifest, needsDelete, true, (*Registry).deleteManifest},
	{"end-10", http.MethodDelete, kindBlob, needsDelete, true, (*Registry).deleteBlob},
	{"end-12a", http.MethodGet, kindReferrers, needsPull, false, (*Registry).getReferrers},
	{"end-13", http.MethodGet, kindUpload, needsPush, false, (*Registry).getUpload},
	{"end-13", http.MethodHead, kindUpload, needsPush, false, (*Registry).getUpload},
	{"end-14", http.MethodDelete, kindUpload, needsPush, false, (*Registry).deleteUpload},
	{"docker", http.MethodGet, kindCatalog, needsCatalog, false, (*Registry).getCatalog},
}

// find returns the row for a method and a kind of URL.
func find(method string, k kind) (*endpoint, error) {
	var allowed []string
	for i := range endpoints {
		if e := &endpoints[i]; e.kind == k {
			if e.method == method {
				return e, nil
			}
			allowed = append(allowed, e.method)
		}
	}
	slices.Sort(allowed)
	return nil, methodError{strings.Join(allowed, ", ")}
}

// getBase answers that this is a registry, to those who may use it.
func (g *Registry) getBase(w http.ResponseWriter, _ *call) error {
	return writeJSON(w, http.StatusOK, struct{}{})
}
