package tokenserver

import (
	"context"

	"gatehouse/tokenserver/token"
)

// Authorizer says what somebody may do. Implementations may be called from many goroutines at once.
type Authorizer interface {
	// Authorize returns a Decision for each of wanted, in their order. An error means that it could not be told; callers then
	// refuse.
	Authorize(ctx context.Context, who Identity, wanted []token.Access) ([]Decision, error)
}

// Decision is what somebody may do with one resource.
type Decision struct {
	// Asked is what it is about.
	Asked token.Access
	// Actions are granted: never one that was not asked for, except that "*" asks for every action there is. None is a valid
	// answer, and no error.
	Actions []string
	// Rule names what decided, for the audit log and the operator; empty where nothing did, and so nothing is granted.
	Rule string
	// Message is what the rule has to say to a client that is refused.
	Message string
}

// granted is what decisions grant, as a token says it.
func granted(decisions []Decision) []token.Access {
	var list []token.Access
	for _, d := range decisions {
		if len(d.Actions) > 0 {
			a := d.Asked
			a.Actions = d.Actions
			list = append(list, a)
		}
	}
	return list
}

// undecided is what was asked, before anybody decided: nothing is granted.
func undecided(wanted []token.Access) []Decision {
	decisions := make([]Decision, len(wanted))
	for i, a := range wanted {
		decisions[i].Asked = a
	}
	return decisions
}
