package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"

	"github.com/opencontainers/go-digest"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"

	"gatehouse/admin"
	"gatehouse/certs"
	"gatehouse/configs"
	"gatehouse/gateway"
	"gatehouse/registry"
	"gatehouse/registry/gc"
	"gatehouse/registry/manifest"
	"gatehouse/registry/store"
)

func (p *program) serveVerb() *cobra.Command {
	verb := &cobra.Command{
		Use:   "serve [CONFIG]",
		Short: "Run the server",
		Long: `Runs the server until SIGTERM or SIGINT, then lets requests finish.

Without CONFIG and without REGISTRY_CONFIGURATION_PATH it is the embedded default: everything in the folder that --data
names, TLS with a certificate from a local CA, a generated administrator. CONFIG is distribution's config.yml; REGISTRY_*
variables override either.`,
		Args: optionalConfig,
		RunE: func(c *cobra.Command, args []string) error { return p.serve(c.Context(), args) },
	}
	verb.Flags().StringVar(&p.addr, "addr", "", `host:port to listen on (default http.addr, ":5000")`)
	return verb
}

// serve reads the configuration and runs what it describes.
func (p *program) serve(ctx context.Context, args []string) error {
	if p.addr != "" {
		p.environ = append(p.environ, "REGISTRY_HTTP_ADDR="+p.addr)
	}
	cfg, err := p.config(args)
	if err != nil {
		return err
	}
	embedded := p.configPath(args) == ""
	admin := administrator{}
	if embedded {
		if admin, err = ensureAdministrator(cfg); err != nil {
			return err
		}
	}
	s, err := newServer(ctx, cfg, newLogger(cfg.Log, p.stderr))
	if err != nil {
		return errors.Join(err, admin.forget())
	}
	defer s.close()
	if embedded {
		if err := p.showStartPage(s, admin); err != nil {
			return err
		}
	}
	return s.run(ctx)
}

// server is what is served, put together from the configuration. Its fields are in the order in which they depend on each other.
type server struct {
	cfg     *configs.Config
	log     *slog.Logger
	metrics *prometheus.Registry
	*storage
	readOnly *admin.ReadOnly
	certs    certs.Provider // nil for plain HTTP
	origin   gateway.Origin
	auth     *auth // nil when everybody may do everything
	registry *registry.Registry
	gateway  *gateway.Server
	debug    *gateway.Debug // nil when there is none
	admin    *admin.Server
	gc       *gc.Collector
}

// newServer puts the server together, and starts nothing. The listener is open when it returns.
func newServer(ctx context.Context, cfg *configs.Config, log *slog.Logger) (_ *server, err error) {
	s := &server{cfg: cfg, log: log, metrics: newMetrics(), readOnly: admin.NewReadOnly(cfg.Storage.Maintenance.ReadOnly.Enabled)}
	defer func() {
		if err != nil && s.storage != nil {
			s.close()
		}
	}()
	if s.storage, err = openStorage(ctx, cfg, log); err != nil {
		return nil, err
	}
	if err := s.adopter.Start(ctx); err != nil {
		return nil, err
	}
	if s.certs, err = newCerts(cfg, s.dataDir, log); err != nil {
		return nil, err
	}
	if s.certs != nil {
		if err := watchCertificate(s.metrics, s.certs); err != nil {
			return nil, err
		}
	}
	if s.origin, err = s.newOrigin(); err != nil {
		return nil, err
	}
	if s.auth, err = s.newAuth(); err != nil {
		return nil, err
	}
	if s.registry, err = s.newRegistry(); err != nil {
		return nil, err
	}
	if s.gateway, err = s.newGateway(); err != nil {
		return nil, err
	}
	if s.debug, err = s.newDebug(); err != nil {
		return nil, err
	}
	s.gc = newCollector(cfg, s.storage, s.readOnly.Enabled, log)
	s.gc.Pushing, s.gc.Lost = s.registry.Pushing, s.registry.Lost
	s.index.Resumed()
	if s.gc.Metrics, err = gc.NewMetrics(s.metrics, s.index); err != nil {
		return nil, err
	}
	if err := s.newAdmin(); err != nil {
		return nil, err
	}
	return s, s.gateway.Listen()
}

// newOrigin says which URLs are this server's own.
func (s *server) newOrigin() (gateway.Origin, error) {
	o := gateway.Origin{TLS: s.certs != nil}
	if s.certs != nil {
		o.Covers, o.Names = s.certs.Covers, s.certs.Names
	}
	if s.cfg.HTTP.Host != "" {
		host, err := url.Parse(s.cfg.HTTP.Host)
		if err != nil {
			return o, configError{fmt.Errorf("http.host: %w", err)}
		}
		o.Host = host
	}
	o.Path = s.cfg.HTTP.BasePath()
	return o, nil
}

