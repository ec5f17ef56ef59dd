package certs

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"sync"
	"time"

	"github.com/caddyserver/certmagic"
	"go.uber.org/zap"

	"gatehouse/zaplog"
)

// Waiting times between attempts to begin managing a host. What fails later, the order itself, certmagic repeats after
// 1 minute to 6 hours.
const (
	firstRetry   = time.Second
	longestRetry = time.Minute
	// orderRetry follows what the CA refused for good. It is long: Let's Encrypt allows five failures an hour.
	orderRetry = time.Hour
)

// stopTimeout bounds how long Run waits for certmagic when it should end. Its loop does not let go of a request to the CA
// that hangs, which ends by itself after half a minute; it changes nothing any more by then.
const stopTimeout = 5 * time.Second

// ordering is what one Run has of certmagic: nothing of it is global, but certmagic's own queue of jobs.
type ordering struct {
	*ACME
	cache  *certmagic.Cache
	config *certmagic.Config
}

// Run is described at [Provider]. The listener must be open.
func (a *ACME) Run(ctx context.Context) error {
	a.log.Info("ordering certificates by ACME, which means to agree to the terms of the CA", "directory", a.options.DirectoryURL,
		"hosts", a.names)
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	o := a.newOrdering(ctx)
	var hosts sync.WaitGroup
	for _, h := range a.byRank {
		hosts.Go(func() { o.begin(ctx, h) })
	}
	tick := time.NewTicker(a.options.CheckInterval)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			hosts.Wait()
			o.stop()
			return nil
		case <-tick.C:
			o.look(ctx)
		}
	}
}

// stop ends certmagic's work, which cannot write any more when it returns.
func (o *ordering) stop() {
	o.storage.close()
	stopped := make(chan struct{})
	go func() {
		o.cache.Stop()
		o.storage.wait()
		close(stopped)
	}()
	select {
	case <-stopped:
	case <-time.After(stopTimeout):
		o.log.Warn("a request to the ACME server hangs, not waiting for its end")
	}
}

// newOrdering starts certmagic: the loop that renews runs until the cache is stopped.
func (a *ACME) newOrdering(ctx context.Context) *ordering {
	log := zaplog.New(a.log).Named("certmagic")
	if a.log.Enabled(ctx, slog.LevelInfo) && !a.log.Enabled(ctx, slog.LevelDebug) {
		log = log.WithOptions(zap.IncreaseLevel(zap.WarnLevel)) // it tells each step of an order at info
	}
	o := &ordering{ACME: a}
	configured := make(chan struct{})
	o.cache = certmagic.NewCache(certmagic.CacheOptions{
		GetConfigForCert: func(certmagic.Certificate) (*certmagic.Config, error) {
			<-configured
			return o.config, nil
		},
		RenewCheckInterval: a.options.CheckInterval,
		Logger:             log,
	})
	o.config = certmagic.New(o.cache, certmagic.Config{
		Storage:            a.storage,
		KeySource:          certmagic.StandardKeyGenerator{KeyType: certmagic.P256},
		RenewalWindowRatio: certmagic.DefaultRenewalWindowRatio,
		OCSP:               certmagic.OCSPConfig{DisableStapling: true},
		OnEvent:            o.onEvent,
		Logger:             log,
	})
	o.config.Issuers = []certmagic.Issuer{certmagic.NewACMEIssuer(o.config, certmagic.ACMEIssuer{
		CA:                        a.options.DirectoryURL,
		Email:                     a.options.Email,
		Agreed:                    true,
		TrustedRoots:              a.roots,
		DisableHTTPChallenge:      true,
		DisableDistributedSolvers: true,
		// It finds these in use, by the gateway, and so opens no listener of its own.
		ListenHost:     a.listen.host,
		AltTLSALPNPort: a.listen.port,
		Logger:         log,
	})}
	close(configured)
	return o
}

// onEvent serves a new certificate as soon as it is stored.
func (o *ordering) onEvent(ctx context.Context, event string, data map[string]any) error {
	name, _ := data["identifier"].(string)
	h := o.hosts[name]
	if event != "cert_obtained" || h == nil {
		return nil
	}
	err := o.load(ctx, h)
	if h.missed.Store(err != nil); err != nil {
		o.log.Error("cannot use the new certificate yet", "host", name, "err", err)
		return nil
	}
	o.log.Info("certificate ordered", "host", name, "renewal", data["renewal"], "not_after", h.current.Load().Leaf.NotAfter)
	return nil
}

// begin puts h under certmagic's management, whose loop renews it from then on, and returns when it is or ctx is done.
// certmagic itself would give up when its storage fails at the start.
func (o *ordering) begin(ctx context.Context, h *host) {
	for retry := firstRetry; ; retry = min(2*retry, longestRetry) {
		err := o.manage(ctx, h)
		if err == nil || ctx.Err() != nil {
			return
		}
		wait := retry
		if refused := (certmagic.ErrNoRetry{}); errors.As(err, &refused) {
			wait = orderRetry
		}
		o.log.Error("cannot manage the certificate yet", "host", h.name, "err", err, "retry_in", wait)
		select {
		case <-ctx.Done():
			return
		case <-time.After(wait):
		}
	}
}

// manage loads the stored certificate of h into certmagic, or orders the first one.
func (o *ordering) manage(ctx context.Context, h *host) error {
	managed, err := o.config.CacheManagedCertificate(ctx, h.name)
	var broken *fs.PathError
	if err != nil && !errors.As(err, &broken) {
		// It can be read and yet not be used: a crash between the files of one certificate leaves a key without its
		// certificate, and certmagic would neither serve, renew nor replace it.
		o.log.Error("stored certificate is damaged: it is set aside, and another ordered", "host", h.name, "err", err)
		if err := o.storage.setAside(certmagic.StorageKeys.CertsSitePrefix(o.issuerKey, h.name)); err != nil {
			return fmt.Errorf("set the damaged certificate aside: %w", err)
		}
		err = fs.ErrNotExist
	}
	if errors.Is(err, fs.ErrNotExist) {
		if err := o.config.ObtainCertAsync(ctx, h.name); err != nil { // not asynchronous: it asks no questions, and repeats
			return err
		}
		managed, err = o.config.CacheManagedCertificate(ctx, h.name)
	}
	if err != nil {
		return err
	}
	if err := o.load(ctx, h); err != nil {
		return err
	}
	if managed.NeedsRenewal(o.config) { // do not wait for the next look
		return o.cache.RenewManagedCertificates(ctx)
	}
	return nil
}

// look reads again what could not be read when it was new, and says when certificates grow old.
func (o *ordering) look(ctx context.Context) {
	for _, h := range o.byRank {
		if h.missed.Load() {
			err := o.load(ctx, h)
			if h.missed.Store(err != nil); err != nil {
				o.log.Error("cannot use the new certificate yet", "host", h.name, "err", err)
			}
		}
		if served := h.current.Load(); served != nil {
			h.reminder.check(served.Leaf, time.Now())
		}
	}
}
