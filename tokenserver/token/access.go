package token

import (
	"slices"
	"strings"
)

// Access is one resource and actions on it: a scope as asked for, or as a token grants it.
type Access struct {
	// Type is repository or registry.
	Type string `json:"type"`
	// Class is what a scope had in parentheses behind the type. It is deprecated, carried along and never decides anything.
	Class string `json:"class,omitempty"`
	Name  string `json:"name"`
	// Actions are pull, push, delete, or "*" for all.
	Actions []string `json:"actions"`
}

// String returns a as the text of a scope; ParseScopes reads it back.
func (a Access) String() string {
	var b strings.Builder
	b.WriteString(a.Type)
	if a.Class != "" {
		b.WriteString("(" + a.Class + ")")
	}
	b.WriteString(":" + a.Name + ":" + strings.Join(a.Actions, ","))
	return b.String()
}

// Allows reports whether granted covers action on the resource. A granted "*" covers every action; to ask for the action
// "*" (the catalog) is to ask for exactly that grant.
func Allows(granted []Access, typ, name, action string) bool {
	for i := range granted {
		a := &granted[i]
		if a.Name == name && a.Type == typ && (slices.Contains(a.Actions, action) || slices.Contains(a.Actions, "*")) {
			return true
		}
	}
	return false
}
