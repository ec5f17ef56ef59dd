// Package ldap takes users and groups from a directory (LDAP, RFC 4511): OpenLDAP, Active Directory and their like.
//
// A login is a search for the one entry that the account means, and then a bind as this entry with the password, on a connection of
// its own. directory.go is what is asked, connection.go how servers are reached, group.go which groups count.
package ldap

import (
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync/atomic"
	"time"

	"github.com/go-ldap/ldap/v3"
	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sync/singleflight"

	"gatehouse/configs"
	"gatehouse/tokenserver"
	"gatehouse/tokenserver/regular"
)

const (
	defaultTimeout     = 5 * time.Second
	defaultConnections = 8
	defaultFilter      = "(uid=" + accountMark + ")"
	defaultAttribute   = "uid"
	// maxWaiting bounds how many logins wait for one of the connections.
	maxWaiting = 64
	// maxPassword bounds a password in bytes.
	maxPassword = 1024
	// accountMark and dnMark stand in filters for what is looked for.
	accountMark = "{account}"
	dnMark      = "{dn}"
)

// Options completes New. The zero value is ready to use.
type Options struct {
	// Reserved reports whether an account is another source's, so that nobody becomes it by way of the directory. Default: none is.
	Reserved func(account string) bool
	// Now is the clock of what is remembered. Default time.Now.
	Now func() time.Time
	// Metrics is where counters are registered; nil for nowhere.
	Metrics prometheus.Registerer
}

// Directory is an Authenticator and a Rechecker over a directory. It may be used from many goroutines; it asks about so many
// logins at once as it has connections. What it proved it takes as proven for a minute, so that long a changed password, a removed
// user and a changed group may go unnoticed; nothing else is remembered. While no server answers, its errors are neither
// ErrBadCredentials nor ErrBusy.
type Directory struct {
	servers  *servers
	filter   string
	account  string // the attribute
	base     string
	groups   groups
	timeout  time.Duration
	reserved func(string) bool
	proven   *proven
	metrics  *metrics
	log      *slog.Logger

	flights singleflight.Group
	slots   chan struct{}
	waiting atomic.Int64
}

var (
	_ tokenserver.Authenticator = (*Directory)(nil)
	_ tokenserver.Rechecker     = (*Directory)(nil)
)

