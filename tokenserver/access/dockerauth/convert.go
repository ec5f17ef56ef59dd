package dockerauth

import (
	"fmt"
	"regexp"
	"slices"
	"strings"

	"gatehouse/configs"
)

// limit is what an entry that could not be carried over leaves behind: where it might have decided, rules behind it may not grant more
// than it did. So what is lost is never a refusal.
type limit struct {
	of       string   // the entry
	accounts []string // whom it may concern; nil: anybody
	actions  []string
}

// meaning is an entry in our words, as far as there are any.
type meaning struct {
	accounts  []string // patterns; none: nobody who proved who he is
	anonymous bool
	address   configs.Names
	names     names
	nameless  names // for the anonymous, whose ${account} is empty
	repo      bool  // it decides about repositories
	catalog   bool  // it decides about the catalog
	marks     []string
	lost      []string // what could not be said, so that it matches more than it should
}

// entry carries over acl[i].
func (c *converter) entry(i int) error {
	e := &c.f.ACL[i]
	at := fmt.Sprintf("acl[%d] (line %d)", i, e.line)
	switch {
	case e.Match == nil:
		return fmt.Errorf("match is missing; docker_auth stops there")
	case e.Actions == nil:
		return fmt.Errorf("actions are missing; docker_auth stops there")
	}
	if err := e.Match.check(); err != nil {
		return err
	}
	m, err := c.read(e.Match, at)
	if err != nil {
		return err
	}
	comments := []string{at}
	if e.Comment != "" {
		comments[0] += ": " + oneLine(e.Comment)
	}
	grants := c.grants(e.Actions, at)
	if len(m.lost) > 0 {
		why := strings.Join(m.lost, "; ")
		switch {
		case len(e.Actions) == 0:
			c.warn("%s: %s. It refuses, so it is widened by what cannot be said: it refuses more than before, never less", at, why)
			m.marks = append(m.marks, "widened: "+why)
		case slices.Equal(e.Actions, []string{"*"}):
			c.warn("%s: %s. Not carried over", at, why)
			c.tell(append(comments, "not carried over: "+why))
			return nil
		default:
			c.warn("%s: %s. Not carried over; where it might have decided, rules behind it grant no more than it did", at, why)
			c.limits = append(c.limits, limit{at, slices.Clone(m.accounts), grants})
			c.tell(append(comments, "not carried over: "+why))
			return nil
		}
	}
	rules := m.rules(grants)
	if len(rules) == 0 {
		c.tell(append(comments, "left out: it matches nobody, or nothing that there is"))
		return nil
	}
	for j, r := range rules {
		marks := append(slices.Clone(m.marks), c.narrow(&r, m)...)
		if j > 0 {
			comments = []string{at + ", continued"}
		}
		c.out.Rules = append(c.out.Rules, Rule{comments, &r, marks})
	}
	return nil
}

// tell puts comments where a rule would be.
func (c *converter) tell(comments []string) {
	c.out.Rules = append(c.out.Rules, Rule{Comments: comments})
}

// check refuses what docker_auth does.
func (m *match) check() error {
	for _, p := range []struct {
		key     string
		pattern *string
	}{{"account", m.Account}, {"type", m.Type}, {"name", m.Name}, {"service", m.Service}} {
		if p.pattern == nil {
			continue
		}
		if expression, ok := between(*p.pattern); ok {
			if _, err := regexp.Compile(expression); err != nil {
				return fmt.Errorf("%s: %w", p.key, err)
			}
		}
	}
	return nil
}

// grants are the actions of an entry in our words; what the registry does not know is left out.
func (c *converter) grants(actions []string, at string) []string {
	if slices.Equal(actions, []string{"*"}) {
		return actions
	}
	known, unknown := onlyKnown(actions)
	if len(unknown) > 0 {
		c.warn("%s: the actions %q are left out: the registry asks for pull, push and delete, and \"*\" means everything only where it is alone",
			at, unknown)
	}
	return known
}

// read finds out what a match means.
func (c *converter) read(m *match, at string) (out meaning, err error) {
	lose := func(format string, args ...any) { out.lost = append(out.lost, fmt.Sprintf(format, args...)) }
	if m.IP != nil {
		n, err := network(*m.IP)
		if err != nil {
			return out, err
		}
		out.address = configs.Names{n}
	}
	if len(m.Labels) > 0 {
		lose("labels have no counterpart")
	}
	if m.Service != nil && !slices.Contains([]string{"/.*/", "/.+/"}, *m.Service) {
		lose("service %q has no counterpart", *m.Service)
	}
	out.repo, out.catalog = true, true
	if m.Type != nil {
		out.repo, out.catalog = fits(*m.Type, "repository"), fits(*m.Type, "registry")
		if strings.Contains(*m.Type, "${") {
			out.repo, out.catalog = true, true
			lose("type %q %s", *m.Type, errVariable)
		}
	}
	c.readAccounts(m, &out, at, lose)
	c.readName(m, &out, at, lose)
	return out, nil
}

