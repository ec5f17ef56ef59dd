package etcd

import (
	"fmt"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// State says how the value in force stands to the one in etcd.
type State string

const (
	// Waiting: nothing is known yet, neither from etcd nor from disk. No value is in force.
	Waiting State = "waiting"
	// LastGood: the value from disk is in force; etcd has not answered yet.
	LastGood State = "last good"
	// Applied: what etcd had when it last answered is in force.
	Applied State = "applied"
	// Rejected: the value in etcd is broken. What was in force before stays, be it nothing.
	Rejected State = "rejected"
	// Absent: the key is not in etcd. What was in force before stays, be it nothing.
	Absent State = "absent"
)

// Status is what is known at one moment.
type Status struct {
	Key             string
	AppliedRevision int64 // modification revision of the value in force; 0: none is
	SeenRevision    int64 // newest revision of the store that etcd told
	State           State
	Err             error     // why State is Rejected, or why etcd or the file on disk could not be read; else nil
	Since           time.Time // when State became what it is
	Connected       bool      // etcd answers
}

// Status returns a snapshot. It never waits for etcd. What it tells was applied, counted and logged before.
func (s *Source) Status() Status {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.status
}

// update changes the status.
func (s *Source) update(change func(*Status)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	was := s.status.State
	change(&s.status)
	now := s.opt.Now()
	if s.status.State != was {
		s.status.Since = now
	}
	switch current := s.status.State == Applied && s.status.Connected; {
	case current:
		s.staleSince = time.Time{}
	case s.staleSince.IsZero():
		s.staleSince = now
	}
}

// stale is for how many seconds the value in force has not been known to be the one in etcd.
func (s *Source) stale() float64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.staleSince.IsZero() {
		return 0
	}
	return max(s.opt.Now().Sub(s.staleSince).Seconds(), 0)
}

// counters are what s counts.
type counters struct {
	applied, rejected prometheus.Counter
}

// newCounters makes the metrics and registers them with r, which may be nil.
func (s *Source) newCounters(r prometheus.Registerer) (counters, error) {
	labels := prometheus.Labels{"key": s.key}
	c := counters{
		applied: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "gatehouse_config_applied_total", Help: "Values from etcd that came into force.", ConstLabels: labels,
		}),
		rejected: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "gatehouse_config_rejected_total", Help: "Values in etcd that were broken and changed nothing.", ConstLabels: labels,
		}),
	}
	if r == nil {
		return c, nil
	}
	for _, m := range []prometheus.Collector{c.applied, c.rejected, prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "gatehouse_config_stale_seconds", ConstLabels: labels,
		Help: "For how long the value in force has not been known to be the one in etcd: etcd away, the key absent, or its value broken.",
	}, s.stale)} {
		if err := r.Register(m); err != nil {
			return counters{}, fmt.Errorf("could not register the metrics of %s: %w", s.key, err)
		}
	}
	return c, nil
}
