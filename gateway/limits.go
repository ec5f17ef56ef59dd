package gateway

import (
	"net/http"
	"strings"
	"time"
)

// limits takes headers away that would let a client speak for someone else, and bounds how long the client may be silent
// while the server waits for it. How large and how slow a header may be is net/http's business (newHTTP).
func (s *Server) limits(next handler) handler {
	return func(x *exchange, r *http.Request) {
		dropSpoofable(r.Header)
		if r.Body != nil && r.Body != http.NoBody && r.ContentLength != 0 {
			x.body = body{x: x, from: r.Body, expect: x.http1 && r.Header.Get("Expect") != ""}
			r.Body = &x.body
		}
		defer x.settle()
		next(x, r)
	}
}

// dropSpoofable deletes what only a proxy in front could say truthfully, and nobody is in front: where the request came
// from and went to, and an upgrade that a registry has no use for. A name with an underscore goes too, because an upstream
// may fold it to a hyphen.
func dropSpoofable(h http.Header) {
	for name := range h {
		switch {
		case strings.HasPrefix(name, "X-Forwarded-"), strings.Contains(name, "_"):
			delete(h, name)
		}
	}
	delete(h, "Forwarded")
	delete(h, "X-Forwarded")
	delete(h, "X-Real-Ip")
	delete(h, "True-Client-Ip")
	delete(h, "Upgrade")
	delete(h, "Http2-Settings")
}

// settle ends the idle deadlines when the handler has returned or panicked. What net/http still does alone — flush the
// answer, drain a body that nobody read — it does under a last deadline, for it sets none itself.
func (x *exchange) settle() {
	stalledBody, stalledReader := x.reads.finish(), x.writes.finish()
	control, now := http.NewResponseController(x.w), time.Now()
	// On HTTP/2 only bytes wait for a client (for its window); the header does not, and a deadline is not cheap there.
	if !stalledReader && (x.http1 || x.out > 0) {
		_ = control.SetWriteDeadline(now.Add(x.server.limit.BodyIdleTimeout))
	}
	// A body that stalled has its deadline in the past already: it stays there. HTTP/2 drains nothing.
	if x.http1 && !stalledBody && x.body.unread() {
		_ = control.SetReadDeadline(now.Add(x.server.linger))
	}
}

// cutRead ends a Read in flight.
func (x *exchange) cutRead() {
	control := http.NewResponseController(x.w)
	_ = control.SetReadDeadline(past())
	if x.body.expect {
		// The Read may hang in writing "100 Continue" to a client that does not read.
		_ = control.SetWriteDeadline(past())
	}
}

// cutWrite ends a Write in flight: the connection (HTTP/1) or the stream (HTTP/2) is lost.
func (x *exchange) cutWrite() {
	_ = http.NewResponseController(x.w).SetWriteDeadline(past())
}

// past is a deadline that has passed.
func past() time.Time { return time.Unix(1, 0) }