// readAccounts finds out whom a match is about.
func (c *converter) readAccounts(m *match, out *meaning, at string, lose func(string, ...any)) {
	everybody := func() { out.accounts, out.anonymous = []string{"*"}, c.anonymous }
	if m.Account == nil {
		everybody()
		return
	}
	pattern := *m.Account
	if strings.Contains(pattern, "${") {
		everybody()
		lose("account %q %s", pattern, errVariable)
		return
	}
	out.anonymous = c.anonymous && fits(pattern, "")
	patterns, loose, ok := accountPatterns(pattern)
	same := func(account string) bool { return likeOurs(patterns, account) == fits(pattern, account) }
	differs := func(account string) bool { return !same(account) }
	switch {
	case ok && !slices.ContainsFunc(c.accounts, differs):
		out.accounts = patterns
		if loose {
			c.warn("%s: account %q is not anchored at both ends, so it matches parts of names; it became %q", at, pattern, patterns)
			out.marks = append(out.marks, "unanchored: it matches parts of accounts' names, as it did")
		}
		if !c.known && strings.Contains(pattern, "*") && pattern[0] != '/' {
			c.warn("%s: account %q matches no name with a slash there; here it does", at, pattern)
		}
	case c.known:
		for _, account := range c.accounts {
			if fits(pattern, account) {
				out.accounts = append(out.accounts, account)
			}
		}
		c.warn("%s: account %q became the list of the users that match it: users made later are not in it", at, pattern)
		out.marks = append(out.marks, "for the users that match "+oneLine(pattern))
	default:
		everybody()
		lose("account %q cannot be said, and not all accounts are known", pattern)
	}
}

// accountPatterns are patterns of our rules that mean pattern, besides the empty name, and whether it matches parts of names.
func accountPatterns(pattern string) (patterns []string, loose, ok bool) {
	if expression, is := between(pattern); is {
		switch expression {
		case ".+", "^.+$", ".":
			return []string{"*"}, false, true
		}
		return textPatterns(expression)
	}
	for strings.Contains(pattern, "**") {
		pattern = strings.ReplaceAll(pattern, "**", "*")
	}
	if pattern == "" {
		return nil, false, true
	}
	return []string{pattern}, false, !strings.ContainsAny(pattern, `?[\:`)
}

// likeOurs reports whether one of our patterns matches an account.
func likeOurs(patterns []string, account string) bool {
	return slices.ContainsFunc(patterns, func(p string) bool {
		expression := strings.ReplaceAll(regexp.QuoteMeta(p), `\*`, `.*`)
		e, err := regexp.Compile(`(?s)\A` + expression + `\z`)
		return err == nil && account != "" && e.MatchString(account)
	})
}

// readName finds out which repositories a match is about, and whether it is about the catalog.
func (c *converter) readName(m *match, out *meaning, at string, lose func(string, ...any)) {
	var err error
	if out.names, err = readNames(m.Name); err != nil {
		lose("name %q %s", *m.Name, err)
		out.names = names{all: true}
		return
	}
	out.nameless = out.names
	if m.Name == nil {
		return
	}
	if out.names.account {
		c.readPersonal(*m.Name, out, lose)
	} else {
		out.catalog = out.catalog && fits(*m.Name, "catalog")
	}
	if out.names.loose {
		c.warn("%s: name %q is not anchored at both ends, so it matches parts of names; it became %q, which means the same",
			at, *m.Name, out.names.expression)
		out.marks = append(out.marks, "unanchored: it matches parts of repositories' names, as it did")
	}
}

