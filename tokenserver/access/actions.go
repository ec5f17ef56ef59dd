package access

import (
	"errors"
	"fmt"
	"slices"

	"gatehouse/tokenserver/token"
)

// actions is a set of what may be done.
type actions uint8

const (
	pull actions = 1 << iota
	push
	remove  // "delete"
	catalog // list the names of all repositories: registry:catalog:* in a scope
	every   // "*" on repositories: also actions that nobody has thought of yet
)

// What a scope says.
const (
	repositoryType = "repository"
	allActions     = "*"
	catalogAction  = "catalog"
)

// onRepositories are the actions that the registry asks for (distribution's scope specification), in the order of a granted "*".
var onRepositories = []struct {
	name string
	bit  actions
}{{"pull", pull}, {"push", push}, {"delete", remove}}

// readActions reads a list of a rule or a grant. Only what is for every repository, all, has the catalog among its actions.
func readActions(list []string, all bool) (actions, error) {
	var set actions
	for _, action := range list {
		i := slices.IndexFunc(onRepositories, func(o struct {
			name string
			bit  actions
		}) bool {
			return o.name == action
		})
		switch {
		case i >= 0:
			set |= onRepositories[i].bit
		case action == allActions:
			set |= pull | push | remove | every
			if all {
				set |= catalog
			}
		case action == catalogAction && all:
			set |= catalog
		case action == catalogAction:
			return 0, errors.New(`the action "catalog" lists every repository; only what is for the repository "**" can grant it`)
		default:
			return 0, fmt.Errorf("there is no action %.64q; use pull, push, delete, catalog or *", action)
		}
	}
	return set, nil
}

// allow reports whether the set has an action on repositories.
func (s actions) allow(action string) bool {
	for _, o := range onRepositories {
		if o.name == action {
			return s&o.bit != 0
		}
	}
	return s&every != 0
}

// isCatalog reports whether a is the catalog.
func isCatalog(a token.Access) bool { return a.Type == "registry" && a.Name == catalogAction }

// grant returns what is asked for in a and in the set. An asked "*" is granted action by action, because some verifiers do not know it;
// itself it is granted only where everything is allowed, for those that ask for nothing less. The catalog's one action has the name
// "*" in scopes, and whoever may list may do with the list what he asks for.
func (s actions) grant(a token.Access) []string {
	if isCatalog(a) {
		if s&catalog == 0 {
			return nil
		}
		return slices.Clone(a.Actions)
	}
	if a.Type != repositoryType {
		return nil
	}
	granted := make([]string, 0, len(a.Actions))
	add := func(action string) {
		if !slices.Contains(granted, action) {
			granted = append(granted, action)
		}
	}
	for _, action := range a.Actions {
		if action != allActions {
			if s.allow(action) {
				add(action)
			}
			continue
		}
		for _, o := range onRepositories {
			if s&o.bit != 0 {
				add(o.name)
			}
		}
		if s&every != 0 {
			add(allActions)
		}
	}
	if len(granted) == 0 {
		return nil
	}
	return granted
}
