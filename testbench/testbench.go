// Package testbench gives tests real counterparts to work against: clients,
// servers and images that exist on the machine, never imitations of them.
//
// It is for tests only; the product never imports it. Start with [Tool], which
// finds a program or skips the test by name, and [Start], which runs one and
// sees to its end. Servers with a part of their own (etcd, an ACME authority)
// build on these two.
//
// What a machine lacks is a named skip, so that `go test ./...` is useful
// everywhere. Continuous integration sets GATEHOUSE_REQUIRE to "all", or to a
// comma-separated list of lanes and tools: what it names must be there, and its
// absence fails the test instead.
package testbench

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// Tool returns the path of the program called name. It looks in the directory
// that GATEHOUSE_TOOLS names (default: .tools/bin beside go.mod, where `make
// tools` puts the pinned ones) and then in PATH. A missing program ends the
// test as [Missing] says.
func Tool(t testing.TB, name string) string {
	t.Helper()
	dir := toolsDir()
	if dir != "" {
		path := filepath.Join(dir, name)
		if info, err := os.Stat(path); err == nil && info.Mode().IsRegular() && info.Mode()&0o111 != 0 {
			return path
		}
	}
	path, err := exec.LookPath(name)
	if err != nil {
		Missing(t, name, fmt.Sprintf("the program is neither in %s nor in PATH; `make tools` installs it", dir))
	}
	return path
}

// Missing ends a test that needs what, the name of a tool or of a lane, on a
// machine that does not have it: a skip that says why, or a failure where
// GATEHOUSE_REQUIRE asks for what. It does not return.
func Missing(t testing.TB, what, why string) {
	t.Helper()
	if required(os.Getenv("GATEHOUSE_REQUIRE"), what) {
		t.Fatalf("%s is required here (GATEHOUSE_REQUIRE): %s", what, why)
	}
	t.Skipf("needs %s: %s", what, why)
}

// required tells whether list, the value of GATEHOUSE_REQUIRE, names what.
func required(list, what string) bool {
	names := strings.FieldsFunc(list, func(r rune) bool { return r == ',' || r == ' ' })
	return slices.Contains(names, "all") || slices.Contains(names, what)
}

// toolsDir is the directory of the pinned tools, or "" when neither the
// environment nor a go.mod above the working directory tells it.
func toolsDir() string {
	if dir := os.Getenv("GATEHOUSE_TOOLS"); dir != "" {
		return dir
	}
	root := moduleRoot()
	if root == "" {
		return ""
	}
	return filepath.Join(root, ".tools", "bin")
}

// moduleRoot is the nearest directory with a go.mod, at or above the working
// directory (for a test, its package's), or "".
func moduleRoot() string {
	dir, err := os.Getwd()
	if err != nil {
		return ""
	}
	for {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return dir
		}
		parent := filepath.Dir(dir)
		if parent == dir {
			return ""
		}
		dir = parent
	}
}

// FreePort returns a TCP port of 127.0.0.1 that nothing listened on a moment
// ago. The kernel hands such ports out in turn, so another test gets another
// one; a program that can listen on port 0 and say which it got should.
func FreePort(t testing.TB) int {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatalf("no free loopback port: %v", err)
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port
}

// FreeAddr is [FreePort] as an address, "127.0.0.1:PORT".
func FreeAddr(t testing.TB) string {
	t.Helper()
	return fmt.Sprintf("127.0.0.1:%d", FreePort(t))
}

// pollInterval is how often a condition is looked at: often enough not to slow
// a test down, seldom enough to leave two busy cores alone.
const pollInterval = 20 * time.Millisecond

// Eventually calls condition until it returns nil, and fails the test with the
// last error when timeout passes first; what says, for a reader of the failure,
// what was waited for. The timeout is a bound for a hung test, not a promise
// about speed: be generous.
func Eventually(t testing.TB, timeout time.Duration, what string, condition func() error) {
	t.Helper()
	deadline := time.NewTimer(timeout)
	defer deadline.Stop()
	tick := time.NewTicker(pollInterval)
	defer tick.Stop()
	for {
		err := condition()
		if err == nil {
			return
		}
		select {
		case <-tick.C:
		case <-deadline.C:
			t.Fatalf("%s: not within %v: %v", what, timeout, err)
		}
	}
}
