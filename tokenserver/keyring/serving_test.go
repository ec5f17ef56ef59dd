package keyring

import (
	"math"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"gatehouse/tokenserver/token"
)

func TestServeCertificates(t *testing.T) {
	b := newBench(t)
	b.open()
	for method, want := range map[string]string{"GET": string(b.export()), "HEAD": ""} {
		w := httptest.NewRecorder()
		b.ring.ServeCertificates(w, httptest.NewRequest(method, "/token/ca.pem", nil))
		h := w.Header()
		if w.Code != 200 || w.Body.String() != want || h.Get("Cache-Control") == "" ||
			h.Get("Content-Type") != "application/pem-certificate-chain" {
			t.Errorf("%s: %d, %v, %s", method, w.Code, h, w.Body)
		}
	}
	w := httptest.NewRecorder()
	b.ring.ServeCertificates(w, httptest.NewRequest("POST", "/token/ca.pem", nil))
	if w.Code != 405 || w.Header().Get("Allow") != "GET, HEAD" {
		t.Errorf("POST: %d, %v", w.Code, w.Header())
	}
}

// gather returns the values of metrics, by name and state.
func gather(t *testing.T, r *prometheus.Registry) map[string]float64 {
	t.Helper()
	families, err := r.Gather()
	if err != nil {
		t.Fatal(err)
	}
	values := map[string]float64{}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			name := f.GetName()
			for _, l := range m.GetLabel() {
				name += " " + l.GetValue()
			}
			values[name] = m.GetGauge().GetValue() + m.GetCounter().GetValue()
		}
	}
	return values
}

func TestMetrics(t *testing.T) {
	b := newBench(t)
	registry := prometheus.NewRegistry()
	b.o.Metrics = registry
	b.open()
	const next, failed = "gatehouse_signing_key_rotation_seconds", "gatehouse_signing_key_errors_total"
	if got := gather(t, registry); !math.IsInf(got[next], 1) || got["gatehouse_signing_keys active"] != 1 ||
		got["gatehouse_signing_keys published"] != 0 || got[failed] != 0 {
		t.Errorf("%v", got)
	}
	b.rotate(Rotation{Algorithm: token.EdDSA})
	b.advance(time.Minute)
	b.ring.tick()
	if got := gather(t, registry); got[next] != (prepublish-time.Minute).Seconds() || got["gatehouse_signing_keys published"] != 1 {
		t.Errorf("%v", got)
	}
	b.advance(prepublish + retire)
	b.ring.tick()
	b.put("ring.json", "{", 0o644)
	b.ring.tick()
	if got := gather(t, registry); got["gatehouse_signing_keys gone"] != 1 || got["gatehouse_signing_keys active"] != 1 ||
		got["gatehouse_signing_keys retiring"] != 0 || got[failed] != 1 {
		t.Errorf("%v", got)
	}
	b.o.Metrics = registry
	b.drop("ring.json")
	if _, err := Open(b.o); err == nil {
		t.Error("opened")
	}
}

// TestOptions: what makes no sense is refused before anything is made.
func TestOptions(t *testing.T) {
	for name, change := range map[string]func(*Options){
		"no folder":     func(o *Options) { o.Dir = "" },
		"no logger":     func(o *Options) { o.Logger = nil },
		"no retire":     func(o *Options) { o.Retire = 0 },
		"retire":        func(o *Options) { o.Retire = 2 * maxKeep },
		"algorithm":     func(o *Options) { o.Algorithm = "HS256" },
		"rotate":        func(o *Options) { o.Rotate = -1 },
		"prepublish":    func(o *Options) { o.Prepublish = -1 },
		"below a file":  func(o *Options) { o.Dir = "serving_test.go/keys" },
		"nowhere to":    func(o *Options) { o.Dir = "/proc/keys" },
		"no algorithm":  func(o *Options) { o.Algorithm = "es256" },
		"other metrics": func(o *Options) { o.Metrics = full{} },
	} {
		b := newBench(t)
		change(&b.o)
		if _, err := Open(b.o); err == nil {
			t.Errorf("%s: opened", name)
		}
	}
}

// full is a registry of metrics that takes no more.
type full struct{ prometheus.Registerer }

// Register is Registerer's.
func (full) Register(prometheus.Collector) error { return errCrash }
