package gateway

import (
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"sync/atomic"
	"syscall"
	"time"
)

// body is the request's body with the idle deadline: one Read may take the idle timeout, all of them any time. A stalled
// Read returns errStalledBody, and so does each one after it. The zero body is a request without one.
type body struct {
	x      *exchange
	from   io.ReadCloser
	expect bool        // HTTP/1 with "Expect: 100-continue": the first Read writes
	done   atomic.Bool // read to its end, or closed
}

// Read is io.Reader's.
func (b *body) Read(p []byte) (int, error) {
	if err := b.x.reads.begin(0); err != nil {
		return 0, err
	}
	n, err := b.from.Read(p)
	stall := b.x.reads.end()
	b.x.in.Add(int64(n))
	switch {
	case stall != nil:
		b.x.overdue.Store(true)
		b.reopen()
		return n, stall
	case err == io.EOF:
		b.done.Store(true)
	case errors.Is(err, os.ErrDeadlineExceeded): // one that the handler set
		b.x.overdue.Store(true)
	case err != nil && b.x.disconnected(err):
		b.x.gone.Store(true)
	}
	return n, err
}

// Close is io.Closer's. On HTTP/1 it reads on for a part of what remains, so it can stall as well.
func (b *body) Close() error {
	if err := b.x.reads.begin(0); err != nil {
		return nil // stalled or over: net/http closes its own
	}
	err := b.from.Close()
	if stall := b.x.reads.end(); stall != nil {
		b.x.overdue.Store(true)
		b.reopen()
		return stall
	}
	b.done.Store(true)
	return err
}

// unread reports whether net/http may still want bytes of the body from the client.
func (b *body) unread() bool { return b.from != nil && !b.done.Load() }

// reopen undoes what cutRead did to the writing side: the 408 has to pass there.
func (b *body) reopen() {
	if b.expect {
		_ = http.NewResponseController(b.x.w).SetWriteDeadline(time.Time{})
	}
}

// disconnected reports whether a Read or a Write failed because the client left, rather than for what it sent or for the
// source of an answer.
func (x *exchange) disconnected(err error) bool {
	switch {
	case x.left():
		return true
	case errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, net.ErrClosed),
		errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE):
		return true
	}
	// HTTP/2's own have no names.
	return err.Error() == "client disconnected" || err.Error() == "http2: stream closed"
}