// New returns the Directory that c, which was checked, describes. No server is asked. It fails for a filter or a name that cannot be
// read, and for a file that cannot.
func New(c configs.LDAP, o Options, log *slog.Logger) (*Directory, error) {
	if o.Reserved == nil {
		o.Reserved = func(string) bool { return false }
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	d := &Directory{
		filter: cmp.Or(c.Filter, defaultFilter), account: cmp.Or(c.AccountAttribute, defaultAttribute), base: c.BaseDN,
		timeout: cmp.Or(c.Timeout, defaultTimeout), reserved: o.Reserved, proven: newProven(o.Now), log: log,
		slots: make(chan struct{}, cmp.Or(c.Connections, defaultConnections)),
	}
	if err := checkFilter(d.filter); err != nil {
		return nil, fmt.Errorf("tokenserver.ldap.filter: %w", err)
	}
	if _, err := ldap.ParseDN(d.base); err != nil {
		return nil, fmt.Errorf("tokenserver.ldap.basedn is no name of an entry: %w", err)
	}
	var err error
	if d.groups, err = newGroups(c.Groups); err != nil {
		return nil, fmt.Errorf("tokenserver.ldap.groups: %w", err)
	}
	if d.servers, err = newServers(c, d.timeout, cap(d.slots), o.Now); err != nil {
		return nil, fmt.Errorf("tokenserver.ldap: %w", err)
	}
	d.metrics, err = newMetrics(o.Metrics)
	return d, err
}

// Source is the Directory as one of several. It owns whatever it is asked about, so it belongs last.
func (d *Directory) Source() tokenserver.Source {
	return tokenserver.Source{Name: "ldap", Authenticator: d}
}

// Close closes the connections that are not in use. The Directory may be used on, and opens new ones.
func (d *Directory) Close() { d.servers.drain() }

// Authenticate is Authenticator's. The identity's account is what the directory calls it. Its Revision changes with what the directory
// tells of the password's age, and with the entry.
func (d *Directory) Authenticate(ctx context.Context, account, password string) (tokenserver.Identity, error) {
	if !presentable(account, password) {
		return tokenserver.Identity{}, tokenserver.ErrBadCredentials
	}
	id := d.proven.credential(account, password)
	if who, ok := d.proven.get(id); ok {
		d.metrics.hits.Inc()
		return who, nil
	}
	return d.together(ctx, string(id[:]), func() (tokenserver.Identity, error) {
		if who, ok := d.proven.get(id); ok { // of a flight that landed meanwhile
			d.metrics.hits.Inc()
			return who, nil
		}
		who, err := d.login(account, password)
		if err == nil {
			d.proven.put(id, who)
		}
		return who, err
	})
}

// Recheck is Rechecker's: it looks for the entry again, by the same filter but for the account's own name.
func (d *Directory) Recheck(ctx context.Context, who tokenserver.Identity) (tokenserver.Identity, error) {
	if tokenserver.CheckAccount(who.Account) != nil {
		return tokenserver.Identity{}, tokenserver.ErrBadCredentials
	}
	return d.together(ctx, "again "+who.Account, func() (tokenserver.Identity, error) {
		e, err := d.find(d.namedFilter(who.Account))
		if err != nil {
			return tokenserver.Identity{}, err
		}
		return d.identity(e)
	})
}

// presentable reports whether a directory may be asked at all: a bind without a password succeeds for whoever asks (RFC 4513 section
// 5.1.2), and what stands behind a NUL is not read by some.
func presentable(account, password string) bool {
	return account != "" && len(account) <= 255 && !strings.ContainsRune(account, 0) &&
		password != "" && len(password) <= maxPassword && !strings.ContainsRune(password, 0)
}

// together does what is the same for several at once, in one of the slots. It gives up when ctx is done; the work goes on for
// the others, and ends by the timeouts of its steps.
func (d *Directory) together(ctx context.Context, key string, work func() (tokenserver.Identity, error)) (tokenserver.Identity, error) {
	done := d.flights.DoChan(key, func() (any, error) {
		if err := d.acquire(); err != nil {
			return tokenserver.Identity{}, err
		}
		defer func() { <-d.slots }()
		return work()
	})
	select {
	case r := <-done:
		return r.Val.(tokenserver.Identity), r.Err
	case <-ctx.Done():
		return tokenserver.Identity{}, fmt.Errorf("the directory has not answered yet: %w", ctx.Err())
	}
}

// acquire takes a slot, or returns ErrBusy when too many wait or none gets free in time.
func (d *Directory) acquire() error {
	select {
	case d.slots <- struct{}{}:
		return nil
	default:
	}
	if d.waiting.Add(1) > maxWaiting {
		d.waiting.Add(-1)
		return tokenserver.ErrBusy
	}
	defer d.waiting.Add(-1)
	timer := time.NewTimer(d.timeout)
	defer timer.Stop()
	select {
	case d.slots <- struct{}{}:
		return nil
	case <-timer.C:
		return tokenserver.ErrBusy
	}
}

// checkFilter says why a filter, with its marks filled in, is none (RFC 4515).
func checkFilter(filter string) error {
	_, err := ldap.CompileFilter(strings.NewReplacer(accountMark, "x", dnMark, "cn=x").Replace(filter))
	return err
}

// maxFile bounds a file of roots or of the password, in bytes.
const maxFile = 1 << 20

// newRoots returns the roots in a PEM file; nil, which is the system's, without one.
func newRoots(file string) (*x509.CertPool, error) {
	if file == "" {
		return nil, nil
	}
	data, _, err := regular.Read(file, maxFile)
	if err != nil {
		return nil, fmt.Errorf("cafile: %w", err)
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(data) {
		return nil, fmt.Errorf("cafile: %s holds no certificate in PEM", file)
	}
	return roots, nil
}

// newTLS is how servers are spoken to: by their name, and no less than TLS 1.2.
func newTLS(roots *x509.CertPool) *tls.Config {
	return &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}
}

// is reports whether err is an answer of a server with one of these codes (RFC 4511 section 4.1.9).
func is(err error, codes ...uint16) bool {
	var answer *ldap.Error
	if !errors.As(err, &answer) {
		return false
	}
	for _, c := range codes {
		if answer.ResultCode == c {
			return true
		}
	}
	return false
}
