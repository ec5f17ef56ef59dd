package configs

import (
	"errors"
	"fmt"
	"net/netip"
	"regexp"
	"regexp/syntax"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Rule is one of tokenserver.access: who, from where, which repositories, what. It matches when all that it names matches, and one of
// each list is enough. The first rule that matches decides every action, so a repository's later rules have no say.
type Rule struct {
	// Name is what logs and `gatehouse access explain` call the rule. Default: its place, such as tokenserver.access[3].
	Name string `yaml:"name"`
	// Account is a user's name, in which * stands for any text; so "*" is every user who proved who he is, and never the anonymous.
	// Absent beside group: every member.
	Account Names `yaml:"account"`
	// Group is the name of a group that the account is a member of, with * as in account.
	Group Names `yaml:"group"`
	// Anonymous has the rule match requests without credentials too, besides those that account and group match, or alone.
	Anonymous bool `yaml:"anonymous"`
	// Address is where the request comes from: an address, or a network such as 10.0.0.0/8. Default: anywhere.
	Address Names `yaml:"address"`
	// Repository is a glob over the whole name: * within a component, ** across components, ${account} for the account's name and
	// ${group} for the name of a group of its, among those that group names. A name that is no component of a repository's name, as
	// one with a slash or an upper-case letter, makes neither match anything. Absent, where actions is [catalog]: the rule is about
	// the catalog alone.
	Repository Names `yaml:"repository"`
	// RepositoryRegexp, in place of repository, is a regular expression (RE2) for the whole name. ${account} stands for itself.
	RepositoryRegexp string `yaml:"repositoryregexp"`
	// Actions are pull, push, delete, catalog or "*". An empty list denies. The catalog lists every repository, so only a rule
	// for the repository "**", or for none, can grant it.
	Actions []string `yaml:"actions"`
	// Deny, in place of actions, grants nothing. Beside actions: [catalog] and without a repository it denies the catalog alone.
	Deny bool `yaml:"deny"`
	// Message is what a client is told that this rule refuses something.
	Message string `yaml:"message"`
}

// Names is a list of texts; a file may give a single one without the brackets. Of a key that is absent it is nil, and of one that is
// there without a value, as [] or null, it is empty and not nil: what was meant to name somebody and does not is no rule for everybody.
type Names []string

// emptied reports whether a file, or whoever made the rule, has the key and no value for it.
func (n Names) emptied() bool { return n != nil && len(n) == 0 }

const (
	// everything is the glob that matches every repository.
	everything = "**"
	// everyUser is the account of every user who proved who he is.
	everyUser = "*"
	// accountValue and groupValue stand in a repository's pattern for who asks.
	accountValue = "${account}"
	groupValue   = "${group}"

	maxRuleName       = 64   // bytes
	maxRuleMessage    = 300  // bytes: an error of the registry's API is a line or two
	maxRuleExpression = 1000 // bytes
	maxPrincipal      = 256  // bytes of an account or a group
)

// OnlyCatalog reports whether the rule is about the catalog and no repository.
func (r *Rule) OnlyCatalog() bool {
	return len(r.Repository) == 0 && r.RepositoryRegexp == "" && slices.Equal(r.Actions, []string{"catalog"})
}

// WholeExpression returns RepositoryRegexp as it is to be matched: against the whole name, whatever anchors and alternatives are in it,
// with account for ${account}, quoted. RE2 takes time linear in the name.
func (r *Rule) WholeExpression(account string) (*regexp.Regexp, error) {
	own, err := captures(strings.ReplaceAll(r.RepositoryRegexp, accountValue, "(?:)"))
	if err != nil {
		return nil, err
	}
	// A placeholder that can be replaced by a group in parentheses is one: elsewhere, as in [${account}], a value could mean something.
	with, err := captures(strings.ReplaceAll(r.RepositoryRegexp, accountValue, "()"))
	if err != nil || with-own != strings.Count(r.RepositoryRegexp, accountValue) {
		return nil, errors.New("${account} stands where it is no text of its own, as in brackets or behind a backslash")
	}
	text := strings.ReplaceAll(r.RepositoryRegexp, accountValue, "(?:"+regexp.QuoteMeta(account)+")")
	parsed, err := syntax.Parse(text, syntax.Perl)
	if err != nil {
		return nil, err
	}
	// Printed, it has no open \Q that would swallow what is put behind it.
	return regexp.Compile(`\A(?:` + parsed.String() + `)\z`)
}

// captures counts the groups in parentheses of an expression.
func captures(expression string) (int, error) {
	parsed, err := syntax.Parse(expression, syntax.Perl)
	if err != nil {
		return 0, err
	}
	return parsed.MaxCap(), nil
}

// Network reads an item of Address: an address is the network of itself alone. IPv4 within IPv6 is IPv4.
func Network(text string) (netip.Prefix, error) {
	if a, err := netip.ParseAddr(text); err == nil {
		if a.Zone() != "" {
			return netip.Prefix{}, errors.New("has a zone, which means something on one machine only")
		}
		a = a.Unmap()
		return netip.PrefixFrom(a, a.BitLen()), nil
	}
	p, err := netip.ParsePrefix(text)
	switch {
	case err != nil:
		return netip.Prefix{}, errors.New("is neither an address nor a network such as 10.0.0.0/8")
	case p.Addr().Is4In6():
		return netip.Prefix{}, errors.New("is IPv4 within IPv6; write it as IPv4")
	case p.Masked() != p:
		return netip.Prefix{}, fmt.Errorf("has bits behind the first %d; write %s", p.Bits(), p.Masked())
	}
	return p, nil
}

// RuleFaults tells report all that is wrong with rules: where, such as "[0].account", and what. It is what a configuration is checked
// with, and what the access rules are made with.
func RuleFaults(rules []Rule, report func(path, fault string)) {
	named := make(map[string]int)
	for i := range rules {
		r, at := &rules[i], fmt.Sprintf("[%d]", i)
		tell := func(key, format string, args ...any) { report(at+key, fmt.Sprintf(format, args...)) }
		if fault := ruleNameFault(r.Name); fault != "" {
			tell(".name", "%s", fault)
		} else if j, twice := named[r.Name]; twice {
			tell(".name", "is the name of tokenserver.access[%d] too", j)
		} else if r.Name != "" {
			named[r.Name] = i
		}
		r.whoFaults(tell)
		r.repositoryFaults(tell)
		r.actionFaults(tell)
		switch {
		case len(r.Message) > maxRuleMessage:
			tell(".message", "longer than %d bytes", maxRuleMessage)
		case !utf8.ValidString(r.Message) || strings.ContainsFunc(r.Message, func(c rune) bool { return !unicode.IsPrint(c) }):
			tell(".message", "contains a character that cannot be printed; a message is one line of text")
		}
	}
}

// whoFaults checks whom and where from the rule matches.
func (r *Rule) whoFaults(tell func(key, format string, args ...any)) {
	switch {
	case r.Account.emptied() && (len(r.Group) > 0 || r.Anonymous):
		tell(".account", "empty, which is not the same as absent; name a user, or remove the key")
	case len(r.Account) == 0 && len(r.Group) == 0 && !r.Anonymous:
		tell(".account", `missing; name a user, or "*" for all of them, or a group, or say anonymous: true`)
	}
	if r.Group.emptied() {
		tell(".group", "empty, which is not the same as absent; name a group, or remove the key to have the rule match without one")
	}
	if r.Address.emptied() {
		tell(".address", "empty, which is not the same as absent; name an address or a network, or remove the key to match from anywhere")
	}
	if r.Anonymous && len(r.Group) > 0 {
		tell(".anonymous", "stands beside group, and the anonymous are in no group; write two rules")
	}
	r.Account.each(".account", func(key, text string) {
		if fault := accountFault(text); fault != "" {
			tell(key, "%s", fault)
		}
	})
	r.Group.each(".group", func(key, text string) {
		if fault := principalFault(text); fault != "" {
			tell(key, "%s", fault)
		}
	})
	r.Address.each(".address", func(key, text string) {
		if _, err := Network(text); err != nil {
			tell(key, "%s %s", quoteText(text), err)
		}
	})
}

// each calls do for every item with its key: a single one's is the list's.
func (n Names) each(key string, do func(key, text string)) {
	for i, text := range n {
		if len(n) == 1 {
			do(key, text)
		} else {
			do(fmt.Sprintf("%s[%d]", key, i), text)
		}
	}
}

// repositoryFaults checks which repositories the rule matches.
func (r *Rule) repositoryFaults(tell func(key, format string, args ...any)) {
	nameless := r.Anonymous && len(r.Account) == 0
	switch {
	case r.RepositoryRegexp != "" && len(r.Repository) > 0:
		tell(".repositoryregexp", "stands beside repository: remove one of them")
	case len(r.RepositoryRegexp) > maxRuleExpression:
		tell(".repositoryregexp", "longer than %d bytes", maxRuleExpression)
	case strings.Contains(r.RepositoryRegexp, groupValue):
		tell(".repositoryregexp", "%s is for repository only", groupValue)
	case nameless && strings.Contains(r.RepositoryRegexp, accountValue):
		tell(".repositoryregexp", "the anonymous have no name for %s", accountValue)
	case r.RepositoryRegexp != "":
		if _, err := r.WholeExpression("a"); err != nil {
			tell(".repositoryregexp", "%s", expressionFault(err))
		}
	case len(r.Repository) == 0 && !r.OnlyCatalog():
		tell(".repository", `missing; name a repository, or "**" for all of them`)
	}
	if r.Repository.emptied() && (r.RepositoryRegexp != "" || r.OnlyCatalog()) {
		tell(".repository", "empty, which is not the same as absent; name a repository, or remove the key")
	}
	r.Repository.each(".repository", func(key, text string) {
		fault := globFault(text)
		if fault == "" && nameless && (strings.Contains(text, accountValue) || strings.Contains(text, groupValue)) {
			fault = quoteText(text) + " matches nothing: the anonymous have no name and no group"
		}
		if fault != "" {
			tell(key, "%s", fault)
		}
	})
}

// expressionFault says what is wrong with a regular expression.
func expressionFault(err error) string {
	if e := new(syntax.Error); errors.As(err, &e) {
		return fmt.Sprintf("%s: %s; expressions are RE2's, without look-around and back-references", e.Code, quoteText(e.Expr))
	}
	return err.Error()
}

// actionFaults checks what the rule grants.
func (r *Rule) actionFaults(tell func(key, format string, args ...any)) {
	if r.Deny && len(r.Actions) > 0 && !r.OnlyCatalog() {
		tell(".deny", "stands beside actions: remove one of them")
	}
	for _, action := range r.Actions {
		switch {
		case !slices.Contains([]string{"pull", "push", "delete", "catalog", "*"}, action):
			tell(".actions", "%s is none of pull, push, delete, catalog and \"*\"", quoteText(action))
		case action == "catalog" && !slices.Contains(r.Repository, everything) && !r.OnlyCatalog():
			tell(".actions", "catalog lists every repository: only a rule for the repository \"**\" can grant it")
		}
	}
}

// access checks the rules of tokenserver.access.
func (k *checker) access() {
	if k.c.TokenServer.Access == nil && k.has("tokenserver.access") {
		k.errorf("tokenserver.access", "nothing; write rules, or [] to deny everything, or remove the key to let every user do everything")
	}
	RuleFaults(k.c.TokenServer.Access, func(path, fault string) { k.errorf("tokenserver.access"+path, "%s", fault) })
	for i, rule := range k.c.TokenServer.Access {
		if path := fmt.Sprintf("tokenserver.access[%d].actions", i); !k.has(path) && !rule.Deny {
			k.errorf(path, "missing; [] denies")
		}
		if path := fmt.Sprintf("tokenserver.access[%d].repositoryregexp", i); k.has(path) && rule.RepositoryRegexp == "" {
			k.errorf(path, "empty, which is not the same as absent; write an expression, or remove the key")
		}
	}
}

// ruleNameFault says why a rule cannot have the name, or "". None can look like the place of another rule, or like what a robot's scope
// is called.
func ruleNameFault(name string) string {
	switch {
	case len(name) > maxRuleName:
		return fmt.Sprintf("longer than %d bytes", maxRuleName)
	case strings.HasPrefix(name, "tokenserver") || strings.HasPrefix(name, "robot"):
		return quoteText(name) + " begins like what other rules are called; choose another"
	case strings.Trim(name, " -._0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz") != "" || strings.TrimSpace(name) != name:
		return quoteText(name) + " has a character other than letters, digits, space, dash, dot and underscore"
	}
	return ""
}

// accountFault says why account matches no user, or "".
func accountFault(account string) string {
	if strings.ContainsRune(account, ':') {
		return quoteText(account) + " cannot be a user's name: it contains a colon or a control character"
	}
	return principalFault(account)
}

// principalFault says why text matches no user and no group, or "".
func principalFault(text string) string {
	switch {
	case text == "":
		return `empty; "*" stands for any name`
	case len(text) > maxPrincipal:
		return fmt.Sprintf("longer than %d bytes", maxPrincipal)
	case strings.Contains(text, "**"):
		return quoteText(text) + " has two stars in a row; here one stands for any text"
	case strings.ContainsFunc(text, unicode.IsControl) || !utf8.ValidString(text):
		return quoteText(text) + " cannot be a user's name: it contains a colon or a control character"
	}
	return ""
}

// globFault says why glob can match no repository name, or "". Names are those of the OCI distribution specification:
// components of lower-case letters, digits and the separators . _ -, with / between them.
func globFault(glob string) string {
	bare := strings.NewReplacer(accountValue, "a", groupValue, "a").Replace(glob)
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
	for _, r := range bare {
		switch {
		case r == '$':
			return quoteText(glob) + " has a $ that begins neither ${account} nor ${group}"
		case r >= 'A' && r <= 'Z':
			return quoteText(glob) + " has an upper-case letter, which no repository's name has"
		case (r < 'a' || r > 'z') && (r < '0' || r > '9') && !strings.ContainsRune("._-/*", r):
			return quoteText(glob) + " has a character that no repository's name has; only * and ** are special"
		}
	}
	return ""
}
