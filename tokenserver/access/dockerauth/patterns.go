package dockerauth

import (
	"errors"
	"regexp"
	"regexp/syntax"
	"slices"
	"strings"
	"unicode/utf8"
)

const accountVariable = "${account}"

// names is which repositories a pattern of match.name means, in our words.
type names struct {
	all        bool   // every repository
	never      bool   // none
	glob       string // of a rule
	expression string // of a rule
	loose      bool   // a regular expression that matches parts of names
	account    bool   // it has ${account}
}

// errVariable is a variable that only docker_auth has.
var errVariable = errors.New("has a variable without counterpart here; only ${account} has one")

// readNames reads a pattern; nil is every repository. An error says what has no counterpart.
func readNames(pattern *string) (names, error) {
	if pattern == nil {
		return names{all: true}, nil
	}
	n := names{account: strings.Contains(*pattern, accountVariable)}
	if strings.Contains(strings.ReplaceAll(*pattern, accountVariable, ""), "${") {
		return n, errVariable
	}
	if expression, ok := between(*pattern); ok {
		return n.readExpression(expression)
	}
	return n.readGlob(*pattern), nil
}

// readExpression reads a regular expression, which there needs to match a part of the name only.
func (n names) readExpression(expression string) (names, error) {
	// Variables are text: any letter will do to look at what is around them.
	parsed, err := syntax.Parse(strings.ReplaceAll(expression, accountVariable, "(?:x)"), syntax.Perl)
	if err != nil {
		return n, err
	}
	if n.all = anything(parsed); n.all {
		return n, nil
	}
	begins, ends := bound(parsed, true), bound(parsed, false)
	n.expression = expression
	if strings.Contains(expression, `\Q`) && !n.account { // what is put behind it could be quoted
		n.expression = parsed.String()
	}
	n.loose = !begins || !ends
	if n.loose {
		n.expression = "(?:" + n.expression + ")"
	}
	if !begins {
		n.expression = ".*" + n.expression
	}
	if !ends {
		n.expression += ".*"
	}
	return n, nil
}

// anything reports whether an expression is found in every name there is: .+ and what is like it.
func anything(e *syntax.Regexp) bool {
	switch e.Op {
	case syntax.OpCapture:
		return anything(e.Sub[0])
	case syntax.OpStar, syntax.OpPlus:
		return anyCharacter(e.Sub[0])
	case syntax.OpConcat:
		inner := e.Sub
		for len(inner) > 0 && inner[0].Op == syntax.OpBeginText {
			inner = inner[1:]
		}
		for len(inner) > 0 && inner[len(inner)-1].Op == syntax.OpEndText {
			inner = inner[:len(inner)-1]
		}
		return len(inner) == 1 && inner[0].Op != syntax.OpConcat && anything(inner[0])
	}
	return anyCharacter(e)
}

// anyCharacter reports whether an expression is the dot: names have no newline, so it makes no difference whether that is in it.
func anyCharacter(e *syntax.Regexp) bool {
	return e.Op == syntax.OpAnyCharNotNL || e.Op == syntax.OpAnyChar
}

// bound reports whether an expression can match at one end of a text only, the beginning if first is true, or takes any text there.
func bound(e *syntax.Regexp, first bool) bool {
	switch e.Op {
	case syntax.OpBeginText:
		return first
	case syntax.OpEndText:
		return !first
	case syntax.OpCapture:
		return bound(e.Sub[0], first)
	case syntax.OpStar:
		return anyCharacter(e.Sub[0])
	case syntax.OpConcat:
		if first {
			return bound(e.Sub[0], first)
		}
		return bound(e.Sub[len(e.Sub)-1], first)
	case syntax.OpAlternate:
		return !slices.ContainsFunc(e.Sub, func(s *syntax.Regexp) bool { return !bound(s, first) })
	}
	return false
}

// readGlob reads a pattern of path.Match, in which * does not cross a slash, however many there are.
func (n names) readGlob(pattern string) names {
	for strings.Contains(pattern, "**") {
		pattern = strings.ReplaceAll(pattern, "**", "*")
	}
	bare := strings.ReplaceAll(pattern, accountVariable, "a")
	switch {
	case bare == "" || strings.HasPrefix(bare, "/") || strings.HasSuffix(bare, "/") || strings.Contains(bare, "//"):
		n.never = true // no name has an empty component
	case strings.Trim(bare, "*-./0123456789_abcdefghijklmnopqrstuvwxyz") == "":
		n.glob = pattern
	default:
		var ok bool
		if n.expression, ok = globExpression(pattern); !ok {
			n.never = true // docker_auth takes a pattern with an error for one that does not match
		}
	}
	return n
}

