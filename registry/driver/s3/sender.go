package s3

import (
	"fmt"
	"sync"

	"gatehouse/registry/driver"
)

// sender collects bytes into parts of the driver's chunk and sends each that is full while the next is filled. It is for one
// goroutine.
type sender struct {
	d    *Driver
	path string
	send func(n int, data []byte) (part, error) // sends part n, from 0; called from goroutines

	buf   *[]byte // the part that is being filled, or nil
	n     int     // of it
	going sync.WaitGroup

	mu    sync.Mutex
	parts []part // by number; those on their way have no ETag. Guarded by mu
	err   error  // the first; guarded by mu
}

// firstBuffer is how large a buffer is at first: as much as most configurations and manifests need.
const firstBuffer = 64 << 10

// begin makes the sender go on behind parts that are stored.
func (s *sender) begin(parts []part) { s.parts, s.n = parts, len(parts) }

// buffered is how many bytes are not sent.
func (s *sender) buffered() int64 {
	if s.buf == nil {
		return 0
	}
	return int64(len(*s.buf))
}

// write takes p, or a part of it and the error of an earlier one.
func (s *sender) write(p []byte) (n int, err error) {
	for len(p) > 0 {
		if err := s.failed(); err != nil {
			return n, err
		}
		if s.buf == nil {
			s.buf = s.d.buffer(s.n > 0)
		}
		k := min(len(p), int(s.d.chunk)-len(*s.buf))
		s.append(p[:k])
		n, p = n+k, p[k:]
		if len(*s.buf) == int(s.d.chunk) {
			if err := s.flush(); err != nil {
				return n, err
			}
		}
	}
	return n, nil
}

// append grows the buffer by doubling, up to a chunk.
func (s *sender) append(p []byte) {
	b := *s.buf
	if need := len(b) + len(p); need > cap(b) {
		grown := make([]byte, len(b), min(max(2*cap(b), need), int(s.d.chunk)))
		copy(grown, b)
		b = grown
	}
	*s.buf = append(b, p...)
}

// flush begins to send the buffer as a part, when there is room for it on the way.
func (s *sender) flush() error {
	if s.n == maxParts {
		return fmt.Errorf("write %s: %w: %d parts of %d bytes is the most: raise chunksize", s.path, driver.ErrTooLarge, maxParts, s.d.chunk)
	}
	n, buf := s.n, s.buf
	s.n, s.buf = n+1, nil
	s.mu.Lock()
	s.parts = append(s.parts, part{})
	s.mu.Unlock()
	s.d.flight <- struct{}{}
	s.going.Go(func() {
		p, err := s.send(n, *buf)
		s.d.release(buf)
		<-s.d.flight
		s.mu.Lock()
		defer s.mu.Unlock()
		if err == nil {
			s.parts[n] = p
		} else if s.err == nil {
			s.err = err
		}
	})
	return nil
}

func (s *sender) failed() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.err
}

// wait waits until nothing is on its way, and returns the parts that are stored up to the first that is not.
func (s *sender) wait() ([]part, error) {
	s.going.Wait()
	for i, p := range s.parts {
		if p.ETag == "" {
			return s.parts[:i:i], s.err
		}
	}
	return s.parts, s.err
}

// drop gives up what is not sent.
func (s *sender) drop() {
	if s.buf != nil {
		s.d.release(s.buf)
		s.buf = nil
	}
}

// buffer returns an empty buffer, of a whole chunk if full.
func (d *Driver) buffer(full bool) *[]byte {
	d.held.Add(1)
	if b, ok := d.buffers.Get().(*[]byte); ok {
		return b
	}
	size := int64(firstBuffer)
	if full {
		size = d.chunk
	}
	b := make([]byte, 0, size)
	return &b
}

// release takes a buffer back.
func (d *Driver) release(b *[]byte) {
	d.held.Add(-1)
	if cap(*b) >= int(d.chunk) {
		*b = (*b)[:0]
		d.buffers.Put(b)
	}
}
