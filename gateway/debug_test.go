package gateway

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"runtime"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"

	"gatehouse/configs"
)

// openDebug runs a Debug until the test ends and returns a function that gets a path of it.
func openDebug(t *testing.T, registry *prometheus.Registry, ready func(context.Context) error) func(path, host string) (int, string) {
	t.Helper()
	before := runtime.NumGoroutine()
	d, err := NewDebug(DebugOptions{Addr: "localhost:0", Metrics: registry, Ready: ready, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	if d.Addr() != nil {
		t.Error("address without a listener")
	}
	if err := d.Listen(); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ran := make(chan error, 1)
	go func() { ran <- d.Run(ctx) }()
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	t.Cleanup(func() {
		cancel()
		if err := receive(t, "Run", ran); err != nil {
			t.Errorf("Run: %v", err)
		}
		wait(t, "goroutines back to baseline", func() bool { return runtime.NumGoroutine() <= before })
	})
	return func(path, host string) (int, string) {
		t.Helper()
		r, err := http.NewRequestWithContext(t.Context(), "GET", "http://"+d.Addr().String()+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		r.Host = host
		resp, err := client.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		body, err := io.ReadAll(resp.Body)
		if err != nil {
			t.Fatal(err)
		}
		return resp.StatusCode, string(body)
	}
}

func TestDebugIsLoopbackOnly(t *testing.T) {
	for addr, good := range map[string]bool{
		":5001": true, "127.0.0.1:5001": true, "127.8.8.8:5001": true, "[::1]:5001": true, "localhost:5001": true,
		"0.0.0.0:5001": false, "[::]:5001": false, "10.0.0.1:5001": false, "registry.example.com:5001": false, "[::ffff:10.0.0.1]:5001": false,
		"127.0.0.1": false, "": false, "127.0.0.1.evil.example:5001": false, "localhost.evil.example:1": false,
	} {
		d, err := NewDebug(DebugOptions{Addr: addr, Metrics: prometheus.NewRegistry(), Logger: slog.New(slog.DiscardHandler)})
		if (err == nil) != good {
			t.Errorf("%q: %v", addr, err)
		}
		if good && err == nil && strings.HasPrefix(d.addr, ":") {
			t.Errorf("%q listens on %q", addr, d.addr)
		}
	}
}

func TestDebugRoutes(t *testing.T) {
	registry := prometheus.NewRegistry()
	counter := prometheus.NewCounter(prometheus.CounterOpts{Name: "canary_total"})
	registry.MustRegister(counter)
	counter.Inc()
	var unready error
	get := openDebug(t, registry, func(context.Context) error { return unready })
	for _, c := range []struct {
		path   string
		status int
		says   string
	}{
		{"/metrics", 200, "canary_total 1"},
		{"/debug/health", 200, "{}"}, {"/livez", 200, "{}"}, {"/readyz", 200, "{}"},
		{"/debug/pprof/", 200, "goroutine"}, {"/debug/pprof/goroutine?debug=1", 200, "goroutine profile"},
		{"/debug/pprof/cmdline", 200, "gateway.test"}, {"/debug/pprof/symbol", 200, "num_symbols"},
		{"/debug/pprof/heap?debug=1", 200, "heap profile"}, {"/debug/pprof/trace?seconds=0.01", 200, ""},
		{"/", 404, ""}, {"/v2/", 404, ""},
	} {
		if status, body := get(c.path, "localhost:5001"); status != c.status || !strings.Contains(body, c.says) {
			t.Errorf("%s: %d %.200s", c.path, status, body)
		}
	}
	unready = errors.New("adoption is at 12 %")
	if status, body := get("/readyz", "127.0.0.1"); status != 503 || !strings.Contains(body, "12 %") {
		t.Errorf("not ready: %d %s", status, body)
	}
	if status, _ := get("/livez", "[::1]:80"); status != 200 {
		t.Errorf("not ready is not dead: %d", status)
	}
	// A name that somebody else points at 127.0.0.1.
	for _, host := range []string{"evil.example", "evil.example:5001", "10.0.0.1", "user@localhost", "localhost.evil.example"} {
		if status, _ := get("/metrics", host); status != 403 && status != 400 {
			t.Errorf("Host %q: %d", host, status)
		}
	}
}

func TestDebugPortTaken(t *testing.T) {
	d := serve(t, plain, configs.Gateway{}, ok)
	other, err := NewDebug(DebugOptions{Addr: d.Addr().String(), Metrics: prometheus.NewRegistry(), Logger: d.log})
	if err != nil {
		t.Fatal(err)
	}
	if err := other.Run(t.Context()); err == nil || !strings.Contains(err.Error(), "http.debug.addr") {
		t.Errorf("%v", err)
	}
}

func TestMetrics(t *testing.T) {
	registry := prometheus.NewRegistry()
	get := openDebug(t, registry, nil)
	started, release := make(chan struct{}), make(chan struct{})
	d := open(t, h1, nil, func(o *Options) {
		o.Metrics = registry
		o.Routes = []Route{
			{Path: "/token", Name: "token", Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(401) })},
			{Path: "/panic", Name: "panic", Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { panic("boom") })},
			{Path: "/slow", Name: "slow", Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { close(started); <-release })},
			{Path: "/v2/", Name: "base", Handler: http.HandlerFunc(ok), Label: func(r *http.Request) string {
				if strings.Contains(r.URL.Path, "/blobs/") {
					return "blob"
				}
				return "manifest"
			}},
		}
	})
	c := d.client(h1)
	for _, request := range []string{
		"GET /token", "GET /token", "POST /token", "GET /panic", "GET /v2/a/blobs/1", "HEAD /v2/a/manifests/1", "INVENTED /v2/a/manifests/1",
		"GET /nowhere", "GET /v2/a%2fb", "PUT /v2/a/blobs/1", "PATCH /v2/a/blobs/1", "DELETE /v2/a/blobs/1", "OPTIONS /v2/a/blobs/1",
	} {
		method, path, _ := strings.Cut(request, " ")
		d.do(c, d.request(method, path, nil))
	}
	done := make(chan struct{})
	go func() { defer close(done); d.do(d.client(h1), d.request("GET", "/slow", nil)) }()
	receive(t, "slow request", started)
	d.access(13)
	_, text := get("/metrics", "localhost")
	for _, want := range []string{
		`registry_http_requests_total{code="401",handler="token",method="get"} 2`,
		`registry_http_requests_total{code="401",handler="token",method="post"} 1`,
		`registry_http_requests_total{code="500",handler="panic",method="get"} 1`,
		`registry_http_requests_total{code="200",handler="blob",method="get"} 1`,
		`registry_http_requests_total{code="200",handler="manifest",method="head"} 1`,
		`registry_http_requests_total{code="200",handler="manifest",method="unknown"} 1`,
		`registry_http_requests_total{code="200",handler="blob",method="put"} 1`,
		`registry_http_requests_total{code="200",handler="blob",method="patch"} 1`,
		`registry_http_requests_total{code="200",handler="blob",method="delete"} 1`,
		`registry_http_requests_total{code="200",handler="blob",method="options"} 1`,
		`registry_http_requests_total{code="404",handler="none",method="get"} 1`,
		`registry_http_requests_total{code="400",handler="none",method="get"} 1`,
		`registry_http_request_duration_seconds_count{handler="token",method="get"} 2`,
		`registry_http_request_duration_seconds_bucket{handler="blob",method="get",le="+Inf"} 1`,
		`registry_http_in_flight_requests{handler="slow"} 1`,
		`registry_http_in_flight_requests{handler="panic"} 0`,
		`registry_http_in_flight_requests{handler="blob"} 0`,
	} {
		if !strings.Contains(text, want+"\n") {
			t.Errorf("no %s in\n%s", want, text)
		}
	}
	close(release)
	receive(t, "slow request", done)
	wait(t, "nothing in flight", func() bool {
		_, text := get("/metrics", "localhost")
		return strings.Contains(text, `registry_http_in_flight_requests{handler="slow"} 0`)
	})
	if _, err := New(Options{Metrics: registry, Logger: d.log, Routes: []Route{{Path: "/", Name: "n", Handler: http.HandlerFunc(ok)}}}); err == nil {
		t.Error("two servers count into one registry")
	}
}
