package configs

import (
	"fmt"
	"slices"
	"strings"
)

// everything is the glob that matches every repository.
const everything = "**"

// access checks the rules of tokenserver.access.
func (k *checker) access() {
	if k.c.TokenServer.Access == nil && k.has("tokenserver.access") {
		k.errorf("tokenserver.access", "nothing; write rules, or [] to deny everything, or remove the key to let every user do everything")
	}
	for i, rule := range k.c.TokenServer.Access {
		path := fmt.Sprintf("tokenserver.access[%d]", i)
		if fault := accountFault(rule.Account); fault != "" {
			k.errorf(path+".account", "%s", fault)
		}
		if fault := globFault(rule.Repository); fault != "" {
			k.errorf(path+".repository", "%s", fault)
		}
		if !k.has(path + ".actions") {
			k.errorf(path+".actions", "missing; [] denies")
		}
		for _, action := range rule.Actions {
			switch {
			case !slices.Contains([]string{"pull", "push", "delete", "catalog", "*"}, action):
				k.errorf(path+".actions", "%s is none of pull, push, delete, catalog and \"*\"", quoteText(action))
			case action == "catalog" && rule.Repository != everything:
				k.errorf(path+".actions", "catalog lists every repository: only a rule for the repository \"**\" can grant it")
			}
		}
	}
}

// unreachable warns of rules that never decide, because an earlier one always does.
func (k *checker) unreachable() {
	type target struct{ account, repository string }
	first := make(map[target]int)
	for i, rule := range k.c.TokenServer.Access {
		for _, t := range []target{
			{rule.Account, rule.Repository}, {rule.Account, everything}, {"*", rule.Repository}, {"*", everything},
		} {
			if j, ok := first[t]; ok {
				k.warnf(fmt.Sprintf("tokenserver.access[%d]", i), "never decides: tokenserver.access[%d] comes first and matches all that this does", j)
				break
			}
		}
		if _, ok := first[target{rule.Account, rule.Repository}]; !ok {
			first[target{rule.Account, rule.Repository}] = i
		}
	}
}

// accountFault says why account names no user, or "".
func accountFault(account string) string {
	switch {
	case account == "":
		return `missing; name a user, or "*" for all of them`
	case account == "*":
		return ""
	case strings.Contains(account, "*"):
		return quoteText(account) + ` is a pattern; only "*" stands for more than one user`
	case strings.ContainsFunc(account, func(r rune) bool { return r < ' ' || r == ':' || r == 0x7f }):
		return quoteText(account) + " cannot be a user's name: it contains a colon or a control character"
	}
	return ""
}

// globFault says why glob can match no repository name, or "". Names are those of the OCI distribution specification:
// components of lower-case letters, digits and the separators . _ -, with / between them.
func globFault(glob string) string {
	switch {
	case glob == "":
		return `missing; name a repository, or "**" for all of them`
	case len(glob) > 255:
		return "longer than a repository's name can be"
	case strings.Contains(glob, "***"):
		return quoteText(glob) + " has three stars in a row; * matches within a component and ** across components"
	case strings.HasPrefix(glob, "/") || strings.HasSuffix(glob, "/") || strings.Contains(glob, "//"):
		return quoteText(glob) + " has an empty component, which no repository's name has"
	}
	for _, r := range glob {
		switch {
		case r >= 'A' && r <= 'Z':
			return quoteText(glob) + " has an upper-case letter, which no repository's name has"
		case (r < 'a' || r > 'z') && (r < '0' || r > '9') && !strings.ContainsRune("._-/*", r):
			return quoteText(glob) + " has a character that no repository's name has; only * and ** are special"
		}
	}
	return ""
}
