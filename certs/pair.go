package certs

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"strings"
	"time"
)

// maxPEM bounds the PEM files we read, in bytes: a chain of RSA certificates has 10 KiB.
const maxPEM = 1 << 20

// readPEM reads a file of at most maxPEM bytes. It does not wait for what is not a regular file to send something.
func readPEM(path string) ([]byte, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%s is not a regular file", path)
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxPEM+1))
	if err != nil {
		return nil, err
	}
	if len(data) > maxPEM {
		return nil, fmt.Errorf("%s is larger than %d bytes", path, maxPEM)
	}
	return data, nil
}

// parsePair makes a certificate that can be served: the chain parses, its first certificate is the key's. The result has
// its Leaf set and must not be modified. Errors never show any of the key.
func parsePair(chain, key []byte) (*tls.Certificate, error) {
	pair, err := tls.X509KeyPair(chain, key)
	if err != nil {
		return nil, errors.New(strings.TrimPrefix(err.Error(), "tls: "))
	}
	return &pair, nil
}

// dialable returns the names and addresses in leaf, in its order, without wildcards.
func dialable(leaf *x509.Certificate) []string {
	var names []string
	for _, name := range leaf.DNSNames {
		if !strings.Contains(name, "*") {
			names = append(names, name)
		}
	}
	for _, ip := range leaf.IPAddresses {
		names = append(names, ip.String())
	}
	return names
}

// validAt reports whether leaf may be used at now.
func validAt(leaf *x509.Certificate, now time.Time) bool {
	return !now.Before(leaf.NotBefore) && !now.After(leaf.NotAfter)
}

// reminder says in the log, louder and louder, that a certificate should have been replaced by now. It belongs to one
// goroutine.
type reminder struct {
	advice string // what the operator should do
	log    *slog.Logger

	leaf *x509.Certificate
	step int       // the last one logged for leaf
	at   time.Time // when
}

// reminderInterval is how often an unchanged state is repeated.
const reminderInterval = 24 * time.Hour

// check logs when leaf has got a step nearer to its end since the last call, and once a day from the first step on.
// Everybody renews when a third of the lifetime is left, so that less than a quarter means that something is wrong.
func (r *reminder) check(leaf *x509.Certificate, now time.Time) {
	if r.leaf != leaf {
		r.leaf, r.step = leaf, 0
	}
	lifetime, left := leaf.NotAfter.Sub(leaf.NotBefore), leaf.NotAfter.Sub(now)
	step, level, message := 0, slog.LevelWarn, "certificate expires soon"
	switch {
	case now.Before(leaf.NotBefore):
		step, level, message = 4, slog.LevelError, "certificate is not valid yet"
	case left < 0:
		step, level, message = 3, slog.LevelError, "certificate has expired"
	case left < lifetime/10:
		step = 2
	case left < lifetime/4:
		step = 1
	}
	if step > r.step || step > 0 && now.Sub(r.at) >= reminderInterval {
		r.at = now
		r.log.Log(context.Background(), level, message, "names", dialable(leaf), "not_before", leaf.NotBefore,
			"not_after", leaf.NotAfter, "advice", r.advice)
	}
	r.step = step
}
