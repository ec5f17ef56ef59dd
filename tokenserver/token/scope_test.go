package token

import (
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"
)

func TestParseScopes(t *testing.T) {
	pull := []string{"pull"}
	for _, tt := range []struct {
		name   string
		values []string
		want   []Access
	}{
		{"none", nil, nil},
		{"empty, as sent by docker login", []string{""}, nil},
		{"only spaces", []string{"  "}, nil},
		{"one", []string{"repository:a:pull"}, []Access{{Type: "repository", Name: "a", Actions: pull}}},
		{"repeated", []string{"repository:a:pull", "repository:b:pull,push"},
			[]Access{{Type: "repository", Name: "a", Actions: pull}, {Type: "repository", Name: "b", Actions: []string{"pull", "push"}}}},
		{"separated by spaces", []string{" repository:a:pull  repository:b:pull "},
			[]Access{{Type: "repository", Name: "a", Actions: pull}, {Type: "repository", Name: "b", Actions: pull}}},
		{"merged across values", []string{"repository:a:pull repository:b:pull", "repository:a:push,pull"},
			[]Access{{Type: "repository", Name: "a", Actions: []string{"pull", "push"}}, {Type: "repository", Name: "b", Actions: pull}}},
		{"class", []string{"repository(plugin):a:pull"}, []Access{{Type: "repository", Class: "plugin", Name: "a", Actions: pull}}},
		{"class is another resource", []string{"repository(plugin):a:pull repository:a:push"},
			[]Access{{Type: "repository", Class: "plugin", Name: "a", Actions: pull}, {Type: "repository", Name: "a", Actions: []string{"push"}}}},
		{"host and port", []string{"repository:Reg-1.Example.com:5000/team/app:pull"},
			[]Access{{Type: "repository", Name: "Reg-1.Example.com:5000/team/app", Actions: pull}}},
		{"localhost", []string{"repository:localhost:5000/a:pull"},
			[]Access{{Type: "repository", Name: "localhost:5000/a", Actions: pull}}},
		{"catalog", []string{"registry:catalog:*"}, []Access{{Type: "registry", Name: "catalog", Actions: []string{"*"}}}},
		{"separators", []string{"repository:a.b/c_d/e__f/g---h/0:pull"},
			[]Access{{Type: "repository", Name: "a.b/c_d/e__f/g---h/0", Actions: pull}}},
		{"no name, as some clients send for the catalog", []string{"repository::pull repository:a:pull"},
			[]Access{{Type: "repository", Name: "a", Actions: pull}}},
		{"no actions", []string{"repository:a:"}, nil},
		{"empty actions between", []string{"repository:a:,pull,,pull"}, []Access{{Type: "repository", Name: "a", Actions: pull}}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, err := ParseScopes(tt.values)
			if err != nil {
				t.Fatal(err)
			}
			if !reflect.DeepEqual(got, tt.want) {
				t.Errorf("ParseScopes(%q) = %v, want %v", tt.values, got, tt.want)
			}
		})
	}
}

func TestParseScopesRefuses(t *testing.T) {
	many := make([]string, maxScopes+1)
	for i := range many {
		many[i] = fmt.Sprintf("repository:r%d:pull", i)
	}
	actions := make([]string, maxActions+1)
	for i := range actions {
		actions[i] = strings.Repeat("a", i+1)
	}
	for name, values := range map[string][]string{
		"no colon":                {"repository"},
		"one colon":               {"repository:a"},
		"no type":                 {":a:pull"},
		"upper-case type":         {"Repository:a:pull"},
		"long type":               {strings.Repeat("r", maxWord+1) + ":a:pull"},
		"open class":              {"repository(plugin:a:pull"},
		"empty class":             {"repository():a:pull"},
		"text after class":        {"repository(plugin)x:a:pull"},
		"upper-case name":         {"repository:Team/App:pull"},
		"upper-case component":    {"repository:host.example/App:pull"},
		"parent folder":           {"repository:a/../b:pull"},
		"leading slash":           {"repository:/a:pull"},
		"trailing slash":          {"repository:a/:pull"},
		"double slash":            {"repository:a//b:pull"},
		"leading separator":       {"repository:_a:pull"},
		"trailing separator":      {"repository:a-:pull"},
		"three underscores":       {"repository:a___b:pull"},
		"two dots":                {"repository:a..b:pull"},
		"mixed separators":        {"repository:a-_b:pull"},
		"port without repository": {"repository:host:5000:pull"},
		"empty port":              {"repository:host:/a:pull"},
		"port not a number":       {"repository:host:5a/a:pull"},
		"host label with dash":    {"repository:-host:5000/a:pull"},
		"empty host label":        {"repository:a..b:5000/a:pull"},
		"asterisk in name":        {"repository:*:pull"},
		"control character":       {"repository:a\n:pull"},
		"other scripts":           {"repository:ä:pull"},
		"percent":                 {"repository:a%2fb:pull"},
		"backslash":               {`repository:a\b:pull`},
		"long name":               {"repository:" + strings.Repeat("a", maxResourceName+1) + ":pull"},
		"upper-case action":       {"repository:a:Pull"},
		"action with digit":       {"repository:a:pull2"},
		"asterisk in action":      {"repository:a:pu*"},
		"prefix of a good one":    {"!!!repository:a:pull"},
		"good one then bad one":   {"repository:a:pull", "!!!"},
		"too many":                many,
		"too many in one":         {strings.Join(many, " ")},
		"too many actions":        {"repository:a:" + strings.Join(actions, ",")},
		"too many merged actions": {"repository:a:" + strings.Join(actions[:9], ","), "repository:a:" + strings.Join(actions[8:], ",")},
		"too long":                {strings.Repeat(" ", maxScopeText+1)},
		"too long together":       {strings.Repeat(" ", maxScopeText), " "},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := ParseScopes(values)
			if err == nil {
				t.Fatalf("got %v, want an error", got)
			}
			if len(got) != 0 {
				t.Errorf("an error came with %v", got)
			}
			if len(err.Error()) > 1000 {
				t.Errorf("the error is %d bytes long", len(err.Error()))
			}
		})
	}
}

