package gateway

import (
	"context"
	"net/http"
	"net/netip"
	"strconv"
	"sync/atomic"
	"time"
)

// exchange is one request and its answer: what the middlewares share, one allocation for all of them. It is the
// http.ResponseWriter that handlers get and the record behind SetAccount. Fields without a word on it belong to the
// handler's goroutine.
type exchange struct {
	server *Server
	w      http.ResponseWriter // net/http's own
	r      *http.Request       // net/http's own; its context is done when the client is gone
	start  time.Time
	serial uint64
	v2     bool // the path is the registry API's
	http1  bool // else HTTP/2
	plain  bool // no TLS: sendfile is possible

	body   body
	reads  guard
	writes guard

	status   int   // of the answer; 0 while its header is not written
	out      int64 // bytes of the answer's body
	sent     bool  // the header is on its way, not only said
	replaced bool  // a 408 was written in place of what the handler says
	aborted  bool  // the handler gave up with http.ErrAbortHandler, or panicked too late for a 500

	in      atomic.Int64 // bytes of the request's body; a proxying handler reads it in another goroutine
	gone    atomic.Bool  // the client went away before it had its answer
	overdue atomic.Bool  // a deadline ended a Read: on HTTP/1 that ends the context, too
	account atomic.Pointer[string]
}

// handler is a step of the chain: an http.Handler that knows its exchange.
type handler func(x *exchange, r *http.Request)

type exchangeKey struct{}

// SetAccount names who makes the request in its line of the access log. ctx is the request's context; outside of a request
// nothing happens. Safe for concurrent use; the last call counts.
func SetAccount(ctx context.Context, account string) {
	if x, ok := ctx.Value(exchangeKey{}).(*exchange); ok {
		x.account.Store(&account)
	}
}

// Peer is the address at the other end of the connection of the request whose context ctx is; the zero Addr outside of a request.
func Peer(ctx context.Context) netip.Addr {
	x, ok := ctx.Value(exchangeKey{}).(*exchange)
	if !ok {
		return netip.Addr{}
	}
	at, err := netip.ParseAddrPort(x.r.RemoteAddr)
	if err != nil {
		return netip.Addr{}
	}
	return at.Addr().Unmap().WithZone("")
}

// RequestID is the id that the access log gives the request whose context ctx is, for other log lines about it; empty
// outside of a request.
func RequestID(ctx context.Context) string {
	if x, ok := ctx.Value(exchangeKey{}).(*exchange); ok {
		return x.id()
	}
	return ""
}

// id is unique among the requests of a process, and with high probability among those of all.
func (x *exchange) id() string {
	return x.server.run + strconv.FormatUint(x.serial, 10)
}

// outcome is the answer's status as log and metrics tell it, and why it ended early where it did. 499 is nginx's number for
// a client that left before it had its answer.
func (x *exchange) outcome() (status int, cause string) {
	status = x.status
	switch {
	case status == 0 && x.aborted:
		status = http.StatusInternalServerError // nothing was sent
	case status == 0:
		status = http.StatusOK // what net/http says for a handler that says nothing
	}
	switch {
	case x.reads.stalled():
		return status, "client stopped sending"
	case x.writes.stalled():
		return status, "client stopped reading"
	case x.gone.Load() && !x.server.cutting.Load():
		return statusClientGone, "client went away"
	case x.status == 0 && x.left() && !x.server.cutting.Load():
		return statusClientGone, "client went away"
	case x.server.cutting.Load():
		return status, "cut at the end of the drain"
	case x.aborted:
		return status, "aborted"
	}
	return status, ""
}

// left reports whether the context says that the client went away.
func (x *exchange) left() bool { return x.r.Context().Err() != nil && !x.overdue.Load() }

// statusClientGone is never sent.
const statusClientGone = 499
