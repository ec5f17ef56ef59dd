package access

import (
	"errors"
	"fmt"
	"strings"
)

// maxGlob bounds a pattern in bytes.
const maxGlob = 512

// glob matches names of repositories as a whole: "**" stands for any text, "*" for any text without a slash, "${account}" and
// "${group}" for who asks, everything else for itself. So "pub/**" matches all below pub, and not pub itself. The zero glob matches
// nothing.
type glob struct {
	all            bool // "**"
	parts          []part
	account, group bool // which placeholders it has
}

// part is a piece of a glob; text is a literal's.
type part struct {
	kind kind
	text string
}

// kind is what a part stands for.
type kind uint8

const (
	literal    kind = iota
	star            // any text without a slash
	deep            // any text
	theAccount      // the account's name
	theGroup        // the name of one of its groups
)

// special are the pieces of a pattern that do not stand for themselves, longest first.
var special = []struct {
	text string
	kind kind
}{{"${account}", theAccount}, {"${group}", theGroup}, {"**", deep}, {"*", star}}

// newGlob reads pattern. What cannot be part of a name is refused, so that "?" or "[ab]" do not seem to mean something.
func newGlob(pattern string) (glob, error) {
	bare := strings.NewReplacer("${account}", "a", "${group}", "a").Replace(pattern)
	switch {
	case pattern == "":
		return glob{}, errors.New("the pattern is empty")
	case len(pattern) > maxGlob:
		return glob{}, fmt.Errorf("the pattern is longer than %d bytes", maxGlob)
	case strings.Trim(bare, "*-./0123456789:ABCDEFGHIJKLMNOPQRSTUVWXYZ_abcdefghijklmnopqrstuvwxyz") != "":
		return glob{}, errors.New("the pattern has characters that are neither part of a name nor *, **, ${account} or ${group}")
	case strings.Contains(pattern, "***"):
		return glob{}, errors.New("the pattern has more than two asterisks in a row")
	case strings.HasPrefix(pattern, "/") || strings.HasSuffix(pattern, "/") || strings.Contains(pattern, "//"):
		return glob{}, errors.New("the pattern has a slash that no name has")
	}
	return parseGlob(pattern), nil
}

// parseGlob cuts a pattern that was checked into its parts.
func parseGlob(pattern string) glob {
	g := glob{all: pattern == "**"}
	text := ""
	flush := func() {
		if text != "" {
			g.parts = append(g.parts, part{literal, text})
			text = ""
		}
	}
next:
	for pattern != "" {
		for _, s := range special {
			if rest, ok := strings.CutPrefix(pattern, s.text); ok {
				flush()
				g.parts = append(g.parts, part{kind: s.kind})
				g.account, g.group = g.account || s.kind == theAccount, g.group || s.kind == theGroup
				pattern = rest
				continue next
			}
		}
		text, pattern = text+pattern[:1], pattern[1:]
	}
	flush()
	return g
}

// match reports whether the whole name fits, with account and group for the placeholders; an empty one fits nothing. It allocates
// nothing, and takes time in the square of the name at most: of the asterisks behind it only the last ** and the last * are ever
// tried again. That is enough, because text that an earlier one could still take, a later one could take as well: between two * that
// are tried there is no slash that only the first could not cross.
func (g *glob) match(name, account, group string) bool {
	if g.all {
		return true
	}
	if len(g.parts) == 0 || g.account && account == "" || g.group && group == "" {
		return false
	}
	p, n := 0, 0
	starPart, starEnd := -1, 0 // what follows the last *, and where in name the text that it took ends
	deepPart, deepEnd := -1, 0 // the same of the last **
	for {
		fits := false
		switch {
		case p == len(g.parts):
			if n == len(name) {
				return true
			}
		case g.parts[p].kind == star:
			starPart, starEnd, fits = p+1, n, true
		case g.parts[p].kind == deep:
			if p+1 == len(g.parts) {
				return true
			}
			deepPart, deepEnd, starPart, fits = p+1, n, -1, true
		default:
			text := g.parts[p].standsFor(account, group)
			if fits = strings.HasPrefix(name[n:], text); fits {
				n += len(text)
			}
		}
		switch {
		case fits:
			p++
		case starPart >= 0 && starEnd < len(name) && name[starEnd] != '/':
			starEnd++
			p, n = starPart, starEnd
		case deepPart >= 0 && deepEnd < len(name):
			deepEnd++
			p, n, starPart = deepPart, deepEnd, -1
		default:
			return false
		}
	}
}

// standsFor is the text of a part that is no asterisk. A value is compared, never read as a pattern.
func (p *part) standsFor(account, group string) string {
	switch p.kind {
	case theAccount:
		return account
	case theGroup:
		return group
	}
	return p.text
}
