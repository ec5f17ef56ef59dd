package oidc

import (
	"encoding/json"
	"errors"
	"slices"
	"testing"

	"gatehouse/configs"
)

func TestClaimsMatch(t *testing.T) {
	for _, test := range []struct {
		value, want string // the claim as JSON, and what a rule says
		match       bool
	}{
		{`"refs/heads/main"`, "refs/heads/main", true}, {`"refs/heads/main2"`, "refs/heads/main", false},
		{`"refs/heads/main"`, "refs/heads/*", true}, {`"refs/heads/a/b"`, "refs/heads/*", false}, {`"refs/heads/a/b"`, "refs/heads/**", true},
		{`"x/refs/heads/main"`, "refs/heads/*", false},
		{`"refs/heads/main/x"`, "refs/heads/*", false}, {`"refs/heads/a\nb"`, "refs/heads/*", true},
		{`"refs/heads/main\n"`, "refs/heads/main*", true}, {`"refs/heads/main\n"`, "refs/heads/main", false},
		{`"x\nabc"`, "a*c", false},
		{`"refs/heads/*"`, "refs/heads/main", false}, {`"*"`, "main", false}, {`"**"`, "*", true},
		{`"a.c"`, "a.*", true}, {`"abc"`, "a.*", false},
		{`"abc"`, "[a]*", false}, {`"Main"`, "main", false}, {`""`, "**", true}, {`""`, "a", false},
		{`["a","b"]`, "b", true}, {`["a","b"]`, "a*b", false}, {`[["b"]]`, "b", false}, {`[1]`, "1", false}, {`[]`, "**", false},
		{`true`, "true", true}, {`false`, "true", false}, {`1`, "1", true}, {`1.0`, "1", false}, {`1e3`, "1*", false}, {`-1`, "-1", false},
		{`null`, "**", false}, {`{"a":"a"}`, "**", false}, {`{"a":"b"}`, "a", false},
	} {
		r, err := newRule(configs.OIDCRule{Claims: map[string]string{"claim": test.want}, Account: "a"})
		if err != nil {
			t.Fatal(err)
		}
		if got := r.matches(map[string]any{"claim": decode(t, test.value)}); got != test.match {
			t.Errorf("%s by %q: %v", test.value, test.want, got)
		}
		if r.matches(map[string]any{"other": decode(t, test.value)}) {
			t.Errorf("a claim that is missing matches %q", test.want)
		}
	}
	if r, err := newRule(configs.OIDCRule{Account: "a"}); err != nil || r.matches(map[string]any{"sub": "a"}) {
		t.Errorf("a rule without claims matches; %v", err)
	}
}

// decode reads JSON as tokens are read.
func decode(t *testing.T, text string) any {
	t.Helper()
	var all map[string]any
	all, err := decodeClaims([]byte(`{"v":` + text + `}`))
	if err != nil {
		t.Fatal(err)
	}
	return all["v"]
}

func TestLookup(t *testing.T) {
	all := map[string]any{"a": "top", "a/b": "whole", "c": map[string]any{"d": "inner", "e/f": "slash", "g": map[string]any{"h": "deep"}},
		"c/d": json.Number("1"),
		"x":   map[string]any{"y": map[string]any{"z": "1"}}, "x/y": map[string]any{"z": "2"}}
	for name, want := range map[string]any{"a": "top", "a/b": "whole", "c/d": json.Number("1"), "c/e/f": "slash", "c/g/h": "deep",
		"x/y/z":  "1",
		"c/none": nil, "none": nil, "": nil, "/": nil, "c/": nil, "a/c": nil} {
		if got, ok := lookup(all, name); got != want || ok != (want != nil) {
			t.Errorf("%q is %v, %v", name, got, ok)
		}
	}
}

func TestExpandGroups(t *testing.T) {
	all := map[string]any{"list": []any{"b", "a", "b"}, "one": "a", "none": []any{}, "bad": []any{"a", "*"}, "odd": []any{"a", 1.0}}
	for text, want := range map[string][]string{"${list}": {"a", "b"}, "${one}": {"a"}, "${none}": nil,
		"x-${one}-${one}": {"x-a-a"}, "plain": {"plain"}} {
		r := rule{groups: []string{text}}
		if got, err := r.expandGroups(all); err != nil || !slices.Equal(got, want) {
			t.Errorf("%q is %q, %v", text, got, err)
		}
	}
	for _, text := range []string{"${bad}", "x${list}", "${missing}", "x${none}", "${odd}"} {
		var no refusal
		r := rule{groups: []string{text}}
		if got, err := r.expandGroups(all); !errors.As(err, &no) || got != nil {
			t.Errorf("%q is %q, %v", text, got, err)
		}
	}
}
