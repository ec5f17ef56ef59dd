package tokenserver

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"strconv"
	"strings"
	"time"

	"gatehouse/tokenserver/token"
)

// answer is the JSON of a token. There is no issued_at: clients then count from when they got it, by their own clock.
type answer struct {
	Token       string `json:"token"`
	AccessToken string `json:"access_token"`
	ExpiresIn   int64  `json:"expires_in"`
	// What OAuth2 wants besides (RFC 6749 section 5.1).
	Type  string  `json:"token_type,omitempty"`
	Scope *string `json:"scope,omitempty"`
}

func newAnswer(raw string, lifetime time.Duration, granted []token.Access, oauth bool) *answer {
	a := &answer{Token: raw, AccessToken: raw, ExpiresIn: int64(lifetime / time.Second)}
	if oauth {
		texts := make([]string, len(granted))
		for i, g := range granted {
			texts[i] = g.String()
		}
		scope := strings.Join(texts, " ")
		a.Type, a.Scope = "Bearer", &scope
	}
	return a
}

// refusal is an answer that is no token, in the words of both kinds of clients. It is for the client to read.
type refusal struct {
	status int
	// code is one of distribution's error codes, oauth one of RFC 6749 section 5.2 or its kin.
	code, oauth, message string
	// reason is the label of the metric.
	reason string
}

func (r refusal) Error() string { return r.message }

// The table of refusals. 401 and never 403: clients ask again with other credentials only after a 401.
var (
	wrongMethod = refusal{http.StatusMethodNotAllowed, "UNSUPPORTED", "invalid_request", "a token is asked for with GET or POST", "method"}
	tooLong     = refusal{http.StatusRequestEntityTooLarge, "UNSUPPORTED", "invalid_request", "the body is too long", "malformed"}

	badCredentials = refusal{http.StatusUnauthorized, "UNAUTHORIZED", "invalid_grant", ErrBadCredentials.Error(), "credentials"}
	otherAccount   = refusal{http.StatusUnauthorized, "UNAUTHORIZED", "invalid_grant",
		"the parameter account names another account than the credentials", "credentials"}
	otherScheme = refusal{http.StatusUnauthorized, "UNAUTHORIZED", "invalid_client",
		"the Authorization header should be Basic with account and password", "credentials"}

	notReady      = refusal{http.StatusServiceUnavailable, "UNAVAILABLE", "temporarily_unavailable", ErrNotReady.Error(), "not_ready"}
	busy          = refusal{http.StatusServiceUnavailable, "UNAVAILABLE", "temporarily_unavailable", ErrBusy.Error(), "busy"}
	backendDown   = refusal{http.StatusServiceUnavailable, "UNAVAILABLE", "temporarily_unavailable", "the token server cannot answer now; try again later", "backend"}
	internalError = refusal{http.StatusInternalServerError, "UNKNOWN", "server_error", "the keys cannot be read", "internal"}
)

func badRequest(message string) refusal {
	return refusal{http.StatusBadRequest, "UNSUPPORTED", "invalid_request", message, "malformed"}
}

func badScope(message string) refusal {
	return refusal{http.StatusBadRequest, "UNSUPPORTED", "invalid_scope", message, "scope"}
}

func unsupportedGrant(message string) refusal {
	return refusal{http.StatusBadRequest, "UNSUPPORTED", "unsupported_grant_type", message, "grant_type"}
}

// refusalFor returns what a client is told of err. What is not in the table is a backend's failure, for the log only.
func refusalFor(err error) refusal {
	var r refusal
	switch {
	case errors.As(err, &r):
		return r
	case errors.Is(err, ErrBadCredentials):
		return badCredentials
	case errors.Is(err, ErrBusy):
		return busy
	case errors.Is(err, ErrNotReady):
		return notReady
	}
	return backendDown
}

// refuse answers err.
func (s *Server) refuse(w http.ResponseWriter, r *http.Request, err error) {
	no := refusalFor(err)
	if no == backendDown && !errors.Is(err, context.Canceled) {
		s.log.ErrorContext(r.Context(), "token could not be issued", "err", err)
	}
	s.metrics.denied.WithLabelValues(no.reason).Inc()
	h := w.Header()
	switch no.status {
	case http.StatusMethodNotAllowed:
		h.Set("Allow", "GET, POST")
	case http.StatusUnauthorized:
		h.Set("WWW-Authenticate", s.challenge()) // RFC 9110 section 15.5.2; and what curl and browsers ask for
	case http.StatusServiceUnavailable:
		h.Set("Retry-After", "3")
	}
	s.writeError(w, r, no)
}

// challenge names the service as the realm, if it can be written down.
func (s *Server) challenge() string {
	realm := "registry"
	if auth, err := s.configuration(); err == nil && !strings.ContainsAny(auth.Service, `"\`) &&
		!strings.ContainsFunc(auth.Service, func(r rune) bool { return r < ' ' || r > '~' }) {
		realm = auth.Service
	}
	return `Basic realm="` + realm + `"`
}

// writeError writes no in both forms at once: distribution's errors, for those that ask with GET, and OAuth2's error.
func (s *Server) writeError(w http.ResponseWriter, r *http.Request, no refusal) {
	type item struct {
		Code    string `json:"code"`
		Message string `json:"message"`
	}
	s.write(w, r, no.status, struct {
		Errors      []item `json:"errors"`
		Error       string `json:"error"`
		Description string `json:"error_description"`
	}{[]item{{no.code, no.message}}, no.oauth, no.message})
}

// write answers with v as JSON that nobody may store (RFC 6749 section 5.1).
func (s *Server) write(w http.ResponseWriter, r *http.Request, status int, v any) {
	h := w.Header()
	h.Set("Content-Type", "application/json")
	h.Set("Cache-Control", "no-store")
	h.Set("Pragma", "no-cache")
	data, err := json.Marshal(v)
	if err != nil { // the types above cannot fail
		s.log.ErrorContext(r.Context(), "answer could not be encoded", "err", err)
		w.WriteHeader(http.StatusInternalServerError)
		return
	}
	s.send(w, r, status, data)
}

func (s *Server) send(w http.ResponseWriter, r *http.Request, status int, data []byte) {
	w.Header().Set("Content-Length", strconv.Itoa(len(data)))
	w.WriteHeader(status)
	if r.Method == http.MethodHead {
		return
	}
	if _, err := w.Write(data); err != nil {
		s.log.DebugContext(r.Context(), "answer was not taken", "err", err)
	}
}
