package ldap

import (
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"gatehouse/configs"
	"gatehouse/testbench"
)

func TestTLS(t *testing.T) {
	s := testbench.StartSlapd(t)
	s.AddUser("alice", "the password of alice")
	other := testbench.NewCertificate(t, "127.0.0.1")
	byName := func(url string) string { return strings.Replace(url, "127.0.0.1", "localhost", 1) }
	for name, test := range map[string]struct {
		url, ca  string
		startTLS bool
		works    bool
	}{
		"ldaps":                     {s.SecureURL, s.CAFile, false, true},
		"ldaps by name":             {byName(s.SecureURL), s.CAFile, false, true},
		"ldaps, another's CA":       {s.SecureURL, other.CAFile, false, false},
		"ldaps, the system's roots": {s.SecureURL, "", false, false},
		"ldaps to plain":            {strings.Replace(s.URL, "ldap:", "ldaps:", 1), s.CAFile, false, false},
		"starttls":                  {s.URL, s.CAFile, true, true},
		"starttls by name":          {byName(s.URL), s.CAFile, true, true},
		"starttls, another's CA":    {s.URL, other.CAFile, true, false},
		"starttls, system's roots":  {s.URL, "", true, false},
		"plain to ldaps":            {strings.Replace(s.SecureURL, "ldaps:", "ldap:", 1), "", false, false},
	} {
		t.Run(name, func(t *testing.T) {
			c := at(s)
			c.URLs, c.CAFile, c.StartTLS, c.Timeout = []string{test.url}, test.ca, test.startTLS, 3*time.Second
			d := open(t, c, Options{})
			who, err := d.Authenticate(t.Context(), "alice", "the password of alice")
			if test.works {
				if err != nil || who.Account != "alice" {
					t.Errorf("%+v, %v", who, err)
				}
				return
			}
			mustFail(t, err, "the password of alice")
		})
	}
}

func TestOutage(t *testing.T) {
	s := testbench.StartSlapd(t)
	s.AddUser("alice", "a")
	s.AddUser("bob", "b")
	now := &clock{now: time.Now()}
	metrics := prometheus.NewRegistry()
	d := open(t, at(s), Options{Now: now.Now, Metrics: metrics})
	alice := mustLogin(t, d, "alice", "a", "alice")

	s.Kill()
	_, err := d.Authenticate(t.Context(), "bob", "b")
	mustFail(t, err)
	_, err = d.Authenticate(t.Context(), "alice", "wrong")
	mustFail(t, err)
	_, err = d.Recheck(t.Context(), alice)
	mustFail(t, err)
	mustLogin(t, d, "alice", "a", "alice") // remembered
	now.pass(provenFor)
	_, err = d.Authenticate(t.Context(), "alice", "a")
	mustFail(t, err)

	s.Restart()
	mustLogin(t, d, "alice", "a", "alice")
	mustRefuse(t, d, "alice", "wrong")
	// The connections that rest are dead; the next search finds another.
	s.Restart()
	mustLogin(t, d, "bob", "b", "bob")
	if n := counted(t, metrics, "gatehouse_ldap_errors_total", "connect"); n != 4 {
		t.Errorf("%v connections failed, not 4", n)
	}
	if n := counted(t, metrics, "gatehouse_ldap_cache_hits_total", ""); n != 1 {
		t.Errorf("%v passwords were remembered, not 1", n)
	}
}

func TestSeveralServers(t *testing.T) {
	s := testbench.StartSlapd(t)
	s.AddUser("alice", "a")
	c := at(s)
	c.URLs = []string{"ldap://" + testbench.FreeAddr(t), s.URL}
	now := &clock{now: time.Now()}
	d := open(t, c, Options{Now: now.Now})
	mustLogin(t, d, "alice", "a", "alice")
	if first := d.servers.order()[0]; first != d.servers.list[1] {
		t.Errorf("%v comes first, which could not be reached", first)
	}
	now.pass(avoidFor)
	if first := d.servers.order()[0]; first != d.servers.list[0] {
		t.Errorf("%v comes first, out of turn", first)
	}
}

