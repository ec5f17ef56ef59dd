package tokenserver

import (
	"context"
	"strings"
	"testing"

	"gatehouse/tokenserver/token"
)

// prefixes is an Authorizer by account: one whose prefix is empty may do everything, any other may pull what begins with it. The rules
// of package access cannot be used here: that package imports this one.
type prefixes map[string]string

func (p prefixes) Authorize(_ context.Context, who Identity, wanted []token.Access) ([]Decision, error) {
	decisions := make([]Decision, len(wanted))
	for i, a := range wanted {
		decisions[i].Asked = a
		prefix, known := p[who.Account]
		if !known || !strings.HasPrefix(a.Name, prefix) {
			continue
		}
		decisions[i].Rule = who.Account
		for _, action := range a.Actions {
			if prefix == "" || action == "pull" {
				decisions[i].Actions = append(decisions[i].Actions, action)
			}
		}
	}
	return decisions, nil
}

func scopes(t testing.TB, text string) []token.Access {
	t.Helper()
	list, err := token.ParseScopes([]string{text})
	if err != nil {
		t.Fatal(err)
	}
	return list
}
