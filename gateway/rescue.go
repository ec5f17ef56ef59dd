package gateway

import (
	"fmt"
	"net/http"
	"runtime/debug"
)

// rescue calls a handler and answers where it did not: 500 for one that panicked, 408 for one that gave up on a stalled
// body without a word. When the answer has begun, a panic must cut it, or the client would take the part for the whole;
// that is what http.ErrAbortHandler does, which handlers may also use themselves. A panic is logged and never leaves the
// request.
func (s *Server) rescue(x *exchange, r *http.Request, h http.Handler) {
	defer func() {
		switch v := recover(); {
		case v == nil:
			if x.status == 0 && x.reads.stalled() {
				x.WriteHeader(http.StatusRequestTimeout)
			}
			return
		case v != http.ErrAbortHandler:
			s.log.Error("handler panicked", "err", fmt.Sprint(v), "stack", string(debug.Stack()),
				"request", x.id(), "method", bounded(r.Method, maxMethod), "path", bounded(r.URL.Path, maxPath))
			if x.status == 0 {
				x.fail(http.StatusInternalServerError, codeUnknown, "internal error")
				return
			}
		}
		x.aborted = true
		panic(http.ErrAbortHandler)
	}()
	h.ServeHTTP(x, r)
}
