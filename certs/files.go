package certs

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"sync/atomic"
	"time"
)

// filesInterval is how often Files looks at its files unless told otherwise: seldom enough to cost nothing, often enough
// for whoever replaces them by hand and looks at the result.
const filesInterval = 5 * time.Second

// Files is a [Provider] of one certificate that others put into files: http.tls.certificate and http.tls.key.
type Files struct {
	// Interval between two looks at the files; zero means 5 s. Set it before Run.
	Interval time.Duration

	chainFile, keyFile string
	log                *slog.Logger
	current            atomic.Pointer[tls.Certificate]

	// What follows belongs to Run.
	sum      [sha256.Size]byte // of what current was read from
	failure  string            // why the last look changed nothing; empty when it was well
	repeated bool              // whether failure was logged
	reminder reminder
}

// NewFiles reads the certificate (PEM, the server's own first, then its intermediates) and its private key (PEM, not
// encrypted). A pair that cannot be served is an error; one that has expired is served, and the log says so.
//
// Run reads the files again and again and compares what is in them, because modification times lie (cp -p, mounted
// secrets). A new pair is served if it is whole, its key matches, and it is valid now or the old one no longer is; all else
// keeps the old one. What two looks in a row find wrong is logged, once: a single one may have seen the files half replaced.
func NewFiles(certFile, keyFile string, log *slog.Logger) (*Files, error) {
	f := &Files{chainFile: certFile, keyFile: keyFile, log: log}
	f.reminder = reminder{log: log, advice: "put the new certificate and its key into " + certFile + " and " + keyFile}
	c, err := f.read()
	var pair *tls.Certificate
	if err == nil {
		pair, err = parsePair(c.chain, c.key)
	}
	if err != nil {
		return nil, fmt.Errorf("cannot use certificate %s with key %s: %w; http.tls.certificate must name a PEM file with the "+
			"server's certificate and then its intermediates, http.tls.key one with its private key, not encrypted",
			certFile, keyFile, err)
	}
	f.current.Store(pair)
	f.sum = c.sum
	if len(pair.Leaf.DNSNames)+len(pair.Leaf.IPAddresses) == 0 {
		log.Warn("certificate has no names (subjectAltName), so clients will refuse it", "file", certFile)
	}
	f.reminder.check(pair.Leaf, time.Now())
	return f, nil
}

// TLSConfig is described at [Provider].
func (f *Files) TLSConfig() *tls.Config {
	return tlsConfig(func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return f.current.Load(), nil })
}

// Covers is described at [Provider]. It asks the certificate that is served now.
func (f *Files) Covers(host string) bool { return f.current.Load().Leaf.VerifyHostname(host) == nil }

// Names is described at [Provider].
func (f *Files) Names() []string { return dialable(f.current.Load().Leaf) }

// NotAfter is described at [Provider].
func (f *Files) NotAfter() time.Time { return f.current.Load().Leaf.NotAfter }

// Run is described at [Provider].
func (f *Files) Run(ctx context.Context) error {
	interval := f.Interval
	if interval <= 0 {
		interval = filesInterval
	}
	tick := time.NewTicker(interval)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
			f.reload(time.Now())
			f.reminder.check(f.current.Load().Leaf, time.Now())
		}
	}
}

// reload takes over what the files hold now, both or none.
func (f *Files) reload(now time.Time) {
	c, err := f.read()
	if err == nil && c.sum == f.sum {
		f.failure = ""
		return
	}
	var pair *tls.Certificate
	if err == nil {
		pair, err = parsePair(c.chain, c.key)
	}
	if err == nil && !validAt(pair.Leaf, now) && validAt(f.current.Load().Leaf, now) {
		err = fmt.Errorf("it is valid from %s to %s only", pair.Leaf.NotBefore, pair.Leaf.NotAfter)
	}
	if err != nil {
		f.refuse(err)
		return
	}
	f.current.Store(pair)
	f.sum, f.failure = c.sum, ""
	f.log.Info("certificate read again", "file", f.chainFile, "names", dialable(pair.Leaf), "not_after", pair.Leaf.NotAfter)
}

// refuse logs the second of several equal failures in a row.
func (f *Files) refuse(err error) {
	switch {
	case err.Error() != f.failure:
		f.failure, f.repeated = err.Error(), false
	case !f.repeated:
		f.repeated = true
		f.log.Error("cannot use the new certificate, the old one is served on", "file", f.chainFile, "key_file", f.keyFile,
			"err", err)
	}
}

// content is what the two files hold.
type content struct {
	chain, key []byte
	sum        [sha256.Size]byte
}

// read returns what the files hold now, which may be the one of before with the other of after.
func (f *Files) read() (content, error) {
	chain, err := readPEM(f.chainFile)
	if err != nil {
		return content{}, err
	}
	key, err := readPEM(f.keyFile)
	if err != nil {
		return content{}, err
	}
	if len(chain) == 0 || len(key) == 0 {
		return content{}, errors.New("one of them is empty")
	}
	h := sha256.New()
	h.Write(chain)
	h.Write([]byte{0}) // never in PEM: what moves from one file to the other changes the sum
	h.Write(key)
	return content{chain, key, [sha256.Size]byte(h.Sum(nil))}, nil
}
