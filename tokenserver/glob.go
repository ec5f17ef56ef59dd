package tokenserver

import (
	"errors"
	"fmt"
	"regexp"
	"strings"
)

// maxGlob bounds a pattern in bytes.
const maxGlob = 512

// glob matches names of repositories as a whole: "**" stands for any text, "*" for any text without a slash, everything
// else for itself. So "pub/**" matches all below pub, and not pub itself. The zero glob matches nothing.
type glob struct {
	all     bool
	literal string
	// expression runs in time linear in the name (RE2), whatever the pattern.
	expression *regexp.Regexp
}

// newGlob reads pattern. What cannot be part of a name is refused, so that "?" or "[ab]" do not seem to mean something.
func newGlob(pattern string) (glob, error) {
	switch {
	case pattern == "":
		return glob{}, errors.New("the pattern is empty")
	case len(pattern) > maxGlob:
		return glob{}, fmt.Errorf("the pattern is longer than %d bytes", maxGlob)
	case strings.Trim(pattern, "*-./0123456789:ABCDEFGHIJKLMNOPQRSTUVWXYZ_abcdefghijklmnopqrstuvwxyz") != "":
		return glob{}, errors.New("the pattern has characters that are neither part of a name nor * or **")
	case strings.Contains(pattern, "***"):
		return glob{}, errors.New("the pattern has more than two asterisks in a row")
	case strings.HasPrefix(pattern, "/") || strings.HasSuffix(pattern, "/") || strings.Contains(pattern, "//"):
		return glob{}, errors.New("the pattern has a slash that no name has")
	case pattern == "**":
		return glob{all: true}, nil
	case !strings.Contains(pattern, "*"):
		return glob{literal: pattern}, nil
	}
	text := regexp.QuoteMeta(pattern)
	text = strings.ReplaceAll(text, `\*\*`, `.*`)
	text = strings.ReplaceAll(text, `\*`, `[^/]*`)
	expression, err := regexp.Compile(`(?s)\A` + text + `\z`)
	if err != nil {
		return glob{}, fmt.Errorf("the pattern cannot be read: %w", err)
	}
	return glob{expression: expression}, nil
}

func (g *glob) match(name string) bool {
	switch {
	case g.all:
		return true
	case g.expression != nil:
		return g.expression.MatchString(name)
	default:
		return g.literal != "" && name == g.literal
	}
}
