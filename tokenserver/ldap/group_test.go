package ldap

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"gatehouse/configs"
	"gatehouse/testbench"
)

func TestGroups(t *testing.T) {
	s := testbench.StartSlapd(t)
	s.AddUser("alice", "a")
	s.AddUser("dave (ops)", "d") // a DN with what filters have to escape
	alice, dave := "uid=alice,"+people, "uid=dave (ops),"+people
	s.AddGroup("developers", alice, dave)
	s.AddGroup("engineers", "cn=developers,"+teams)
	s.AddGroup("everybody", "cn=engineers,"+teams, "cn=loop,"+teams)
	s.AddGroup("loop", "cn=everybody,"+teams)
	s.AddGroup("others", "uid=nobody,"+people)
	s.Modify("dn: cn=admins," + people + "\nobjectClass: groupOfNames\ncn: admins\nmember: " + alice + "\n")

	base := configs.LDAPGroups{BaseDN: teams}
	for name, test := range map[string]struct {
		change func(*configs.LDAPGroups)
		want   []string
	}{
		"none":                   {func(g *configs.LDAPGroups) {}, nil},
		"memberof":               {func(g *configs.LDAPGroups) { g.MemberOf = true }, []string{"developers"}},
		"memberof from anywhere": {func(g *configs.LDAPGroups) { g.MemberOf, g.BaseDN = true, "" }, []string{"admins", "developers"}},
		"memberof, nested": {func(g *configs.LDAPGroups) { g.MemberOf, g.Nested = true, "search" },
			[]string{"developers", "engineers", "everybody", "loop"}},
		"search": {func(g *configs.LDAPGroups) { g.Filter = "(member={dn})" }, []string{"developers"}},
		"search, nested": {func(g *configs.LDAPGroups) {
			g.Filter, g.Nested = "(&(objectClass=groupOfNames)(member={dn}))", "search"
		},
			[]string{"developers", "engineers", "everybody", "loop"}},
		"dn": {func(g *configs.LDAPGroups) { g.MemberOf, g.Name = true, "dn" }, []string{"cn=developers," + teams}},
		"map": {func(g *configs.LDAPGroups) {
			g.MemberOf, g.Nested, g.Map = true, "search", map[string]string{"CN=Engineers, " + teams: "eng", "cn=admins," + people: "root"}
		}, []string{"eng"}},
	} {
		t.Run(name, func(t *testing.T) {
			c := at(s)
			c.Groups = base
			test.change(&c.Groups)
			d := open(t, c, Options{})
			if who := mustLogin(t, d, "ALICE", "a", "alice"); !slices.Equal(who.Groups, test.want) {
				t.Errorf("alice is in %q, not in %q", who.Groups, test.want)
			}
		})
	}

	c := at(s)
	c.Groups = configs.LDAPGroups{BaseDN: teams, Filter: "(member={dn})"}
	if who := mustLogin(t, open(t, c, Options{}), "dave (ops)", "d", "dave (ops)"); !slices.Equal(who.Groups, []string{"developers"}) {
		t.Errorf("dave is in %q", who.Groups)
	}
	// A group search that fails is no login without groups.
	c.Groups.BaseDN = "ou=none," + testbench.SlapdSuffix
	_, err := open(t, c, Options{}).Authenticate(t.Context(), "alice", "a")
	mustFail(t, err)
}

func TestTooManyGroups(t *testing.T) {
	s := testbench.StartSlapd(t)
	s.AddUser("alice", "a")
	var ldif strings.Builder
	for i := range 501 { // what slapd sends at most is 500
		fmt.Fprintf(&ldif, "dn: cn=g%d,%s\nobjectClass: groupOfNames\ncn: g%d\nmember: uid=alice,%s\n\n", i, teams, i, people)
	}
	s.Modify(ldif.String())
	c := at(s)
	c.BindDN, c.Password = "", ""
	c.Groups = configs.LDAPGroups{BaseDN: teams, Filter: "(member={dn})"}
	_, err := open(t, c, Options{}).Authenticate(t.Context(), "alice", "a")
	mustFail(t, err)
}

// Active Directory's rule is unknown to slapd; what is asked of a server for it can be seen all the same.
func TestChain(t *testing.T) {
	for _, c := range []configs.LDAPGroups{
		{MemberOf: true, Nested: "chain", BaseDN: teams}, {Filter: "(member={dn})", Nested: "chain", BaseDN: teams},
	} {
		g, err := newGroups(c)
		if want := "(member:1.2.840.113556.1.4.1941:={dn})"; err != nil || g.filter != want || g.memberOf || g.climb {
			t.Errorf("%+v, %v; not the filter %s", g, err, want)
		}
	}
}
