// Package admin is how people at the shell talk to a server: an API in JSON over a Unix socket in the data folder, for the
// verbs of the command line and for curl. Who can open the socket is the administrator: its mode is the authentication.
//
// A verb speaks this API in any case. Where no server answers it opens the storage itself and calls the same handlers in its own
// process (InProcess); the index's lock keeps the two apart.
//
// Start at Server, which others register handlers on too; socket.go is where it listens, client.go how verbs call it,
// repositories.go, tags.go, collector.go, adoption.go and readonly.go are this package's own handlers.
package admin

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"

	"gatehouse/registry/gc"
	"gatehouse/registry/index"
)

// Handler answers one request. An error that it returns is the answer {"error": "…"}: with the status of an *Error, 404 for what
// the index does not know, else 500. It returns soon after the request's context is done. The words of an error are shown
// to the administrator whole.
type Handler func(w http.ResponseWriter, r *http.Request) error

// Error is a refusal with its HTTP status. A client gets those of the server back as this.
type Error struct {
	Status  int
	Message string
}

func (e *Error) Error() string { return e.Message }

// Errorf returns an *Error.
func Errorf(status int, format string, args ...any) error {
	return &Error{status, fmt.Sprintf(format, args...)}
}

// conflicts are why something cannot be done as things are.
var conflicts = []error{
	gc.ErrBusy, gc.ErrPaused, gc.ErrTripped, gc.ErrAdopting, gc.ErrReadOnly, gc.ErrClock, index.ErrNotCondemned, index.ErrNoWayBack,
}

// statusOf returns the status that an error is answered with.
func statusOf(err error) int {
	var refused *Error
	switch {
	case errors.As(err, &refused):
		return refused.Status
	case errors.Is(err, index.ErrNameUnknown), errors.Is(err, index.ErrManifestUnknown), errors.Is(err, index.ErrBlobUnknown):
		return http.StatusNotFound
	case slices.ContainsFunc(conflicts, func(target error) bool { return errors.Is(err, target) }):
		return http.StatusConflict
	case errors.Is(err, context.Canceled):
		return http.StatusServiceUnavailable
	}
	return http.StatusInternalServerError
}

// maxBody is the most that a request may say, in bytes.
const maxBody = 1 << 20

// Read reads the body of a request, one JSON value without fields that in does not have.
func Read(w http.ResponseWriter, r *http.Request, in any) error {
	d := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxBody))
	d.DisallowUnknownFields()
	err := d.Decode(in)
	if err == nil {
		_, err = d.Token()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err == nil {
			err = errors.New("there is more than one value")
		}
	}
	if errors.As(err, new(*http.MaxBytesError)) {
		return Errorf(http.StatusRequestEntityTooLarge, "the body of a request has at most %d bytes", maxBody)
	}
	return Errorf(http.StatusBadRequest, "the body of the request is not what was expected: %v", err)
}

// Query returns the query of a request, which may have no names but those.
func Query(r *http.Request, names ...string) (url.Values, error) {
	query, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return nil, Errorf(http.StatusBadRequest, "the query cannot be read: %v", err)
	}
	for name := range query {
		if !slices.Contains(names, name) {
			return nil, Errorf(http.StatusBadRequest, "the query has the unknown name %q", name)
		}
	}
	return query, nil
}

// Reply answers with one JSON value.
func Reply(w http.ResponseWriter, value any) error {
	b, err := json.Marshal(value)
	if err != nil {
		return fmt.Errorf("write the answer: %w", err)
	}
	w.Header().Set("Content-Type", "application/json")
	_, err = w.Write(append(b, '\n'))
	return err
}

// Lines answers with one JSON object a line, each sent at once: for long lists and for the progress of long work. No object may
// have a field "error": a line with one is how the answer ends when the handler returns an error after the first line.
type Lines struct{ w http.ResponseWriter }

// NewLines begins such an answer. It is 200 from the first line on.
func NewLines(w http.ResponseWriter) Lines {
	w.Header().Set("Content-Type", "application/x-ndjson")
	return Lines{w}
}

// Write sends a line. An error means that the client has gone.
func (l Lines) Write(value any) error {
	b, err := json.Marshal(value)
	if err != nil {
		return fmt.Errorf("write the answer: %w", err)
	}
	if _, err := l.w.Write(append(b, '\n')); err != nil {
		return err
	}
	return http.NewResponseController(l.w).Flush()
}

// accountKey is where a request's context has who sent it.
type accountKey struct{}

// WithAccount returns a context of requests that an account sends.
func WithAccount(ctx context.Context, account string) context.Context {
	return context.WithValue(ctx, accountKey{}, account)
}

// Account returns who sent a request, for histories and logs: "unix:" and the name of the user whose process it was, which no user
// of an htpasswd file can be called.
func Account(ctx context.Context) string {
	account, _ := ctx.Value(accountKey{}).(string)
	return account
}
