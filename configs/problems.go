package configs

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// Warning is something that the operator should know and that does not stop the server: "file:line: key: text", or
// "VARIABLE: key: text".
type Warning string

// maxProblems bounds how many errors of one file are told.
const maxProblems = 50

// position says where a value came from.
type position struct {
	file     string
	line     int    // 0: not known
	variable string // the environment variable, instead of file and line
}

// onLine is p at a line of its file. A value inside of a variable has no line.
func (p position) onLine(line int) position {
	if p.variable == "" {
		p.line = line
	}
	return p
}

func (p position) String() string {
	switch {
	case p.variable != "":
		return p.variable
	case p.line > 0:
		return fmt.Sprintf("%s:%d", p.file, p.line)
	}
	return p.file
}

// problem is an error or a warning at a position.
type problem struct {
	at   position
	text string
}

// problems gathers all that is wrong with one configuration, so that it is told at once.
type problems struct {
	errs  []problem
	warns []problem
	bad   map[string]bool // paths with an error, which later checks leave alone
}

func (p *problems) errorf(at position, path, format string, args ...any) {
	p.errs = append(p.errs, newProblem(at, path, format, args))
	if path != "" {
		if p.bad == nil {
			p.bad = make(map[string]bool)
		}
		p.bad[path] = true
	}
}

func (p *problems) warnf(at position, path, format string, args ...any) {
	p.warns = append(p.warns, newProblem(at, path, format, args))
}

func newProblem(at position, path, format string, args []any) problem {
	text := fmt.Sprintf(format, args...)
	if path != "" {
		text = path + ": " + text
	}
	return problem{at, text}
}

// spoilt reports whether path, or a section that it is in, has an error already.
func (p *problems) spoilt(path string) bool {
	for ; path != ""; path = parent(path) {
		if p.bad[path] {
			return true
		}
	}
	return false
}

// parent is the path of the section or list that path is in.
func parent(path string) string {
	return path[:max(strings.LastIndexAny(path, ".["), 0)]
}

// err joins the errors, one to a line: those of the file by line, then those of variables by name. Nil if there is none.
func (p *problems) err() error {
	lines := inOrder(p.errs)
	if more := len(lines) - maxProblems; more > 0 {
		lines = append(lines[:maxProblems], fmt.Sprintf("and %d more errors", more))
	}
	errs := make([]error, len(lines))
	for i, l := range lines {
		errs[i] = errors.New(l)
	}
	return errors.Join(errs...)
}

// warnings are the warnings in the same order.
func (p *problems) warnings() []Warning {
	var ws []Warning
	for _, l := range inOrder(p.warns) {
		ws = append(ws, Warning(l))
	}
	return ws
}

func inOrder(ps []problem) []string {
	sorted := slices.Clone(ps)
	slices.SortStableFunc(sorted, func(a, b problem) int {
		return cmp.Or(cmp.Compare(a.at.variable, b.at.variable), cmp.Compare(a.at.line, b.at.line))
	})
	lines := make([]string, len(sorted))
	for i, q := range sorted {
		lines[i] = strings.TrimPrefix(q.at.String()+": "+q.text, ": ")
	}
	return lines
}

// nearest returns the name that was most likely meant by word, or "": one that is few mistakes away, or that word begins
// with, as address does with addr.
func nearest(word string, names []string) string {
	word = strings.ToLower(word)
	best, limit := "", 1+min(len(word)/3, 3)
	for _, name := range names {
		if len(name) >= 4 && strings.HasPrefix(word, name) {
			best = name
		}
	}
	for _, name := range names {
		if d := editDistance(word, name, limit); d < limit {
			best, limit = name, d
		}
	}
	return best
}

// editDistance counts the insertions, deletions, replacements and swaps of neighbours that make b of a. Words whose
// lengths differ by limit or more are limit apart.
func editDistance(a, b string, limit int) int {
	if len(a)-len(b) >= limit || len(b)-len(a) >= limit {
		return limit
	}
	before, last := make([]int, len(b)+1), make([]int, len(b)+1)
	for j := range last {
		last[j] = j
	}
	for i := 1; i <= len(a); i++ {
		row := make([]int, len(b)+1)
		row[0] = i
		for j := 1; j <= len(b); j++ {
			replace := last[j-1]
			if a[i-1] != b[j-1] {
				replace++
			}
			row[j] = min(last[j]+1, row[j-1]+1, replace)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				row[j] = min(row[j], before[j-2]+1)
			}
		}
		before, last = last, row
	}
	return last[len(b)]
}
