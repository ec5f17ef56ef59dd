package gateway

import (
	"fmt"
	"net/http"
	"strconv"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// metrics are distribution's request metrics under distribution's names, so that dashboards go on working. nil counts
// nothing. Safe for concurrent use.
type metrics struct {
	requests *prometheus.CounterVec
	duration *prometheus.HistogramVec
	inFlight *prometheus.GaugeVec

	mu       sync.RWMutex
	handlers map[string]*handlerMetrics
}

// handlerMetrics are the metrics of one handler, its label resolved. nil counts nothing.
type handlerMetrics struct {
	requests *prometheus.CounterVec
	duration prometheus.ObserverVec
	inFlight prometheus.Gauge
}

// newMetrics registers the metrics; nil for no registerer.
func newMetrics(to prometheus.Registerer) (*metrics, error) {
	if to == nil {
		return nil, nil
	}
	m := &metrics{
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "registry_http_requests_total", Help: "Requests answered.",
		}, []string{"handler", "code", "method"}),
		duration: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "registry_http_request_duration_seconds", Help: "Time from the request's header to the end of the answer.",
			Buckets: []float64{.005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 25, 60},
		}, []string{"handler", "method"}),
		inFlight: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "registry_http_in_flight_requests", Help: "Requests being answered.",
		}, []string{"handler"}),
		handlers: map[string]*handlerMetrics{},
	}
	for _, c := range []prometheus.Collector{m.requests, m.duration, m.inFlight} {
		if err := to.Register(c); err != nil {
			return nil, fmt.Errorf("cannot register request metrics: %w", err)
		}
	}
	return m, nil
}

// handler returns the metrics of a handler's name.
func (m *metrics) handler(name string) *handlerMetrics {
	if m == nil {
		return nil
	}
	m.mu.RLock()
	h := m.handlers[name]
	m.mu.RUnlock()
	if h != nil {
		return h
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if h := m.handlers[name]; h != nil {
		return h
	}
	label := prometheus.Labels{"handler": name}
	h = &handlerMetrics{m.requests.MustCurryWith(label), m.duration.MustCurryWith(label), m.inFlight.With(label)}
	m.handlers[name] = h
	return h
}

// begin counts a request in flight.
func (h *handlerMetrics) begin() {
	if h != nil {
		h.inFlight.Inc()
	}
}

// end counts it as answered.
func (h *handlerMetrics) end(x *exchange, method string) {
	if h == nil {
		return
	}
	h.inFlight.Dec()
	status, _ := x.outcome()
	method = methodLabel(method)
	h.requests.WithLabelValues(strconv.Itoa(status), method).Inc()
	h.duration.WithLabelValues(method).Observe(time.Since(x.start).Seconds())
}

// methodLabel is the method as distribution writes it. A method that a registry does not know is one label, whatever the
// client called it.
func methodLabel(method string) string {
	switch method {
	case http.MethodGet:
		return "get"
	case http.MethodHead:
		return "head"
	case http.MethodPost:
		return "post"
	case http.MethodPut:
		return "put"
	case http.MethodPatch:
		return "patch"
	case http.MethodDelete:
		return "delete"
	case http.MethodOptions:
		return "options"
	}
	return "unknown"
}
