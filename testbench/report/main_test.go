package main

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// TestReport runs the real `go test -json` on small modules.
func TestReport(t *testing.T) {
	const (
		header = "package p\nimport \"testing\"\n"
		pass   = "func TestPass(t *testing.T) { t.Log(\"boring\") }\n"
		fail   = "func TestFail(t *testing.T) { t.Run(\"inner\", func(t *testing.T) { t.Error(\"the reason\") }) }\n"
		skip   = "func TestSkip(t *testing.T) { t.Skip(\"no counterpart\") }\n"
		crash  = "func TestCrash(t *testing.T) { go func() { panic(\"the crash\") }(); select {} }\n"
	)
	for _, test := range []struct {
		name, source string
		ok           bool
		last         string
		want         []string
	}{
		{"pass", header + pass, true, "1 passed, 0 failed", []string{"ok  \tm\t"}},
		{"fail", header + pass + fail, false, "1 passed, 2 failed", []string{"the reason", "--- FAIL: TestFail/inner", "FAIL\tm\t"}},
		{"skip", header + pass + skip, false, "1 passed, 0 failed, 1 skipped", []string{"skipped: m TestSkip", "no counterpart"}},
		{"crash", header + pass + crash, false, "1 passed, 1 failed", []string{"panic: the crash", "FAIL\tm\t"}},
		{"build", header + pass + "var x int = \"\"\n", false, "0 passed, 1 failed", []string{"[build failed]", "p_test.go:4:13"}},
		{"none", header + "var _ testing.TB\n", false, "0 passed, 0 failed", []string{"ok  \tm\t", "[no tests to run]"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			ok, out := reportOn(t, test.source)
			if ok != test.ok {
				t.Errorf("ok is %v", ok)
			}
			if lines := strings.Split(strings.TrimSpace(out), "\n"); lines[len(lines)-1] != test.last {
				t.Errorf("last line is %q, want %q", lines[len(lines)-1], test.last)
			}
			for _, want := range test.want {
				if !strings.Contains(out, want) {
					t.Errorf("no %q in the report", want)
				}
			}
			if strings.Contains(out, "boring") {
				t.Error("the report holds the output of a test that passed")
			}
			if t.Failed() {
				t.Log(out)
			}
		})
	}
}

func TestReportCopiesOtherLines(t *testing.T) {
	var out bytes.Buffer
	if _, err := report(strings.NewReader("{ echo }\nmake: no such target\nunfinished"), &out); err != nil {
		t.Fatal(err)
	}
	if !strings.HasPrefix(out.String(), "{ echo }\nmake: no such target\nunfinished") {
		t.Errorf("printed %q", out.String())
	}
}

// reportOn reports on a module whose only test file has the source.
func reportOn(t *testing.T, source string) (ok bool, out string) {
	t.Helper()
	dir := t.TempDir()
	for name, content := range map[string]string{"go.mod": "module m\n", "p.go": "package p\n", "p_test.go": source} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	cmd := exec.Command("go", "test", "-json", "./...")
	cmd.Dir = dir
	events, err := cmd.Output() // that go test fails is part of the test
	if len(events) == 0 {
		t.Fatalf("go test printed nothing: %v", err)
	}
	var b bytes.Buffer
	ok, err = report(bytes.NewReader(events), &b)
	if err != nil {
		t.Fatal(err)
	}
	return ok, b.String()
}
