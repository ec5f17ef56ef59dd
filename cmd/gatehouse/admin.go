package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"

	"gatehouse/admin"
	"gatehouse/configs"
)

// newAdmin puts the admin socket's server together, and takes the socket. Without one the server serves all the same; but two
// servers on one data folder are refused.
func (s *server) newAdmin() error {
	s.admin = newAdminServer(s.storage, s.readOnly, &admin.Collector{GC: s.gc, Server: true, Enabled: s.cfg.GC.Enabled}, s.log)
	path := filepath.Join(s.dataDir, admin.SocketName)
	err := s.admin.Listen(path)
	switch {
	case errors.Is(err, admin.ErrAnswers):
		return err
	case err != nil:
		s.log.Error("there is no admin socket: verbs cannot reach this server", "err", err)
	default:
		s.log.Info("admin socket", "path", path)
	}
	return nil
}

// newAdminServer registers all handlers, those of a running server and those of a verb's own process alike.
func newAdminServer(st *storage, readOnly *admin.ReadOnly, collector *admin.Collector, log *slog.Logger) *admin.Server {
	a, running := admin.NewServer(log), collector.Server
	collector.Touch = st.adopter.Touch
	names := &admin.Names{Index: st.index, Touch: st.adopter.Touch, ReadOnly: readOnly.Enabled, WouldFree: collector.WouldFree}
	names.Register(a)
	collector.Register(a)
	readOnly.Register(a, running)
	admin.RegisterAdoption(a, st.index, st.adopter, running)
	return a
}

// startAdmin runs the admin socket; failed is called when it cannot go on. stop ends it, and returns when none of its requests
// runs any more: then the links can be brought up to date for good.
func (s *server) startAdmin(ctx context.Context, failed context.CancelFunc) (stop func() error) {
	ctx, cancel := context.WithCancel(ctx)
	ended := make(chan error, 1)
	go func() {
		err := s.admin.Run(ctx)
		if err != nil {
			failed()
		}
		ended <- err
	}()
	return func() error {
		cancel()
		return <-ended
	}
}

// close releases what is open, the admin socket before the storage whose lock keeps others from it.
func (s *server) close() {
	if s.admin != nil {
		if err := s.admin.Close(); err != nil {
			s.log.Error("the admin socket could not be removed", "err", err)
		}
	}
	if s.auth != nil && s.auth.accounts != nil && s.auth.accounts.ldap != nil {
		s.auth.accounts.ldap.Close()
	}
	s.storage.close()
}

// reach is what a verb does to storage that no server has open.
type reach int

const (
	looks    reach = iota // nothing
	reads                 // adoption of a tree begins, as with serve, for the repositories that are asked for
	changes               // the same, and the tree follows before the verb ends
	adopted               // what reads does, to the end of the adoption
	collects              // the same, and the tree follows meanwhile
)

// withAdmin calls fn with a client of the server that runs on the configuration, or of the same handlers in this process where
// none runs.
func (p *program) withAdmin(ctx context.Context, args []string, reach reach, fn func(*admin.Client) error) error {
	cfg, err := p.config(args)
	if err != nil {
		return err
	}
	if cfg.DataDir() == "" {
		return configError{errors.New("storage.inmemory keeps nothing that a verb could reach: use curl on the admin socket that the server's log names")}
	}
	socket := filepath.Join(cfg.DataDir(), admin.SocketName)
	server, err := admin.Dial(ctx, socket)
	if err == nil {
		defer server.CloseIdleConnections()
		return fn(admin.NewClient(server))
	}
	if !errors.Is(err, admin.ErrNoServer) {
		return err
	}
	st, openErr := openStorage(ctx, cfg, p.verbLog())
	if openErr != nil {
		if server, err := admin.Dial(ctx, socket); err == nil { // one has come up meanwhile
			defer server.CloseIdleConnections()
			return fn(admin.NewClient(server))
		}
		return fmt.Errorf("%w; and without a server: %w", err, openErr)
	}
	defer st.close()
	return p.inProcess(ctx, cfg, st, reach, fn)
}

// inProcess is withAdmin where no server runs.
func (p *program) inProcess(ctx context.Context, cfg *configs.Config, st *storage, reach reach, fn func(*admin.Client) error) error {
	if reach != looks {
		if err := st.adopter.Start(ctx); err != nil {
			return err
		}
	}
	if reach == adopted || reach == collects {
		if err := p.adoptAll(ctx, st); err != nil {
			return err
		}
	}
	if reach == collects {
		if err := p.catchUp(ctx, st); err != nil {
			return err
		}
	}
	readOnly := admin.NewReadOnly(cfg.Storage.Maintenance.ReadOnly.Enabled)
	collector := &admin.Collector{GC: newCollector(cfg, st, readOnly.Enabled, newLogger(cfg.Log, p.stderr)), Enabled: cfg.GC.Enabled}
	handlers := newAdminServer(st, readOnly, collector, slog.New(slog.DiscardHandler))
	client := admin.NewClient(admin.InProcess(handlers, admin.OwnAccount()))
	switch reach {
	case changes:
		err := fn(client)
		if e := st.projector.Drain(context.WithoutCancel(ctx)); e != nil {
			err = errors.Join(err, fmt.Errorf("the tree lags behind the index, and its links are projected at the next start: %w", e))
		}
		return err
	case collects:
		following, stop := context.WithCancel(ctx)
		ended := make(chan error, 1)
		go func() { ended <- st.projector.Run(following) }()
		err := fn(client)
		stop()
		return errors.Join(err, <-ended)
	}
	return fn(client)
}
