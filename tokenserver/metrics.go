package tokenserver

import (
	"fmt"

	"github.com/prometheus/client_golang/prometheus"
)

// serverMetrics counts what the token endpoint answers. Labels come from a fixed set, never from a request.
type serverMetrics struct {
	issued prometheus.Counter
	denied *prometheus.CounterVec // by reason, a refusal's
}

func newServerMetrics(r prometheus.Registerer) (*serverMetrics, error) {
	m := &serverMetrics{
		issued: prometheus.NewCounter(prometheus.CounterOpts{Name: "gatehouse_tokens_issued_total",
			Help: "Tokens signed."}),
		denied: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "gatehouse_tokens_denied_total",
			Help: "Requests for a token that got none, by reason."}, []string{"reason"}),
	}
	return m, register(r, m.issued, m.denied)
}

// loginMetrics counts checks of passwords.
type loginMetrics struct {
	runs, hits prometheus.Counter
}

func newLoginMetrics(r prometheus.Registerer) (*loginMetrics, error) {
	m := &loginMetrics{
		runs: prometheus.NewCounter(prometheus.CounterOpts{Name: "gatehouse_bcrypt_runs_total",
			Help: "Passwords compared with a bcrypt hash: tens of milliseconds of a core each."}),
		hits: prometheus.NewCounter(prometheus.CounterOpts{Name: "gatehouse_credential_cache_hits_total",
			Help: "Passwords that did not need to be compared again."}),
	}
	return m, register(r, m.runs, m.hits)
}

// register adds cs to r, if there is one.
func register(r prometheus.Registerer, cs ...prometheus.Collector) error {
	if r == nil {
		return nil
	}
	for _, c := range cs {
		if err := r.Register(c); err != nil {
			return fmt.Errorf("a metric of the token server could not be registered: %w", err)
		}
	}
	return nil
}
