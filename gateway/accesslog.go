package gateway

import (
	"context"
	"log/slog"
	"net/http"
	"strings"
	"time"
)

// What a client chooses is cut to these lengths (bytes) in a log line.
const (
	maxMethod    = 32
	maxPath      = 1024
	maxUserAgent = 256
	maxAccount   = 256
)

// accessLog writes one line at info for each request, after the handler and whatever became of it. The query is left out:
// it carries upload state and, by some clients, credentials.
func (s *Server) accessLog(next handler) handler {
	return func(x *exchange, r *http.Request) {
		if !s.log.Enabled(r.Context(), slog.LevelInfo) {
			next(x, r)
			return
		}
		method, path := bounded(r.Method, maxMethod), bounded(r.URL.Path, maxPath)
		defer func() { s.logAccess(x, r, method, path) }()
		next(x, r)
	}
}

// logAccess writes the line.
func (s *Server) logAccess(x *exchange, r *http.Request, method, path string) {
	status, cause := x.outcome()
	attrs := make([]slog.Attr, 0, 12)
	attrs = append(attrs,
		slog.String("method", method),
		slog.String("path", path),
		slog.Int("status", status),
		slog.Int64("in", x.in.Load()),
		slog.Int64("out", x.out),
		slog.Duration("duration", time.Since(x.start)),
		slog.String("remote", r.RemoteAddr),
		slog.String("proto", r.Proto),
		slog.String("agent", bounded(r.UserAgent(), maxUserAgent)),
		slog.String("request", x.id()),
	)
	if account := x.account.Load(); account != nil {
		attrs = append(attrs, slog.String("account", bounded(*account, maxAccount)))
	}
	if cause != "" {
		attrs = append(attrs, slog.String("err", cause))
	}
	// Without the request's context, from which the handler would take the id that the line has.
	s.log.LogAttrs(context.Background(), slog.LevelInfo, "request", attrs...)
}

// bounded is s without what is beyond limit bytes, and without the pieces of a character that the cut leaves.
func bounded(s string, limit int) string {
	if len(s) <= limit {
		return s
	}
	return strings.ToValidUTF8(s[:limit], "") + "…"
}
