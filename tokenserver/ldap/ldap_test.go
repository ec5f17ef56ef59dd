package ldap

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"gatehouse/configs"
	"gatehouse/testbench"
	"gatehouse/tokenserver"
)

const (
	people = "ou=people," + testbench.SlapdSuffix
	teams  = "ou=groups," + testbench.SlapdSuffix
)

// at is the section for a server; tests change what they are about.
func at(s *testbench.Slapd) configs.LDAP {
	return configs.LDAP{URLs: []string{s.URL}, BindDN: testbench.SlapdAdmin, Password: testbench.SlapdPassword, BaseDN: people}
}

// clock is a clock that stands until it is moved.
type clock struct {
	mu  sync.Mutex
	now time.Time
}

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *clock) pass(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

// open returns the Directory for c. Its log is the test's.
func open(t *testing.T, c configs.LDAP, o Options) *Directory {
	t.Helper()
	d, err := New(c, o, slog.New(slog.NewTextHandler(t.Output(), nil)))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(d.Close)
	return d
}

func mustLogin(t *testing.T, d *Directory, account, password, want string) tokenserver.Identity {
	t.Helper()
	who, err := d.Authenticate(t.Context(), account, password)
	if err != nil {
		t.Fatalf("%q cannot log in: %v", account, err)
	}
	if who.Account != want {
		t.Fatalf("%q logged in as %q, not %q", account, who.Account, want)
	}
	return who
}

func mustRefuse(t *testing.T, d *Directory, account, password string) {
	t.Helper()
	if who, err := d.Authenticate(t.Context(), account, password); !errors.Is(err, tokenserver.ErrBadCredentials) || who.Account != "" {
		t.Errorf("%q with %q is %+v, %v; not ErrBadCredentials", account, password, who, err)
	}
}

// mustFail checks that err is a failure of the directory, which says nothing of the credentials.
func mustFail(t *testing.T, err error, secrets ...string) {
	t.Helper()
	if err == nil || errors.Is(err, tokenserver.ErrBadCredentials) || errors.Is(err, tokenserver.ErrBusy) {
		t.Fatalf("%v is not the failure of a directory", err)
	}
	for _, s := range append(secrets, testbench.SlapdPassword) {
		if strings.Contains(err.Error(), s) {
			t.Errorf("the error shows a password: %v", err)
		}
	}
}

// counted is a counter's value, of the one whose label has a value; 0 where there is none.
func counted(t *testing.T, r *prometheus.Registry, name, value string) float64 {
	t.Helper()
	families, err := r.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() != name {
			continue
		}
		for _, m := range f.GetMetric() {
			if labels := m.GetLabel(); len(labels) == 0 || labels[0].GetValue() == value {
				return m.GetCounter().GetValue()
			}
		}
	}
	return 0
}