func (s *server) newRegistry() (*registry.Registry, error) {
	secret, err := s.secret()
	if err != nil {
		return nil, err
	}
	o := registry.Options{
		Index: s.index, Store: s.store, Auth: s.auth.forRegistry(s.origin), Secret: secret,
		Delete: s.cfg.Storage.Delete.Enabled, Redirect: !s.cfg.Storage.Redirect.Disable,
		ReadOnly: s.readOnly.Enabled, Adopt: s.adopter.Touch, Observe: gateway.SetAccount, Log: s.log,
	}
	o.Finish = func(ctx context.Context, d digest.Digest) error { return s.gc.Finish(ctx, d) }
	o.Prefix, o.Headers = s.cfg.HTTP.Prefix, s.cfg.HTTP.Headers
	o.MaxRepositories, o.MaxTags = s.cfg.Catalog.MaxEntries, s.cfg.Tags.MaxTags
	if o.Manifests, err = manifest.NewRules(manifestPolicy(s.cfg)); err != nil {
		return nil, configError{err}
	}
	switch {
	case s.cfg.HTTP.RelativeURLs:
		o.Origin = func(*http.Request) string { return "" }
	case s.origin.Host != nil:
		o.Origin = s.origin.Base
	}
	return registry.New(o), nil
}

// newGateway routes one origin to the registry and the token server.
func (s *server) newGateway() (*gateway.Server, error) {
	prefix := s.cfg.HTTP.Prefix
	routes := []gateway.Route{{Path: prefix + "/v2/", Name: "registry", Label: s.registry.Label, Handler: s.registry}}
	routes = append(routes, s.tokenRoutes()...)
	o := gateway.Options{
		Addr: s.cfg.HTTP.Addr, Prefix: prefix, OnlyHTTP1: !s.cfg.HTTP.OffersHTTP2(), Routes: routes, Limits: s.cfg.Gateway, AccessLog: !s.cfg.Log.AccessLog.Disabled,
		DrainTimeout: s.cfg.HTTP.DrainTimeout, Metrics: s.metrics, Logger: s.log,
	}
	if s.certs != nil {
		var err error
		if o.TLS, err = newTLS(s.certs, s.cfg.HTTP.TLS); err != nil {
			return nil, err
		}
	}
	return gateway.New(o)
}

// run runs the parts until ctx is done or one of them fails: first the gateway stops, when no request is left the others.
func (s *server) run(ctx context.Context) error {
	s.log.Info("serving", "addr", s.gateway.Addr().String(), "tls", s.certs != nil, "version", version())
	background, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	parts, background := errgroup.WithContext(background)
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(background, cancel)()
	for name, run := range s.parts() {
		parts.Go(func() error {
			if err := run(background); err != nil {
				return fmt.Errorf("%s: %w", name, err)
			}
			return nil
		})
	}
	stopAdmin := s.startAdmin(background, cancel)
	err := errors.Join(s.gateway.Run(ctx), stopAdmin())
	stop()
	err = errors.Join(err, parts.Wait())
	s.log.Info("stopped")
	return err
}

// parts returns what runs beside the gateway, by name.
func (s *server) parts() map[string]func(context.Context) error {
	parts := map[string]func(context.Context) error{"links": s.projector.Run, "adoption": s.adopter.Run}
	if m := s.cfg.Storage.Maintenance; m.UploadPurging.Enabled {
		p := store.Purging{Age: m.UploadPurging.Age, Interval: m.UploadPurging.Interval, DryRun: m.UploadPurging.DryRun}
		parts["upload purging"] = func(ctx context.Context) error {
			return s.readOnly.WhileOff(ctx, func(ctx context.Context) error { return s.store.Purge(ctx, p) })
		}
	}
	if s.cfg.GC.Enabled {
		parts["collector"] = s.gc.Run
	}
	if s.certs != nil {
		parts["certificates"] = s.certs.Run
	}
	if s.auth != nil {
		parts["signing keys"] = s.auth.keys.Run
		if s.auth.accounts != nil && s.auth.accounts.refresh != nil {
			parts["refresh tokens"] = s.auth.accounts.refresh.Run
		}
	}
	if s.auth != nil && s.auth.etcd != nil {
		parts["etcd"] = s.auth.etcd.Run
	}
	if s.debug != nil {
		parts["debug listener"] = s.debug.Run
	}
	return parts
}
