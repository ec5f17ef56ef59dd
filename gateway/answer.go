package gateway

import (
	"encoding/json"
	"net/http"
	"strings"
)

// Codes of the gateway's own errors: the OCI distribution specification's and distribution's where they have one.
const (
	codeName        = "NAME_INVALID"
	codeNotFound    = "NOT_FOUND"
	codeUnsupported = "UNSUPPORTED"
	codeTimeout     = "REQUEST_TIMEOUT"
	codeUnknown     = "UNKNOWN"
)

// ociErrors is the body of an error answer (OCI distribution specification, Error Codes).
type ociErrors struct {
	Errors []ociError `json:"errors"`
}

// ociError is one error of it.
type ociError struct {
	Code    string `json:"code"`
	Message string `json:"message"`
}

// versionHeader tells docker, on every answer of the registry API's, that a registry speaks.
const versionHeader, version = "Docker-Distribution-Api-Version", "registry/2.0"

// isV2 reports whether path is the registry API's, which is below prefix.
func isV2(prefix, path string) bool {
	rest, ok := strings.CutPrefix(path, prefix)
	return ok && (rest == "/v2" || strings.HasPrefix(rest, "/v2/"))
}

// fail answers with an error of the gateway's own. Nothing may have been written yet; what the handler has put into the
// header is dropped. Where the request's body ended in the middle, net/http closes an HTTP/1 connection by itself.
func (x *exchange) fail(status int, code, message string) {
	h := x.w.Header()
	clear(h)
	if x.v2 {
		h.Set(versionHeader, version)
	}
	h.Set("Content-Type", "application/json")
	if status == http.StatusMethodNotAllowed {
		h.Set("Allow", "GET, HEAD, POST, PUT, PATCH, DELETE")
	}
	body, err := json.Marshal(ociErrors{[]ociError{{code, message}}})
	if err != nil {
		panic(err) // two strings are always JSON
	}
	x.writeHeader(status)
	_, _ = x.write(body) // whether the client still reads it changes nothing
}
