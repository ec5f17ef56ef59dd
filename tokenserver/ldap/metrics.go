package ldap

import (
	"fmt"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// metrics counts what the directory is asked. Labels come from a fixed set.
type metrics struct {
	binds   *prometheus.CounterVec // by result
	errors  *prometheus.CounterVec // by step
	hits    prometheus.Counter
	seconds *prometheus.HistogramVec // by operation
}

// newMetrics registers them, where there is somewhere to.
func newMetrics(r prometheus.Registerer) (*metrics, error) {
	m := &metrics{
		binds: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "gatehouse_ldap_binds_total",
			Help: "Passwords that the directory judged, by result."}, []string{"result"}),
		errors: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "gatehouse_ldap_errors_total",
			Help: "Steps that the directory did not answer or could not do."}, []string{"step"}),
		hits: prometheus.NewCounter(prometheus.CounterOpts{Name: "gatehouse_ldap_cache_hits_total",
			Help: "Passwords that the directory did not need to be asked about again."}),
		seconds: prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: "gatehouse_ldap_request_seconds",
			Help: "Time that the directory took to answer.", Buckets: prometheus.ExponentialBuckets(0.001, 3, 9)}, []string{"operation"}),
	}
	if r == nil {
		return m, nil
	}
	for _, c := range []prometheus.Collector{m.binds, m.errors, m.hits, m.seconds} {
		if err := r.Register(c); err != nil {
			return nil, fmt.Errorf("a metric of the directory could not be registered: %w", err)
		}
	}
	return m, nil
}

// begin is when an operation began, by a clock that is only for measuring.
func (m *metrics) begin() time.Time { return time.Now() }

// took records how long an operation was.
func (m *metrics) took(operation string, began time.Time) {
	m.seconds.WithLabelValues(operation).Observe(time.Since(began).Seconds())
}
