// Package certs is where the listener's certificates come from: PEM files ([Files]), a certificate authority of our own for
// the first hours of a registry ([LocalCA]), or ACME ([ACME]). The gateway knows only [Provider]; start there.
//
// What they share is in pair.go (a certificate with its key) and names.go (what a certificate may be for). A certificate
// once loaded is never taken away again: when its successor cannot be had, the old one is served, even expired, and the log
// and [Provider.NotAfter] say so. A client's refusal names the cause; a server that hangs up does not.
package certs

import (
	"context"
	"crypto/tls"
	"time"
)

// Provider supplies the certificates of one listener and keeps them fresh.
//
// All methods may be called from several goroutines, before and while Run runs and after it. A constructor starts nothing,
// and has a certificate ready when it returns, unless there is none yet (ACME before the first order).
type Provider interface {
	// TLSConfig returns a configuration for the listener, a new one with each call: GetCertificate follows every change of
	// the certificate, MinVersion is TLS 1.2, NextProtos offers HTTP/2 and HTTP/1.1 and what Run needs. A handshake without
	// a server name, or with one that is not ours, is answered with the first certificate, so that the client can tell its
	// user whose it is; one for a name of ours whose certificate is missing fails. No handshake waits for a file, a lock or
	// another server.
	TLSConfig() *tls.Config

	// Covers reports whether a client that verifies names may use host, a DNS name or an IP address without a port. Upper
	// case and one trailing dot make no difference; a wildcard stands for exactly one label (RFC 9525 section 6.3). It
	// takes no lock and does no I/O.
	Covers(host string) bool

	// Names returns the names and addresses that can be dialled, best first. Wildcards are left out.
	Names() []string

	// NotAfter is the end of the certificate's life, of the first to end where there are several. Zero means that a
	// certificate is missing.
	NotAfter() time.Time

	// Run renews and re-reads until ctx is done, and returns nil when nothing of it runs any more. It is called at most
	// once. What goes wrong is logged and tried again, never returned.
	Run(ctx context.Context) error
}

// tlsConfig is what the configurations of all providers have in common.
func tlsConfig(get func(*tls.ClientHelloInfo) (*tls.Certificate, error), protocols ...string) *tls.Config {
	return &tls.Config{
		GetCertificate: get,
		MinVersion:     tls.VersionTLS12,
		NextProtos:     append([]string{"h2", "http/1.1"}, protocols...),
		// Blobs are large and connections short: records of full size from the first byte.
		DynamicRecordSizingDisabled: true,
	}
}
