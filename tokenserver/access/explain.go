package access

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"

	"gatehouse/configs"
	"gatehouse/tokenserver"
)

// Explanation says what the rules have to say to one question, and why. Explain and Authorize ask the same functions.
type Explanation struct {
	// Granted is all that may be done: of pull, push and delete, or the catalog; "*" where that is everything.
	Granted []string
	// Decider is the number of the rule that decides, from 0, or -1 where none does.
	Decider int
	// Unsure is true where Decider, or a rule before it, is about some addresses and none is known: it decides for those, and for others
	// it may be another rule. Granted is what is granted from anywhere.
	Unsure bool
	// Earlier is why each rule before Decider did not decide, or all of them.
	Earlier []Step
	// Later is the first rule behind Decider that would grant the action asked for, or -1.
	Later int
	// Message is what the deciding rule has a client told that is refused.
	Message string
}

// Step is a rule that did not decide.
type Step struct {
	// Mismatch is what it did not match by: account, group, address or repository.
	Mismatch string
	// Why is that in words.
	Why string
}

// Explain says who may do what with a repository, or with the catalog if action is "catalog", and which rule says so.
func (r *Rules) Explain(who tokenserver.Identity, repository, action string) Explanation {
	var s subject
	s.prepare(r, who)
	e := Explanation{Later: -1}
	var may actions
	if action == catalogAction {
		e.Decider, may = s.catalog()
	} else {
		e.Decider, may = s.repository(repository)
	}
	e.Granted = may.names(action == catalogAction)
	end := len(r.list)
	if e.Decider >= 0 {
		end, e.Message, e.Unsure = e.Decider, r.list[e.Decider].message, s.unsure.has(e.Decider)
	}
	for i := range r.list[:end] {
		step := s.whyNot(i, who, repository, action)
		e.Earlier, e.Unsure = append(e.Earlier, step), e.Unsure || step.Mismatch == "address" && s.unsure.has(i)
	}
	for i := end + 1; i < len(r.list) && e.Later < 0; i++ {
		next := &Rules{list: r.list[i : i+1]}
		var alone subject
		alone.prepare(next, who)
		if action == catalogAction {
			_, may = alone.catalog()
		} else {
			_, may = alone.repository(repository)
		}
		if may&catalog != 0 && action == catalogAction || action != catalogAction && may.allow(action) {
			e.Later = i
		}
	}
	return e
}

// names are the actions of the set in words.
func (s actions) names(ofCatalog bool) []string {
	var list []string
	if ofCatalog {
		if s&catalog != 0 {
			list = append(list, catalogAction)
		}
		return list
	}
	if s&every != 0 {
		return []string{allActions}
	}
	for _, o := range onRepositories {
		if s&o.bit != 0 {
			list = append(list, o.name)
		}
	}
	return list
}

// whyNot says why the rule i did not decide.
func (s *subject) whyNot(i int, who tokenserver.Identity, repository, action string) Step {
	r := &s.rules.list[i]
	switch r.concerns(who) {
	case otherAccount:
		switch {
		case who.Account == "":
			return Step{"account", "it is not for the anonymous"}
		case !r.users:
			return Step{"account", "it is for the anonymous only"}
		}
		return Step{"account", fmt.Sprintf("%q does not match %s", who.Account, list(r.source.Account))}
	case otherGroup:
		if len(who.Groups) == 0 {
			return Step{"group", fmt.Sprintf("in no group, so not in %s", list(r.source.Group))}
		}
		return Step{"group", fmt.Sprintf("not in %s", list(r.source.Group))}
	case otherAddress:
		return Step{"address", fmt.Sprintf("%s is not in %s", who.Address, list(r.source.Address))}
	case unknownAddress:
		if action == catalogAction && (r.all || r.catalog) || action != catalogAction && s.matchesAlone(i, repository) {
			return Step{"address", fmt.Sprintf("no address is given: it decides for requests from %s", list(r.source.Address))}
		}
	}
	switch {
	case action == catalogAction:
		return Step{"repository", "it is not about the catalog: its repository is not \"**\""}
	case r.catalog:
		return Step{"repository", "it is about the catalog alone"}
	case r.personal && s.account == "" || s.account == "" && slices.ContainsFunc(r.repository, func(g glob) bool { return g.account }):
		return Step{"repository", fmt.Sprintf("%q cannot be part of a repository's name, so ${account} matches nothing", who.Account)}
	case r.source.RepositoryRegexp != "":
		return Step{"repository", fmt.Sprintf("%s as a whole does not match %s", repository, r.source.RepositoryRegexp)}
	}
	return Step{"repository", fmt.Sprintf("%s does not match %s", repository, list(r.source.Repository))}
}

