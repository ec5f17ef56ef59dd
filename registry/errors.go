package registry

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"io/fs"
	"net/http"
	"os"
	"strconv"

	"github.com/opencontainers/go-digest"

	"gatehouse/registry/driver"
	"gatehouse/registry/index"
	"gatehouse/registry/index/kv"
	"gatehouse/registry/manifest"
	"gatehouse/registry/store"
)

// code is an error code of the API: its name, its status and what it says by itself. Names and statuses are those of
// distribution 3.1 (registry/api/errcode, registry/api/v2/errors.go), which clients know.
type code struct {
	name    string
	status  int
	message string
}

var (
	codeUnknown             = code{"UNKNOWN", http.StatusInternalServerError, "unknown error"}
	codeUnsupported         = code{"UNSUPPORTED", http.StatusMethodNotAllowed, "The operation is unsupported."}
	codeUnauthorized        = code{"UNAUTHORIZED", http.StatusUnauthorized, "authentication required"}
	codeDenied              = code{"DENIED", http.StatusForbidden, "requested access to the resource is denied"}
	codeTooMany             = code{"TOOMANYREQUESTS", http.StatusTooManyRequests, "too many requests"}
	codeUnavailable         = code{"UNAVAILABLE", http.StatusServiceUnavailable, "service unavailable"}
	codeNoSpace             = code{"UNAVAILABLE", http.StatusInsufficientStorage, "the registry has no room left"}
	codeNotFound            = code{"NOT_FOUND", http.StatusNotFound, "not found"}
	codeTimeout             = code{"BLOB_UPLOAD_INVALID", http.StatusRequestTimeout, "the upload stood still for too long"}
	codeDigestInvalid       = code{"DIGEST_INVALID", http.StatusBadRequest, "provided digest did not match uploaded content"}
	codeSizeInvalid         = code{"SIZE_INVALID", http.StatusBadRequest, "provided length did not match content length"}
	codeRangeInvalid        = code{"RANGE_INVALID", http.StatusRequestedRangeNotSatisfiable, "invalid content range"}
	codeUploadBusy          = code{"RANGE_INVALID", http.StatusRequestedRangeNotSatisfiable, "another request is writing to this upload; ask for its status and go on from there"}
	codeNameInvalid         = code{"NAME_INVALID", http.StatusBadRequest, "invalid repository name"}
	codeTagInvalid          = code{"TAG_INVALID", http.StatusBadRequest, "manifest tag did not match URI"}
	codeTooManyTags         = code{"TAG_INVALID", http.StatusRequestURITooLong, "too many tags"}
	codeNameUnknown         = code{"NAME_UNKNOWN", http.StatusNotFound, "repository name not known to registry"}
	codeManifestUnknown     = code{"MANIFEST_UNKNOWN", http.StatusNotFound, "manifest unknown"}
	codeManifestInvalid     = code{"MANIFEST_INVALID", http.StatusBadRequest, "manifest invalid"}
	codeManifestTooLarge    = code{"MANIFEST_INVALID", http.StatusRequestEntityTooLarge, "manifest too large"}
	codeManifestBlobUnknown = code{"MANIFEST_BLOB_UNKNOWN", http.StatusBadRequest, "blob unknown to registry"}
	codeBlobUnknown         = code{"BLOB_UNKNOWN", http.StatusNotFound, "blob unknown to registry"}
	codeUploadUnknown       = code{"BLOB_UPLOAD_UNKNOWN", http.StatusNotFound, "blob upload unknown to registry"}
	codeUploadInvalid       = code{"BLOB_UPLOAD_INVALID", http.StatusBadRequest, "blob upload invalid"}
	codePagination          = code{"PAGINATION_NUMBER_INVALID", http.StatusBadRequest, "invalid number of results requested"}
)

// meanings is what errors of the packages below mean to a client. What is not listed is a 500 without detail, and logged.
var meanings = []struct {
	err  error
	code code
}{
	{index.ErrBlobUnknown, codeBlobUnknown},
	{index.ErrManifestUnknown, codeManifestUnknown},
	{index.ErrNameUnknown, codeNameUnknown},
	{index.ErrCollected, codeUnavailable},
	{store.ErrUploadUnknown, codeUploadUnknown},
	{store.ErrUploadBusy, codeUploadBusy},
	{store.ErrDigestMismatch, codeDigestInvalid},
	{driver.ErrNoSpace, codeNoSpace},
	{kv.ErrNoSpace, codeNoSpace},
	{driver.ErrReadOnly, codeUnavailable},
	{driver.ErrUnavailable, codeUnavailable},
}

// apiError is an error that a client is told: code and detail are for everybody, cause is for the log.
type apiError struct {
	code    code
	detail  any
	cause   error
	headers map[string]string
}

func (e *apiError) Error() string {
	if e.cause != nil {
		return e.code.message + ": " + e.cause.Error()
	}
	return e.code.message
}

func (e *apiError) Unwrap() error { return e.cause }

// problem returns an error of a code; detail says more, or "" for none.
func problem(c code, detail string) *apiError {
	e := &apiError{code: c}
	if detail != "" {
		e.detail = detail
	}
	return e
}

