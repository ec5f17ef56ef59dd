package trust

import (
	"bytes"
	"crypto/x509"
	"fmt"
	"os"
	"time"

	"gatehouse/tokenserver/regular"
	"gatehouse/tokenserver/token"
)

const (
	// maxFile bounds the size of a file of keys.
	maxFile = 1 << 20
	// settledAfter is the age from which a file's time of change can be trusted to tell its content from the next: a
	// second write within the clock tick of the file system leaves time and size as they were.
	settledAfter = 2 * time.Second
)

// content is what a file of keys has.
type content struct {
	keys     []token.TrustedKey
	roots    []*x509.Certificate
	problems []error // each says why something in it is not used
}

// file is a file of keys, and what it had when it was last good. It is not for concurrent use.
type file struct {
	path    string
	parse   func(data []byte) (content, error)
	content content
	data    []byte      // that content was made of; nil before the first good reading
	info    os.FileInfo // of the file that was read last, good or bad
	settled bool
	bad     error  // what was wrong with it then
	failure string // what was logged last
}

// look reads the file if it is not the one that was read before, and reports whether content is new. With an error content is
// as it was; the error is the same each time until the file changes.
func (f *file) look(now time.Time) (fresh bool, err error) {
	info, err := os.Stat(f.path)
	if err != nil {
		f.info = nil
		return false, fmt.Errorf("key file cannot be read: %w", err)
	}
	if old := f.info; old != nil && f.settled && os.SameFile(old, info) && old.Size() == info.Size() && old.ModTime().Equal(info.ModTime()) {
		return false, f.bad
	}
	data, info, err := f.read()
	if err != nil {
		f.info = nil
		return false, err
	}
	f.info, f.settled, f.bad = info, now.Sub(info.ModTime()) > settledAfter, nil
	if f.data != nil && bytes.Equal(data, f.data) {
		return false, nil
	}
	c, err := f.parse(data)
	switch {
	case err != nil:
		f.bad = fmt.Errorf("key file %s: %w", f.path, err)
	case len(c.keys) == 0 && len(c.problems) > 0:
		f.bad = fmt.Errorf("key file %s has no key that tokens can be verified with: %w", f.path, c.problems[0])
	case len(c.keys) == 0:
		f.bad = fmt.Errorf("key file %s has no key", f.path)
	default:
		f.content, f.data = c, data
	}
	return f.bad == nil, f.bad
}

// read returns what is in the file and what the file was before it was read.
func (f *file) read() ([]byte, os.FileInfo, error) {
	data, info, err := regular.Read(f.path, maxFile)
	if err != nil {
		return nil, nil, fmt.Errorf("key file cannot be read: %w", err)
	}
	return data, info, nil
}