// globExpression is a pattern of path.Match as a regular expression, and false for one with an error.
func globExpression(pattern string) (string, bool) {
	var b strings.Builder
	for pattern != "" {
		if rest, ok := strings.CutPrefix(pattern, accountVariable); ok {
			b.WriteString(accountVariable)
			pattern = rest
			continue
		}
		r, size := utf8.DecodeRuneInString(pattern)
		pattern = pattern[size:]
		switch r {
		case '*':
			b.WriteString("[^/]*")
		case '?':
			b.WriteString("[^/]")
		case '[':
			var ok bool
			if pattern, ok = globClass(&b, pattern); !ok {
				return "", false
			}
		case '\\':
			if pattern == "" {
				return "", false
			}
			r, size = utf8.DecodeRuneInString(pattern)
			pattern = pattern[size:]
			b.WriteString(regexp.QuoteMeta(string(r)))
		default:
			b.WriteString(regexp.QuoteMeta(string(r)))
		}
	}
	return b.String(), true
}

// globClass reads what follows a [ of path.Match, and returns what follows its ].
func globClass(b *strings.Builder, pattern string) (rest string, ok bool) {
	b.WriteByte('[')
	if after, negated := strings.CutPrefix(pattern, "^"); negated {
		b.WriteByte('^')
		pattern = after
	}
	one := func() (r rune, ok bool) {
		if pattern == "" || pattern[0] == '-' || pattern[0] == ']' {
			return 0, false
		}
		if pattern[0] == '\\' {
			if pattern = pattern[1:]; pattern == "" {
				return 0, false
			}
		}
		r, size := utf8.DecodeRuneInString(pattern)
		pattern = pattern[size:]
		return r, r != utf8.RuneError && pattern != ""
	}
	empty := true
	for n := 0; ; n++ {
		if after, closed := strings.CutPrefix(pattern, "]"); closed && n > 0 {
			if empty {
				b.WriteString(`\x00`) // in no name: brackets must not be empty
			}
			b.WriteByte(']')
			return after, true
		}
		low, ok := one()
		if !ok {
			return "", false
		}
		high := low
		if after, ranged := strings.CutPrefix(pattern, "-"); ranged {
			pattern = after
			if high, ok = one(); !ok {
				return "", false
			}
		}
		if low > high { // a range without anything in it
			continue
		}
		empty = false
		b.WriteString(inClass(low))
		if high != low {
			b.WriteString("-" + inClass(high))
		}
	}
}

// inClass is a character within brackets.
func inClass(r rune) string {
	if strings.ContainsRune(`\]^-[`, r) {
		return `\` + string(r)
	}
	return string(r)
}

// piece is a text with * for any, while it is made of an expression; begins and ends say that it is anchored.
type piece struct {
	text         string
	begins, ends bool
}

// textPatterns are patterns of our rules for accounts that together mean a regular expression, and whether it matches parts of names. It
// is false for one that they cannot say.
func textPatterns(expression string) (patterns []string, loose, ok bool) {
	parsed, err := syntax.Parse(expression, syntax.Perl)
	if err != nil {
		return nil, false, false
	}
	pieces, ok := piecesOf(parsed)
	if !ok {
		return nil, false, false
	}
	for _, p := range pieces {
		text := p.text
		loose = loose || !p.begins && !strings.HasPrefix(text, "*") || !p.ends && !strings.HasSuffix(text, "*")
		if !p.begins {
			text = "*" + text
		}
		if !p.ends {
			text += "*"
		}
		for strings.Contains(text, "**") {
			text = strings.ReplaceAll(text, "**", "*")
		}
		if text != "" { // nobody's name
			patterns = append(patterns, text)
		}
	}
	return patterns, loose, true
}

// piecesOf cuts an expression into alternatives that are plain text, .* and anchors.
func piecesOf(e *syntax.Regexp) ([]piece, bool) {
	const most = 64
	switch e.Op {
	case syntax.OpEmptyMatch:
		return []piece{{}}, true
	case syntax.OpBeginText:
		return []piece{{begins: true}}, true
	case syntax.OpEndText:
		return []piece{{ends: true}}, true
	case syntax.OpLiteral:
		text := string(e.Rune)
		return []piece{{text: text}}, e.Flags&syntax.FoldCase == 0 && !strings.ContainsAny(text, "*:")
	case syntax.OpStar:
		return []piece{{text: "*"}}, anyCharacter(e.Sub[0])
	case syntax.OpCapture:
		return piecesOf(e.Sub[0])
	case syntax.OpAlternate:
		var all []piece
		for _, s := range e.Sub {
			pieces, ok := piecesOf(s)
			if all = append(all, pieces...); !ok || len(all) > most {
				return nil, false
			}
		}
		return all, true
	case syntax.OpConcat:
		all := []piece{{}}
		for _, s := range e.Sub {
			pieces, ok := piecesOf(s)
			if !ok || len(all)*len(pieces) > most {
				return nil, false
			}
			var next []piece
			for _, a := range all {
				for _, b := range pieces {
					if b.begins && a.text != "" || a.ends && b.text != "" {
						return nil, false // an anchor in the middle
					}
					next = append(next, piece{a.text + b.text, a.begins || b.begins, a.ends || b.ends})
				}
			}
			all = next
		}
		return all, true
	}
	return nil, false
}
