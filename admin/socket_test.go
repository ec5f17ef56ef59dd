package admin

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/user"
	"path/filepath"
	"strings"
	"testing"
)

func TestSocket(t *testing.T) {
	b := newBench(t)
	path := filepath.Join(t.TempDir(), SocketName)
	if _, err := Dial(t.Context(), path); !errors.Is(err, ErrNoServer) {
		t.Errorf("before: %v", err)
	}
	b.serve(path)
	info, err := os.Lstat(path)
	if err != nil || info.Mode() != fs.ModeSocket|0o600 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
	transport, err := Dial(t.Context(), path)
	ok(t, err)
	b.push("a", "one", "v1")
	ok(t, NewClient(transport).Call(t.Context(), "POST", RepositoryPath("a", "/untag"), Untag{Tags: []string{"v1"}}, nil))
	me, err := user.Current()
	ok(t, err)
	moves, err := b.index.History(t.Context(), "a", "v1")
	if last := moves[len(moves)-1]; err != nil || last.By != "unix:"+me.Username || last.By != OwnAccount() {
		t.Errorf("removed by %q, %v", last.By, err)
	}
	if want := "account=unix:" + me.Username + " method=POST path=/v1/repositories/a/untag status=200"; !strings.Contains(b.log.String(), want) {
		t.Errorf("the log lacks %q:\n%s", want, b.log)
	}
}

// TestSocketThatIsThere: what a killed server left is replaced, and nothing else.
func TestSocketThatIsThere(t *testing.T) {
	folder := t.TempDir()
	leave := func(name string) string {
		path := filepath.Join(folder, name)
		l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path})
		ok(t, err)
		l.SetUnlinkOnClose(false)
		ok(t, l.Close())
		return path
	}
	stale := leave("stale.sock")
	if _, err := Dial(t.Context(), stale); !errors.Is(err, ErrNoServer) {
		t.Errorf("a socket without a server: %v", err)
	}
	newBench(t).serve(stale)

	second := NewServer(slog.New(slog.DiscardHandler))
	if err := second.Listen(stale); !errors.Is(err, ErrAnswers) {
		t.Errorf("a second server: %v", err)
	}
	ok(t, second.Close())
	if _, err := Dial(t.Context(), stale); err != nil {
		t.Errorf("the first server is away: %v", err)
	}

	file, target := filepath.Join(folder, "file.sock"), leave("target.sock")
	ok(t, os.WriteFile(file, []byte("somebody's"), 0o600))
	link, dangling, sub := filepath.Join(folder, "link.sock"), filepath.Join(folder, "dangling.sock"), filepath.Join(folder, "sub.sock")
	ok(t, errors.Join(os.Symlink(target, link), os.Symlink("nothing", dangling), os.Mkdir(sub, 0o700)))
	for _, path := range []string{file, link, dangling, sub} {
		before, err := os.Lstat(path)
		ok(t, err)
		if err := second.Listen(path); err == nil || errors.Is(err, ErrAnswers) {
			t.Errorf("%s was taken: %v", path, err)
		}
		ok(t, second.Close())
		if after, err := os.Lstat(path); err != nil || !os.SameFile(before, after) {
			t.Errorf("%s is not what it was: %v", path, err)
		}
	}
	if _, err := Dial(t.Context(), file); !errors.Is(err, ErrNoServer) {
		t.Errorf("a file in the place of a socket: %v", err)
	}
}

// TestSocketOfSomebodyElse: a server that stops leaves alone what is not its own.
func TestSocketOfSomebodyElse(t *testing.T) {
	path := filepath.Join(t.TempDir(), SocketName)
	first, second := NewServer(slog.New(slog.DiscardHandler)), NewServer(slog.New(slog.DiscardHandler))
	ok(t, first.Listen(path))
	ok(t, os.Remove(path))
	ok(t, second.Listen(path))
	ok(t, first.Close())
	if _, err := os.Lstat(path); err != nil {
		t.Error("the socket of another server was removed")
	}
	ok(t, second.Close())
}

