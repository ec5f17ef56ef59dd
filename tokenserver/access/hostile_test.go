package access

import (
	"context"
	"fmt"
	"net/netip"
	"reflect"
	"slices"
	"strings"
	"testing"

	"gatehouse/configs"
	"gatehouse/tokenserver"
	"gatehouse/tokenserver/token"
)

// some is an identity with groups and an address.
func some(account, address string, groups ...string) tokenserver.Identity {
	who := tokenserver.Identity{Account: account, Groups: groups}
	if address != "" {
		who.Address = netip.MustParseAddr(address)
	}
	return who
}

// read makes rules of lines of YAML, as a file has them.
func read(t testing.TB, lines ...string) *Rules {
	t.Helper()
	text := "version: 0.1\nstorage: inmemory\nauth: {htpasswd: {path: /u}}\ntokenserver:\n  access:\n  - " + strings.Join(lines, "\n  - ") + "\n"
	c, _, err := configs.Parse("config.yml", []byte(text), nil)
	if err != nil {
		t.Fatal(err)
	}
	r, err := New(c.TokenServer.Access, false)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// decided is what one decision says: actions, rule, message.
func decided(t testing.TB, r tokenserver.Authorizer, who tokenserver.Identity, scope string) string {
	t.Helper()
	list, err := r.Authorize(t.Context(), who, scopes(t, scope))
	if err != nil || len(list) != 1 {
		t.Fatal(list, err)
	}
	return strings.TrimSpace(strings.Join(list[0].Actions, ",") + " " + list[0].Rule + " " + list[0].Message)
}

func TestWhoAndWhere(t *testing.T) {
	r := read(t,
		`{account: mallory, repository: "**", deny: true, message: "ask ops"}`,
		`{account: [ci-*, "*-bot"], repository: "**", actions: [pull, push]}`,
		`{name: the admins, group: [admins, "ops-*"], repository: "**", actions: ["*"], message: "no"}`,
		`{group: dev, account: "d*", repository: "dev/**", actions: [pull, push]}`,
		`{account: "*", address: [10.0.0.0/8, "2001:db8::/32"], repository: "internal/**", actions: [pull]}`,
		`{account: "*", repository: "internal/**", actions: []}`,
		`{account: "*", repository: ["${account}/**", "home-${account}"], actions: ["*"]}`,
		`{group: "team-*", repository: "${group}/**", actions: [pull, push]}`,
		`{account: "*", repositoryregexp: 'v[0-9]+/(a|b)', actions: [pull]}`,
		`{account: "*", anonymous: true, repository: "pub/**", actions: [pull], message: "pub is read only"}`,
		`{anonymous: true, repository: "hello", actions: [pull]}`,
	)
	for _, tt := range []struct {
		who         tokenserver.Identity
		scope, want string
	}{
		{some("mallory", ""), "repository:pub/x:pull", "tokenserver.access[0] ask ops"},
		{some("ci-1", ""), "repository:x:pull,push,delete", "pull,push tokenserver.access[1]"},
		{some("ci-", ""), "repository:x:pull", "pull tokenserver.access[1]"},
		{some("xci-1", ""), "repository:x:pull", ""},
		{some("a-bot", ""), "repository:x:pull", "pull tokenserver.access[1]"},
		{some("a", "", "x", "ops-1"), "repository:x:delete", "delete the admins"},
		{some("a", "", "ops"), "repository:x:delete", ""},
		{some("a", "", "admins"), "repository:x:frobnicate", "frobnicate the admins"},
		{some("dan", "", "dev"), "repository:dev/x:push", "push tokenserver.access[3]"},
		{some("dan", ""), "repository:dev/x:push", ""},
		{some("bob", "", "dev"), "repository:dev/x:push", ""},
		{some("a", "10.1.2.3"), "repository:internal/x:pull", "pull tokenserver.access[4]"},
		{some("a", "::ffff:10.1.2.3"), "repository:internal/x:pull", "pull tokenserver.access[4]"},
		{some("a", "2001:db8::1%eth0"), "repository:internal/x:pull", "pull tokenserver.access[4]"},
		{some("a", "11.1.2.3"), "repository:internal/x:pull", "tokenserver.access[5]"},
		{some("a", ""), "repository:internal/x:pull", "tokenserver.access[5]"},
		{some("alice", ""), "repository:alice/x/y:delete", "delete tokenserver.access[6]"},
		{some("alice", ""), "repository:home-alice:pull", "pull tokenserver.access[6]"},
		{some("alice", ""), "repository:alice:pull", ""},
		{some("alice", ""), "repository:bob/x:pull", ""},
		{some("a", "", "team-x", "team-y"), "repository:team-y/app:push", "push tokenserver.access[7]"},
		{some("a", "", "team-x", "admin"), "repository:admin/app:push", ""}, // not one of the groups that the rule names
		{some("a", "", "team-x"), "repository:team-x:push", ""},
		{some("a", ""), "repository:v12/b:pull", "pull tokenserver.access[8]"},
		{some("a", ""), "repository:v12/bc:pull", ""},
		{some("a", ""), "repository:x/v12/a:pull", ""},
		{some("a", ""), "repository:pub/x:pull,push", "pull tokenserver.access[9] pub is read only"},
		{some("", ""), "repository:pub/x:pull", "pull tokenserver.access[9]"},
		{some("", ""), "repository:hello:pull", "pull tokenserver.access[10]"},
		{some("a", ""), "repository:hello:pull", ""},
		{some("", ""), "repository:x:pull", ""},
		{some("", "10.1.2.3"), "repository:internal/x:pull", ""},
		{some("", "", "admins"), "repository:x:pull", ""},
		{some("anonymous", ""), "repository:hello:pull", ""},
	} {
		if got := decided(t, r, tt.who, tt.scope); got != tt.want {
			t.Errorf("%+v asks for %s: got %q, want %q", tt.who, tt.scope, got, tt.want)
		}
	}
}

func TestCatalogAlone(t *testing.T) {
	r := read(t,
		`{account: mallory, actions: [catalog], deny: true, message: "not you"}`,
		`{account: "*", actions: [catalog]}`,
		`{account: "*", repository: "**", actions: [pull]}`,
	)
	for who, want := range map[string]string{"alice": "* tokenserver.access[1]", "mallory": "tokenserver.access[0] not you", "": ""} {
		if got := decided(t, r, some(who, ""), "registry:catalog:*"); got != want {
			t.Errorf("%q lists: %q", who, got)
		}
	}
	if got := decided(t, r, some("mallory", ""), "repository:catalog:pull"); got != "pull tokenserver.access[2]" {
		t.Errorf("a repository called catalog: %q", got)
	}
}

// TestUnknownAddress: where it is not known where a request comes from, nobody gets what he might not get.
func TestUnknownAddress(t *testing.T) {
	r := read(t,
		`{account: "*", address: 192.0.2.0/24, repository: "a", deny: true}`,
		`{account: "*", address: 10.0.0.0/8, repository: "**", actions: [pull, push]}`,
		`{account: "*", repository: "**", actions: [pull, delete]}`,
	)
	for repo, want := range map[string]string{"a": "tokenserver.access[1]", "b": "pull tokenserver.access[1]"} {
		if got := decided(t, r, some("x", ""), "repository:"+repo+":pull,push,delete"); got != want {
			t.Errorf("%s: %q, want %q", repo, got, want)
		}
	}
	for repo, who := range map[string]tokenserver.Identity{"a": some("x", ""), "b": some("x", "")} {
		if e := r.Explain(who, repo, "pull"); !e.Unsure {
			t.Errorf("%s is explained as if the address were known: %+v", repo, e)
		}
	}
	if e := r.Explain(some("x", "10.0.0.1"), "a", "pull"); e.Unsure || e.Decider != 1 {
		t.Errorf("a known address is unsure: %+v", e)
	}
	if r.For(some("x", ""))("a", "pull") || !r.For(some("x", "10.0.0.1"))("a", "push") {
		t.Error("For has an opinion of its own")
	}
}

// TestHostileNames: no name of an account or a group is ever read as a pattern, or reaches beyond one component.
func TestHostileNames(t *testing.T) {
	r := read(t,
		`{account: "*", repository: ["${account}/**", "${account}app"], actions: ["*"]}`,
		`{account: "*", repositoryregexp: "re/${account}/.*", actions: ["*"]}`,
		`{group: "*", repository: ["g/${group}/**", "${group}lication"], actions: ["*"]}`,
		`{account: "a*", repository: "glob/x", actions: [pull]}`,
		`{account: "a.c", repository: "dot/x", actions: [pull]}`,
	)
	names := []string{"*", "**", "a*", ".*", ".+", "a|b", "[a-z]", "(", ")", `\Q`, `\E`, `\Qa\E`, "${account}", "${group}", "$1", "..", ".", "a/..", "../a", "a/b", "/a",
		"a/", "a//b", "A", "Alice", "", " ", "a b", "a\nb", "a\x00b", "ä", "-a", "a-", "a..b", "a___b", "a.-b", "_", "?", "a?", "{a,b}", "^a$", "(?i)a", "\xff", strings.Repeat("a", 300) + "/"}
	targets := []string{"app", "lication", "a/x", "b/x", "alice/x", "x/y/z", "a/b/c", "re/a/x", "re/b/x", "re/a/b/x", "g/a/x", "g/b/x", "g/a/b/x"}
	for _, name := range names {
		for _, target := range targets {
			if name == "" {
				continue
			}
			scope := "repository:" + target + ":pull"
			if got := decided(t, r, some(name, ""), scope); got != "" {
				t.Errorf("account %q gets %s: %s", name, target, got)
			}
			if got := decided(t, r, some("nobody", "", name), scope); got != "" {
				t.Errorf("group %q gets %s: %s", name, target, got)
			}
		}
	}
	for account, want := range map[string]string{"a*": "pull tokenserver.access[3]", "abc": "pull tokenserver.access[3]", "bab": "", "A": ""} {
		if got := decided(t, r, some(account, ""), "repository:glob/x:pull"); got != want {
			t.Errorf("account %q: %q", account, got)
		}
	}
	if got := decided(t, r, some("abc", ""), "repository:dot/x:pull"); got != "" {
		t.Errorf("a dot stands for any letter: %q", got)
	}
	// And those that are components are themselves, dots and all.
	for _, scope := range []string{"repository:a.c/x:pull", "repository:re/a.c/x:pull"} {
		if decided(t, r, some("a.c", ""), scope) == "" || decided(t, r, some("a.c", ""), strings.Replace(scope, "a.c", "abc", 1)) != "" {
			t.Errorf("%s: a.c is not only itself", scope)
		}
	}
}

// TestHostileExpressions: alternatives are of the whole, anchors and flags do not let anything in, and no expression takes long.
func TestHostileExpressions(t *testing.T) {
	for _, tt := range []struct{ expression, yes, no string }{
		{"a|b", "a b", "ab ax xb bx a/b"},
		{"(?m)^a$", "a", "ab b/a"},
		{`\Qa.b`, "a.b", "axb a.bc"},
		{`\Qa.b\E|c`, "a.b c", "axb ca"},
		{"^a|b$", "a b", "ax xb"},
		{`a\z|b`, "a b", "xa bx"},
		{"", "", "a"},
		{"(?i)a", "a", "b"},
		{"a|", "a", "b"},
		{"(a+)+b", "aab", strings.Repeat("a", 400)},
		{"(a|aa)+b", "aab", strings.Repeat("a", 400)},
		{"(.*)(.*)(.*)(.*)(.*)(.*)b", "b", strings.Repeat("a", 400)},
		{"((a{0,9}){0,9}){0,9}b", "b", strings.Repeat("a", 400)},
	} {
		c := configs.Rule{Account: configs.Names{"*"}, RepositoryRegexp: tt.expression, Actions: []string{"pull"}}
		if tt.expression == "" {
			continue // that is no expression at all
		}
		r, err := New([]configs.Rule{c}, false)
		if err != nil {
			t.Errorf("%q: %v", tt.expression, err)
			continue
		}
		may := r.For(some("x", ""))
		for _, name := range strings.Fields(tt.yes) {
			if !may(name, "pull") {
				t.Errorf("%q does not match %q", tt.expression, name)
			}
		}
		for _, name := range strings.Fields(tt.no) {
			if may(name, "pull") {
				t.Errorf("%q matches %q", tt.expression, name)
			}
		}
	}
	for _, bad := range []string{"a)|(b", "(?=a)", `(a)\1`, "a{1001}", "((a{100}){100}){100}", "[${account}]", `\${account}`, strings.Repeat("a", 1001)} {
		if _, err := New([]configs.Rule{{Account: configs.Names{"*"}, RepositoryRegexp: bad, Actions: []string{"pull"}}}, false); err == nil {
			t.Errorf("%.20q was read", bad)
		}
	}
}

// TestManyGroups: a thousand groups are looked at, and only those that the name has in it are tried.
func TestManyGroups(t *testing.T) {
	r := read(t, `{group: "team-*", repository: "${group}/${group}-*", actions: [push]}`)
	groups := make([]string, 1000)
	for i := range groups {
		groups[i] = fmt.Sprintf("team-%d", i)
	}
	may := r.For(some("a", "", groups...))
	for name, want := range map[string]bool{"team-999/team-999-x": true, "team-999/team-99-x": false, "team-1000/team-1000-x": false, "team-1/team-1-": true} {
		if may(name, "push") != want {
			t.Errorf("%s: %v", name, !want)
		}
	}
}

// TestManyRules: rules beyond the room that is there for nothing count as well, and a decision costs no memory for each of them.
func TestManyRules(t *testing.T) {
	few, many := lots(t, 10), lots(t, 3000)
	wanted := make([]token.Access, 100)
	for i := range wanted {
		wanted[i] = token.Access{Type: "repository", Name: fmt.Sprintf("x/%d", i), Actions: []string{"pull"}}
	}
	if got := decided(t, many, some("last", ""), "repository:a/b:pull"); got != "pull tokenserver.access[3000]" {
		t.Errorf("the last rule: %q", got)
	}
	cost := func(r *Rules) float64 {
		return testing.AllocsPerRun(5, func() {
			if _, err := r.Authorize(context.Background(), some("nobody", ""), wanted); err != nil {
				t.Error(err)
			}
		})
	}
	if a, b := cost(few), cost(many); b > a+10 {
		t.Errorf("%v allocations with 10 rules, %v with 3000", a, b)
	}
}

func lots(t testing.TB, n int) *Rules {
	t.Helper()
	rules := make([]configs.Rule, n, n+1)
	for i := range rules {
		rules[i] = configs.Rule{Account: configs.Names{"*"}, Repository: configs.Names{fmt.Sprintf("team-%d/*/app-*", i)}, Actions: []string{"pull"}}
	}
	r, err := New(append(rules, configs.Rule{Account: configs.Names{"last"}, Repository: configs.Names{"**"}, Actions: []string{"pull"}}), false)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func BenchmarkAuthorize(b *testing.B) {
	r := lots(b, 300)
	wanted := make([]token.Access, 1000)
	for i := range wanted {
		wanted[i] = token.Access{Type: "repository", Name: fmt.Sprintf("team-%d/x/app-%d", i%300, i), Actions: []string{"pull", "push"}}
	}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := r.Authorize(b.Context(), some("alice", "10.0.0.1", "dev", "ops"), wanted); err != nil {
			b.Fatal(err)
		}
	}
}

func TestScope(t *testing.T) {
	s, err := NewScope("robot ci", []Grant{{"team/*", []string{"pull"}}, {"team/app", []string{"push"}}, {"cache/**", []string{"*"}}})
	if err != nil {
		t.Fatal(err)
	}
	for scope, want := range map[string]string{
		"repository:team/app:pull,push,delete": "pull,push robot ci",
		"repository:team/lib:pull,push":        "pull robot ci",
		"repository:cache/x/y:*":               "pull,push,delete,* robot ci",
		"repository:other:pull":                "robot ci",
		"registry:catalog:*":                   "robot ci",
	} {
		if got := decided(t, s, tokenserver.Identity{}, scope); got != want {
			t.Errorf("%s: %q", scope, got)
		}
	}
	if got, want := fmt.Sprint(s), "team/*: pull; team/app: push; cache/**: *"; got != want {
		t.Errorf("shown as %s", got)
	}
	// The rules leave him alone, and For knows it.
	rules := read(t, `{account: "*", repository: "**", actions: ["*"]}`)
	who := tokenserver.Identity{Account: "robot$ci", Own: s}
	if may := rules.For(who); may("other", "pull") || !may("team/app", "push") {
		t.Error("For does not ask the robot's own scope")
	}
	who.Own = narrow{s}
	if may := rules.For(who); may("other", "pull") || !may("team/app", "push") {
		t.Error("For does not ask an own scope of another kind")
	}
	all, err := NewScope("robot all", []Grant{{"**", []string{"pull", "catalog"}}})
	if err != nil || decided(t, all, tokenserver.Identity{}, "registry:catalog:*") != "* robot all" {
		t.Error("no catalog", err)
	}
	for _, bad := range []Grant{{"", []string{"pull"}}, {"a", nil}, {"a", []string{"read"}}, {"a?", []string{"pull"}}, {"${account}/**", []string{"pull"}},
		{"a", []string{"catalog"}}, {"***", []string{"pull"}}, {"/a", []string{"pull"}}} {
		if _, err := NewScope("robot", []Grant{{"ok", []string{"pull"}}, bad}); err == nil || !strings.Contains(err.Error(), "grant [1]") {
			t.Errorf("%+v: %v", bad, err)
		}
	}
}

// narrow is an Authorizer that is no Scope.
type narrow struct{ tokenserver.Authorizer }

// TestExplainAgrees: what is explained is what is decided, whoever asks for whatever.
func TestExplainAgrees(t *testing.T) {
	r := read(t,
		`{account: "a*", repository: "x/**", actions: [pull]}`,
		`{group: g, repository: ["${group}/**", y], actions: [push, delete]}`,
		`{account: "*", address: 10.0.0.0/8, repository: "z", deny: true}`,
		`{account: "*", repositoryregexp: "${account}|z", actions: ["*"]}`,
		`{anonymous: true, repository: "**", actions: [pull, catalog]}`,
		`{account: "*", actions: [catalog]}`,
	)
	for _, who := range []tokenserver.Identity{some("", ""), some("alice", "10.0.0.1"), some("alice", "", "g"), some("b", "192.0.2.1", "h", "g"), some("B", "")} {
		for _, repo := range []string{"x/a", "g/x", "h/x", "y", "z", "alice", "b", "other"} {
			for _, action := range []string{"pull", "push", "delete", "catalog"} {
				asked := token.Access{Type: "repository", Name: repo, Actions: []string{action}}
				if action == "catalog" {
					asked = token.Access{Type: "registry", Name: "catalog", Actions: []string{"*"}}
				}
				list, err := r.Authorize(t.Context(), who, []token.Access{asked})
				if err != nil {
					t.Fatal(err)
				}
				e := r.Explain(who, repo, action)
				rule := ""
				if e.Decider >= 0 {
					rule = r.Name(e.Decider)
				}
				allowed := slices.Contains(e.Granted, action) || slices.Contains(e.Granted, "*")
				if rule != list[0].Rule || allowed != (len(list[0].Actions) > 0) {
					t.Errorf("%+v %s %s: %+v, but %+v", who, action, repo, e, list[0])
				}
				if want := r.Len(); e.Decider >= 0 && len(e.Earlier) != e.Decider || e.Decider < 0 && len(e.Earlier) != want {
					t.Errorf("%+v %s %s: %d steps", who, action, repo, len(e.Earlier))
				}
				if who.Account == "B" || allowed {
					continue
				}
				// And the rule that is said to be needed is enough.
				more := append([]configs.Rule{Needed(who, repo, action, e.Granted)}, sources(r)...)
				if after, err := New(more, false); err != nil || e.Unsure {
					if err != nil {
						t.Error(err)
					}
				} else if got := after.Explain(who, repo, action); len(got.Granted) == 0 || got.Decider != 0 {
					t.Errorf("%+v %s %s: %s is not enough", who, action, repo, Text(more[0]))
				}
			}
		}
	}
}

func sources(r *Rules) []configs.Rule {
	var list []configs.Rule
	for i := range r.list {
		list = append(list, r.list[i].source)
	}
	return list
}

// TestText: what is printed is read back as the same.
func TestText(t *testing.T) {
	lines := []string{
		`{name: a b, account: ["*", "yes", "1", "null"], anonymous: true, address: [10.0.0.0/8], repository: "**", actions: ["*"], message: "a: b # c"}`,
		`{group: [a, "b, c"], repository: ["a/*"], actions: []}`,
		`{account: "{x", repositoryregexp: "a|[b,c]: '\"\\d", deny: true}`,
	}
	r := read(t, lines...)
	texts := make([]string, r.Len())
	for i := range texts {
		texts[i] = r.Text(i)
	}
	if again := read(t, texts...); !reflect.DeepEqual(sources(r), sources(again)) {
		t.Errorf("%q", texts)
	}
}

// FuzzAccount: an account whose name is no component gets nothing by a rule with ${account}, and one whose name is gets only what is
// below that name.
func FuzzAccount(f *testing.F) {
	for _, a := range []string{"alice", "a/b", "..", "*", "a.b", "a__b", "A", "", "a|b", ".*"} {
		f.Add(a, "alice/x")
		f.Add(a, "a.b/x")
	}
	r, err := New([]configs.Rule{
		{Account: configs.Names{"*"}, Repository: configs.Names{"${account}/**"}, Actions: []string{"pull"}},
		{Account: configs.Names{"*"}, RepositoryRegexp: "${account}/.*", Actions: []string{"push"}},
	}, false)
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, account, name string) {
		component := false
		if list, err := token.ParseScopes([]string{"repository:" + account + ":pull"}); err == nil && len(list) == 1 {
			component = !strings.ContainsAny(account, "/: ")
		}
		want := component && strings.HasPrefix(name, account+"/") && !strings.Contains(name, "\n")
		may := r.For(some(account, ""))
		if got := may(name, "pull"); got != want && !(component && strings.Contains(name, "\n")) {
			t.Errorf("account %q, %q: %v, want %v", account, name, got, want)
		}
	})
}
