package keyring

import (
	"fmt"
	"math"
	"net/http"

	"github.com/prometheus/client_golang/prometheus"
)

// ServeCertificates answers with what a verifier's rootcertbundle needs, at /token/ca.pem. It holds no secret.
func (r *Ring) ServeCertificates(w http.ResponseWriter, q *http.Request) {
	if q.Method != http.MethodGet && q.Method != http.MethodHead {
		w.Header().Set("Allow", "GET, HEAD")
		http.Error(w, "certificates are read with GET", http.StatusMethodNotAllowed)
		return
	}
	data := r.Certificates()
	w.Header().Set("Content-Type", "application/pem-certificate-chain") // RFC 8555 section 9.1
	// Short, so that a key is known everywhere soon after it is published.
	w.Header().Set("Cache-Control", "public, max-age=300")
	w.Header().Set("Content-Length", fmt.Sprint(len(data)))
	if q.Method == http.MethodGet {
		_, _ = w.Write(data) // who has gone away needs no answer
	}
}

// register adds the gauges to r, if there is one.
func (r *Ring) register(to prometheus.Registerer) error {
	r.failed = prometheus.NewCounter(prometheus.CounterOpts{Name: "gatehouse_signing_key_errors_total",
		Help: "Times that signing keys could not be read, rotated or certified; they stayed as they were."})
	if to == nil {
		return nil
	}
	gauges := []prometheus.Collector{r.failed, prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "gatehouse_signing_key_rotation_seconds",
		Help: "Seconds until another key signs; +Inf when none is planned."}, r.untilRotation)}
	for _, state := range States {
		gauges = append(gauges, prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "gatehouse_signing_keys",
			Help: "Keys for tokens, by state.", ConstLabels: prometheus.Labels{"state": string(state)}},
			func() float64 { return r.count(state) }))
	}
	for _, g := range gauges {
		if err := to.Register(g); err != nil {
			return fmt.Errorf("a metric of signing keys could not be registered: %w", err)
		}
	}
	return nil
}

// list is the keys that the ring has, as they are now.
func (r *Ring) list() []Info {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.folder.infos(r.loaded, r.folder.now())
}

// count is the number of keys in a state.
func (r *Ring) count(state State) (n float64) {
	for _, i := range r.list() {
		if i.State == state {
			n++
		}
	}
	return n
}

// untilRotation is how many seconds the key that signs will go on to.
func (r *Ring) untilRotation() float64 {
	for _, i := range r.list() {
		if i.State == Active && i.NextState == Retiring {
			return i.Next.Sub(r.folder.now()).Seconds()
		}
	}
	return math.Inf(1)
}
