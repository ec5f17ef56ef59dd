package token

import (
	"errors"
	"fmt"
	"slices"
	"strings"
)

// Bounds of what one request may ask for. A client that copies many images with one token asks for hundreds of scopes.
const (
	maxScopeText    = 64 << 10 // bytes in all values together
	maxScopes       = 1000     // different resources
	maxResourceName = 512      // bytes
	maxActions      = 16       // different actions on one resource
	maxWord         = 32       // bytes of a type, class or action
)

// ParseScopes reads the values of a request's scope parameters: clients repeat the parameter, put several scopes into one,
// separated by spaces, or both. Scopes for the same resource become one, in the order of first mention. The grammar is
// distribution's (scope.md); a name may begin with a host and its port, so that it ends at the last colon.
//
// An empty value and a scope without a name or without actions ask for nothing and are left out: clients send them at
// login and for the catalog. Any other text that is not a scope is an error that quotes it.
func ParseScopes(values []string) ([]Access, error) {
	var (
		list  []Access
		known map[string]int
		size  int
	)
	for _, value := range values {
		if size += len(value); size > maxScopeText {
			return nil, fmt.Errorf("the scopes are longer than %d bytes", maxScopeText)
		}
		for text := range strings.SplitSeq(value, " ") {
			if text == "" {
				continue
			}
			a, err := parseScope(text)
			if err != nil {
				return nil, fmt.Errorf("scope %.100q is not understood: %w", text, err)
			}
			if a.Name == "" || len(a.Actions) == 0 {
				continue
			}
			resource := text[:strings.LastIndexByte(text, ':')]
			i, found := known[resource]
			if !found {
				if len(list) == maxScopes {
					return nil, fmt.Errorf("there are more than %d scopes", maxScopes)
				}
				if known == nil {
					known = make(map[string]int)
				}
				known[resource] = len(list)
				list = append(list, a)
				continue
			}
			if list[i].Actions, err = mergeActions(list[i].Actions, a.Actions); err != nil {
				return nil, fmt.Errorf("scope %.100q: %w", text, err)
			}
		}
	}
	return list, nil
}

// parseScope reads type[(class)]:name:action[,action]. Name and actions may come out empty.
func parseScope(text string) (Access, error) {
	first, last := strings.IndexByte(text, ':'), strings.LastIndexByte(text, ':')
	if first == last {
		return Access{}, errors.New("it should be type:name:actions")
	}
	a := Access{Type: text[:first], Name: text[first+1 : last]}
	if open := strings.IndexByte(a.Type, '('); open >= 0 {
		class, closed := strings.CutSuffix(a.Type[open+1:], ")")
		if !closed || !isWord(class, true) {
			return Access{}, errors.New("the class behind the type should be lower-case letters and digits in parentheses")
		}
		a.Type, a.Class = a.Type[:open], class
	}
	if !isWord(a.Type, true) {
		return Access{}, errors.New("the type should be lower-case letters and digits")
	}
	if a.Name != "" && !isResourceName(a.Name) {
		return Access{}, errors.New("the name is not a repository name (lower-case, components separated by /)")
	}
	for action := range strings.SplitSeq(text[last+1:], ",") {
		if action == "" {
			continue
		}
		if action != "*" && !isWord(action, false) {
			return Access{}, errors.New("an action should be lower-case letters, or *")
		}
		var err error
		if a.Actions, err = mergeActions(a.Actions, []string{action}); err != nil {
			return Access{}, err
		}
	}
	return a, nil
}

// mergeActions returns have with those of more that it lacks.
func mergeActions(have, more []string) ([]string, error) {
	for _, action := range more {
		if slices.Contains(have, action) {
			continue
		}
		if len(have) == maxActions {
			return nil, fmt.Errorf("there are more than %d actions", maxActions)
		}
		have = append(have, action)
	}
	return have, nil
}

// isWord reports whether s is lower-case letters, and digits where they are allowed; at least one, at most maxWord.
func isWord(s string, digits bool) bool {
	for i := range len(s) {
		if c := s[i]; (c < 'a' || c > 'z') && (!digits || c < '0' || c > '9') {
			return false
		}
	}
	return s != "" && len(s) <= maxWord
}

// isResourceName is the grammar's resourcename: components, before them perhaps a host.
func isResourceName(s string) bool {
	if len(s) > maxResourceName {
		return false
	}
	head, rest, more := strings.Cut(s, "/")
	if !isComponent(head) && (!more || !isHost(head)) {
		return false
	}
	for more {
		head, rest, more = strings.Cut(rest, "/")
		if !isComponent(head) {
			return false
		}
	}
	return true
}

// isComponent reports whether s is runs of lower-case letters and digits, between them one of: a dot, one or two
// underscores, any number of dashes.
func isComponent(s string) bool {
	for i := 0; ; {
		start := i
		for i < len(s) && (s[i] >= 'a' && s[i] <= 'z' || s[i] >= '0' && s[i] <= '9') {
			i++
		}
		if i == start {
			return false
		}
		if i == len(s) {
			return true
		}
		switch s[i] {
		case '.':
			i++
		case '_':
			if i++; i < len(s) && s[i] == '_' {
				i++
			}
		case '-':
			for i < len(s) && s[i] == '-' {
				i++
			}
		default:
			return false
		}
	}
}

// isHost reports whether s is a host name, perhaps with a port.
func isHost(s string) bool {
	host, port, hasPort := strings.Cut(s, ":")
	if hasPort && (port == "" || strings.Trim(port, "0123456789") != "") {
		return false
	}
	for label := range strings.SplitSeq(host, ".") {
		if label == "" || label[0] == '-' || label[len(label)-1] == '-' {
			return false
		}
		for i := range len(label) {
			if c := label[i] | 0x20; (c < 'a' || c > 'z') && (label[i] < '0' || label[i] > '9') && label[i] != '-' {
				return false
			}
		}
	}
	return true
}
