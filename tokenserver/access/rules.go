// Package access holds what can be put in the place of a tokenserver.Authorizer: the operator's rules, and a robot's own scope.
//
// Rules are an ordered list. The first that matches who asks, from where, and the repository, decides every action on it; where none
// matches nothing is granted. Package configs says what a rule may look like, and checks it.
package access

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"regexp"
	"slices"
	"strings"

	"gatehouse/configs"
	"gatehouse/tokenserver"
	"gatehouse/tokenserver/token"
)

// Rules is an Authorizer over an ordered list. It does not change.
type Rules struct {
	list []rule
}

// rule is a configs.Rule, read.
type rule struct {
	name       string // what decisions call it
	users      bool   // it matches who proved who he is
	accounts   []pattern
	groups     []pattern
	anonymous  bool
	addresses  []netip.Prefix
	all        bool // one of repositories is "**": it decides the catalog, too
	catalog    bool // it is about the catalog alone
	repository []glob
	expression *regexp.Regexp
	personal   bool // expression has ${account}: it is made for each account
	actions    actions
	message    string
	source     configs.Rule
}

var _ tokenserver.Authorizer = (*Rules)(nil)

// New reads rules. If everything is true there must be none, and every user may do everything, as in distribution with its htpasswd.
// An error names everything that is wrong, each by its place in the list, from 0.
func New(rules []configs.Rule, everything bool) (*Rules, error) {
	var faults []error
	configs.RuleFaults(rules, func(path, fault string) {
		faults = append(faults, fmt.Errorf("tokenserver.access%s: %s", path, fault))
	})
	switch {
	case everything && len(rules) > 0:
		return nil, errors.New("access rules and access to everything exclude each other")
	case len(faults) > 0:
		return nil, errors.Join(faults...)
	case everything:
		rules = []configs.Rule{{Name: "every user (no tokenserver.access)", Account: configs.Names{"*"}, Repository: configs.Names{"**"},
			Actions: []string{allActions}}}
	}
	r := &Rules{list: make([]rule, 0, len(rules))}
	for i, c := range rules {
		next, err := newRule(c, i)
		if err != nil {
			return nil, fmt.Errorf("tokenserver.access[%d]: %w", i, err)
		}
		r.list = append(r.list, next)
	}
	return r, nil
}

// newRule reads the rule with the number i, which has no faults.
func newRule(c configs.Rule, i int) (r rule, err error) {
	r = rule{
		name: c.Name, users: len(c.Account)+len(c.Group) > 0, accounts: patterns(c.Account), groups: patterns(c.Group), anonymous: c.Anonymous,
		catalog: c.OnlyCatalog(), message: c.Message, personal: strings.Contains(c.RepositoryRegexp, "${account}"), source: c,
	}
	if r.name == "" {
		r.name = fmt.Sprintf("tokenserver.access[%d]", i)
	}
	for _, text := range c.Address {
		network, err := configs.Network(text)
		if err != nil {
			return rule{}, err
		}
		r.addresses = append(r.addresses, network)
	}
	for _, text := range c.Repository {
		g, err := newGlob(text)
		if err != nil {
			return rule{}, err
		}
		r.repository, r.all = append(r.repository, g), r.all || g.all
	}
	if c.RepositoryRegexp != "" && !r.personal {
		if r.expression, err = c.WholeExpression(""); err != nil {
			return rule{}, err
		}
	}
	if !c.Deny {
		r.actions, err = readActions(c.Actions, r.all || r.catalog)
	}
	return r, err
}

// Authorize is Authorizer's; it never fails. It takes time in the product of rules and scopes, and memory for the answer only.
func (r *Rules) Authorize(_ context.Context, who tokenserver.Identity, wanted []token.Access) ([]tokenserver.Decision, error) {
	decisions := make([]tokenserver.Decision, len(wanted))
	var s subject
	s.prepare(r, who)
	for i, a := range wanted {
		decisions[i].Asked = a
		decider, may := -1, actions(0)
		switch {
		case a.Type == repositoryType:
			decider, may = s.repository(a.Name)
		case isCatalog(a):
			decider, may = s.catalog()
		}
		if decider < 0 {
			continue
		}
		d := &decisions[i]
		d.Actions, d.Rule = may.grant(a), r.list[decider].name
		if slices.ContainsFunc(a.Actions, func(action string) bool { return !slices.Contains(d.Actions, action) }) {
			d.Message = r.list[decider].message
		}
	}
	return decisions, nil
}

// For prepares an identity for many questions, as a catalog's: what it returns says whether who may do action on repository. Where who
// has a scope of his own, that decides. It may be called from many goroutines at once, and is right for as long as the identity is.
func (r *Rules) For(who tokenserver.Identity) func(repository, action string) bool {
	if own, ok := who.Own.(*Scope); ok {
		return own.Allows
	}
	if who.Own != nil {
		return func(repository, action string) bool {
			asked := token.Access{Type: repositoryType, Name: repository, Actions: []string{action}}
			decisions, err := who.Own.Authorize(context.Background(), who, []token.Access{asked})
			return err == nil && len(decisions) == 1 && slices.Contains(decisions[0].Actions, action)
		}
	}
	s := new(subject)
	s.prepare(r, who)
	return func(repository, action string) bool {
		_, may := s.repository(repository)
		return may.allow(action)
	}
}

// matchesName reports whether the rule matches the repository called name, for somebody who is concerned: account is his name where it
// can be a component of a repository's, and groups is asked for his groups, of such names, that occur in name.
func (r *rule) matchesName(name, account string, expression *regexp.Regexp, groups func() []string) bool {
	if expression != nil {
		return expression.MatchString(name)
	}
	for i := range r.repository {
		g := &r.repository[i]
		if !g.group {
			if g.match(name, account, "") {
				return true
			}
			continue
		}
		for _, group := range groups() {
			if (len(r.groups) == 0 || matchesAny(r.groups, group)) && g.match(name, account, group) {
				return true
			}
		}
	}
	return false
}

// pattern matches names of accounts and of groups: * stands for any text, everything else for itself.
type pattern struct {
	text    string
	literal bool
}

// patterns reads texts that have no faults.
func patterns(texts []string) []pattern {
	list := make([]pattern, len(texts))
	for i, text := range texts {
		list[i] = pattern{text, !strings.Contains(text, "*")}
	}
	return list
}

// match reports whether the whole text fits. The empty text, which is nobody's name, fits nothing.
func (p pattern) match(text string) bool {
	if p.literal || text == "" {
		return p.text == text && text != ""
	}
	first, rest, _ := strings.Cut(p.text, "*")
	text, ok := strings.CutPrefix(text, first)
	for ok {
		piece, more, found := strings.Cut(rest, "*")
		if !found {
			return strings.HasSuffix(text, piece)
		}
		var at int
		if at = strings.Index(text, piece); at < 0 {
			return false
		}
		text, rest = text[at+len(piece):], more
	}
	return false
}

// matchesAny reports whether one of the patterns fits.
func matchesAny(list []pattern, text string) bool {
	for _, p := range list {
		if p.match(text) {
			return true
		}
	}
	return false
}