// TestLongPath: a folder deeper than a socket's path may be has its socket all the same, where the system lets it.
func TestLongPath(t *testing.T) {
	folder := filepath.Join(t.TempDir(), strings.Repeat("x", 100), strings.Repeat("y", 100))
	ok(t, os.MkdirAll(folder, 0o700))
	path := filepath.Join(folder, SocketName)
	if _, err := os.Stat("/proc/self/fd"); err != nil {
		if err := newBench(t).server.Listen(path); err == nil || !strings.Contains(err.Error(), "shorter") {
			t.Errorf("listen: %v", err)
		}
		return
	}
	b := newBench(t)
	b.serve(path)
	transport, err := Dial(t.Context(), path)
	ok(t, err)
	defer transport.CloseIdleConnections()
	ok(t, NewClient(transport).Call(t.Context(), "GET", "/v1/readonly", nil, nil))
	if err := NewServer(slog.New(slog.DiscardHandler)).Listen(path); !errors.Is(err, ErrAnswers) {
		t.Errorf("a second server: %v", err)
	}
}

// TestRunEndsAfterItsRequests: when Run returns, no handler runs, and those that did were told to end.
func TestRunEndsAfterItsRequests(t *testing.T) {
	s := NewServer(slog.New(slog.DiscardHandler))
	began, ended := make(chan struct{}), false
	s.Handle("POST /v1/test/work", func(_ http.ResponseWriter, r *http.Request) error {
		close(began)
		<-r.Context().Done()
		ended = true // Run's return is what makes it visible
		return r.Context().Err()
	})
	path := filepath.Join(t.TempDir(), SocketName)
	ok(t, s.Listen(path))
	ctx, stop := context.WithCancel(t.Context())
	run, call := make(chan error, 1), make(chan error, 1)
	go func() { run <- s.Run(ctx) }()
	transport, err := Dial(ctx, path)
	ok(t, err)
	go func() { call <- NewClient(transport).Call(context.Background(), "POST", "/v1/test/work", nil, nil) }()
	<-began
	stop()
	ok(t, <-run)
	if !ended {
		t.Error("a handler still runs")
	}
	wantStatus(t, "the request", <-call, 503)
	ok(t, s.Close())
	if _, err := Dial(t.Context(), path); !errors.Is(err, ErrNoServer) {
		t.Errorf("after: %v", err)
	}
}

// TestRunEndsForWhoDoesNotRead: a verb that is stopped in a pager does not keep the server from stopping.
func TestRunEndsForWhoDoesNotRead(t *testing.T) {
	s := NewServer(slog.New(slog.DiscardHandler))
	full := make(chan struct{}, 1)
	returned := false
	s.Handle("GET /v1/test/much", func(w http.ResponseWriter, r *http.Request) error {
		defer func() { returned = true }() // Run's return is what makes it visible
		lines := NewLines(w)
		for n := 0; ; n++ {
			if n == 100 {
				full <- struct{}{}
			}
			if err := lines.Write(strings.Repeat("x", 100<<10)); err != nil {
				return err
			}
		}
	})
	path := filepath.Join(t.TempDir(), SocketName)
	ok(t, s.Listen(path))
	ctx, stop := context.WithCancel(t.Context())
	run := make(chan error, 1)
	go func() { run <- s.Run(ctx) }()
	c, err := net.Dial("unix", path)
	ok(t, err)
	defer c.Close()
	_, err = c.Write([]byte("GET /v1/test/much HTTP/1.1\r\nHost: x\r\n\r\n"))
	ok(t, err)
	_, err = io.CopyN(io.Discard, c, 100*100<<10)
	ok(t, err)
	<-full
	stop()
	ok(t, <-run)
	if !returned {
		t.Error("a handler still runs")
	}
	ok(t, s.Close())
}

// TestAccount: users without a name have their number.
func TestAccount(t *testing.T) {
	nobody := func(string) (*user.User, error) { return nil, user.UnknownUserIdError(7) }
	if got := userAccount("7", nobody); got != "unix:7" {
		t.Errorf("account %q", got)
	}
}
