// Command report reads the events of `go test -json` and prints what a person
// wants of them: go test's own line for each package, all output of what
// failed, each skipped test with its reason, and the number of tests at the
// end. It fails when a test failed or was skipped: continuous integration has
// everything that a test may need (GATEHOUSE_REQUIRE), so a skip there is a test
// that nobody runs anywhere.
package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strings"
)

func main() {
	ok, err := report(os.Stdin, os.Stdout)
	if err != nil {
		fmt.Fprintln(os.Stderr, "report:", err)
		os.Exit(2)
	}
	if !ok {
		os.Exit(1)
	}
}

// event is a line of go test -json; see `go doc test2json`.
type event struct {
	Action     string
	Package    string
	ImportPath string // of a build's output, in place of Package
	Test       string
	Output     string
}

// name is a test, or with an empty test what a package printed outside of any.
type name struct{ pkg, test string }

// summary is what has been seen so far.
type summary struct {
	output  map[name][]string // of tests that have not passed
	passed  int
	failed  map[string]int // number of failed tests, by package; 0 for one that failed without (did not build, crashed)
	skipped []name
}

// report copies the readable part of in to out, and tells whether everything
// ran and passed. A run without a test is not ok.
func report(in io.Reader, out io.Writer) (ok bool, err error) {
	s := summary{output: make(map[name][]string), failed: make(map[string]int)}
	r := bufio.NewReader(in)
	for {
		line, err := r.ReadString('\n')
		if line != "" {
			s.line(line, out)
		}
		if err == io.EOF {
			break
		}
		if err != nil {
			return false, fmt.Errorf("cannot read the events: %w", err)
		}
	}
	return s.close(out), nil
}

func (s *summary) line(line string, out io.Writer) {
	var e event
	if !strings.HasPrefix(line, "{") || json.Unmarshal([]byte(line), &e) != nil {
		fmt.Fprint(out, line) // go's or make's own words
		return
	}
	n := name{e.Package, e.Test}
	switch e.Action {
	case "build-output":
		fmt.Fprint(out, e.Output)
	case "output":
		if e.Test == "" && isPackageLine(e.Output) {
			fmt.Fprint(out, e.Output)
			return
		}
		s.output[n] = append(s.output[n], e.Output)
	case "pass", "fail", "skip":
		s.end(n, e.Action, out)
	}
}

// isPackageLine tells whether go test prints the line without -v.
func isPackageLine(line string) bool {
	for _, prefix := range []string{"ok  \t", "FAIL\t", "---\t", "?   \t"} {
		if strings.HasPrefix(line, prefix) {
			return true
		}
	}
	return false
}

// end takes in how a test or a package ended.
func (s *summary) end(n name, action string, out io.Writer) {
	switch {
	case action == "fail":
		if n.test == "" {
			s.failed[n.pkg] += 0
		} else {
			s.failed[n.pkg]++
		}
		for _, line := range s.output[n] {
			fmt.Fprint(out, line)
		}
	case n.test == "":
		// A package passed, or has no test files ("skip").
	case action == "pass":
		s.passed++
	case action == "skip":
		s.skipped = append(s.skipped, n)
		return // the output holds the reason
	}
	delete(s.output, n)
}

// close prints what is known at the end only.
func (s *summary) close(out io.Writer) bool {
	for _, n := range s.skipped {
		fmt.Fprintf(out, "skipped: %s %s\n", n.pkg, n.test)
		for _, line := range s.output[n] {
			fmt.Fprint(out, "    ", line)
		}
		delete(s.output, n)
	}
	failed := 0
	for _, tests := range s.failed {
		failed += max(tests, 1)
	}
	ok := failed == 0 && len(s.skipped) == 0 && s.passed > 0
	if failed > 0 {
		s.unfinished(out)
	}
	fmt.Fprintf(out, "%d passed, %d failed", s.passed, failed)
	if len(s.skipped) > 0 {
		fmt.Fprintf(out, ", %d skipped", len(s.skipped))
	}
	fmt.Fprintln(out)
	return ok
}

// unfinished prints the output of tests that never ended: where a crash is.
func (s *summary) unfinished(out io.Writer) {
	for n, lines := range s.output {
		if n.test != "" {
			fmt.Fprintf(out, "not finished: %s %s\n%s", n.pkg, n.test, strings.Join(lines, ""))
		}
	}
}
