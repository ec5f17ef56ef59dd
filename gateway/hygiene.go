package gateway

import (
	"net/http"
	"net/url"
	"strings"
)

// refusal is why a request gets no handler.
type refusal struct {
	status        int
	code, message string
}

// hygiene refuses what two readers of a request could read differently, before anybody routes or authorizes by it: a path
// that is not in its one canonical form, and methods that are not about a resource. No name, tag or digest of a registry
// needs an encoded slash, a backslash, a control character, or an empty or dotted segment; so there is nothing to repair.
// nil means clean.
func hygiene(r *http.Request) *refusal {
	switch r.Method {
	case http.MethodConnect, http.MethodTrace:
		return &refusal{http.StatusMethodNotAllowed, codeUnsupported, "method not allowed"}
	}
	if !canonical(r.URL) {
		return &refusal{http.StatusBadRequest, codeName, "path is not in canonical form"}
	}
	return nil
}

// canonical reports whether the decoded path is absolute and free of what hygiene refuses.
func canonical(u *url.URL) bool {
	// RawPath is set only where decoding lost something; an encoded slash is the case that matters.
	if strings.Contains(u.RawPath, "%2f") || strings.Contains(u.RawPath, "%2F") {
		return false
	}
	path := u.Path
	if path == "" || path[0] != '/' {
		return false
	}
	for i := range len(path) {
		c := path[i]
		if c < ' ' || c == 0x7f || c == '\\' {
			return false
		}
		// Behind a slash: a slash, or one or two dots and then a slash or the end.
		if c != '/' {
			continue
		}
		rest := path[i+1:]
		if strings.HasPrefix(rest, "/") {
			return false
		}
		rest = strings.TrimPrefix(rest, ".")
		dotted := len(rest) < len(path)-i-1
		if dotted {
			rest = strings.TrimPrefix(rest, ".")
		}
		if dotted && (rest == "" || rest[0] == '/') {
			return false
		}
	}
	return true
}
