package store

import (
	"io"
	"sync"
)

// pieceSize is how much is read before it is passed on; piecesInFlight bounds the memory of an upload.
const (
	pieceSize      = 256 << 10
	piecesInFlight = 3
)

var pieces = sync.Pool{New: func() any { return new([pieceSize]byte) }}

// piece is a part of an upload on its way from the source to the writer.
type piece struct {
	buf *[pieceSize]byte
	n   int
}

// pump writes what r holds to w, reading on while the piece before is written, and returns how much r gave and w took. An
// error of r, other than io.EOF, comes as a *SourceError, when all that came before it is written.
func pump(w io.Writer, r io.Reader) (n int64, err error) {
	first, end := read(r)
	if end != nil { // the common small upload: no goroutine
		_, err = w.Write(first.buf[:first.n])
		pieces.Put(first.buf)
		if err == nil && end != io.EOF {
			err = &SourceError{end}
		}
		return int64(first.n), err
	}

	ready := make(chan piece, piecesInFlight-2) // one more is being read, one written
	failed := make(chan struct{})
	ready <- first
	go func() {
		defer close(ready)
		for {
			var p piece
			if p, end = read(r); p.n > 0 {
				select {
				case ready <- p:
				case <-failed:
					return
				}
			}
			if end != nil {
				return
			}
		}
	}()
	for p := range ready {
		if err == nil {
			if _, err = w.Write(p.buf[:p.n]); err != nil {
				close(failed)
			}
			n += int64(p.n)
		}
		pieces.Put(p.buf)
	}
	if err == nil && end != io.EOF {
		err = &SourceError{end}
	}
	return n, err
}

// read fills a piece from r. The error is nil when it is full.
func read(r io.Reader) (piece, error) {
	p := piece{buf: pieces.Get().(*[pieceSize]byte)}
	for p.n < pieceSize {
		k, err := r.Read(p.buf[p.n:])
		p.n += k
		if err != nil {
			return p, err
		}
	}
	return p, nil
}
