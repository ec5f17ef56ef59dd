// Package gateway is the front door: one listener and one origin for the registry, the token server and the pages, in the
// place where nginx used to stand. It knows handlers, not what they serve.
//
// A request goes client → limits → access log → route, a file each: client.go opens the exchange (the state that all four
// share), limits.go takes away what a client must not say and bounds how long it may be silent, accesslog.go writes the
// line, route.go refuses paths that two readers could read differently, finds the handler, counts and calls it. The rest
// serves these four: stall.go, body.go and writer.go are the idle deadlines, answer.go the gateway's own errors, rescue.go
// a handler that panics. Beside the chain stand Origin, which says where the client thinks it is, and Debug, the listener
// for operators. Start at New.
package gateway

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/http"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"gatehouse/configs"
)

// Options is what a Server is made of.
type Options struct {
	// Addr is host:port to listen on; an empty host is every address.
	Addr string
	// TLS is the listener's configuration; nil means plain HTTP. HTTP/2 is offered over TLS only, unless OnlyHTTP1.
	TLS       *tls.Config
	OnlyHTTP1 bool
	// Prefix is what stands before /v2/ in the paths of the registry: empty, or a path without a slash at its end.
	Prefix string
	// Routes are the handlers, in any order.
	Routes []Route
	// Limits bounds what clients may take; a zero field has the default that configs.Gateway documents.
	Limits configs.Gateway
	// AccessLog asks for a line for each request.
	AccessLog bool
	// DrainTimeout is how long requests may finish once Run's context is done. Zero means 10 minutes.
	DrainTimeout time.Duration
	// Metrics is where the request metrics are registered; nil means none.
	Metrics prometheus.Registerer
	// Logger is required.
	Logger *slog.Logger
}

// Limits that no setting changes.
const (
	// maxHandshake bounds the TLS handshake, whatever the header timeout: nothing is known of the peer yet.
	maxHandshake = 10 * time.Second
	// maxLinger bounds reading on for the rest of a body that the handler did not want (see exchange.linger).
	maxLinger = 5 * time.Second
	// cutGrace is how long handlers have to notice that their connection was cut at the end of a drain.
	cutGrace = 5 * time.Second

	// HTTP/2 receive windows bound an upload to window/RTT. net/http's 1 MiB is 20 MB/s at 50 ms, for all streams of a
	// connection together. A hostile connection can park as much in memory, hence not more.
	connWindow   = 16 << 20
	streamWindow = 4 << 20
	maxStreams   = 100
	// pingAfter silence, an HTTP/2 peer is asked whether it is there; without an answer the connection is closed 15 s later.
	pingAfter = 30 * time.Second
)

// Server is the front door. Its methods are for one goroutine; Addr may be called by any once Listen has returned.
type Server struct {
	log       *slog.Logger
	addr      string
	prefix    string
	limit     configs.Gateway
	linger    time.Duration
	handshake time.Duration
	drainFor  time.Duration
	routes    routes
	metrics   *metrics

	http     *http.Server
	listener net.Listener

	serial  atomic.Uint64 // requests so far
	run     string        // tells request ids of one process from the next one's
	active  atomic.Int64  // requests whose handler has not returned
	cutting atomic.Bool   // the drain is over, and what still ran was cut
	buffers sync.Pool     // of *copyBuffer
}

// New checks the options and puts the server together. It starts nothing.
func New(o Options) (*Server, error) {
	limit, err := withDefaults(o.Limits)
	if err != nil {
		return nil, err
	}
	if o.DrainTimeout < 0 {
		return nil, errors.New("http.draintimeout must not be negative")
	}
	s := &Server{
		log:       o.Logger,
		addr:      o.Addr,
		prefix:    o.Prefix,
		limit:     limit,
		linger:    min(maxLinger, limit.BodyIdleTimeout/2),
		handshake: min(maxHandshake, limit.HeaderTimeout),
		drainFor:  o.DrainTimeout,
		run:       strconv.FormatUint(uint64(rand.Uint32()), 16) + "-",
		buffers:   sync.Pool{New: func() any { return new(copyBuffer) }},
	}
	if s.drainFor == 0 {
		s.drainFor = 10 * time.Minute
	}
	if s.metrics, err = newMetrics(o.Metrics); err != nil {
		return nil, err
	}
	if s.routes, err = newRoutes(o.Routes, s.metrics); err != nil {
		return nil, err
	}
	chain := s.route
	if o.AccessLog {
		chain = s.accessLog(chain)
	}
	s.http = s.newHTTP(s.client(s.limits(chain)), o)
	return s, nil
}

