package testbench

import (
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// verdict is a test that records how it was ended.
type verdict struct {
	testing.TB
	skipped, failed string
}

func (v *verdict) Helper() {}

func (v *verdict) Skipf(format string, args ...any) {
	v.skipped = fmt.Sprintf(format, args...)
	panic(v)
}

func (v *verdict) Fatalf(format string, args ...any) {
	v.failed = fmt.Sprintf(format, args...)
	panic(v)
}

// verdictOf runs f as a test and tells how it ended it, if it did.
func verdictOf(f func(testing.TB)) *verdict {
	v := new(verdict)
	func() {
		defer func() {
			if r := recover(); r != nil && r != any(v) {
				panic(r)
			}
		}()
		f(v)
	}()
	return v
}

func TestToolFromTools(t *testing.T) {
	tools := t.TempDir()
	t.Setenv("GATEHOUSE_TOOLS", tools)
	want := filepath.Join(tools, "sh")
	writeFile(t, want, nil, 0o755)
	if got := Tool(t, "sh"); got != want {
		t.Errorf("Tool found %s, want the one in GATEHOUSE_TOOLS, %s", got, want)
	}
}

func TestToolFromPath(t *testing.T) {
	tools, path := t.TempDir(), t.TempDir()
	t.Setenv("GATEHOUSE_TOOLS", tools)
	t.Setenv("PATH", path)
	writeFile(t, filepath.Join(tools, "counterpart"), nil, 0o644) // no program
	want := filepath.Join(path, "counterpart")
	writeFile(t, want, nil, 0o755)
	if got := Tool(t, "counterpart"); got != want {
		t.Errorf("Tool found %s, want %s", got, want)
	}
}

func TestToolMissing(t *testing.T) {
	t.Setenv("GATEHOUSE_TOOLS", t.TempDir())
	t.Setenv("PATH", t.TempDir())
	for _, test := range []struct {
		require  string
		required bool
	}{
		{"", false},
		{"etcd,docker", false},
		{"counterparts", false},
		{"all", true},
		{"counterpart", true},
		{"etcd, counterpart", true},
	} {
		t.Run(test.require, func(t *testing.T) {
			t.Setenv("GATEHOUSE_REQUIRE", test.require)
			v := verdictOf(func(t testing.TB) { Tool(t, "counterpart") })
			said := v.skipped
			if test.required {
				said = v.failed
			}
			if !strings.Contains(said, "counterpart") {
				t.Errorf("skipped with %q, failed with %q; required: %v", v.skipped, v.failed, test.required)
			}
		})
	}
}

func TestToolsBesideGoMod(t *testing.T) {
	t.Setenv("GATEHOUSE_TOOLS", "")
	root := moduleRoot()
	if _, err := os.Stat(filepath.Join(root, "go.mod")); err != nil {
		t.Fatalf("module root %q: %v", root, err)
	}
	if got, want := toolsDir(), filepath.Join(root, ".tools", "bin"); got != want {
		t.Errorf("tools are looked for in %s, want %s", got, want)
	}
	t.Chdir(t.TempDir())
	if got := toolsDir(); got != "" {
		t.Errorf("outside a module, tools are looked for in %s", got)
	}
}

func TestFreeAddr(t *testing.T) {
	a, b := FreeAddr(t), FreeAddr(t)
	if a == b {
		t.Errorf("both calls returned %s", a)
	}
	l, err := net.Listen("tcp", a)
	if err != nil {
		t.Fatalf("the free address is not free: %v", err)
	}
	l.Close()
}

func TestEventually(t *testing.T) {
	calls := 0
	Eventually(t, time.Minute, "third call", func() error {
		if calls++; calls < 3 {
			return errors.New("too early")
		}
		return nil
	})
	if calls != 3 {
		t.Errorf("%d calls, want 3", calls)
	}
}

func TestEventuallyNever(t *testing.T) {
	v := verdictOf(func(t testing.TB) {
		Eventually(t, time.Millisecond, "the impossible", func() error { return errors.New("still nothing") })
	})
	if !strings.Contains(v.failed, "the impossible") || !strings.Contains(v.failed, "still nothing") {
		t.Errorf("failed with %q", v.failed)
	}
}
