package access

import (
	"fmt"
	"reflect"
	"strings"
	"testing"

	"gatehouse/configs"
	"gatehouse/tokenserver"
	"gatehouse/tokenserver/token"
)

func newRules(t testing.TB, rules ...configs.Rule) *Rules {
	t.Helper()
	r, err := New(rules, false)
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

// granted is what decisions grant, as a token says it.
func granted(decisions []tokenserver.Decision) []token.Access {
	var list []token.Access
	for _, d := range decisions {
		if len(d.Actions) > 0 {
			list = append(list, token.Access{Type: d.Asked.Type, Class: d.Asked.Class, Name: d.Asked.Name, Actions: d.Actions})
		}
	}
	return list
}

// grantedText returns what account gets of the scopes in text, as text.
func grantedText(t testing.TB, r *Rules, account, text string) string {
	t.Helper()
	list, err := r.Authorize(t.Context(), tokenserver.Identity{Account: account}, scopes(t, text))
	if err != nil {
		t.Fatal(err)
	}
	texts := make([]string, len(granted(list)))
	for i, a := range granted(list) {
		texts[i] = a.String()
	}
	return strings.Join(texts, " ")
}

func TestRules(t *testing.T) {
	r := newRules(t,
		configs.Rule{Account: configs.Names{"mallory"}, Repository: configs.Names{"**"}, Actions: nil},
		configs.Rule{Account: configs.Names{"*"}, Repository: configs.Names{"secret/**"}, Actions: nil},
		configs.Rule{Account: configs.Names{"alice"}, Repository: configs.Names{"**"}, Actions: []string{"*"}},
		configs.Rule{Account: configs.Names{"bob"}, Repository: configs.Names{"team/*"}, Actions: []string{"pull", "push"}},
		configs.Rule{Account: configs.Names{"bob"}, Repository: configs.Names{"team/**"}, Actions: []string{"pull"}},
		configs.Rule{Account: configs.Names{"auditor"}, Repository: configs.Names{"**"}, Actions: []string{"catalog"}},
		configs.Rule{Account: configs.Names{"lister"}, Repository: configs.Names{"lister/**"}, Actions: []string{"*"}},
		configs.Rule{Account: configs.Names{"lister"}, Repository: configs.Names{"**"}, Actions: []string{"pull", "catalog"}},
		configs.Rule{Account: configs.Names{"*"}, Repository: configs.Names{"pub/**"}, Actions: []string{"pull"}},
		configs.Rule{Account: configs.Names{"*"}, Repository: configs.Names{"**"}, Actions: []string{}},
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
		if got := grantedText(t, r, tt.account, tt.asked); got != tt.want {
			t.Errorf("%q asks for %q: got %q, want %q", tt.account, tt.asked, got, tt.want)
		}
	}
}

func TestEverything(t *testing.T) {
	r, err := New(nil, true)
	if err != nil {
		t.Fatal(err)
	}
	const all = "repository:a/b:pull,push,delete registry:catalog:*"
	if got := grantedText(t, r, "alice", all); got != all {
		t.Errorf("an account got %q", got)
	}
	if got := grantedText(t, r, "", all); got != "" {
		t.Errorf("anonymous got %q", got)
	}
	if got := grantedText(t, newRules(t), "alice", all); got != "" {
		t.Errorf("no rules granted %q", got)
	}
	if _, err := New([]configs.Rule{{Account: configs.Names{"a"}, Repository: configs.Names{"b"}}}, true); err == nil {
		t.Error("rules and everything at once")
	}
}

func TestAuthorizeLeavesItsArgumentAlone(t *testing.T) {
	r := newRules(t, configs.Rule{Account: configs.Names{"a"}, Repository: configs.Names{"**"}, Actions: []string{"pull"}})
	wanted := scopes(t, "repository:x:push,pull repository:y:push")
	before := fmt.Sprint(wanted)
	first, err := r.Authorize(t.Context(), tokenserver.Identity{Account: "a"}, wanted)
	if err != nil || fmt.Sprint(wanted) != before {
		t.Errorf("wanted became %v, %v", wanted, err)
	}
	// And no request sees another's grants.
	second, err := r.Authorize(t.Context(), tokenserver.Identity{Account: "a"}, scopes(t, "repository:z:pull"))
	if err != nil || reflect.DeepEqual(first, second) || len(second) != 1 || second[0].Asked.Name != "z" {
		t.Errorf("second %v, %v", second, err)
	}
}

func TestNewRefuses(t *testing.T) {
	for name, c := range map[string]configs.Rule{
		"no account":        {Repository: configs.Names{"a"}, Actions: []string{"pull"}},
		"account pattern":   {Account: configs.Names{"a:b"}, Repository: configs.Names{"a"}, Actions: []string{"pull"}},
		"no repository":     {Account: configs.Names{"a"}, Actions: []string{"pull"}},
		"unknown action":    {Account: configs.Names{"a"}, Repository: configs.Names{"a"}, Actions: []string{"read"}},
		"upper-case action": {Account: configs.Names{"a"}, Repository: configs.Names{"a"}, Actions: []string{"Pull"}},
		"empty action":      {Account: configs.Names{"a"}, Repository: configs.Names{"a"}, Actions: []string{""}},
		"catalog of a part": {Account: configs.Names{"a"}, Repository: configs.Names{"a/**"}, Actions: []string{"catalog"}},
	} {
		_, err := New([]configs.Rule{{Account: configs.Names{"ok"}, Repository: configs.Names{"**"}, Actions: []string{"*"}}, c}, false)
		if err == nil || !strings.Contains(err.Error(), "tokenserver.access[1]") {
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
		r, err := New([]configs.Rule{{Account: configs.Names{"a"}, Repository: configs.Names{pattern}, Actions: actions}}, false)
		if err != nil {
			return
		}
		wanted, err := token.ParseScopes([]string{asked})
		if err != nil {
			return
		}
		list, err := r.Authorize(t.Context(), tokenserver.Identity{Account: "a"}, wanted)
		if err != nil {
			t.Fatal(err)
		}
		for _, g := range granted(list) {
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
