package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

// What the collector is told: all in the time that a soak has.
const (
	grace      = 2 * time.Second
	quarantine = 500 * time.Millisecond
	interval   = 200 * time.Millisecond
	scanEvery  = 2 * time.Second
	purgeAge   = 3 * time.Second
)

// configText is config.yml of the server: its folder and its address are to be filled in.
const configText = `version: 0.1
log: {level: info, formatter: json, accesslog: {disabled: true}}
storage:
  filesystem: {rootdirectory: %s}
  delete: {enabled: true}
  maintenance: {uploadpurging: {enabled: true, age: %s, interval: 1s, dryrun: false}}
http: {addr: '%s', draintimeout: 5s}
gc: {enabled: true, interval: %s, grace: %s, quarantine: %s, untagged: 0s, scaninterval: %s, breaker: {blobs: 0, percent: 0}}
`

// How long is waited for what a broken server never does.
const (
	startTimeout = time.Minute
	stopTimeout  = time.Minute
)

// server is the program under test and its storage. Only one goroutine starts and ends it; any may use it.
type server struct {
	binary, dir, config, addr string
	bug                       string
	history                   *history
	log                       *serverLog

	mu     sync.Mutex
	cmd    *exec.Cmd
	exited chan struct{} // closed when the present process is gone
	up     chan struct{} // closed while it serves
}

// newServer writes the configuration of a server into dir. It starts nothing.
func newServer(binary, dir, bug string, h *history) (*server, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	addr := l.Addr().String()
	l.Close()
	s := &server{binary: binary, dir: dir, config: filepath.Join(dir, "config.yml"), addr: addr, bug: bug, history: h, up: make(chan struct{})}
	if s.log, err = newServerLog(filepath.Join(dir, "server.log"), h); err != nil {
		return nil, err
	}
	text := fmt.Sprintf(configText, s.root(), purgeAge, addr, interval, grace, quarantine, scanEvery)
	return s, os.WriteFile(s.config, []byte(text), 0o600)
}

func (s *server) root() string { return filepath.Join(s.dir, "registry") }

// command returns a verb of the program on the server's configuration.
func (s *server) command(args ...string) *exec.Cmd {
	cmd := exec.Command(s.binary, args...)
	cmd.Dir = s.dir
	cmd.Env = append(os.Environ(), "GATEHOUSE_BUG="+s.bug)
	return cmd
}

// start starts the server and returns when it serves.
func (s *server) start(ctx context.Context) error {
	cmd := s.command("serve", s.config)
	cmd.SysProcAttr = dieWithUs()
	out, err := cmd.StderrPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("start the server: %w", err)
	}
	exited := make(chan struct{})
	s.mu.Lock()
	s.cmd, s.exited = cmd, exited
	s.mu.Unlock()
	go func() {
		s.log.read(out)
		cmd.Wait()
		close(exited)
	}()
	deadline := time.Now().Add(startTimeout)
	for {
		if s.serves(ctx) {
			break
		}
		select {
		case <-exited:
			return fmt.Errorf("the server did not start: see %s", s.log.path)
		case <-time.After(10 * time.Millisecond):
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("the server does not serve: see %s", s.log.path)
		}
	}
	s.mu.Lock()
	close(s.up)
	s.mu.Unlock()
	return nil
}

func (s *server) serves(ctx context.Context) bool {
	req, err := http.NewRequestWithContext(ctx, "GET", "http://"+s.addr+"/v2/", nil)
	if err != nil {
		return false
	}
	answer, err := (&http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: time.Second}).Do(req)
	if err != nil {
		return false
	}
	answer.Body.Close()
	return answer.StatusCode == http.StatusOK
}

