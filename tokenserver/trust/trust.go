// Package trust keeps the keys of an outside issuer, whose tokens the registry believes in place of our own token server's:
// auth.token.rootcertbundle and auth.token.jwks of distribution's configuration.
//
// bundle.go and jwks.go read the two forms, file.go notices changes, and Set puts both into the token.Trust that
// token.Foreign verifies with.
package trust

import (
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"gatehouse/tokenserver/token"
)

// lookEvery is how often the files are looked at for a change, and so how late one may take effect.
const lookEvery = time.Second

// Options says where the keys are. One of Bundle and JWKS and Logger are required.
type Options struct {
	// Bundle is the path of a PEM file of certificates: their keys are trusted by their ids, whatever their dates, and every
	// certificate that they signed is trusted in x5c.
	Bundle string
	// JWKS is the path of a JWK set.
	JWKS string
	// Algorithms are the only ones that tokens may be signed with. Empty: token.ForeignAlgorithms.
	Algorithms []string
	// Now is the clock. Default time.Now.
	Now func() time.Time
	// Metrics is where the metrics are registered; nil for nowhere.
	Metrics prometheus.Registerer
	Logger  *slog.Logger
}

// Set is the keys of an outside issuer. The files are looked at once a second when it is used, and read again when they have
// changed. A file that is bad then leaves the keys as they were, which is logged and counted: an issuer's new key is never a
// reason to believe nobody, nor anybody.
//
// It may be used from many goroutines, and has none of its own.
type Set struct {
	files      []*file
	algorithms []string
	now        func() time.Time
	log        *slog.Logger
	reloads    *prometheus.CounterVec
	trust      atomic.Pointer[token.Trust]
	lookAt     atomic.Int64 // nanoseconds since 1970

	mu sync.Mutex // held while files are looked at
}

// Open reads the files. One that is missing, cannot be read or has no key to verify with is an error here.
func Open(o Options) (*Set, error) {
	s := &Set{algorithms: o.Algorithms, now: o.Now, log: o.Logger}
	if s.now == nil {
		s.now = time.Now
	}
	if o.Bundle != "" {
		s.files = append(s.files, &file{path: o.Bundle, parse: parseBundle})
	}
	if o.JWKS != "" {
		s.files = append(s.files, &file{path: o.JWKS, parse: parseJWKS})
	}
	if len(s.files) == 0 || s.log == nil {
		return nil, errors.New("trust in an outside issuer needs a bundle of certificates or a JWK set, and a logger")
	}
	if err := s.register(o.Metrics); err != nil {
		return nil, err
	}
	if err := s.look(); err != nil {
		return nil, err
	}
	s.lookAt.Store(s.now().Add(lookEvery).UnixNano())
	return s, nil
}

// register makes the metrics, and adds them to r if there is one.
func (s *Set) register(r prometheus.Registerer) error {
	s.reloads = prometheus.NewCounterVec(prometheus.CounterOpts{Name: "gatehouse_issuer_key_reads_total",
		Help: "Readings of changed files with keys of the outside issuer, by result: ok, or failed, which leaves the keys as they were."},
		[]string{"result"})
	for _, result := range []string{"ok", "failed"} {
		s.reloads.WithLabelValues(result)
	}
	if r == nil {
		return nil
	}
	keys := prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "gatehouse_issuer_keys",
		Help: "Keys that tokens of the outside issuer are verified with."}, func() float64 { return float64(s.Current().Len()) })
	for _, c := range []prometheus.Collector{s.reloads, keys} {
		if err := r.Register(c); err != nil {
			return fmt.Errorf("a metric of the issuer's keys could not be registered: %w", err)
		}
	}
	return nil
}

// Current returns the keys, after a look at the files if one is due; others go on with what is known meanwhile. Without a
// change it is the same value each time. It is made for token.NewForeign.
func (s *Set) Current() *token.Trust {
	now, due := s.now().UnixNano(), s.lookAt.Load()
	// A due time too far ahead means that the clock was set back.
	if (now >= due || due-now > int64(lookEvery)) && s.lookAt.CompareAndSwap(due, now+int64(lookEvery)) {
		// What was wrong is logged, and the keys are as they were.
		_ = s.look()
	}
	return s.trust.Load()
}

// look reads the files that have changed, and makes the keys of what is good in them. The error is the first that there was.
func (s *Set) look() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	var (
		failure error
		changed bool
	)
	for _, f := range s.files {
		fresh, err := f.look(s.now())
		switch {
		case err != nil:
			failure = errors.Join(failure, err)
			if f.failure != err.Error() {
				f.failure = err.Error()
				s.reloads.WithLabelValues("failed").Inc()
				if s.trust.Load() != nil {
					s.log.Error("keys of the issuer cannot be read; they stay as they were", "err", err)
				}
			}
		case fresh:
			changed = true
			s.reloads.WithLabelValues("ok").Inc()
			fallthrough
		default:
			f.failure = ""
		}
	}
	if !changed || s.trust.Load() == nil && failure != nil {
		return failure
	}
	return errors.Join(failure, s.put())
}

// put makes the keys of what the files have. The mutex is held.
func (s *Set) put() error {
	var all content
	for _, f := range s.files {
		all.keys = append(all.keys, f.content.keys...)
		all.roots = append(all.roots, f.content.roots...)
	}
	t, err := token.NewTrust(all.keys, all.roots, s.algorithms)
	if err != nil {
		return fmt.Errorf("the issuer's keys cannot be used: %w", err)
	}
	s.trust.Store(t)
	for _, f := range s.files {
		for _, problem := range f.content.problems {
			s.log.Warn("key of the issuer is not used", "file", f.path, "err", problem)
		}
		s.log.Info("keys of the issuer read", "file", f.path, "keys", len(f.content.keys))
	}
	return nil
}
