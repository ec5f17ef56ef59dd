package gateway

import (
	"io"
	"io/fs"
	"math"
	"net/http"
	"syscall"
	"time"
)

// pieceSize is how much one idle deadline covers: a client is cut when it takes less in an idle timeout, at the default
// one slower than 1 KiB/s. Larger pieces gain nothing over TLS, whose records are 16 KiB. By sendfile they do, some 15 % of
// the time; so pieces grow to largePiece while each one takes less than a quick-th of the idle time.
const (
	pieceSize  = 64 << 10
	largePiece = 1 << 20
	quick      = 64
)

// copyBuffer carries a piece from a source that the kernel cannot send itself.
type copyBuffer [pieceSize]byte

var (
	_ http.ResponseWriter = (*exchange)(nil)
	_ http.Flusher        = (*exchange)(nil)
	_ io.ReaderFrom       = (*exchange)(nil)
)

// Header is net/http's.
func (x *exchange) Header() http.Header { return x.w.Header() }

// Unwrap gives http.ResponseController the way to net/http's own writer.
func (x *exchange) Unwrap() http.ResponseWriter { return x.w }

// WriteHeader is net/http's: the first final status counts. After a stalled body it is 408, whatever the handler made of
// its failed Read.
func (x *exchange) WriteHeader(status int) {
	switch {
	case x.replaced || x.status != 0:
	case status < 200:
		if x.beginWrite() == nil {
			x.w.WriteHeader(status)
			_ = x.endWrite(nil, false)
		}
	case x.reads.stalled():
		x.replaced = true
		x.fail(http.StatusRequestTimeout, codeTimeout, "no more of the request body arrived in time")
	default:
		x.writeHeader(status)
	}
}

// writeHeader is WriteHeader for a final status that is known to be the first.
func (x *exchange) writeHeader(status int) {
	x.status = status
	if x.left() {
		x.gone.Store(true)
	}
	x.w.WriteHeader(status)
}

// Write is io.Writer's: each piece of p may take the idle timeout, the whole any time.
func (x *exchange) Write(p []byte) (int, error) {
	if x.status == 0 {
		x.WriteHeader(http.StatusOK)
	}
	if x.replaced {
		return len(p), nil
	}
	return x.write(p)
}

// write is Write after the header.
func (x *exchange) write(p []byte) (n int, err error) {
	for {
		if err := x.beginWrite(); err != nil {
			return n, err
		}
		m, err := x.w.Write(p[n:min(len(p), n+pieceSize)])
		n += m
		if x.r.Method != http.MethodHead {
			x.out += int64(m)
		}
		if err = x.endWrite(err, false); err != nil || n == len(p) {
			return n, err
		}
	}
}

// ReadFrom is io.ReaderFrom's. From a file over plain HTTP/1 the kernel sends the bytes itself. Otherwise a buffer is
// borrowed, and the client's clock stands still while the source is read.
func (x *exchange) ReadFrom(src io.Reader) (int64, error) {
	if to, ok := x.w.(io.ReaderFrom); ok && x.plain && x.r.Method != http.MethodHead && !x.replaced {
		limited, ok := src.(*io.LimitedReader)
		if !ok {
			limited = &io.LimitedReader{R: src, N: math.MaxInt64}
		}
		if sendable(limited.R) {
			return x.sendFile(to, limited)
		}
	}
	buf := x.server.buffers.Get().(*copyBuffer)
	defer x.server.buffers.Put(buf)
	var n int64
	for {
		m, rerr := src.Read(buf[:])
		if m > 0 {
			w, err := x.Write(buf[:m])
			n += int64(w)
			if err != nil {
				return n, err
			}
		}
		if rerr == io.EOF {
			return n, nil
		}
		if rerr != nil {
			return n, rerr
		}
	}
}

// sendable reports whether r is a file that the kernel can send: an *os.File, or the wrapper that its WriteTo makes for
// io.Copy.
func sendable(r io.Reader) bool {
	_, ok := r.(interface {
		fs.File
		syscall.Conn
	})
	return ok
}

// sendFile sends pieces of a file. net/http and the net package recognise a file behind an *io.LimitedReader only.
func (x *exchange) sendFile(to io.ReaderFrom, from *io.LimitedReader) (n int64, err error) {
	if x.status == 0 {
		x.WriteHeader(http.StatusOK)
	}
	piece := &io.LimitedReader{R: from.R}
	size := int64(pieceSize)
	for from.N > 0 && !x.replaced {
		if err := x.beginWrite(); err != nil {
			return n, err
		}
		start, want := time.Now(), min(from.N, size)
		piece.N = want
		m, err := to.ReadFrom(piece)
		n += m
		x.out += m
		from.N -= m
		if err = x.endWrite(err, true); err != nil || m < want {
			return n, err
		}
		if time.Since(start) < x.server.limit.BodyIdleTimeout/quick {
			size = min(2*size, largePiece)
		} else {
			size = pieceSize
		}
	}
	return n, nil
}

// FlushError sends what is buffered; it can wait for the client as a Write can.
func (x *exchange) FlushError() error {
	if x.status == 0 {
		x.WriteHeader(http.StatusOK)
	}
	if err := x.beginWrite(); err != nil {
		return err
	}
	return x.endWrite(http.NewResponseController(x.w).Flush(), true)
}

// Flush is http.Flusher's.
func (x *exchange) Flush() { _ = x.FlushError() }

// beginWrite starts the clock of a write. Before it sends the first bytes of an answer, net/http drains the unread body of
// an HTTP/1 request, without an end: a client that waits for the answer with its body would never see one.
func (x *exchange) beginWrite() error {
	if !x.drains() {
		return x.writes.begin(0)
	}
	if err := x.writes.begin(x.server.linger); err != nil {
		return err
	}
	_ = http.NewResponseController(x.w).SetReadDeadline(time.Now().Add(x.server.linger))
	return nil
}

// endWrite stops the clock and returns the stall, else err. flushed says that nothing can be left in a buffer.
func (x *exchange) endWrite(err error, flushed bool) error {
	if x.drains() {
		_ = http.NewResponseController(x.w).SetReadDeadline(time.Time{})
	}
	// net/http holds the header back until its buffer of 2 KiB is full. Once the header is out, no deadline may be set
	// any more: the read in the background that notices a client leaving would end by it.
	x.sent = x.sent || flushed || x.out > 2<<10
	if stall := x.writes.end(); stall != nil {
		return stall
	}
	if err != nil && x.disconnected(err) {
		x.gone.Store(true)
	}
	return err
}

// drains reports whether net/http may read the request's body on its own before it writes.
func (x *exchange) drains() bool {
	return x.http1 && !x.sent && x.body.unread() && !x.reads.stalled()
}