// newHTTP returns the net/http server with the limits that are its business. There is no limit on the whole of a request
// or an answer (ReadTimeout, WriteTimeout): pushes take hours.
func (s *Server) newHTTP(h http.Handler, o Options) *http.Server {
	protocols := new(http.Protocols)
	protocols.SetHTTP1(true)
	protocols.SetHTTP2(!o.OnlyHTTP1)
	return &http.Server{
		Handler:                      h,
		TLSConfig:                    o.TLS.Clone(),
		Protocols:                    protocols,
		DisableGeneralOptionsHandler: true, // "OPTIONS *" is refused like every path that is none
		ReadHeaderTimeout:            s.limit.HeaderTimeout,
		IdleTimeout:                  s.limit.KeepAliveTimeout,
		MaxHeaderBytes:               s.limit.MaxHeaderBytes,
		HTTP2: &http.HTTP2Config{
			MaxConcurrentStreams:          maxStreams,
			MaxReceiveBufferPerConnection: connWindow,
			MaxReceiveBufferPerStream:     streamWindow,
			SendPingTimeout:               pingAfter,
			WriteByteTimeout:              s.limit.BodyIdleTimeout,
		},
		ErrorLog: log.New(errorLog{s.log}, "", 0),
	}
}

// withDefaults fills in zero fields and refuses negative ones.
func withDefaults(l configs.Gateway) (configs.Gateway, error) {
	for _, d := range []struct {
		name string
		v    *time.Duration
		def  time.Duration
	}{
		{"headertimeout", &l.HeaderTimeout, 10 * time.Second},
		{"bodyidletimeout", &l.BodyIdleTimeout, time.Minute},
		{"keepalivetimeout", &l.KeepAliveTimeout, 2 * time.Minute},
	} {
		if *d.v < 0 {
			return l, fmt.Errorf("gateway.%s must not be negative", d.name)
		}
		if *d.v == 0 {
			*d.v = d.def
		}
	}
	if l.MaxHeaderBytes < 0 {
		return l, errors.New("gateway.maxheaderbytes must not be negative")
	}
	if l.MaxHeaderBytes == 0 {
		l.MaxHeaderBytes = 64 << 10
	}
	return l, nil
}

// Listen takes the address, so that Addr is known and connections queue before Run accepts them.
func (s *Server) Listen() error {
	l, err := net.Listen("tcp", s.addr)
	if err != nil {
		return fmt.Errorf("cannot listen (choose another http.addr, or stop what listens there): %w", err)
	}
	s.listener = l
	return nil
}

// Addr is the listener's address, port filled in; nil before Listen.
func (s *Server) Addr() net.Addr {
	if s.listener == nil {
		return nil
	}
	return s.listener.Addr()
}

// Run serves until ctx is done, listening first where Listen was not called. Then it refuses connections and waits for
// running requests, at most the drain timeout; what still runs is cut. It returns nil when every request could finish, and
// in each case after the last handler has returned, but for a handler that ignores a cut for longer than cutGrace. Run once.
func (s *Server) Run(ctx context.Context) error {
	if s.listener == nil {
		if err := s.Listen(); err != nil {
			return err
		}
	}
	// Requests outlive ctx until the drain is over.
	requests, cut := context.WithCancel(context.WithoutCancel(ctx))
	defer cut()
	s.http.BaseContext = func(net.Listener) context.Context { return requests }

	served := make(chan error, 1)
	go func() { served <- s.serve() }()
	select {
	case err := <-served:
		return fmt.Errorf("cannot accept connections on %s: %w", s.Addr(), err)
	case <-ctx.Done():
	}
	err := s.drain(context.WithoutCancel(ctx), cut)
	<-served
	return err
}

// serve accepts connections until Shutdown or Close.
func (s *Server) serve() error {
	if s.http.TLSConfig == nil {
		return s.http.Serve(s.listener)
	}
	return s.http.ServeTLS(handshakeListener{s.listener, s.handshake}, "", "")
}

// drain is the end of Run: cut cancels what requests still run after the drain timeout.
func (s *Server) drain(ctx context.Context, cut context.CancelFunc) error {
	s.log.Info("draining", "requests", s.active.Load(), "timeout", s.drainFor)
	patient, cancel := context.WithTimeout(ctx, s.drainFor)
	defer cancel()
	// Shutdown forgets an HTTP/2 stream that its client reset, although its handler may still run: hence the second wait.
	if s.http.Shutdown(patient) == nil && s.idle(patient) == nil {
		s.log.Info("drained")
		return nil
	}
	running := s.active.Load()
	s.cutting.Store(true)
	cut()
	// The connections are torn down in any case; an error of closing one has no reader.
	_ = s.http.Close()
	grace, cancel := context.WithTimeout(ctx, cutGrace)
	defer cancel()
	if s.idle(grace) != nil {
		s.log.Error("handlers ignored that their connection was cut", "requests", s.active.Load())
	}
	return fmt.Errorf("%d requests were cut because they ran longer than http.draintimeout (%s)", running, s.drainFor)
}

// idle waits until no handler runs, or returns ctx's error.
func (s *Server) idle(ctx context.Context) error {
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for s.active.Load() > 0 {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}
