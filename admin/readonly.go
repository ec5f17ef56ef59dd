package admin

import (
	"context"
	"log/slog"
	"net/http"
	"sync"
)

// ReadOnly is storage.maintenance.readonly while the server runs. Its methods may be called at once from many goroutines.
type ReadOnly struct {
	mu      sync.Mutex
	on      bool          // guarded by mu
	changed chan struct{} // closed when on changes; guarded by mu
}

// NewReadOnly returns the switch as the configuration has it.
func NewReadOnly(on bool) *ReadOnly { return &ReadOnly{on: on, changed: make(chan struct{})} }

// Enabled reports whether nothing may be changed now.
func (s *ReadOnly) Enabled() bool {
	on, _ := s.State()
	return on
}

// State is Enabled, with a channel that is closed at the next change.
func (s *ReadOnly) State() (on bool, changed <-chan struct{}) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.on, s.changed
}

// Set turns the switch, until the next start. Requests that were let in before are carried out.
func (s *ReadOnly) Set(on bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.on == on {
		return
	}
	s.on = on
	close(s.changed)
	s.changed = make(chan struct{})
}

// WhileOff calls run whenever the registry is not read-only: its context is done when the switch is turned on, and WhileOff waits
// for its return then. It returns when ctx is done, or when run ends by itself.
func (s *ReadOnly) WhileOff(ctx context.Context, run func(context.Context) error) error {
	for ctx.Err() == nil {
		on, changed := s.State()
		if on {
			select {
			case <-changed:
			case <-ctx.Done():
			}
			continue
		}
		running, stop := context.WithCancel(ctx)
		go func() {
			select {
			case <-changed:
				stop()
			case <-running.Done():
			}
		}()
		err := run(running)
		over := running.Err() == nil
		stop()
		if over || err != nil {
			return err
		}
	}
	return nil
}

// ReadOnlyState is the body of PUT /v1/readonly and the answer of GET /v1/readonly.
type ReadOnlyState struct {
	Enabled bool `json:"enabled"`
	// Server says that a server runs; without one the state is the configuration's and cannot be set.
	Server bool `json:"server"`
}

// Register adds the handlers to a server, running or of a verb's own process.
func (s *ReadOnly) Register(to *Server, running bool) {
	to.Handle("GET /v1/readonly", func(w http.ResponseWriter, _ *http.Request) error {
		return Reply(w, ReadOnlyState{s.Enabled(), running})
	})
	to.Handle("PUT /v1/readonly", func(w http.ResponseWriter, r *http.Request) error {
		var in struct {
			Enabled *bool `json:"enabled"`
		}
		if err := Read(w, r, &in); err != nil {
			return err
		}
		if in.Enabled == nil {
			return Errorf(http.StatusBadRequest, "the body of the request lacks enabled")
		}
		Note(r, slog.Bool("enabled", *in.Enabled))
		if !running {
			return Errorf(http.StatusConflict, "no server runs; the next one begins as storage.maintenance.readonly says")
		}
		s.Set(*in.Enabled)
		return Reply(w, ReadOnlyState{s.Enabled(), running})
	})
}
