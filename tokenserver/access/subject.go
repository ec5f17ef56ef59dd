package access

import (
	"math/bits"
	"net/netip"
	"regexp"
	"slices"
	"strings"

	"gatehouse/tokenserver"
)

// subject is an identity, prepared for many questions: which rules are about it at all is found out once. It does not change once it is
// prepared.
type subject struct {
	rules   *Rules
	account string   // where it can be a component of a repository's name, else ""
	groups  []string // those that can be
	// concerned has a bit for each rule that matches the account, its groups and its address. Rules of unsure would, for some addresses:
	// it is not known where the request comes from.
	concerned, unsure set
	personal          map[int]*regexp.Regexp // expressions for this account, by rule
}

// mismatch is the first part of a rule that does not match an identity.
type mismatch uint8

const (
	matches mismatch = iota
	otherAccount
	otherGroup
	otherAddress
	unknownAddress // the address would decide, and is not known
)

// prepare finds out which rules are about who.
func (s *subject) prepare(r *Rules, who tokenserver.Identity) {
	s.rules = r
	if isComponent(who.Account) {
		s.account = who.Account
	}
	for i, g := range who.Groups {
		if !isComponent(g) || who.Account == "" {
			if s.groups == nil {
				s.groups = slices.Clone(who.Groups[:i])
			}
			continue
		}
		if s.groups != nil {
			s.groups = append(s.groups, g)
		}
	}
	if s.groups == nil && who.Account != "" {
		s.groups = who.Groups
	}
	for i := range r.list {
		next := &r.list[i]
		switch next.concerns(who) {
		case unknownAddress:
			s.unsure.add(i)
		case matches:
		default:
			continue
		}
		s.concerned.add(i)
		if next.personal && s.account != "" {
			s.express(i)
		}
	}
}

// express makes the expression of the rule i for this account.
func (s *subject) express(i int) {
	// Whoever wrote the rule was told of every error when it was read; the account adds quoted text. Without an expression the rule
	// matches nothing.
	e, err := s.rules.list[i].source.WholeExpression(s.account)
	if err != nil {
		return
	}
	if s.personal == nil {
		s.personal = make(map[int]*regexp.Regexp)
	}
	s.personal[i] = e
}

// concerns says whether the rule is about who: account, then group, then address.
func (r *rule) concerns(who tokenserver.Identity) mismatch {
	switch {
	case who.Account == "" && !r.anonymous:
		return otherAccount
	case who.Account == "":
	case !r.users, len(r.accounts) > 0 && !matchesAny(r.accounts, who.Account):
		return otherAccount
	case len(r.groups) > 0 && !slices.ContainsFunc(who.Groups, func(g string) bool { return matchesAny(r.groups, g) }):
		return otherGroup
	}
	return r.from(who.Address)
}

// from says whether the rule is about requests from an address.
func (r *rule) from(a netip.Addr) mismatch {
	if len(r.addresses) == 0 {
		return matches
	}
	if !a.IsValid() {
		return unknownAddress
	}
	a = a.Unmap().WithZone("")
	for _, network := range r.addresses {
		if network.Contains(a) {
			return matches
		}
	}
	return otherAddress
}

// repository returns the rule that decides on the repository called name, or -1, and what it grants. A rule that would decide for some
// addresses takes away what it does not grant, where the address is not known: so nobody is granted what he would not be from where
// he is.
func (s *subject) repository(name string) (decider int, may actions) {
	var buffer [8]string
	found, looked := buffer[:0], false
	groups := func() []string {
		if !looked {
			looked = true
			for _, g := range s.groups {
				if strings.Contains(name, g) {
					found = append(found, g)
				}
			}
		}
		return found
	}
	return s.decide(func(i int, r *rule) bool {
		e := r.expression
		if r.personal {
			if e = s.personal[i]; e == nil {
				return false
			}
		}
		return r.matchesName(name, s.account, e, groups)
	})
}

// catalog is the same for the catalog.
func (s *subject) catalog() (decider int, may actions) {
	return s.decide(func(_ int, r *rule) bool { return r.all || r.catalog })
}

// decide returns the first of the rules about this identity that match.
func (s *subject) decide(match func(int, *rule) bool) (decider int, may actions) {
	limit, limiter := ^actions(0), -1
	for i := s.concerned.next(0); i >= 0; i = s.concerned.next(i + 1) {
		r := &s.rules.list[i]
		if !match(i, r) {
			continue
		}
		if s.unsure.has(i) {
			limit, limiter = limit&r.actions, i
			continue
		}
		if r.actions&^limit != 0 {
			return limiter, r.actions & limit
		}
		return i, r.actions
	}
	return limiter, 0
}

// set is a set of small numbers. The first 1024 need no memory of their own.
type set struct {
	words [16]uint64
	more  []uint64
}

// word returns the members from 64·i on, a bit for each.
func (s *set) word(i int) uint64 {
	switch {
	case i < len(s.words):
		return s.words[i]
	case i-len(s.words) < len(s.more):
		return s.more[i-len(s.words)]
	}
	return 0
}

// add makes i a member.
func (s *set) add(i int) {
	w := i / 64
	if w < len(s.words) {
		s.words[w] |= 1 << (i % 64)
		return
	}
	for w-len(s.words) >= len(s.more) {
		s.more = append(s.more, 0)
	}
	s.more[w-len(s.words)] |= 1 << (i % 64)
}

// has reports whether i is a member.
func (s *set) has(i int) bool { return s.word(i/64)&(1<<(i%64)) != 0 }

// next returns the smallest member that is i or more, or -1.
func (s *set) next(i int) int {
	for w := i / 64; w < len(s.words)+len(s.more); w++ {
		word := s.word(w)
		if w == i/64 {
			word &= ^uint64(0) << (i % 64)
		}
		if word != 0 {
			return w*64 + bits.TrailingZeros64(word)
		}
	}
	return -1
}

// isComponent reports whether s can be a component of a repository's name: runs of lower-case letters and digits, between them one of: a
// dot, one or two underscores, any number of dashes (OCI distribution specification).
func isComponent(s string) bool {
	run := 0 // of the separators that were just read
	for i := range len(s) {
		switch c := s[i]; {
		case c >= 'a' && c <= 'z' || c >= '0' && c <= '9':
			run = 0
			continue
		case c == '-' && (run == 0 || s[i-1] == '-'), c == '.' && run == 0, c == '_' && (run == 0 || run == 1 && s[i-1] == '_'):
			run++
		default:
			return false
		}
		if i == 0 {
			return false
		}
	}
	return s != "" && run == 0
}