// readPersonal is readName for a pattern with ${account}.
func (c *converter) readPersonal(pattern string, out *meaning, lose func(string, ...any)) {
	forAccount := func(account string) string {
		return strings.ReplaceAll(pattern, accountVariable, regexp.QuoteMeta(account))
	}
	about := out.catalog
	out.catalog = false
	if out.anonymous {
		nothing := strings.ReplaceAll(pattern, accountVariable, "")
		var err error
		if out.nameless, err = readNames(&nothing); err != nil {
			lose("name %q for the anonymous %s", pattern, err)
		}
		if about && fits(nothing, "catalog") {
			lose("name %q is the catalog for some", pattern)
		}
	}
	_, expression := between(pattern)
	switch {
	case expression && !c.known:
		lose("name %q: an account whose name cannot be part of a repository's matches nothing here, and not all accounts are known", pattern)
	case expression && strings.Contains(pattern, `\Q`):
		lose("name %q quotes ${account}", pattern)
	}
	probe := configs.Rule{Name: "probe", Account: configs.Names{"*"}, Repository: nil, RepositoryRegexp: out.names.expression, Deny: true}
	configs.RuleFaults([]configs.Rule{probe}, func(path, fault string) {
		if out.names.expression != "" {
			lose("name %q: %s", pattern, fault)
		}
	})
	for _, account := range c.accounts {
		component := regexp.MustCompile(`\A[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*\z`).MatchString(account)
		if !component && (expression || strings.Contains(account, "/")) {
			lose("name %q: the account %q cannot be part of a repository's name, so it would match nothing here", pattern, account)
			return
		}
		if about && fits(forAccount(account), "catalog") {
			lose("name %q is the catalog for the account %q", pattern, account)
			return
		}
	}
}

// rules are what a meaning is in our words; grants are ["*"], or some of pull, push and delete, or none.
func (m *meaning) rules(grants []string) []configs.Rule {
	if len(m.lost) > 0 { // a refusal: for everything that it may have been about
		m.names, m.nameless, m.catalog = widened(m.names), widened(m.nameless), m.catalog || m.names.account
	}
	var list []configs.Rule
	users := configs.Rule{Account: m.accounts, Address: m.address}
	nameless := configs.Rule{Anonymous: true, Address: m.address}
	switch {
	case m.anonymous && m.names.account:
		list = append(m.about(users, m.names, grants), m.about(nameless, m.nameless, grants)...)
	case m.anonymous:
		users.Anonymous = true
		fallthrough
	default:
		list = m.about(users, m.names, grants)
	}
	return slices.DeleteFunc(list, func(r configs.Rule) bool { return len(r.Account) == 0 && !r.Anonymous })
}

// widened is n where it can be said for everybody, and else every repository.
func widened(n names) names {
	if n.account {
		return names{all: true}
	}
	return n
}

// about is a rule for repositories and one for the catalog, or one for both.
func (m *meaning) about(base configs.Rule, n names, grants []string) []configs.Rule {
	with := func(grants []string) configs.Rule {
		r := base
		r.Actions, r.Deny = slices.Clone(grants), len(grants) == 0
		if r.Deny {
			r.Actions = nil
		}
		return r
	}
	if m.repo && m.catalog && n.all {
		r := with(grants)
		r.Repository = configs.Names{"**"}
		return []configs.Rule{r}
	}
	var list []configs.Rule
	if m.repo && !n.never {
		r := with(grants)
		switch {
		case n.all: // and not the catalog
			r.RepositoryRegexp = ".*"
		case n.glob != "":
			r.Repository = configs.Names{n.glob}
		default:
			r.RepositoryRegexp = n.expression
		}
		list = append(list, r)
	}
	if m.catalog {
		r := with(nil)
		r.Deny, r.Actions = !slices.Equal(grants, []string{"*"}), []string{"catalog"}
		list = append(list, r)
	}
	return list
}

// narrow takes from a rule what an earlier entry, which is not carried over, may have refused; it returns marks for its line.
func (c *converter) narrow(r *configs.Rule, m meaning) (marks []string) {
	for _, l := range c.limits {
		if r.Deny || apart(l.accounts, m.accounts) && !m.anonymous {
			continue
		}
		left := slices.DeleteFunc(slices.Clone(r.Actions), func(a string) bool { return !slices.Contains(l.actions, a) })
		if slices.Equal(r.Actions, []string{"*"}) {
			left = slices.Clone(l.actions)
		}
		switch {
		case len(left) == len(r.Actions) && !slices.Equal(r.Actions, []string{"*"}):
			continue
		case r.OnlyCatalog():
			r.Deny = true
		case len(left) == 0:
			r.Deny, r.Actions = true, nil
		default:
			r.Actions = left
		}
		marks = append(marks, "narrowed: "+l.of+" may have come first")
	}
	return marks
}

// apart reports whether two lists of accounts surely have nobody in common.
func apart(a, b []string) bool {
	for _, x := range append(slices.Clone(a), b...) {
		if strings.Contains(x, "*") {
			return false
		}
	}
	return len(a) > 0 && len(b) > 0 && !slices.ContainsFunc(a, func(x string) bool { return slices.Contains(b, x) })
}

// oneLine is text that can be a comment of YAML.
func oneLine(text string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f || r >= 0x80 && r < 0xa0 || r == '\u2028' || r == '\u2029' || r == '\ufeff' {
			return ' '
		}
		return r
	}, text)
}
