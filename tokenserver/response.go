package tokenserver

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// answer is the JSON of a token. There is no issued_at: clients then count from when they got it, by their own clock.
type answer struct {
	// Token is what clients that ask with GET read, AccessToken what those that ask with POST do. Both are there, and equal, unless
	// the answer would be too long.
	Token       string `json:"token,omitempty"`
	AccessToken string `json:"access_token,omitempty"`
	ExpiresIn   int64  `json:"expires_in"`
	// RefreshToken is there for clients that asked for one.
	RefreshToken string `json:"refresh_token,omitempty"`
	// What OAuth2 wants besides (RFC 6749 section 5.1).
	Type  string  `json:"token_type,omitempty"`
	Scope *string `json:"scope,omitempty"`
}

// maxAnswer bounds an answer in bytes: go-containerregistry reads 64 KiB of it, and fails on what was cut off.
const maxAnswer = 60 << 10

// newAnswer returns the answer with the token raw. Of a long one there is only the member that the client reads, and no scope
// where that says no more than what was asked for (RFC 6749 section 5.1). One that is too long even then is refused.
func newAnswer(raw string, lifetime time.Duration, decisions []Decision, oauth bool) (*answer, error) {
	const rest = 512 // what else is in an answer, a refresh token included
	a := &answer{Token: raw, AccessToken: raw, ExpiresIn: int64(lifetime / time.Second)}
	var scope, wanted string
	if oauth {
		scope, wanted = scopeTexts(decisions)
		a.Type, a.Scope = "Bearer", &scope
	}
	if 2*len(raw)+len(scope)+rest <= maxAnswer {
		return a, nil
	}
	if !oauth {
		a.AccessToken = ""
		return a, nil
	}
	if a.Token = ""; len(raw)+len(scope)+rest > maxAnswer {
		if scope != wanted {
			return nil, tooManyScopes(len(decisions))
		}
		a.Scope = nil
	}
	return a, nil
}

// scopeTexts are decisions as texts: what they grant, and what was asked for.
func scopeTexts(decisions []Decision) (granted, wanted string) {
	yes, all := make([]string, 0, len(decisions)), make([]string, 0, len(decisions))
	for _, d := range decisions {
		all = append(all, d.Asked.String())
		if d.Asked.Actions = d.Actions; len(d.Actions) > 0 {
			yes = append(yes, d.Asked.String())
		}
	}
	return strings.Join(yes, " "), strings.Join(all, " ")
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
	wrongMethod  = refusal{http.StatusMethodNotAllowed, "UNSUPPORTED", "invalid_request", "a token is asked for with GET or POST", "method"}
	tooLong      = refusal{http.StatusRequestEntityTooLarge, "UNSUPPORTED", "invalid_request", "the body is too long", "malformed"}
	queryTooLong = refusal{http.StatusRequestURITooLong, "UNSUPPORTED", "invalid_request", "the query of the URL is too long", "malformed"}

	badCredentials  = refusal{http.StatusUnauthorized, "UNAUTHORIZED", "invalid_grant", ErrBadCredentials.Error(), "credentials"}
	badRefreshToken = refusal{http.StatusUnauthorized, "UNAUTHORIZED", "invalid_grant",
		"the refresh token has expired or was revoked, or its account has changed; log in again", "refresh_token"}
	noRefreshToken = refusal{http.StatusUnauthorized, "UNAUTHORIZED", "invalid_grant",
		"the refresh token was not made here, or characters of it are missing or changed; log in again", "refresh_token"}
	otherAccount = refusal{http.StatusUnauthorized, "UNAUTHORIZED", "invalid_grant",
		"the parameter account names another account than the credentials", "credentials"}
	otherScheme = refusal{http.StatusUnauthorized, "UNAUTHORIZED", "invalid_client",
		"the Authorization header should be Basic with account and password", "credentials"}

	// 400, because clients then try again with GET.
	unsupportedGrant = refusal{http.StatusBadRequest, "UNSUPPORTED", "unsupported_grant_type",
		"the grant type is not supported; use password or refresh_token", "grant_type"}

	heldUp      = refusal{http.StatusTooManyRequests, "TOOMANYREQUESTS", "slow_down", HeldUpError(0).Error(), "held_up"}
	notReady    = refusal{http.StatusServiceUnavailable, "UNAVAILABLE", "temporarily_unavailable", ErrNotReady.Error(), "not_ready"}
	busy        = refusal{http.StatusServiceUnavailable, "UNAVAILABLE", "temporarily_unavailable", ErrBusy.Error(), "busy"}
	backendDown = refusal{http.StatusServiceUnavailable, "UNAVAILABLE", "temporarily_unavailable",
		"the token server cannot answer now; try again later", "backend"}
	internalError = refusal{http.StatusInternalServerError, "UNKNOWN", "server_error", "the keys cannot be read", "internal"}
)

func badRequest(message string) refusal {
	return refusal{http.StatusBadRequest, "UNSUPPORTED", "invalid_request", message, "malformed"}
}

func badScope(message string) refusal {
	return refusal{http.StatusBadRequest, "UNSUPPORTED", "invalid_scope", message, "scope"}
}

// tooManyScopes refuses so many scopes: what they grant would not fit into a token that clients can carry.
func tooManyScopes(n int) refusal {
	return badScope(fmt.Sprintf("the %d scopes do not fit into one token; ask for fewer at once", n))
}

// refusalFor returns what a client is told of err. What is not in the table is a backend's failure, for the log only.
func refusalFor(err error) refusal {
	var r refusal
	var wait HeldUpError
	switch {
	case errors.As(err, &r):
		return r
	case errors.As(err, &wait):
		return heldUp
	case errors.Is(err, ErrNoRefreshToken):
		return noRefreshToken
	case errors.Is(err, errRefreshTokenEnded):
		return badRefreshToken
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
		h.Set("Allow", "GET, HEAD, POST")
	case http.StatusUnauthorized:
		h.Set("WWW-Authenticate", s.challenge()) // RFC 9110 section 15.5.2; and what curl and browsers ask for
	case http.StatusServiceUnavailable:
		h.Set("Retry-After", "3")
	case http.StatusTooManyRequests:
		var wait HeldUpError
		errors.As(err, &wait)
		h.Set("Retry-After", strconv.Itoa(int((time.Duration(wait)+time.Second-1)/time.Second)))
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
