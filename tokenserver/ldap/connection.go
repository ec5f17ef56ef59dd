package ldap

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/go-ldap/ldap/v3"

	"gatehouse/configs"
	"gatehouse/tokenserver/regular"
)

// avoidFor is how long a server that could not be reached comes after the others.
const avoidFor = 30 * time.Second

// servers is how the directory is reached, and the connections that rest between two searches.
type servers struct {
	list     []*url.URL
	startTLS bool
	tls      *tls.Config
	bindDN   string
	password func() (string, error)
	timeout  time.Duration
	now      func() time.Time
	resting  chan *ldap.Conn

	mu    sync.Mutex
	avoid map[*url.URL]time.Time // until when
}

// newServers keeps up to so many connections. It reads the CA, and connects to nobody.
func newServers(c configs.LDAP, timeout time.Duration, connections int, now func() time.Time) (*servers, error) {
	s := &servers{startTLS: c.StartTLS, bindDN: c.BindDN, timeout: timeout, now: now,
		resting: make(chan *ldap.Conn, connections), avoid: make(map[*url.URL]time.Time)}
	for _, text := range c.URLs {
		u, err := url.Parse(text)
		if err != nil {
			return nil, errors.New("urls: one is not a URL")
		}
		s.list = append(s.list, u)
	}
	roots, err := newRoots(c.CAFile)
	if err != nil {
		return nil, err
	}
	s.tls = newTLS(roots)
	s.password = func() (string, error) { return string(c.Password), nil }
	if c.PasswordFile != "" {
		s.password = func() (string, error) { return readPassword(c.PasswordFile) }
	}
	return s, nil
}

// readPassword returns the first line of a file. It is read each time, so that the password can be changed while serving.
func readPassword(file string) (string, error) {
	data, _, err := regular.Read(file, maxFile)
	if err != nil {
		return "", fmt.Errorf("passwordfile: %w", err)
	}
	line, _, _ := strings.Cut(string(data), "\n")
	line = strings.TrimSuffix(line, "\r")
	if line == "" {
		return "", fmt.Errorf("passwordfile: %s has no password in its first line", file)
	}
	return line, nil
}

// take returns a connection for searches. fresh says that it is new.
func (s *servers) take() (c *ldap.Conn, fresh bool, err error) {
	for {
		select {
		case c := <-s.resting:
			if !c.IsClosing() {
				return c, false, nil
			}
			c.Close()
		default:
			c, err := s.dial(s.greet)
			return c, true, err
		}
	}
}

// keep has a connection rest that was taken.
func (s *servers) keep(c *ldap.Conn) {
	select {
	case s.resting <- c:
	default:
		c.Close()
	}
}

// drain closes all that rest.
func (s *servers) drain() {
	for {
		select {
		case c := <-s.resting:
			c.Close()
		default:
			return
		}
	}
}

// greet binds as whom searches are made. That its password is wrong is a failure of ours and never the client's.
func (s *servers) greet(c *ldap.Conn) error {
	if s.bindDN == "" {
		return nil
	}
	password, err := s.password()
	if err != nil {
		return err
	}
	if err := c.Bind(s.bindDN, password); err != nil {
		return fmt.Errorf("binddn is not accepted: %w", err)
	}
	return nil
}

// dial connects to the first server that lets it, and to which greet, where it is set, succeeds. Those that failed lately
// come last.
func (s *servers) dial(greet func(*ldap.Conn) error) (*ldap.Conn, error) {
	var errs []error
	for _, u := range s.order() {
		c, err := s.dialOne(u, greet)
		if err == nil {
			s.setAvoided(u, false)
			return c, nil
		}
		errs = append(errs, fmt.Errorf("%s: %w", u.Host, err))
		if is(err, ldap.LDAPResultInvalidCredentials) { // the others would say the same, and may lock the account
			break
		}
		s.setAvoided(u, true)
	}
	return nil, fmt.Errorf("the directory cannot be asked: %w", errors.Join(errs...))
}

// order is the order in which servers are tried now.
func (s *servers) order() []*url.URL {
	s.mu.Lock()
	defer s.mu.Unlock()
	var first, last []*url.URL
	for _, u := range s.list {
		if s.now().Before(s.avoid[u]) {
			last = append(last, u)
		} else {
			first = append(first, u)
		}
	}
	return append(first, last...)
}

// setAvoided puts a server behind the others for a while, or back in its place.
func (s *servers) setAvoided(u *url.URL, avoided bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.avoid, u)
	if avoided {
		s.avoid[u] = s.now().Add(avoidFor)
	}
}

// dialOne connects to one server. All of it, TLS and greet included, takes no longer than the timeout. Without TLS where it is
// asked for there is no connection.
func (s *servers) dialOne(u *url.URL, greet func(*ldap.Conn) error) (*ldap.Conn, error) {
	ctx, cancel := context.WithTimeout(context.Background(), s.timeout)
	defer cancel()
	port := "389"
	if u.Scheme == "ldaps" {
		port = "636"
	}
	var dialer net.Dialer
	raw, err := dialer.DialContext(ctx, "tcp", net.JoinHostPort(u.Hostname(), cmp.Or(u.Port(), port)))
	if err != nil {
		return nil, err
	}
	deadline, _ := ctx.Deadline()
	if err := raw.SetDeadline(deadline); err != nil {
		return nil, errors.Join(err, raw.Close())
	}
	secure := s.tls.Clone()
	secure.ServerName = u.Hostname()
	if u.Scheme == "ldaps" {
		over := tls.Client(raw, secure)
		if err := over.HandshakeContext(ctx); err != nil {
			return nil, errors.Join(err, raw.Close())
		}
		raw = over
	}
	c := ldap.NewConn(raw, u.Scheme == "ldaps")
	c.SetTimeout(s.timeout)
	c.Start()
	if u.Scheme != "ldaps" && s.startTLS {
		err = c.StartTLS(secure)
	}
	if err == nil && greet != nil {
		err = greet(c)
	}
	if err == nil {
		err = raw.SetDeadline(time.Time{})
	}
	if err != nil {
		c.Close()
		return nil, err
	}
	return c, nil
}
