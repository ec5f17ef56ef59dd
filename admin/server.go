package admin

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"os"
	"sync"
	"time"
)

// Server answers requests, of its socket or of its own process, and writes a line into the log for each: who asked for what, and
// what became of it.
type Server struct {
	mux  *http.ServeMux
	http *http.Server
	log  *slog.Logger

	running sync.RWMutex // read-locked by each request

	socket   string // where listener is; with file "" and nil before Listen
	file     fs.FileInfo
	listener net.Listener
}

// NewServer returns a server without handlers.
func NewServer(log *slog.Logger) *Server {
	s := &Server{mux: http.NewServeMux(), log: log}
	s.http = &http.Server{
		Handler:           s,
		ReadHeaderTimeout: 10 * time.Second,
		IdleTimeout:       2 * time.Minute,
		MaxHeaderBytes:    64 << 10,
		ErrorLog:          slog.NewLogLogger(log.Handler(), slog.LevelError),
		ConnContext:       func(ctx context.Context, c net.Conn) context.Context { return WithAccount(ctx, peer(c)) },
	}
	return s
}

// Handle registers a handler. The pattern is http.ServeMux's, with a method and a path below /v1/. A repository's name is one
// component of a path, its slashes escaped: /v1/repositories/team%2Fapp. All handlers are registered before the server is used.
func (s *Server) Handle(pattern string, h Handler) {
	s.mux.Handle(pattern, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		a := w.(*answer) // ServeHTTP made it
		if err := h(a, r); err != nil {
			a.fail(err)
		}
	}))
}

// ServeHTTP serves one request.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.running.RLock()
	defer s.running.RUnlock()
	a := &answer{ResponseWriter: w}
	start := time.Now()
	r = r.WithContext(context.WithValue(r.Context(), noteKey{}, &a.notes))
	defer func() { s.audit(a, r, start) }()
	h, pattern := s.mux.Handler(r)
	if pattern == "" {
		refused := &answer{ResponseWriter: nowhere{}}
		h.ServeHTTP(refused, r)
		a.fail(Errorf(refused.status, "there is no %s %s: server and verb may be of different versions", r.Method, r.URL.Path))
		return
	}
	s.mux.ServeHTTP(a, r)
}

// maxLogged is how many bytes of a path are logged.
const maxLogged = 1024

// audit writes the line of a request.
func (s *Server) audit(a *answer, r *http.Request, start time.Time) {
	path := r.URL.EscapedPath()
	attrs := append([]slog.Attr{
		slog.String("account", Account(r.Context())),
		slog.String("method", r.Method),
		slog.String("path", path[:min(len(path), maxLogged)]),
		slog.Int("status", cmp.Or(a.status, http.StatusOK)),
		slog.Duration("duration", time.Since(start)),
	}, a.notes...)
	if a.err != nil {
		attrs = append(attrs, slog.Any("err", a.err))
	}
	s.log.LogAttrs(r.Context(), slog.LevelInfo, "admin request", attrs...)
}

// noteKey is where a request's context has what its line in the log says besides.
type noteKey struct{}

// Note adds to a request's line in the log what its path does not say. It is for the goroutine of the handler.
func Note(r *http.Request, attrs ...slog.Attr) {
	if notes, ok := r.Context().Value(noteKey{}).(*[]slog.Attr); ok {
		*notes = append(*notes, attrs...)
	}
}

// Listen takes the socket at path. ErrAnswers when another server answers there; then nothing is changed.
func (s *Server) Listen(path string) error {
	l, err := listen(path)
	if err != nil {
		return err
	}
	file, err := os.Lstat(path)
	if err != nil {
		l.Close()
		return fmt.Errorf("look at the admin socket: %w", err)
	}
	s.socket, s.file, s.listener = path, file, l
	return nil
}

// sayFor is how long requests may take to say how they ended when the server stops. Their contexts are done then; the connection
// of a client that does not read is cut.
const sayFor = time.Second

// Run serves the socket until ctx is done, then ends what runs, and returns when no handler runs any more: so a caller that stops it
// first finds the index as the last request left it. Without a socket it only waits. Run once.
func (s *Server) Run(ctx context.Context) error {
	if s.listener == nil {
		<-ctx.Done()
		return nil
	}
	s.http.BaseContext = func(net.Listener) context.Context { return ctx }
	closed := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(closed)
		patient, cancel := context.WithTimeout(context.WithoutCancel(ctx), sayFor)
		defer cancel()
		if s.http.Shutdown(patient) != nil {
			_ = s.http.Close() // an error of closing a connection has no reader
		}
	})
	err := s.http.Serve(s.listener)
	if stop() {
		return fmt.Errorf("cannot accept connections on the admin socket: %w", err)
	}
	<-closed
	s.running.Lock() // the last handler has returned
	defer s.running.Unlock()
	return nil
}

// Close removes the socket, after Run or without it.
func (s *Server) Close() error {
	if s.listener == nil {
		return nil
	}
	err := s.listener.Close()
	if errors.Is(err, net.ErrClosed) {
		err = nil
	}
	if now, e := os.Lstat(s.socket); e == nil && os.SameFile(now, s.file) { // else it is somebody else's
		err = errors.Join(err, os.Remove(s.socket))
	}
	return err
}

// answer is a ResponseWriter that knows what was said.
type answer struct {
	http.ResponseWriter
	status int // 0: nothing yet
	notes  []slog.Attr
	err    error
}

func (a *answer) WriteHeader(status int) {
	if a.status == 0 {
		a.status = status
	}
	a.ResponseWriter.WriteHeader(status)
}

func (a *answer) Write(b []byte) (int, error) {
	if a.status == 0 {
		a.status = http.StatusOK
	}
	return a.ResponseWriter.Write(b)
}

// Unwrap is for http.ResponseController.
func (a *answer) Unwrap() http.ResponseWriter { return a.ResponseWriter }

// failure is how an answer says that it is none.
type failure struct {
	Error  string `json:"error"`
	Status int    `json:"status"`
}

// fail answers with an error, in the last line where some were sent.
func (a *answer) fail(err error) {
	a.err = err
	f := failure{Error: err.Error(), Status: statusOf(err)}
	b, err := json.Marshal(f)
	if err != nil {
		return // strings and numbers can be marshalled
	}
	if a.status == 0 {
		a.Header().Set("Content-Type", "application/json")
		a.WriteHeader(f.Status)
	}
	a.status = f.Status
	_, _ = a.Write(append(b, '\n')) // a client that has gone needs no answer
}

// nowhere takes an answer that nobody reads.
type nowhere struct{}

func (nowhere) Header() http.Header         { return http.Header{} }
func (nowhere) Write(b []byte) (int, error) { return len(b), nil }
func (nowhere) WriteHeader(int)             {}
