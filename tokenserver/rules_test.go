package tokenserver

import (
	"fmt"
	"reflect"
	"strings"
	"testing"

	"gatehouse/configs"
	"gatehouse/tokenserver/token"
)

func newRules(t testing.TB, rules ...configs.Rule) *Rules {
	t.Helper()
	r, err := NewRules(rules, false)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func scopes(t testing.TB, text string) []token.Access {
	t.Helper()
	list, err := token.ParseScopes([]string{text})
	if err != nil {
		t.Fatal(err)
	}
	return list
}

// granted returns what account gets of the scopes in text, as text.
func granted(t testing.TB, r *Rules, account, text string) string {
	t.Helper()
	list, err := r.Authorize(t.Context(), Identity{Account: account}, scopes(t, text))
	if err != nil {
		t.Fatal(err)
	}
	texts := make([]string, len(list))
	for i, a := range list {
		texts[i] = a.String()
	}
	return strings.Join(texts, " ")
}

func TestRules(t *testing.T) {
	r := newRules(t,
		configs.Rule{Account: "mallory", Repository: "**", Actions: nil},
		configs.Rule{Account: "*", Repository: "secret/**", Actions: nil},
		configs.Rule{Account: "alice", Repository: "**", Actions: []string{"*"}},
		configs.Rule{Account: "bob", Repository: "team/*", Actions: []string{"pull", "push"}},
		configs.Rule{Account: "bob", Repository: "team/**", Actions: []string{"pull"}},
		configs.Rule{Account: "auditor", Repository: "**", Actions: []string{"catalog"}},
		configs.Rule{Account: "lister", Repository: "lister/**", Actions: []string{"*"}},
		configs.Rule{Account: "lister", Repository: "**", Actions: []string{"pull", "catalog"}},
		configs.Rule{Account: "*", Repository: "pub/**", Actions: []string{"pull"}},
		configs.Rule{Account: "*", Repository: "**", Actions: []string{}},
	)
	for _, tt := range []struct{ account, asked, want string }{
		{"alice", "repository:x/y:pull,push,delete", "repository:x/y:pull,push,delete"},
		{"alice", "repository:secret/x:pull", ""}, // an earlier rule denies
		{"alice", "repository:x:*", "repository:x:pull,push,delete,*"},
		{"alice", "repository:x:pull,*", "repository:x:pull,push,delete,*"},
		{"alice", "repository:x:frobnicate", "repository:x:frobnicate"},
		{"alice", "repository(plugin):x:pull", "repository(plugin):x:pull"},
		{"alice", "registry:catalog:*", "registry:catalog:*"},
		{"alice", "registry:other:*", ""},
		{"alice", "other:x:pull", ""},
		{"bob", "repository:team/a:pull,push,delete", "repository:team/a:pull,push"},
		{"bob", "repository:team/a:*", "repository:team/a:pull,push"},
		{"bob", "repository:team/a/b:pull,push", "repository:team/a/b:pull"},
		{"bob", "repository:team:pull", ""},
		{"bob", "repository:xteam/a:pull", ""},
		{"bob", "repository:pub/a:push", ""},
		{"bob", "repository:pub/a:push,pull repository:team/a:push repository:x:pull", "repository:pub/a:pull repository:team/a:push"},
		{"bob", "registry:catalog:*", ""},
		{"auditor", "registry:catalog:*", "registry:catalog:*"},
		{"auditor", "repository:x:pull,catalog", ""},
		{"auditor", "repository:pub/x:pull", ""}, // its own rule for ** decides
		{"lister", "registry:catalog:*", "registry:catalog:*"},
		{"lister", "repository:catalog:*", "repository:catalog:pull"},
		{"lister", "repository:x:catalog", ""},
		{"mallory", "repository:pub/a:pull registry:catalog:*", ""},
		{"carol", "repository:pub/a:pull", "repository:pub/a:pull"},
		{"carol", "repository:pub:pull", ""},
		{"Alice", "repository:x:pull", ""},
		{"*", "repository:x:pull", ""},
		{"", "repository:pub/a:pull", ""},
		{"", "registry:catalog:*", ""},
	} {
		if got := granted(t, r, tt.account, tt.asked); got != tt.want {
			t.Errorf("%q asks for %q: got %q, want %q", tt.account, tt.asked, got, tt.want)
		}
	}
}

func TestEverything(t *testing.T) {
	r, err := NewRules(nil, true)
	if err != nil {
		t.Fatal(err)
	}
	const all = "repository:a/b:pull,push,delete registry:catalog:*"
	if got := granted(t, r, "alice", all); got != all {
		t.Errorf("an account got %q", got)
	}
	if got := granted(t, r, "", all); got != "" {
		t.Errorf("anonymous got %q", got)
	}
	if got := granted(t, newRules(t), "alice", all); got != "" {
		t.Errorf("no rules granted %q", got)
	}
	if _, err := NewRules([]configs.Rule{{Account: "a", Repository: "b"}}, true); err == nil {
		t.Error("rules and everything at once")
	}
}

func TestAuthorizeLeavesItsArgumentAlone(t *testing.T) {
	r := newRules(t, configs.Rule{Account: "a", Repository: "**", Actions: []string{"pull"}})
	wanted := scopes(t, "repository:x:push,pull repository:y:push")
	before := fmt.Sprint(wanted)
	first, err := r.Authorize(t.Context(), Identity{Account: "a"}, wanted)
	if err != nil || fmt.Sprint(wanted) != before {
		t.Errorf("wanted became %v, %v", wanted, err)
	}
	// And no request sees another's grants.
	second, err := r.Authorize(t.Context(), Identity{Account: "a"}, scopes(t, "repository:z:pull"))
	if err != nil || reflect.DeepEqual(first, second) || len(second) != 1 || second[0].Name != "z" {
		t.Errorf("second %v, %v", second, err)
	}
}

func TestNewRulesRefuses(t *testing.T) {
	for name, c := range map[string]configs.Rule{
		"no account":        {Repository: "a", Actions: []string{"pull"}},
		"account pattern":   {Account: "a:b", Repository: "a", Actions: []string{"pull"}},
		"no repository":     {Account: "a", Actions: []string{"pull"}},
		"unknown action":    {Account: "a", Repository: "a", Actions: []string{"read"}},
		"upper-case action": {Account: "a", Repository: "a", Actions: []string{"Pull"}},
		"empty action":      {Account: "a", Repository: "a", Actions: []string{""}},
		"catalog of a part": {Account: "a", Repository: "a/**", Actions: []string{"catalog"}},
	} {
		_, err := NewRules([]configs.Rule{{Account: "ok", Repository: "**", Actions: []string{"*"}}, c}, false)
		if err == nil || !strings.Contains(err.Error(), "access rule 2") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// FuzzAuthorize holds Authorize to F5: what is granted was asked for, and a rule has it.
func FuzzAuthorize(f *testing.F) {
	f.Add("repository:team/a:pull,push repository:b:*", "team/*", uint8(3))
	f.Add("registry:catalog:*", "**", uint8(255))
	f.Fuzz(func(t *testing.T, asked, pattern string, bits uint8) {
		var actions []string
		for i, action := range []string{"pull", "push", "delete", "*", "catalog"} {
			if bits>>i&1 == 1 {
				actions = append(actions, action)
			}
		}
		r, err := NewRules([]configs.Rule{{Account: "a", Repository: pattern, Actions: actions}}, false)
		if err != nil {
			return
		}
		wanted, err := token.ParseScopes([]string{asked})
		if err != nil {
			return
		}
		list, err := r.Authorize(t.Context(), Identity{Account: "a"}, wanted)
		if err != nil {
			t.Fatal(err)
		}
		for _, g := range list {
			if g.Type == "repository" && !naiveMatch(pattern, g.Name) || g.Type == "registry" && pattern != "**" {
				t.Fatalf("%q granted %v", pattern, g)
			}
			for _, action := range g.Actions {
				if !token.Allows(wanted, g.Type, g.Name, action) {
					t.Fatalf("%v was not asked for in %q", g, asked)
				}
				if g.Type == "repository" && bits&(1<<3) == 0 && !strings.Contains(fmt.Sprint(actions), action) {
					t.Fatalf("%v is not in %v", g, actions)
				}
			}
		}
	})
}