// wait returns when the server serves, or ctx is done.
func (s *server) wait(ctx context.Context) error {
	s.mu.Lock()
	up := s.up
	s.mu.Unlock()
	select {
	case <-up:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// signal sends a signal to the server.
func (s *server) signal(sig syscall.Signal) error { return s.cmd.Process.Signal(sig) }

// end ends the server with a signal and returns when it is gone. Clients wait until it has been started again.
func (s *server) end(sig syscall.Signal) error {
	s.mu.Lock()
	s.up = make(chan struct{})
	exited := s.exited
	s.mu.Unlock()
	from := s.history.now()
	if err := s.signal(sig); err != nil {
		return fmt.Errorf("the server has ended by itself: see %s: %w", s.log.path, err)
	}
	select {
	case <-exited:
	case <-time.After(stopTimeout):
		s.signal(syscall.SIGKILL)
		return fmt.Errorf("the server did not end within %s of %s", stopTimeout, sig)
	}
	s.history.ended(span{from, s.history.now()})
	if code := s.cmd.ProcessState.ExitCode(); sig == syscall.SIGTERM && code != 0 {
		return fmt.Errorf("the server ended with code %d: see %s", code, s.log.path)
	}
	return nil
}

// close makes sure that nothing is left running.
func (s *server) close() {
	if s.cmd != nil && s.cmd.Process != nil {
		s.cmd.Process.Kill()
		<-s.exited
	}
	s.log.file.Close()
}

// serverLog keeps what the server logs, in a file, and of it what the audit needs.
type serverLog struct {
	path    string
	history *history

	mu      sync.Mutex
	file    *os.File
	deleted map[string]int  // "blob deleted" lines, by digest
	cycles  map[string]bool // of the collector, that did something
	errors  []string

	deletedAt map[string]time.Duration // the last of those lines
}

func newServerLog(path string, h *history) (*serverLog, error) {
	f, err := os.Create(path)
	return &serverLog{path: path, history: h, file: f, deleted: map[string]int{}, cycles: map[string]bool{}, deletedAt: map[string]time.Duration{}}, err
}

// read takes all that a process logs, until it ends.
func (l *serverLog) read(r io.Reader) {
	lines := bufio.NewReader(r)
	for {
		line, err := lines.ReadString('\n')
		if line != "" {
			l.take(line)
		}
		if err != nil {
			return
		}
	}
}

func (l *serverLog) take(line string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	fmt.Fprintf(l.file, "%9.3f %s", l.history.now().Seconds(), line)
	var record struct{ Level, Msg, Digest, Cycle string }
	if json.Unmarshal([]byte(line), &record) != nil {
		if !strings.HasPrefix(line, "gatehouse: warning") {
			l.errors = append(l.errors, strings.TrimSpace(line))
		}
		return
	}
	switch {
	case record.Level == "ERROR":
		l.errors = append(l.errors, strings.TrimSpace(line))
	case record.Msg == "blob deleted":
		l.deleted[record.Digest]++
		l.deletedAt[record.Digest] = l.history.now()
	case record.Msg == "collection":
		l.cycles[record.Cycle] = true
	}
}

// about returns the last n lines up to a moment that name one of the digests.
func (l *serverLog) about(names []string, until time.Duration, n int) (lines []string) {
	b, err := os.ReadFile(l.path)
	if err != nil {
		return []string{err.Error()}
	}
	for line := range strings.Lines(string(b)) {
		if at, err := strconv.ParseFloat(strings.TrimSpace(line[:min(len(line), 9)]), 64); err == nil && at > until.Seconds()+1 {
			break
		}
		for _, name := range names {
			if strings.HasPrefix(name, "sha256:") && strings.Contains(line, name) {
				lines = append(lines, strings.TrimSpace(line))
				break
			}
		}
	}
	return lines[max(0, len(lines)-n):]
}

// fsck runs the program's own check of a server that has been stopped, and returns its output.
func (s *server) fsck() (output string, err error) {
	out, err := s.command("fsck", "--digests", s.config).CombinedOutput()
	if exit := new(exec.ExitError); errors.As(err, &exit) && exit.ExitCode() == 1 {
		err = nil // it found something, and says what
	}
	return string(out), err
}
