package access

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"gatehouse/tokenserver"
	"gatehouse/tokenserver/token"
)

// Grant is a part of what a Scope allows.
type Grant struct {
	// Repository is a glob as in an access rule, without ${account} and ${group}.
	Repository string `json:"repository"`
	// Actions are pull, push, delete, catalog (for the repository "**" only) or "*". There is at least one.
	Actions []string `json:"actions"`
}

// Scope is an Authorizer with a fixed list of grants, such as a robot's: what any of them grants is granted, whoever asks. It does not
// change.
type Scope struct {
	name   string
	text   string
	grants []scopeGrant
}

// scopeGrant is a Grant, read.
type scopeGrant struct {
	repository glob
	actions    actions
}

var _ tokenserver.Authorizer = (*Scope)(nil)

// NewScope returns the Authorizer over grants; its decisions say that name made them. No grants are a valid list, by which nothing is
// granted. Errors name the grant by its place in the list, from 0.
func NewScope(name string, grants []Grant) (*Scope, error) {
	s := &Scope{name: name, grants: make([]scopeGrant, 0, len(grants))}
	for i, g := range grants {
		next, err := newScopeGrant(g)
		if err != nil {
			return nil, fmt.Errorf("grant [%d] (repository %.64q): %w", i, g.Repository, err)
		}
		s.grants = append(s.grants, next)
		if i > 0 {
			s.text += "; "
		}
		s.text += g.Repository + ": " + strings.Join(g.Actions, ", ")
	}
	return s, nil
}

// newScopeGrant reads a grant.
func newScopeGrant(g Grant) (scopeGrant, error) {
	pattern, err := newGlob(g.Repository)
	switch {
	case err != nil:
		return scopeGrant{}, err
	case pattern.account || pattern.group:
		return scopeGrant{}, errors.New("${account} and ${group} stand for nobody here; write the name")
	case len(g.Actions) == 0:
		return scopeGrant{}, errors.New("there are no actions; name some of pull, push, delete, catalog, or *")
	}
	may, err := readActions(g.Actions, pattern.all)
	return scopeGrant{pattern, may}, err
}

// Authorize is Authorizer's; it never fails, and does not care who asks.
func (s *Scope) Authorize(_ context.Context, _ tokenserver.Identity, wanted []token.Access) ([]tokenserver.Decision, error) {
	decisions := make([]tokenserver.Decision, len(wanted))
	for i, a := range wanted {
		may := actions(0)
		for j := range s.grants {
			switch g := &s.grants[j]; {
			case isCatalog(a) && g.repository.all, a.Type == repositoryType && g.repository.match(a.Name, "", ""):
				may |= g.actions
			}
		}
		decisions[i] = tokenserver.Decision{Asked: a, Actions: may.grant(a), Rule: s.name}
	}
	return decisions, nil
}

// Allows reports whether the scope lets somebody do action on repository.
func (s *Scope) Allows(repository, action string) bool {
	for i := range s.grants {
		if g := &s.grants[i]; g.repository.match(repository, "", "") && g.actions.allow(action) {
			return true
		}
	}
	return false
}

// String is the list of grants for people.
func (s *Scope) String() string { return s.text }
