package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

const (
	account  = "bench"
	password = "correct horse battery staple"
	service  = "gatehouse" // gatehouse's default for service and issuer
	started  = time.Minute // how long a start may take
	stopped  = time.Minute // and a stop
)

// server is one of the two, running, with its clients. For one goroutine, but for the clients.
type server struct {
	name    string
	command []string
	log     string // what it prints, a file
	url     string
	http1   *client
	http2   *client
	token   string

	process *exec.Cmd
	exited  chan error
}

// oursConfig is what one needs to say: where, TLS, users. Tokens last for the whole run.
const oursConfig = `version: 0.1
storage:
  filesystem: {rootdirectory: %q}
http:
  addr: %q
  tls: {certificate: %q, key: %q}
auth:
  htpasswd: {realm: bench, path: %q}
tokenserver: {lifetime: 1h}
`

// theirsConfig is the same for distribution, with the cache of its example configuration and a fixed secret, as its manual asks.
const theirsConfig = `version: 0.1
log: {level: info}
storage:
  cache: {blobdescriptor: inmemory}
  filesystem: {rootdirectory: %q}
  tag: {concurrencylimit: 8}
http:
  addr: %q
  secret: a secret of this benchmark
  headers: {X-Content-Type-Options: [nosniff]}
  tls: {certificate: %q, key: %q}
auth:
  token: {realm: %q, service: gatehouse, issuer: gatehouse, jwks: %q}
`

// startOurs starts gatehouse on an empty folder, adds a user and gets a token.
func startOurs(ctx context.Context, program, dir string, cert certificate) (*server, error) {
	addr, err := prepare(dir)
	if err != nil {
		return nil, err
	}
	users := filepath.Join(dir, "htpasswd")
	config := filepath.Join(dir, "config.yml")
	text := fmt.Sprintf(oursConfig, filepath.Join(dir, "data"), addr, cert.certFile, cert.keyFile, users)
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		return nil, err
	}
	add := exec.CommandContext(ctx, program, "user", "add", account, "--password-stdin", config)
	add.Stdin = strings.NewReader(password)
	if out, err := add.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("add a user: %w\n%s", err, out)
	}
	s := newServer("gatehouse", addr, dir, cert, program, "serve", config)
	if err := s.start(ctx); err != nil {
		return nil, err
	}
	if err := s.login(ctx); err != nil {
		s.stop()
		return nil, err
	}
	return s, nil
}

// startTheirs starts distribution on an empty folder, to take tokens that are signed with keys (a JWK set).
func startTheirs(ctx context.Context, program, dir string, cert certificate, keys []byte) (*server, error) {
	addr, err := prepare(dir)
	if err != nil {
		return nil, err
	}
	jwks, config := filepath.Join(dir, "jwks.json"), filepath.Join(dir, "config.yml")
	if err := os.WriteFile(jwks, keys, 0o600); err != nil {
		return nil, err
	}
	text := fmt.Sprintf(theirsConfig, filepath.Join(dir, "data"), addr, cert.certFile, cert.keyFile, "https://"+addr+"/token", jwks)
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		return nil, err
	}
	s := newServer("distribution", addr, dir, cert, program, "serve", config)
	return s, s.start(ctx)
}

// prepare makes the folder of a server and finds an address that nothing listens on.
func prepare(dir string) (addr string, err error) {
	if err := os.Mkdir(dir, 0o700); err != nil {
		return "", err
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", fmt.Errorf("no free loopback port: %w", err)
	}
	return l.Addr().String(), l.Close()
}

func newServer(name, addr, dir string, cert certificate, command ...string) *server {
	s := &server{name: name, command: command, log: filepath.Join(dir, "log"), url: "https://" + addr}
	s.http1, s.http2 = newClient(s, cert, false), newClient(s, cert, true)
	return s
}

// start runs the program and returns when it answers.
func (s *server) start(ctx context.Context) error {
	log, err := os.OpenFile(s.log, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		return err
	}
	defer log.Close() // the program has its own
	s.process = exec.Command(s.command[0], s.command[1:]...)
	s.process.Stdout, s.process.Stderr = log, log
	// Neither server would have a collector of traces; distribution looks for one unless it is told not to.
	s.process.Env = append(os.Environ(), "OTEL_TRACES_EXPORTER=none")
	if err := s.process.Start(); err != nil {
		return fmt.Errorf("start %s: %w", s.name, err)
	}
	s.exited = make(chan error, 1)
	go func(p *exec.Cmd, exited chan<- error) { exited <- p.Wait() }(s.process, s.exited)
	ready, cancel := context.WithTimeout(ctx, started)
	defer cancel()
	for {
		answer, err := s.http1.Get(s.url + "/v2/")
		if err == nil {
			return answer.Body.Close()
		}
		select {
		case end := <-s.exited:
			s.process = nil
			out, _ := os.ReadFile(s.log)
			return fmt.Errorf("%s ended (%v):\n%s", s.name, end, out)
		case <-ready.Done():
			s.stop()
			return fmt.Errorf("%s does not answer: %w", s.name, err)
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// stop ends the program, with force where it does not end by itself.
func (s *server) stop() {
	if s == nil || s.process == nil {
		return
	}
	s.http1.CloseIdleConnections()
	s.http2.CloseIdleConnections()
	_ = s.process.Process.Signal(syscall.SIGTERM) // one that has ended needs none
	select {
	case <-s.exited:
	case <-time.After(stopped):
		_ = s.process.Process.Kill()
		<-s.exited
	}
	s.process = nil
}

// restart gives a process that has done nothing yet, over the same data.
func (s *server) restart(ctx context.Context) error {
	s.stop()
	return s.start(ctx)
}

// login gets the token that the run uses, from the server's own token server.
func (s *server) login(ctx context.Context) error {
	scopes := "scope=repository:" + repository + ":pull,push&scope=repository:" + tagged + ":pull,push"
	r, err := http.NewRequestWithContext(ctx, "GET", s.url+"/token?service="+service+"&"+scopes, nil)
	if err != nil {
		return err
	}
	r.SetBasicAuth(account, password)
	b, err := s.http1.read(r)
	if err != nil {
		return err
	}
	var answer struct{ Token string }
	if err := json.Unmarshal(b, &answer); err != nil || answer.Token == "" {
		return errors.Join(errors.New("the token server gave no token"), err)
	}
	s.token = answer.Token
	return nil
}

// keys returns the JWK set that tokens are verified with.
func (s *server) keys(ctx context.Context) ([]byte, error) {
	r, err := http.NewRequestWithContext(ctx, "GET", s.url+"/.well-known/jwks.json", nil)
	if err != nil {
		return nil, err
	}
	return s.http1.read(r)
}
