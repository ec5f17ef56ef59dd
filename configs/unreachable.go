package configs

import (
	"fmt"
	"slices"
	"strings"
)

// unreachable warns of rules that never decide, because an earlier one always does.
func (k *checker) unreachable() {
	rules := k.c.TokenServer.Access
	for i := range rules {
		j := slices.IndexFunc(rules[:i], func(earlier Rule) bool { return earlier.covers(&rules[i]) })
		if j >= 0 {
			k.warnf(fmt.Sprintf("tokenserver.access[%d]", i), "never decides: tokenserver.access[%d] comes first and matches all that this does", j)
		}
	}
}

// covers reports whether r surely matches all that later does.
func (r *Rule) covers(later *Rule) bool {
	if later.Anonymous && !r.Anonymous {
		return false
	}
	if len(later.Account)+len(later.Group) > 0 {
		switch {
		case len(r.Account)+len(r.Group) == 0, len(r.Group) > 0 && len(later.Group) == 0:
			return false
		case !r.Account.cover(later.Account, principalCovers), !r.Group.cover(later.Group, principalCovers):
			return false
		}
	}
	if !r.Address.cover(later.Address, networkCovers) {
		return false
	}
	switch {
	case slices.Contains(r.Repository, everything):
		return true
	case later.OnlyCatalog():
		return r.OnlyCatalog()
	case r.RepositoryRegexp != "":
		return r.RepositoryRegexp == later.RepositoryRegexp
	case len(r.Repository) == 0 || len(later.Repository) == 0:
		return false
	}
	// ${group} is a group of those that the rule itself names.
	return r.Repository.cover(later.Repository, func(a, b string) bool {
		return globCovers(a, b) && (!strings.Contains(a, groupValue) || slices.Equal(r.Group, later.Group))
	})
}

// cover reports whether every one of later is covered by one of n. An empty list is what is not asked for: it covers everything.
func (n Names) cover(later Names, covers func(a, b string) bool) bool {
	if len(n) == 0 {
		return true
	}
	if len(later) == 0 {
		later = Names{everyUser}
	}
	for _, b := range later {
		if !slices.ContainsFunc(n, func(a string) bool { return covers(a, b) }) {
			return false
		}
	}
	return true
}

// networkCovers reports whether b, where it is a network, is within the network a.
func networkCovers(a, b string) bool {
	outer, err := Network(a)
	if err != nil {
		return false
	}
	inner, err := Network(b)
	return err == nil && outer.Bits() <= inner.Bits() && outer.Contains(inner.Addr())
}

// principalCovers reports whether all that the pattern b of accounts or groups matches, a does.
func principalCovers(a, b string) bool { return patternCovers(a, b, 0) }

// globCovers is the same for globs of repositories: what an asterisk of a can stand for depends on what it is.
func globCovers(a, b string) bool {
	short := strings.NewReplacer("**", "\x01", accountValue, "\x02", groupValue, "\x03")
	return patternCovers(short.Replace(a), short.Replace(b), '/')
}

// patternCovers matches b, read as a text whose asterisks are letters, with a. An asterisk of a stands for any of b but border and \x01,
// which is the one of any text; that of a stands for everything. It takes time in the product of the lengths.
func patternCovers(a, b string, border byte) bool {
	reach := make([]bool, len(b)+1) // reach[n]: what was read of a covers b[:n]
	reach[0] = true
	for i := range len(a) {
		switch c := a[i]; {
		case c == '*' || c == 1:
			for n := range len(b) {
				reach[n+1] = reach[n+1] || reach[n] && (c == 1 || border == 0 || b[n] != border && b[n] != 1)
			}
		default:
			for n := len(b); n > 0; n-- {
				reach[n] = reach[n-1] && b[n-1] == c
			}
			reach[0] = false
		}
	}
	return reach[len(b)]
}