func TestLogin(t *testing.T) {
	s := testbench.StartSlapd(t)
	s.AddUser("Alice", "wonder land", "mail: alice@example.com")
	s.AddUser("bob", "builder")
	d := open(t, at(s), Options{})

	for _, name := range []string{"Alice", "alice", "ALICE", "alice ", " alice"} {
		mustLogin(t, d, name, "wonder land", "Alice")
	}
	mustLogin(t, d, "bob", "builder", "bob")
	for _, c := range [][2]string{
		{"Alice", "wonder lan"}, {"Alice", "wonder land "}, {"Alice", "WONDER LAND"}, {"Alice", "builder"}, {"nobody", "builder"},
		{"Alice", ""}, {"", ""}, {"", "builder"}, {"nobody", ""},
		{"bob", "builder\x00"}, {"bob", "\x00"}, {"bob\x00", "builder"}, {"bob", strings.Repeat("b", maxPassword+1)},
		{strings.Repeat("b", 256), "builder"},
		{"*", "builder"}, {"b*", "builder"}, {"*)(uid=*", "builder"}, {"bob)(uid=bob", "builder"}, {"nobody)(|(uid=bob", "builder"},
		{`bob\`, "builder"}, {`\62ob`, "builder"}, {"uid=bob," + people, "builder"}, {"bob\x7f", "builder"}, {"b\xffb", "builder"},
	} {
		mustRefuse(t, d, c[0], c[1])
	}
}

func TestLoginByAnotherName(t *testing.T) {
	s := testbench.StartSlapd(t)
	s.AddUser("alice", "a", "mail: alice@example.com", "mail: both@example.com")
	s.AddUser("bob", "b", "mail: bob@example.com", "mail: both@example.com")
	s.AddUser("two", "t", "uid: zwei", "mail: two@example.com")
	// Another carol, elsewhere: who is meant by the account carol is not settled.
	s.AddUser("carol", "c", "mail: carol@example.com", "")
	s.Modify("dn: ou=guests," + people + "\nobjectClass: organizationalUnit\nou: guests\n\n" +
		"dn: cn=x,ou=guests," + people + "\nobjectClass: inetOrgPerson\nuid: CAROL\ncn: x\nsn: x\nmail: x@example.com\nuserPassword: x\n\n" +
		"dn: cn=y,ou=guests," + people + "\nobjectClass: inetOrgPerson\nuid: in*valid\ncn: y\nsn: y\nmail: y@example.com\nuserPassword: y\n\n" +
		"dn: cn=z,ou=guests," + people + "\nobjectClass: inetOrgPerson\ncn: z\nsn: z\nmail: z@example.com\nuserPassword: z\n")
	c := at(s)
	c.Filter = "(|(uid={account})(mail={account}))"
	d := open(t, c, Options{Reserved: func(account string) bool { return account == "bob" }})

	who := mustLogin(t, d, "alice@example.com", "a", "alice")
	again, err := d.Recheck(t.Context(), who)
	if err != nil || again.Account != "alice" || again.Revision != who.Revision || who.Revision == "" {
		t.Errorf("alice checked again is %+v, %v; was %+v", again, err, who)
	}
	for _, c := range [][2]string{
		{"both@example.com", "a"}, {"both@example.com", "b"}, // two matches
		{"bob", "b"}, {"bob@example.com", "b"}, // another source's
		{"two", "t"}, {"zwei", "t"}, {"two@example.com", "t"}, // two names
		{"carol", "c"}, {"carol@example.com", "c"}, {"x@example.com", "x"}, // one name for two
		{"in*valid", "y"}, {"y@example.com", "y"}, {"z@example.com", "z"}, // no name, or none that can be one
	} {
		mustRefuse(t, d, c[0], c[1])
	}
}

func TestRecheck(t *testing.T) {
	s := testbench.StartSlapd(t)
	s.AddUser("alice", "a")
	s.AddGroup("developers", "uid=alice,"+people)
	c := at(s)
	c.Filter = "(&(uid={account})(!(title=left)))"
	c.Groups.MemberOf = true
	now := &clock{now: time.Now()}
	d := open(t, c, Options{Now: now.Now})
	sources := tokenserver.NewSources(d.Source())
	alice, err := sources.Authenticate(t.Context(), "alice", "a")
	if err != nil || alice.Source != "ldap" {
		t.Fatalf("%+v, %v", alice, err)
	}
	recheck := func() (tokenserver.Identity, error) { return sources.Recheck(t.Context(), alice) }
	if who, err := recheck(); err != nil || !slices.Equal(who.Groups, []string{"developers"}) {
		t.Fatalf("%+v, %v", who, err)
	}
	s.AddGroup("operators", "uid=alice,"+people)
	if who, err := recheck(); err != nil || !slices.Equal(who.Groups, []string{"developers", "operators"}) {
		t.Errorf("with another group: %+v, %v", who, err)
	}
	refused := func(why string) {
		t.Helper()
		if who, err := recheck(); !errors.Is(err, tokenserver.ErrBadCredentials) || who.Account != "" {
			t.Errorf("%s: %+v, %v", why, who, err)
		}
	}
	s.Modify("dn: uid=alice," + people + "\nchangetype: modify\nreplace: title\ntitle: left\n")
	refused("shut out by the filter")
	s.Modify("dn: uid=alice," + people + "\nchangetype: modify\ndelete: title\n")
	if who, err := recheck(); err != nil {
		t.Errorf("let in again: %+v, %v", who, err)
	}
	// pwdChangedTime counts seconds; wait for another.
	testbench.Eventually(t, time.Minute, "the end of alice's refresh tokens", func() error {
		s.Modify("dn: uid=alice," + people + "\nchangetype: modify\nreplace: userPassword\nuserPassword: b\n")
		if who, err := recheck(); !errors.Is(err, tokenserver.ErrBadCredentials) {
			return fmt.Errorf("after another password: %+v, %v", who, err)
		}
		return nil
	})
	now.pass(provenFor)
	mustRefuse(t, d, "alice", "a")
	alice, err = sources.Authenticate(t.Context(), "alice", "b")
	if err != nil {
		t.Fatal(err)
	}
	s.Modify("dn: uid=alice," + people + "\nchangetype: delete\n")
	refused("removed")
	s.AddUser("alice", "b")
	refused("removed, and somebody else of this name")
	for _, name := range []string{"", "*", "alice)(uid=*", "a*"} {
		if who, err := d.Recheck(t.Context(), tokenserver.Identity{Account: name}); !errors.Is(err, tokenserver.ErrBadCredentials) {
			t.Errorf("%q: %+v, %v", name, who, err)
		}
	}
}

func TestManyLoginsAtOnce(t *testing.T) {
	s := testbench.StartSlapd(t)
	s.AddUser("alice", "a")
	c := at(s)
	c.Connections = 2
	metrics := prometheus.NewRegistry()
	d := open(t, c, Options{Metrics: metrics})
	var all sync.WaitGroup
	for i := range 32 {
		all.Go(func() {
			password, want := "a", error(nil)
			if i%2 == 1 {
				password, want = fmt.Sprint("wrong ", i), tokenserver.ErrBadCredentials
			}
			if who, err := d.Authenticate(t.Context(), "alice", password); !errors.Is(err, want) || (err == nil) != (who.Account == "alice") {
				t.Errorf("%d: %+v, %v", i, who, err)
			}
		})
	}
	all.Wait()
	if n := counted(t, metrics, "gatehouse_ldap_binds_total", "ok"); n != 1 {
		t.Errorf("the right password was tried %v times, not once", n)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	s.Kill()
	_, err := d.Authenticate(ctx, "alice", "another")
	mustFail(t, err)
}

func TestNew(t *testing.T) {
	good := configs.LDAP{URLs: []string{"ldap://127.0.0.1"}, BaseDN: people}
	pem := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(pem, []byte("no certificate"), 0o600); err != nil {
		t.Fatal(err)
	}
	open(t, good, Options{})
	for name, change := range map[string]func(*configs.LDAP){
		"filter":       func(c *configs.LDAP) { c.Filter = "uid={account}" },
		"open filter":  func(c *configs.LDAP) { c.Filter = "(uid={account}" },
		"base":         func(c *configs.LDAP) { c.BaseDN = "people" },
		"CA":           func(c *configs.LDAP) { c.CAFile = pem },
		"no CA":        func(c *configs.LDAP) { c.CAFile = pem + ".none" },
		"group filter": func(c *configs.LDAP) { c.Groups = configs.LDAPGroups{Filter: "member={dn}", BaseDN: teams} },
		"no base":      func(c *configs.LDAP) { c.Groups = configs.LDAPGroups{Filter: "(member={dn})"} },
		"group base":   func(c *configs.LDAP) { c.Groups = configs.LDAPGroups{MemberOf: true, BaseDN: "groups"} },
		"map":          func(c *configs.LDAP) { c.Groups.Map = map[string]string{"groups": "g"} },
		"mapped name":  func(c *configs.LDAP) { c.Groups.Map = map[string]string{teams: "*"} },
	} {
		t.Run(name, func(t *testing.T) {
			c := good
			change(&c)
			if _, err := New(c, Options{}, slog.New(slog.DiscardHandler)); err == nil {
				t.Error("it is taken")
			}
		})
	}
}

// What a server must not even be asked: some would answer as if it were something else.
func TestPresentable(t *testing.T) {
	for _, c := range [][2]string{{"alice", ""}, {"", "a"}, {"alice", "a\x00"}, {"alice", "\x00"}, {"alice\x00", "a"},
		{"alice", strings.Repeat("a", maxPassword+1)}, {strings.Repeat("a", 256), "a"}} {
		if presentable(c[0], c[1]) {
			t.Errorf("%q with %q would be asked about", c[0], c[1])
		}
	}
	if !presentable("alice", "a") {
		t.Error("alice would not be asked about")
	}
}