func TestAllows(t *testing.T) {
	granted := []Access{
		{Type: "repository", Name: "a", Actions: []string{"pull"}},
		{Type: "repository", Name: "b", Actions: []string{"*"}},
		{Type: "registry", Name: "catalog", Actions: []string{"*"}},
		{Type: "repository", Name: "a", Actions: []string{"push"}},
		{Type: "repository", Name: "none"},
	}
	for _, tt := range []struct {
		typ, name, action string
		want              bool
	}{
		{"repository", "a", "pull", true},
		{"repository", "a", "push", true}, // from the second entry
		{"repository", "a", "delete", false},
		{"repository", "a", "*", false},
		{"repository", "b", "delete", true},
		{"repository", "b", "*", true},
		{"repository", "none", "pull", false},
		{"repository", "c", "pull", false},
		{"repository", "a/b", "pull", false},
		{"repository", "", "pull", false},
		{"registry", "catalog", "*", true},
		{"repository", "catalog", "*", false},
		{"registry", "a", "pull", false},
	} {
		if got := Allows(granted, tt.typ, tt.name, tt.action); got != tt.want {
			t.Errorf("Allows(%s:%s:%s) = %v, want %v", tt.typ, tt.name, tt.action, got, tt.want)
		}
	}
	if Allows(nil, "repository", "a", "pull") {
		t.Error("no grant allows something")
	}
}

// FuzzParseScopes holds ParseScopes to: what comes out was asked for, says each resource once, and reads back as itself.
func FuzzParseScopes(f *testing.F) {
	f.Add("repository:a:pull", "repository(plugin):h:5000/a/b:pull,push registry:catalog:*")
	f.Add("", "repository::pull")
	f.Add("!!!", "a:b:c:d:e")
	f.Fuzz(func(t *testing.T, one, two string) {
		list, err := ParseScopes([]string{one, two})
		if err != nil {
			return
		}
		asked := strings.Fields(strings.ReplaceAll(one+" "+two, ",", " "))
		seen := map[string]bool{}
		text := make([]string, 0, len(list))
		for _, a := range list {
			resource := a.Type + "(" + a.Class + "):" + a.Name
			if seen[resource] {
				t.Fatalf("%s is there twice", resource)
			}
			seen[resource] = true
			for _, action := range a.Actions {
				if !slices.ContainsFunc(asked, func(s string) bool { return s == action || strings.HasSuffix(s, ":"+action) }) {
					t.Fatalf("action %q of %v was not in %q, %q", action, a, one, two)
				}
			}
			if !strings.Contains(one+" "+two, ":"+a.Name+":") {
				t.Fatalf("name of %v was not in %q, %q", a, one, two)
			}
			text = append(text, a.String())
		}
		again, err := ParseScopes([]string{strings.Join(text, " ")})
		if err != nil {
			t.Fatalf("%q does not read back: %v", text, err)
		}
		if len(again) != len(list) || len(list) > 0 && !reflect.DeepEqual(again, list) {
			t.Fatalf("%v reads back as %v", list, again)
		}
	})
}
