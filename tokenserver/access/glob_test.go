package access

import (
	"strings"
	"testing"
)

// naiveMatch is the meaning of a pattern, written down without a thought for time.
func naiveMatch(pattern, name string) bool {
	if rest, ok := strings.CutPrefix(pattern, "**"); ok {
		return naiveMatch(rest, name) || name != "" && naiveMatch(pattern, name[1:])
	}
	if rest, ok := strings.CutPrefix(pattern, "*"); ok {
		return naiveMatch(rest, name) || name != "" && name[0] != '/' && naiveMatch(pattern, name[1:])
	}
	if pattern == "" || name == "" {
		return pattern == name
	}
	return pattern[0] == name[0] && naiveMatch(pattern[1:], name[1:])
}

func TestGlob(t *testing.T) {
	for _, tt := range []struct{ pattern, yes, no string }{
		{"a/b", "a/b", "a a/b/c xa/b a/bx A/b a/b\n"},
		{"*", "a ab a-b", "a/b"},
		{"**", "a a/b a/b/c", ""},
		{"pub/*", "pub/a", "pub pub/a/b xpub/a pub-x/a"},
		{"pub/**", "pub/a pub/a/b/c", "pub xpub/a pubs/a"},
		{"**/app", "a/app a/b/app", "app a/apps a/xapp"},
		{"*/app", "a/app", "app a/b/app"},
		{"a*", "a ab", "b a/b ba"},
		{"a**", "a ab a/b", "b ba"},
		{"*-dev", "x-dev", "x-devs a/x-dev x-de"},
		{"team/*/prod-*", "team/a/prod-1", "team/a/b/prod-1 team/a/prod team/a/prod-1/x"},
		{"team/**/prod-*", "team/a/prod-1 team/a/b/prod-", "team/prod-1 team/a/prod-1/x"},
		{"a.b", "a.b", "axb"},
		{"a+", "", ""},
		{"*.*", "a.b .", "ab a/.b"},
	} {
		g, err := newGlob(tt.pattern)
		if err != nil {
			if tt.yes != "" || tt.no != "" {
				t.Errorf("%q: %v", tt.pattern, err)
			}
			continue
		}
		for name := range strings.SplitSeq(tt.yes, " ") {
			if name != "" && !g.match(name, "", "") {
				t.Errorf("%q does not match %q", tt.pattern, name)
			}
		}
		for name := range strings.SplitSeq(tt.no, " ") {
			if name != "" && g.match(name, "", "") {
				t.Errorf("%q matches %q", tt.pattern, name)
			}
		}
	}
	if new(glob).match("", "", "") || new(glob).match("a", "", "") {
		t.Error("the zero glob matches something")
	}
}

func TestNewGlobRefuses(t *testing.T) {
	for _, pattern := range []string{"", "***", "a***b", "****", "a?", "[a]", "{a,b}", `a\*`, "a b", "a\n", "^a$", "(a)", "a|b", "a+", "/a", "a/", "a//b", "/",
		"ä", "a\x00", "$account", strings.Repeat("a", maxGlob+1)} {
		if _, err := newGlob(pattern); err == nil {
			t.Errorf("%q was read", pattern)
		}
	}
}

// TestGlobTakesLinearTime would not end within the life of this machine if the matcher tried every way to cut the name.
func TestGlobTakesLinearTime(t *testing.T) {
	name := strings.Repeat("a", 250) + "/" + strings.Repeat("a", 250)
	for _, part := range []string{"*a", "**a", "a*", "a**", "*a**", "a*a", "**a*"} {
		g, err := newGlob(strings.Repeat(part, maxGlob/len(part)-1) + "b")
		if err != nil {
			continue // two asterisks and one more
		}
		if g.match(name, "", "") {
			t.Errorf("%q matched", part)
		}
	}
}

// FuzzGlob compares with naiveMatch, for short texts: it takes exponential time.
func FuzzGlob(f *testing.F) {
	for _, s := range []string{"a", "*", "**", "a/*", "**/a*b", "*-*/**", "a.b"} {
		f.Add(s, "a/b-c/ab")
		f.Add(s, "a")
	}
	f.Fuzz(func(t *testing.T, pattern, name string) {
		if len(pattern) > 12 || len(name) > 16 {
			return
		}
		g, err := newGlob(pattern)
		if err != nil {
			return
		}
		if got, want := g.match(name, "", ""), naiveMatch(pattern, name); got != want {
			t.Errorf("%q matches %q: %v, want %v", pattern, name, got, want)
		}
	})
}
