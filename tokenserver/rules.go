package tokenserver

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"gatehouse/configs"
	"gatehouse/tokenserver/token"
)

// Authorizer says what somebody may do. Implementations may be called from many goroutines at once.
type Authorizer interface {
	// Authorize returns the part of wanted that who may do: never a resource or an action that was not asked for, except
	// that "*" asks for every action there is. Nothing is a valid answer, and no error. An error means that it could not
	// be told; callers then refuse.
	Authorize(ctx context.Context, who Identity, wanted []token.Access) ([]token.Access, error)
}

// Rules is an Authorizer over an ordered list: the first rule that matches account and repository decides, and where none
// matches nothing is granted. The anonymous are granted nothing. It does not change.
type Rules struct {
	rules []rule
}

type rule struct {
	account    string // or everyone
	repository glob
	actions    []string // of repositories, "*" for all
	catalog    bool
}

const (
	everyone  = "*" // as account
	allAction = "*"
	// The catalog lists every repository, so it is no action on one of them: registry:catalog:* in a scope.
	catalogAction = "catalog"
)

var _ Authorizer = (*Rules)(nil)

// repositoryActions are the actions that the registry asks for (distribution's scope specification).
var repositoryActions = []string{"pull", "push", "delete"}

// NewRules reads rules. If everything is true there must be none, and every account may do everything, as in distribution
// with its htpasswd. Errors name the rule by its place in the list, from 1.
func NewRules(rules []configs.Rule, everything bool) (*Rules, error) {
	if everything {
		if len(rules) > 0 {
			return nil, errors.New("access rules and access to everything exclude each other")
		}
		rules = []configs.Rule{{Account: everyone, Repository: "**", Actions: []string{allAction}}}
	}
	r := &Rules{rules: make([]rule, 0, len(rules))}
	for i, c := range rules {
		next, err := newRule(c)
		if err != nil {
			return nil, fmt.Errorf("access rule %d (account %q, repository %q): %w", i+1, c.Account, c.Repository, err)
		}
		r.rules = append(r.rules, next)
	}
	return r, nil
}

func newRule(c configs.Rule) (rule, error) {
	r := rule{account: c.Account}
	if c.Account != everyone {
		if err := checkAccount(c.Account); err != nil {
			return rule{}, err
		}
	}
	var err error
	if r.repository, err = newGlob(c.Repository); err != nil {
		return rule{}, err
	}
	for _, action := range c.Actions {
		switch {
		case action == allAction:
			r.actions = append(r.actions, action)
			r.catalog = r.catalog || r.repository.all
		case slices.Contains(repositoryActions, action):
			r.actions = append(r.actions, action)
		case action == catalogAction && !r.repository.all:
			return rule{}, errors.New(`the action "catalog" lists every repository; only a rule for the repository "**" can grant it`)
		case action == catalogAction:
			r.catalog = true
		default:
			return rule{}, fmt.Errorf("there is no action %q; use pull, push, delete, catalog or *", action)
		}
	}
	return r, nil
}

// Authorize is Authorizer's; it never fails.
func (r *Rules) Authorize(_ context.Context, who Identity, wanted []token.Access) ([]token.Access, error) {
	if who.Account == "" {
		return nil, nil
	}
	var granted []token.Access
	for _, a := range wanted {
		var allowed, each []string
		switch {
		case a.Type == "repository":
			allowed, each = r.repository(who.Account, a.Name), repositoryActions
		case a.Type == "registry" && a.Name == "catalog":
			allowed = r.catalog(who.Account)
		}
		if a.Actions = grant(a.Actions, allowed, each); len(a.Actions) > 0 {
			granted = append(granted, a)
		}
	}
	return granted, nil
}

// repository returns the actions that account may do on the repository called name.
func (r *Rules) repository(account, name string) []string {
	for i := range r.rules {
		if next := &r.rules[i]; next.concerns(account) && next.repository.match(name) {
			return next.actions
		}
	}
	return nil
}

// catalog returns the actions that account may do on the catalog. Its one action has the name "*" in scopes.
func (r *Rules) catalog(account string) []string {
	for i := range r.rules {
		if next := &r.rules[i]; next.concerns(account) && next.repository.all {
			if next.catalog {
				return []string{allAction}
			}
			return nil
		}
	}
	return nil
}

func (r *rule) concerns(account string) bool { return r.account == account || r.account == everyone }

// grant returns what is in asked and in allowed. An asked "*" is granted action by action, each is the list of them,
// because some verifiers do not know it; itself it is granted only where everything is allowed, for those that ask for
// nothing less.
func grant(asked, allowed, each []string) []string {
	all := slices.Contains(allowed, allAction)
	var granted []string
	add := func(action string) {
		if (all || slices.Contains(allowed, action)) && !slices.Contains(granted, action) {
			granted = append(granted, action)
		}
	}
	for _, action := range asked {
		if action == allAction {
			for _, one := range each {
				add(one)
			}
		}
		add(action)
	}
	return granted
}
