package main

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"path/filepath"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"

	"gatehouse/certs"
	"gatehouse/configs"
	"gatehouse/gateway"
)

// newCerts chooses where certificates come from; nil means plain HTTP.
func newCerts(cfg *configs.Config, dataDir string, log *slog.Logger) (certs.Provider, error) {
	switch t := cfg.HTTP.TLS; {
	case t.Certificate != "":
		return certs.NewFiles(t.Certificate, t.Key, log)
	case t.LetsEncrypt.Enabled():
		return certs.NewACME(certs.ACMEOptions{
			Email: t.LetsEncrypt.Email, Hosts: t.LetsEncrypt.Hosts, DirectoryURL: t.LetsEncrypt.DirectoryURL,
			StorageDir:     cmp.Or(t.LetsEncrypt.CacheFile, filepath.Join(dataDir, "acme")),
			DirectoryRoots: cfg.Gateway.ACME.DirectoryCA, CheckInterval: cfg.Gateway.ACME.CheckInterval,
			ListenAddr: cfg.HTTP.Addr,
		}, log)
	case t.LocalCA:
		return certs.NewLocalCA(filepath.Join(dataDir, "ca"), certs.LocalNames(), time.Now, log)
	}
	return nil, nil
}

// newDebug returns the listener for operators, or nil where none is configured.
func (s *server) newDebug() (*gateway.Debug, error) {
	if s.cfg.HTTP.Debug.Addr == "" {
		return nil, nil
	}
	return gateway.NewDebug(gateway.DebugOptions{
		Addr: s.cfg.HTTP.Debug.Addr, Metrics: s.metrics, MetricsPath: s.cfg.HTTP.Debug.Prometheus.Path, Ready: s.ready, Logger: s.log,
	})
}

// ready says why the server should get no requests now.
func (s *server) ready(ctx context.Context) error {
	if s.auth != nil && s.auth.settings.Load() == nil {
		return errors.New("etcd has not said yet how clients get tokens")
	}
	return s.store.Check(ctx)
}

// newMetrics returns a registry of metrics with those of the process.
func newMetrics() *prometheus.Registry {
	m := prometheus.NewRegistry()
	m.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return m
}

// watchCertificate exports when the served certificate ends.
func watchCertificate(m prometheus.Registerer, p certs.Provider) error {
	return m.Register(prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "gatehouse_certificate_not_after_seconds",
		Help: "When the certificate in use ends, in seconds since 1970; 0 while there is none.",
	}, func() float64 {
		if end := p.NotAfter(); !end.IsZero() {
			return float64(end.Unix())
		}
		return 0
	}))
}