// unavailable is for what could not be found out: 503, and the cause is logged.
func unavailable(cause error, detail string) *apiError {
	e := problem(codeUnavailable, detail).retryAfter("5")
	e.cause = cause
	return e
}

func (e *apiError) retryAfter(seconds string) *apiError { return e.with("Retry-After", seconds) }

// with adds a header to the answer.
func (e *apiError) with(name, value string) *apiError {
	if e.headers == nil {
		e.headers = make(map[string]string)
	}
	e.headers[name] = value
	return e
}

// methodError is a method that the endpoint does not have; it holds those it has.
type methodError struct{ allowed string }

func (e methodError) Error() string { return "method not allowed, only " + e.allowed }

// oneError and errorBody are the specification's "Error codes" document.
type oneError struct {
	Code    string `json:"code"`
	Message string `json:"message"`
	Detail  any    `json:"detail,omitempty"`
}

type errorBody struct {
	Errors []oneError `json:"errors"`
}

// maxMissing is how many missing digests one answer names.
const maxMissing = 100

// writeError answers a request with an error. The only place that does.
func (g *Registry) writeError(w http.ResponseWriter, r *http.Request, route route, err error) {
	if r.Context().Err() != nil && errors.Is(err, context.Canceled) {
		return // nobody is there to read it
	}
	status, list := explain(w.Header(), route, err)
	if status >= http.StatusInternalServerError {
		g.Log.ErrorContext(r.Context(), "request failed", "method", r.Method, "path", r.URL.Path, "status", status, "err", err)
	}
	if err := writeJSON(w, status, errorBody{list}); err != nil {
		g.Log.DebugContext(r.Context(), "writing an error failed", "err", err)
	}
}

// explain returns the status and the document for an error, and sets the headers that belong to it.
func explain(h http.Header, route route, err error) (status int, list []oneError) {
	var (
		known      *apiError
		denied     *challenge
		method     methodError
		missing    *index.MissingError
		referenced *index.ReferencedError
		source     *store.SourceError
		invalid    *manifest.InvalidError
		policy     *manifest.DeniedError
	)
	switch {
	case errors.As(err, &known):
	case errors.As(err, &denied):
		h.Set("WWW-Authenticate", denied.header())
		known = &apiError{code: codeUnauthorized, detail: denied.detail()}
		known.code.message = cmp.Or(denied.message, known.code.message)
	case errors.As(err, &method):
		h.Set("Allow", method.allowed)
		known = problem(codeUnsupported, "")
	case errors.As(err, &missing):
		for _, d := range missing.Digests[:min(len(missing.Digests), maxMissing)] {
			list = append(list, oneError{codeManifestBlobUnknown.name, codeManifestBlobUnknown.message, map[string]digest.Digest{"digest": d}})
		}
		return codeManifestBlobUnknown.status, list
	case errors.As(err, &invalid):
		known = problem(codeManifestInvalid, invalid.Reason)
	case errors.As(err, &policy):
		known = problem(codeDenied, policy.Reason)
	case errors.As(err, &referenced):
		known = problem(codeUnsupported, referenced.Error())
	case errors.As(err, &source):
		known = problem(codeUploadInvalid, "the request body ended early")
		if errors.Is(err, os.ErrDeadlineExceeded) {
			known = problem(codeTimeout, "")
		}
	default:
		known = meaning(route, err)
	}
	for name, value := range known.headers {
		h.Set(name, value)
	}
	return known.code.status, []oneError{{known.code.name, known.code.message, known.detail}}
}

// meaning looks an error up in the table. What is missing is named: docker, skopeo and podman show a message only beside a
// detail.
func meaning(route route, err error) *apiError {
	for _, m := range meanings {
		if errors.Is(err, m.err) {
			e := &apiError{code: m.code}
			if m.code.status == http.StatusNotFound {
				e.detail = route.detail()
			}
			if m.code.status >= http.StatusInternalServerError {
				e.retryAfter("30")
			}
			return e
		}
	}
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, store.ErrDamaged) {
		return problem(codeUnknown, "the stored bytes are missing or damaged; pushing them again repairs it")
	}
	return problem(codeUnknown, "")
}

// detail names what a request was about.
func (r route) detail() map[string]string {
	d := map[string]string{"name": r.name}
	switch {
	case r.tag != "":
		d["tag"] = r.tag
	case r.digest != "":
		d["digest"] = string(r.digest)
	case r.upload != "":
		d["upload"] = r.upload
	}
	return d
}

// writeJSON answers with a document.
func writeJSON(w http.ResponseWriter, status int, document any) error {
	return writeDocument(w, status, "application/json", document)
}

// writeDocument answers with a document in JSON that has a media type of its own.
func writeDocument(w http.ResponseWriter, status int, mediaType string, document any) error {
	b, err := json.Marshal(document)
	if err != nil {
		return err
	}
	b = append(b, '\n')
	w.Header().Set("Content-Type", mediaType)
	w.Header().Set("Content-Length", strconv.Itoa(len(b)))
	w.WriteHeader(status)
	_, err = w.Write(b)
	return err
}
