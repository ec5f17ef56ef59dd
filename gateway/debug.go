package gateway

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"log/slog"
	"net"
	"net/http"
	"net/http/pprof"
	"net/netip"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// DebugOptions is what a Debug is made of.
type DebugOptions struct {
	// Addr is host:port. The host is empty for 127.0.0.1, localhost, or a loopback address.
	Addr string
	// Metrics is what /metrics shows, and MetricsPath, where it is set. Required.
	Metrics     *prometheus.Registry
	MetricsPath string
	// Ready returns why the server should get no requests now, or nil. Its error is shown. nil: always ready.
	Ready func(context.Context) error
	// Logger is required.
	Logger *slog.Logger
}

// Debug is the listener for operators: metrics, profiles and health, without authentication and therefore on loopback only.
// Its methods are for one goroutine; Addr may be called by any once Listen has returned.
type Debug struct {
	addr     string
	http     *http.Server
	listener net.Listener
}

// NewDebug refuses an address that is not loopback. It starts nothing.
func NewDebug(o DebugOptions) (*Debug, error) {
	host, port, err := net.SplitHostPort(o.Addr)
	if err != nil {
		return nil, fmt.Errorf("http.debug.addr is not host:port: %w", err)
	}
	if host == "" || host == "localhost" {
		host = "127.0.0.1" // not what a resolver says
	}
	if ip, err := netip.ParseAddr(host); err != nil || !ip.IsLoopback() {
		return nil, fmt.Errorf("http.debug.addr %q is not a loopback address: profiles and metrics have no authentication", o.Addr)
	}
	d := &Debug{addr: net.JoinHostPort(host, port)}
	d.http = &http.Server{
		Handler:           localOnly(debugMux(o)),
		ReadHeaderTimeout: 10 * time.Second,
		IdleTimeout:       2 * time.Minute,
		ErrorLog:          log.New(errorLog{o.Logger}, "", 0),
	}
	return d, nil
}

// debugMux is the routes. Package pprof puts its handlers on http.DefaultServeMux as well, which nothing here serves.
func debugMux(o DebugOptions) *http.ServeMux {
	mux := http.NewServeMux()
	metrics := promhttp.HandlerFor(o.Metrics, promhttp.HandlerOpts{})
	mux.Handle("GET /metrics", metrics)
	if o.MetricsPath != "" && o.MetricsPath != "/metrics" {
		mux.Handle("GET "+o.MetricsPath, metrics)
	}
	mux.HandleFunc("/debug/pprof/", pprof.Index)
	mux.HandleFunc("/debug/pprof/cmdline", pprof.Cmdline)
	mux.HandleFunc("/debug/pprof/profile", pprof.Profile)
	mux.HandleFunc("/debug/pprof/symbol", pprof.Symbol)
	mux.HandleFunc("/debug/pprof/trace", pprof.Trace)
	alive := func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		_, _ = io.WriteString(w, "{}\n") // distribution's answer for healthy
	}
	mux.HandleFunc("GET /debug/health", alive)
	mux.HandleFunc("GET /livez", alive)
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, r *http.Request) {
		if o.Ready != nil {
			if err := o.Ready(r.Context()); err != nil {
				http.Error(w, err.Error(), http.StatusServiceUnavailable)
				return
			}
		}
		alive(w, r)
	})
	return mux
}

// localOnly refuses requests for another host than this one: a web page in the operator's browser can point a name of its
// own at 127.0.0.1, but cannot make the browser say localhost.
func localOnly(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		host, _, _ := splitHost(r.Host)
		if ip, err := netip.ParseAddr(host); host != "localhost" && (err != nil || !ip.IsLoopback()) {
			http.Error(w, "ask for localhost", http.StatusForbidden)
			return
		}
		next.ServeHTTP(w, r)
	})
}

// Listen takes the address.
func (d *Debug) Listen() error {
	l, err := net.Listen("tcp", d.addr)
	if err != nil {
		return fmt.Errorf("cannot listen for debugging (choose another http.debug.addr): %w", err)
	}
	d.listener = l
	return nil
}

// Addr is the listener's address, port filled in; nil before Listen.
func (d *Debug) Addr() net.Addr {
	if d.listener == nil {
		return nil
	}
	return d.listener.Addr()
}

// Run serves until ctx is done, listening first where Listen was not called, and cuts what runs then. Run once.
func (d *Debug) Run(ctx context.Context) error {
	if d.listener == nil {
		if err := d.Listen(); err != nil {
			return err
		}
	}
	stop := context.AfterFunc(ctx, func() { _ = d.http.Close() })
	defer stop()
	err := d.http.Serve(d.listener)
	if errors.Is(err, http.ErrServerClosed) {
		return nil
	}
	return fmt.Errorf("cannot accept connections on %s: %w", d.Addr(), err)
}
