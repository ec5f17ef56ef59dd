package ldap

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/go-ldap/ldap/v3"

	"gatehouse/configs"
	"gatehouse/tokenserver"
)

const (
	// maxGroups bounds how many groups a user may be in. Beyond, he cannot log in: to leave some out could leave out one that
	// denies.
	maxGroups = 1000
	// inChain is Active Directory's matching rule that follows groups in groups (LDAP_MATCHING_RULE_IN_CHAIN).
	inChain = "1.2.840.113556.1.4.1941"
	// noAttributes asks for names of entries alone (RFC 4511 section 4.5.1.8).
	noAttributes = "1.1"
)

// groups says which groups count and what they are called.
type groups struct {
	memberOf bool   // the user's entry lists them
	filter   string // else this finds them, if it is set
	climb    bool   // groups of groups count
	base     string
	below    *ldap.DN // nil: groups count wherever they are
	byDN     bool
	names    map[string]string // by DN, as key makes it; nil: all groups count
}

// newGroups reads the section. It fails for a filter or a name that cannot be read.
func newGroups(c configs.LDAPGroups) (groups, error) {
	g := groups{memberOf: c.MemberOf, filter: c.Filter, climb: c.Nested == "search", base: c.BaseDN, byDN: c.Name == "dn"}
	if c.Nested == "chain" {
		if g.memberOf {
			g.memberOf, g.filter = false, "(member="+dnMark+")"
		}
		g.filter = strings.ReplaceAll(g.filter, "="+dnMark, ":"+inChain+":="+dnMark)
	}
	if g.filter != "" {
		if err := checkFilter(g.filter); err != nil {
			return groups{}, fmt.Errorf("filter: %w", err)
		}
		if g.base == "" {
			return groups{}, errors.New("basedn is missing; name the entry below which groups are")
		}
	}
	if g.base != "" {
		var err error
		if g.below, err = ldap.ParseDN(g.base); err != nil {
			return groups{}, fmt.Errorf("basedn is no name of an entry: %w", err)
		}
	}
	if c.Map != nil {
		g.names = make(map[string]string, len(c.Map))
	}
	for text, name := range c.Map {
		dn, err := ldap.ParseDN(text)
		if err != nil {
			return groups{}, fmt.Errorf("map: %q is no name of an entry: %w", text, err)
		}
		if err := tokenserver.CheckName(name); err != nil {
			return groups{}, fmt.Errorf("map: %q: %w", name, err)
		}
		g.names[key(dn)] = name
	}
	return g, nil
}

// key is a DN in one spelling of the many that it has.
func key(dn *ldap.DN) string { return strings.ToLower(dn.String()) }

// name returns what rules know a group by, or "" where it does not count.
func (g *groups) name(dn *ldap.DN) string {
	if g.below != nil && !g.below.AncestorOfFold(dn) && !g.below.EqualFold(dn) {
		return ""
	}
	name := key(dn)
	switch first := dn.RDNs; {
	case g.names != nil:
		name = g.names[name]
	case !g.byDN && len(first) > 0 && len(first[0].Attributes) == 1 && strings.EqualFold(first[0].Attributes[0].Type, "cn"):
		name = first[0].Attributes[0].Value
	}
	if tokenserver.CheckName(name) != nil { // no rule could name it
		return ""
	}
	return name
}

// groupsOf returns the names of the groups that an entry is in, sorted, each once. All of them, or an error.
func (d *Directory) groupsOf(e *entry) ([]string, error) {
	g := &d.groups
	if !g.memberOf && g.filter == "" {
		return nil, nil
	}
	next, err := d.directGroups(e)
	if err != nil {
		return nil, err
	}
	var names []string
	seen := make(map[string]bool)
	for len(next) > 0 {
		text := next[0]
		next = next[1:]
		dn, err := ldap.ParseDN(text)
		if err != nil {
			return nil, fmt.Errorf("the name of a group cannot be read: %w", err)
		}
		if seen[key(dn)] {
			continue
		}
		if seen[key(dn)] = true; len(seen) > maxGroups {
			return nil, fmt.Errorf("there are more than %d", maxGroups)
		}
		if name := g.name(dn); name != "" {
			names = append(names, name)
		}
		if g.climb {
			above, err := d.groupsAbove(text, e.account)
			if err != nil {
				return nil, err
			}
			next = append(next, above...)
		}
	}
	slices.Sort(names)
	return slices.Compact(names), nil
}

// directGroups are the DNs of the groups that an entry itself is in; with chain, of all.
func (d *Directory) directGroups(e *entry) ([]string, error) {
	if d.groups.memberOf {
		return e.memberOf, nil
	}
	return d.findGroups(e.dn, e.account)
}

// groupsAbove are the DNs of the groups that a group is in.
func (d *Directory) groupsAbove(group, account string) ([]string, error) {
	if !d.groups.memberOf {
		return d.findGroups(group, account)
	}
	result, err := d.search(group, ldap.ScopeBaseObject, "(objectClass=*)", 1, []string{memberOf})
	switch {
	case is(err, ldap.LDAPResultNoSuchObject): // removed meanwhile
		return nil, nil
	case err != nil:
		return nil, err
	case len(result.Entries) == 0: // not for our eyes
		return nil, nil
	}
	return result.Entries[0].GetEqualFoldAttributeValues(memberOf), nil
}

// findGroups are the DNs that the filter finds for a DN and an account.
func (d *Directory) findGroups(dn, account string) ([]string, error) {
	filter := strings.NewReplacer(dnMark, ldap.EscapeFilter(dn), accountMark, ldap.EscapeFilter(account)).Replace(d.groups.filter)
	result, err := d.search(d.groups.base, ldap.ScopeWholeSubtree, filter, maxGroups+1, []string{noAttributes})
	if err != nil {
		return nil, err
	}
	found := make([]string, len(result.Entries))
	for i, e := range result.Entries {
		found[i] = e.DN
	}
	return found, nil
}