func TestServiceAccount(t *testing.T) {
	s := testbench.StartSlapd(t)
	s.AddUser("alice", "a")
	file := filepath.Join(t.TempDir(), "password")
	write := func(text string) {
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	c := at(s)
	c.Password, c.PasswordFile = "", file
	d := open(t, c, Options{})
	for _, text := range []string{"wrong\n", "", "\n" + testbench.SlapdPassword} {
		write(text)
		_, err := d.Authenticate(t.Context(), "alice", "a")
		mustFail(t, err)
	}
	if err := errors.Join(os.Remove(file), syscall.Mkfifo(file, 0o600)); err != nil {
		t.Fatal(err)
	}
	_, err := d.Authenticate(t.Context(), "alice", "a") // nobody writes to it, and nobody waits
	mustFail(t, err)
	if err := os.Remove(file); err != nil {
		t.Fatal(err)
	}
	write(testbench.SlapdPassword + "\n")
	mustLogin(t, d, "alice", "a", "alice")

	c = at(s)
	c.BindDN, c.Password = "", ""
	mustLogin(t, open(t, c, Options{}), "alice", "a", "alice")

	c.BaseDN = "ou=none," + testbench.SlapdSuffix
	_, err = open(t, c, Options{}).Authenticate(t.Context(), "alice", "a")
	mustFail(t, err)
}

func TestReferralIsNotFollowed(t *testing.T) {
	there := testbench.StartSlapd(t)
	there.AddUser("mallory", "m")
	s := testbench.StartSlapd(t)
	s.AddUser("alice", "a")
	s.Modify("dn: ou=elsewhere," + people + "\nobjectClass: referral\nobjectClass: extensibleObject\nou: elsewhere\nref: " +
		there.URL + "/" + people + "\n")
	d := open(t, at(s), Options{})
	mustLogin(t, d, "alice", "a", "alice")
	mustRefuse(t, d, "mallory", "m")

	c := at(s)
	c.BaseDN = "ou=elsewhere," + people
	_, err := open(t, c, Options{}).Authenticate(t.Context(), "mallory", "m")
	mustFail(t, err)
}

// A server that takes connections and says nothing is one that is down.
func TestSilentServer(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	for _, url := range []string{"ldap://", "ldaps://"} {
		for _, startTLS := range []bool{false, true} {
			c := configs.LDAP{URLs: []string{url + l.Addr().String()}, StartTLS: startTLS && url == "ldap://", BindDN: "cn=a",
				Password: testbench.SlapdPassword, BaseDN: people, Timeout: 100 * time.Millisecond}
			_, err := open(t, c, Options{}).Authenticate(t.Context(), "alice", "the password of alice")
			mustFail(t, err, "the password of alice")
		}
	}
}

// firewall passes connections on to a server, and can forget those that there are: without a word, as firewalls do.
type firewall struct {
	net.Listener
	server string

	mu   sync.Mutex
	open []*atomic.Bool // whether what comes is passed on
	shut bool           // nothing is, of new ones
}

func newFirewall(t *testing.T, url string) *firewall {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	f := &firewall{Listener: l, server: strings.TrimPrefix(url, "ldap://")}
	var all sync.WaitGroup
	all.Go(func() {
		for {
			client, err := l.Accept()
			if err != nil {
				return
			}
			all.Go(func() { f.pass(client) })
		}
	})
	t.Cleanup(func() {
		l.Close()
		all.Wait()
	})
	return f
}

func (f *firewall) pass(client net.Conn) {
	defer client.Close()
	server, err := net.Dial("tcp", f.server)
	if err != nil {
		return
	}
	defer server.Close()
	passes := new(atomic.Bool)
	f.mu.Lock()
	passes.Store(!f.shut)
	f.open = append(f.open, passes)
	f.mu.Unlock()
	go io.Copy(client, server)
	buffer := make([]byte, 1<<10)
	for {
		n, err := client.Read(buffer)
		if err != nil {
			return
		}
		if passes.Load() {
			server.Write(buffer[:n])
		}
	}
}

func (f *firewall) forget() {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, passes := range f.open {
		passes.Store(false)
	}
}

func TestForgottenConnections(t *testing.T) {
	s := testbench.StartSlapd(t)
	s.AddUser("alice", "a")
	s.AddUser("bob", "b")
	f := newFirewall(t, s.URL)
	c := at(s)
	c.URLs, c.Timeout = []string{"ldap://" + f.Addr().String()}, 2*time.Second
	d := open(t, c, Options{})
	mustLogin(t, d, "alice", "a", "alice")
	f.forget()
	mustLogin(t, d, "bob", "b", "bob")

	// Who was found, but whose password cannot be checked, has not given a wrong one.
	f.mu.Lock()
	f.shut = true
	f.mu.Unlock()
	_, err := d.Authenticate(t.Context(), "bob", "another password")
	mustFail(t, err, "another password")
	d.Close() // before the firewall is waited for
}
