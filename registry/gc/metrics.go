package gc

import (
	"context"
	"errors"
	"fmt"

	"github.com/prometheus/client_golang/prometheus"

	"gatehouse/registry/index"
)

// Metrics are the collector's. nil counts nothing. Safe for concurrent use.
type Metrics struct {
	depth, oldest            *prometheus.GaugeVec
	verdicts                 *prometheus.CounterVec
	condemned, gone, bytes   prometheus.Counter
	errors, cycles, strays   prometheus.Counter
	duration                 prometheus.Histogram
	missing, tripped, paused prometheus.Gauge
}

// NewMetrics registers the metrics. x says how many blobs were revived.
func NewMetrics(to prometheus.Registerer, x *index.Index) (*Metrics, error) {
	counter := func(name, help string) prometheus.Counter {
		return prometheus.NewCounter(prometheus.CounterOpts{Name: "gatehouse_gc_" + name, Help: help})
	}
	gauge := func(name, help string) prometheus.Gauge {
		return prometheus.NewGauge(prometheus.GaugeOpts{Name: "gatehouse_gc_" + name, Help: help})
	}
	gauges := func(name, help string) *prometheus.GaugeVec {
		return prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "gatehouse_gc_" + name, Help: help}, []string{"class"})
	}
	m := &Metrics{
		depth:  gauges("queue_depth", "Items in a queue of the collector, after the last cycle."),
		oldest: gauges("queue_oldest_timestamp_seconds", "Since when the first item of a queue has waited; 0 for an empty queue."),
		verdicts: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "gatehouse_gc_reviewed_total", Help: "Items looked at.",
		}, []string{"class", "verdict"}),
		condemned: counter("condemned_total", "Blobs that nothing held any more."),
		gone:      counter("deleted_total", "Blobs deleted."),
		bytes:     counter("deleted_bytes_total", "Bytes of blobs deleted."),
		errors:    counter("errors_total", "Items and cycles that failed; they are tried again."),
		cycles:    counter("cycles_total", "Cycles run."),
		strays:    counter("strays_total", "Blobs found in the store that the index did not know."),
		duration: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "gatehouse_gc_cycle_duration_seconds", Help: "How long a cycle took.",
			Buckets: []float64{.001, .01, .1, 1, 10, 60, 600, 3600},
		}),
		missing: gauge("missing_blobs", "Blobs that the index knew and the store did not have, in the last comparison."),
		tripped: gauge("breaker", "1 when the collector has stopped itself."),
		paused:  gauge("paused", "1 when the collector is paused."),
	}
	revived := prometheus.NewCounterFunc(prometheus.CounterOpts{
		Name: "gatehouse_gc_revived_total", Help: "Condemned blobs that came to be needed again.",
	}, func() float64 { return float64(x.Revived()) })
	for _, c := range []prometheus.Collector{m.depth, m.oldest, m.verdicts, m.condemned, m.gone, m.bytes, m.errors, m.cycles,
		m.strays, m.duration, m.missing, m.tripped, m.paused, revived} {
		if err := to.Register(c); err != nil {
			return nil, fmt.Errorf("cannot register the collector's metrics: %w", err)
		}
	}
	return m, nil
}

// reviewed counts a review.
func (m *Metrics) reviewed(o index.Outcome) {
	if m == nil {
		return
	}
	m.verdicts.WithLabelValues(string(o.Class), string(o.Verdict)).Inc()
	m.condemned.Add(float64(len(o.Condemned)))
}

// deleted counts a deletion.
func (m *Metrics) deleted(o index.Outcome) {
	if m == nil {
		return
	}
	m.gone.Inc()
	m.bytes.Add(float64(o.Size))
}

// state keeps why there was no cycle.
func (m *Metrics) state(err error) {
	if m == nil {
		return
	}
	m.tripped.Set(truth(errors.Is(err, ErrTripped)))
	m.paused.Set(truth(errors.Is(err, ErrPaused)))
}

// cycle counts a cycle, and looks how long the queues are now.
func (m *Metrics) cycle(ctx context.Context, r Report, x *index.Index, err error) {
	if m == nil {
		return
	}
	m.state(err)
	m.cycles.Inc()
	m.errors.Add(float64(r.Errors))
	if err != nil {
		m.errors.Inc()
	}
	m.strays.Add(float64(r.Strays))
	m.duration.Observe(r.Duration.Seconds())
	m.missing.Set(float64(r.Missing))
	queues, err := x.Queues(context.WithoutCancel(ctx))
	if err != nil {
		return // the next cycle says that the index cannot be read
	}
	for _, q := range queues {
		m.depth.WithLabelValues(string(q.Class)).Set(float64(q.Depth))
		oldest := 0.0
		if !q.Oldest.IsZero() {
			oldest = float64(q.Oldest.UnixNano()) / 1e9
		}
		m.oldest.WithLabelValues(string(q.Class)).Set(oldest)
	}
}

func truth(b bool) float64 {
	if b {
		return 1
	}
	return 0
}
