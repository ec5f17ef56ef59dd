// Package etcd reads the configuration that platform teams edit in etcd, and applies it to the running server.
//
// There is one key, LAIN's: <prefix>/auth/registry, whose value is {"realm":…,"issuer":…,"service":…}. A Source keeps a
// configs.Value in step with it. Start reading at Run: get, then watch from the next revision, and whenever the watch
// ends in whatever way, get again. A value is validated as a whole before it replaces the one in force; a broken value
// and a deleted key change nothing and are reported. The last good value is kept on disk, for a start while etcd is away;
// with neither, the Value stays empty, and the server refuses requests that need it.
package etcd

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"gatehouse/configs"
)

// Options of a Source. Zero times mean the defaults.
type Options struct {
	// Endpoints are URLs or host:port, as configs.Etcd has them. At least one.
	Endpoints []string
	// Prefix of the key, as configs.Etcd has it.
	Prefix string
	// LastGoodFile keeps the last good value. Folders above it are made. Empty: nothing is kept.
	LastGoodFile string

	// RequestTimeout bounds each request, and so how soon an unreachable etcd is reported. Default 5s.
	RequestTimeout time.Duration
	// ProgressInterval is how often a quiet watch is asked for a sign of life; three intervals without one end it. Default 15s.
	ProgressInterval time.Duration
	// ResyncInterval is how often the key is read again although the watch lives, in case an event was lost. Default 5m.
	ResyncInterval time.Duration

	// Metrics registers gatehouse_config_applied_total, _rejected_total and _stale_seconds. Nil: none.
	Metrics prometheus.Registerer
	// Now is the clock of Status and metrics. Default time.Now.
	Now    func() time.Time
	Logger *slog.Logger
}

// Source keeps a configs.Value in step with a key in etcd.
type Source struct {
	opt   Options
	key   string
	auth  *configs.Value[configs.Token]
	log   *slog.Logger
	count counters

	mu         sync.Mutex // guards what follows
	status     Status
	staleSince time.Time // zero while the value in force is known to be etcd's

	// Of Run's goroutine, and of New before it.
	raw          []byte // the value in force as it was in etcd; nil: none is in force
	saved        record // what is on disk
	refused      int64  // modification revision of the value that was last refused
	outage       bool   // and it was reported
	versionsSeen bool
}

// New returns a Source for the value auth, and applies the last good value from disk at once, if there is one: when New
// returns, auth holds all that can be known without etcd. A file that cannot be read or believed is reported and
// otherwise as good as none. Nothing is started.
func New(opt Options, auth *configs.Value[configs.Token]) (*Source, error) {
	if len(opt.Endpoints) == 0 {
		return nil, errors.New("could not use etcd: no endpoints")
	}
	for _, d := range []struct {
		value *time.Duration
		or    time.Duration
	}{
		{&opt.RequestTimeout, 5 * time.Second}, {&opt.ProgressInterval, 15 * time.Second}, {&opt.ResyncInterval, 5 * time.Minute},
	} {
		if *d.value == 0 {
			*d.value = d.or
		}
	}
	if opt.Now == nil {
		opt.Now = time.Now
	}
	if opt.Logger == nil {
		opt.Logger = slog.New(slog.DiscardHandler)
	}
	key := strings.TrimRight(opt.Prefix, "/") + "/auth/registry"
	s := &Source{opt: opt, key: key, auth: auth, log: opt.Logger.With("key", key)}
	s.status.Key = key
	var err error
	if s.count, err = s.newCounters(opt.Metrics); err != nil {
		return nil, err
	}
	s.update(func(st *Status) { st.State = Waiting })
	s.loadLastGood()
	return s, nil
}

// loadLastGood applies the value on disk.
func (s *Source) loadLastGood() {
	if s.opt.LastGoodFile == "" {
		return
	}
	r, t, err := loadRecord(s.opt.LastGoodFile, s.key)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return
	case err != nil:
		s.log.Error("last good configuration cannot be used", "err", err)
		s.update(func(st *Status) { st.Err = err })
		return
	}
	s.auth.Store(t)
	s.raw, s.saved = []byte(r.Value), r
	s.update(func(st *Status) { st.State, st.AppliedRevision, st.SeenRevision = LastGood, r.Revision, r.Revision })
	s.log.Info("last good configuration applied", "revision", r.Revision, "saved", r.Saved)
}

// put applies a value that etcd has. Reading one again changes and reports nothing.
func (s *Source) put(value []byte, revision int64) {
	t, unknown, err := parseToken(value)
	if err != nil {
		if s.refused != revision {
			s.refused = revision
			s.count.rejected.Inc()
			s.log.Error("configuration in etcd is broken: the one in force stays", "revision", revision, "inforce", s.raw != nil, "err", err)
		}
		s.update(func(st *Status) { st.State, st.Err = Rejected, err })
		return
	}
	if st := s.Status(); st.State == Applied && st.AppliedRevision == revision && bytes.Equal(value, s.raw) {
		return
	}
	news := !bytes.Equal(value, s.raw)
	if news {
		s.auth.Store(t)
		s.raw = bytes.Clone(value)
	}
	s.count.applied.Inc()
	s.log.Info("configuration applied", "revision", revision, "changed", news, "realm", t.Realm, "service", t.Service, "issuer", t.Issuer)
	if len(unknown) > 0 {
		s.log.Info("configuration has fields without effect", "revision", revision, "fields", fmt.Sprintf("%.512q", unknown))
	}
	s.update(func(st *Status) { st.State, st.AppliedRevision, st.Err = Applied, revision, nil })
}

// absent reports that etcd does not have the key.
func (s *Source) absent() {
	if s.Status().State == Absent {
		return
	}
	defer s.update(func(st *Status) { st.State, st.Err = Absent, nil })
	command := "etcdctl put " + s.key + ` '{"realm":"https://registry.example.com/token","issuer":"gatehouse","service":"registry.example.com"}'`
	if s.raw == nil {
		s.log.Error("configuration is not in etcd: requests are refused until it is", "command", command)
		return
	}
	s.log.Warn("configuration was deleted from etcd: the one in force stays", "command", command)
}

// save puts the value in force on disk if another is there. A failure is reported, and repeated at the next opportunity.
func (s *Source) save() {
	st := s.Status()
	r := record{Key: s.key, Revision: st.AppliedRevision, Value: string(s.raw), Saved: s.opt.Now().UTC()}
	if s.opt.LastGoodFile == "" || st.State != Applied || (r.Value == s.saved.Value && s.saved.Key == s.key) {
		return
	}
	if err := saveRecord(s.opt.LastGoodFile, r); err != nil {
		s.log.Error("last good configuration could not be saved: a start without etcd would use an older one or none", "err", err)
		return
	}
	s.saved = r
}