// matchesAlone reports whether the rule i would match the repository if it were known that it is about who asks.
func (s *subject) matchesAlone(i int, repository string) bool {
	e := s.rules.list[i].expression
	if s.rules.list[i].personal {
		if e = s.personal[i]; e == nil {
			return false
		}
	}
	return s.rules.list[i].matchesName(repository, s.account, e, func() []string { return s.groups })
}

// list is a list in a sentence.
func list(names configs.Names) string { return strings.Join(names, ", ") }

// Len is the number of rules.
func (r *Rules) Len() int { return len(r.list) }

// Name is what decisions call the rule i.
func (r *Rules) Name(i int) string { return r.list[i].name }

// Text is the rule i as a line of YAML, without the dash.
func (r *Rules) Text(i int) string { return Text(r.list[i].source) }

// Needed is a rule that, put before the others, would grant action besides what is granted already.
func Needed(who tokenserver.Identity, repository, action string, granted []string) configs.Rule {
	var c configs.Rule
	if who.Account == "" {
		c.Anonymous = true
	} else {
		c.Account = configs.Names{who.Account}
	}
	if action == catalogAction {
		c.Actions = []string{catalogAction}
		return c
	}
	c.Repository = configs.Names{repository}
	for _, o := range onRepositories {
		// Clients pull before they push.
		if slices.Contains(granted, o.name) || o.name == action || o.name == "pull" && action == "push" {
			c.Actions = append(c.Actions, o.name)
		}
	}
	return c
}

// Text is a rule as a line of YAML, without the dash, as a configuration has it: what is not set is left out.
func Text(c configs.Rule) string {
	n := yaml.Node{Kind: yaml.MappingNode, Style: yaml.FlowStyle}
	add := func(key string, value *yaml.Node) {
		n.Content = append(n.Content, &yaml.Node{Kind: yaml.ScalarNode, Value: key}, value)
	}
	word := func(text string) *yaml.Node {
		w := new(yaml.Node)
		w.SetString(text)
		return w
	}
	names := func(key string, texts []string, single bool) {
		switch {
		case len(texts) == 1 && single:
			add(key, word(texts[0]))
		case texts != nil:
			l := &yaml.Node{Kind: yaml.SequenceNode, Style: yaml.FlowStyle}
			for _, text := range texts {
				l.Content = append(l.Content, word(text))
			}
			add(key, l)
		}
	}
	if c.Name != "" {
		add("name", word(c.Name))
	}
	names("account", c.Account, true)
	names("group", c.Group, true)
	if c.Anonymous {
		add("anonymous", &yaml.Node{Kind: yaml.ScalarNode, Value: "true"})
	}
	names("address", c.Address, true)
	names("repository", c.Repository, true)
	if c.RepositoryRegexp != "" {
		add("repositoryregexp", word(c.RepositoryRegexp))
	}
	names("actions", c.Actions, false)
	if c.Deny {
		add("deny", &yaml.Node{Kind: yaml.ScalarNode, Value: "true"})
	}
	if c.Message != "" {
		add("message", word(c.Message))
	}
	text, err := yaml.Marshal(&n)
	if err != nil { // of a node that was made here: only a defect can
		return err.Error()
	}
	return strings.TrimSuffix(string(text), "\n")
}

// Address reads the address of an identity, as a person writes it.
func Address(text string) (netip.Addr, error) {
	a, err := netip.ParseAddr(text)
	if err != nil {
		return netip.Addr{}, fmt.Errorf("%.64q is not an IP address", text)
	}
	return a.Unmap().WithZone(""), nil
}
