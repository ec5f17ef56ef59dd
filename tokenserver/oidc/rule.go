package oidc

import (
	"encoding/json"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"

	"gatehouse/configs"
	"gatehouse/tokenserver"
)

// rule says who a token is whose claims match.
type rule struct {
	claims  []condition
	account string
	groups  []string
}

// condition is what a claim must be.
type condition struct {
	claim string
	// expression runs in time linear in the value (RE2); nil: literal is the only value.
	expression *regexp.Regexp
	literal    string
}

// newRule compiles the globs.
func newRule(c configs.OIDCRule) (rule, error) {
	r := rule{account: c.Account, groups: c.Groups}
	for _, name := range slices.Sorted(maps.Keys(c.Claims)) {
		value := c.Claims[name]
		k := condition{claim: name, literal: value}
		if strings.Contains(value, "*") {
			text := strings.ReplaceAll(regexp.QuoteMeta(value), `\*\*`, `.*`)
			text = strings.ReplaceAll(text, `\*`, `[^/]*`)
			expression, err := regexp.Compile(`(?s)\A` + text + `\z`)
			if err != nil {
				return rule{}, fmt.Errorf("claims: the value for %s cannot be read: %w", name, err)
			}
			k.expression = expression
		}
		r.claims = append(r.claims, k)
	}
	return r, nil
}

// identify returns who the claims are by the first rule that they match. What this rule makes of them counts, if no name comes of it
// too: no later rule is asked.
func (i *issuer) identify(claims map[string]any) (who tokenserver.Identity, err error) {
	for _, r := range i.rules {
		if !r.matches(claims) {
			continue
		}
		if who.Account, err = expand(r.account, claims); err != nil {
			return tokenserver.Identity{}, err
		}
		if err := tokenserver.CheckAccount(who.Account); err != nil {
			return tokenserver.Identity{}, refuse("of the account %q comes no name: %v", r.account, err)
		}
		if who.Groups, err = r.expandGroups(claims); err != nil {
			return tokenserver.Identity{}, err
		}
		return who, nil
	}
	return tokenserver.Identity{}, refuse("no rule of tokenserver.oidc matches its claims")
}

// matches reports whether each claim that the rule names is there and has a value that it wants.
func (r *rule) matches(claims map[string]any) bool {
	for _, c := range r.claims {
		found, ok := lookup(claims, c.claim)
		if !ok || !slices.ContainsFunc(values(found), c.match) {
			return false
		}
	}
	return len(r.claims) > 0
}

// match reports whether a value, as a whole, is what the condition wants.
func (c condition) match(value string) bool {
	if c.expression != nil {
		return c.expression.MatchString(value)
	}
	return value == c.literal
}

// expandGroups returns the names of the groups, sorted, each once.
func (r *rule) expandGroups(claims map[string]any) ([]string, error) {
	var names []string
	for _, text := range r.groups {
		list := []string(nil)
		if m := configs.Placeholder.FindStringSubmatch(text); m != nil && m[0] == text {
			found, _ := lookup(claims, m[1])
			if items, ok := found.([]any); ok {
				if list = values(found); len(list) != len(items) {
					return nil, refuse("its claim %s has more than texts", m[1])
				}
			}
		}
		if list == nil {
			name, err := expand(text, claims)
			if err != nil {
				return nil, err
			}
			list = []string{name}
		}
		for _, name := range list {
			if err := tokenserver.CheckName(name); err != nil {
				return nil, refuse("of the group %q comes no name: %v", text, err)
			}
		}
		names = append(names, list...)
	}
	slices.Sort(names)
	return slices.Compact(names), nil
}

// expand puts claims in their places. One that is missing, empty or a list is a refusal, and what is in a claim is not looked at for
// places again.
func expand(text string, claims map[string]any) (string, error) {
	var err error
	expanded := configs.Placeholder.ReplaceAllStringFunc(text, func(place string) string {
		name := configs.Placeholder.FindStringSubmatch(place)[1]
		found, _ := lookup(claims, name)
		if _, list := found.([]any); !list {
			if v := values(found); len(v) == 1 && v[0] != "" {
				return v[0]
			}
		}
		err = refuse("its claim %s is missing, or no single value for %q", name, text)
		return ""
	})
	return expanded, err
}

// lookup finds a claim by its name, or by its way through claims that hold claims: a/b is the claim of this name, else b in a.
func lookup(claims map[string]any, name string) (any, bool) {
	if v, ok := claims[name]; ok {
		return v, true
	}
	for at, r := range name {
		if r != '/' {
			continue
		}
		if inner, ok := claims[name[:at]].(map[string]any); ok {
			if v, ok := lookup(inner, name[at+1:]); ok {
				return v, true
			}
		}
	}
	return nil, false
}

// values are the texts that a claim has: its own, or those of the list that it is. A truth and a whole number have the one that JSON has;
// everything else has none.
func values(v any) []string {
	switch v := v.(type) {
	case string:
		return []string{v}
	case bool:
		return []string{fmt.Sprint(v)}
	case json.Number:
		if strings.Trim(string(v), "0123456789") == "" {
			return []string{string(v)}
		}
	case []any:
		list := []string{}
		for _, item := range v {
			if s, ok := item.(string); ok {
				list = append(list, s)
			}
		}
		return list
	}
	return nil
}
