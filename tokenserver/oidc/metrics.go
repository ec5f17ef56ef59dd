package oidc

import (
	"fmt"

	"github.com/prometheus/client_golang/prometheus"
)

// metrics counts tokens and fetches. The label issuer is one of the configured, never what a token says.
type metrics struct {
	tokens  *prometheus.CounterVec // by issuer and result
	fetches *prometheus.CounterVec // by issuer and result
	fetched *prometheus.GaugeVec   // by issuer
}

// newMetrics registers them, where there is somewhere to.
func newMetrics(r prometheus.Registerer) (*metrics, error) {
	m := &metrics{
		tokens: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "gatehouse_oidc_tokens_total",
			Help: "Tokens of other issuers that were given as passwords, by result."}, []string{"issuer", "result"}),
		fetches: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "gatehouse_oidc_key_fetches_total",
			Help: "Times that the keys of an issuer were fetched, by result."}, []string{"issuer", "result"}),
		fetched: prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "gatehouse_oidc_keys_fetched_timestamp_seconds",
			Help: "When the keys of an issuer were fetched that are used now."}, []string{"issuer"}),
	}
	if r == nil {
		return m, nil
	}
	for _, c := range []prometheus.Collector{m.tokens, m.fetches, m.fetched} {
		if err := r.Register(c); err != nil {
			return nil, fmt.Errorf("a metric of workload identity could not be registered: %w", err)
		}
	}
	return m, nil
}
