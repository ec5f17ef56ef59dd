package main

import (
	"bytes"
	"context"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"gatehouse/registry/planted"
)

// full, when it is not empty, has the tests look for all planted bugs, not only for those that are found fast. `make soak` does.
const full = "GATEHOUSE_SOAK"

// programs are built once.
var programs = [2]func() (string, error){
	sync.OnceValues(func() (string, error) { return buildOnce(false) }),
	sync.OnceValues(func() (string, error) { return buildOnce(true) }),
}

var programsDir string

func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "soak-")
	if err != nil {
		panic(err)
	}
	programsDir = dir
	code := m.Run()
	os.RemoveAll(dir)
	os.Exit(code)
}

func buildOnce(bugs bool) (string, error) {
	dir := filepath.Join(programsDir, map[bool]string{false: "plain", true: "bugs"}[bugs])
	if err := os.Mkdir(dir, 0o700); err != nil {
		return "", err
	}
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Minute)
	defer cancel()
	return build(ctx, dir, bugs)
}

// program returns the program, with or without bugs.
func program(t *testing.T, bugs bool) string {
	t.Helper()
	n := 0
	if bugs {
		n = 1
	}
	binary, err := programs[n]()
	if err != nil {
		t.Fatal(err)
	}
	return binary
}

// TestSoak is the soak of less than a minute that every change must pass.
func TestSoak(t *testing.T) {
	t.Parallel()
	v, out := soakFor(t, options{binary: program(t, false), length: 40 * time.Second, pause: 3 * time.Second, seed: rand.Uint64()})
	t.Log(v.line())
	if !v.good() {
		t.Errorf("promises were broken:\n%s", out)
	}
}

// soakFor runs a soak, and returns its verdict and what it says.
func soakFor(t *testing.T, o options) (*verdict, string) {
	t.Helper()
	var out bytes.Buffer
	o.out, o.dir = &out, t.TempDir()
	v, err := run(t.Context(), o)
	if err != nil {
		log, _ := os.ReadFile(filepath.Join(o.dir, "server.log"))
		t.Fatalf("seed %d: %v\n%s", o.seed, err, log[max(0, len(log)-4000):])
	}
	return v, out.String()
}

// bugs are the planted bugs and who finds them: a soak, by a class of promise, or by whichever comes first where there is none,
// or a test of a package. fast ones are looked for always.
var bugs = []struct {
	bug   planted.Bug
	fast  bool
	class class
	test  string // "package Test"
}{
	{planted.NoPromise, true, broken, ""},
	{planted.NoPromiseAgain, true, broken, ""},
	{planted.NoManifestPromise, false, broken, ""},
	{planted.NeededLink, true, "", ""},
	{planted.NeededManifest, true, "", ""},
	{planted.NoRevival, false, "", ""},
	{planted.Incomplete, true, "", ""},
	{planted.EventsDropped, false, defect, ""},
	{planted.GraceOver, true, broken, ""},
	{planted.ReadersForgotten, true, broken, ""},
	{planted.ReferrersLeft, true, lost, ""},
	{planted.DeleteIgnored, false, disorder, ""},
	{planted.WrongBytes, true, wrong, ""},
	{planted.Unlogged, false, unlogged, ""},
	{planted.LeftBehind, false, leaked, ""},
	{planted.IndexFirst, false, "", "gatehouse/registry TestEveryFault"},
	{planted.TicketUnchecked, false, "", "gatehouse/registry/index TestTickets"},
	{planted.TombstoneLost, false, "", "gatehouse/registry/index TestTickets"},
	{planted.TreeNotWaitedFor, false, "", "gatehouse/registry/index TestTheTreeIsWaitedFor"},
	{planted.DeleteFirst, false, "", "gatehouse/registry/gc TestClientsWhileCollecting|TestCollectingWhileClientsAct"},
	{planted.NotResumed, false, "", "gatehouse/registry/gc TestCrashAnywhere"},
	{planted.ErrorIsAbsence, false, "", "gatehouse/registry/gc TestEveryStorageOperationFails"},
}

// TestPlantedBugsAreFound plants one bug at a time: the soak, or the test that is named, must fail.
func TestPlantedBugsAreFound(t *testing.T) {
	for _, b := range bugs {
		if !b.fast && os.Getenv(full) == "" {
			continue
		}
		t.Run(string(b.bug), func(t *testing.T) {
			t.Parallel()
			if b.test != "" {
				testFinds(t, b.bug, b.test)
				return
			}
			v, out := soakFor(t, options{
				binary: program(t, true), bug: string(b.bug), first: true,
				length: 3 * time.Minute, pause: 1500 * time.Millisecond, seed: rand.Uint64(),
			})
			switch {
			case v.good():
				t.Errorf("it was not found: %s", v.line())
			case b.class != "" && v.found[b.class] == 0:
				t.Errorf("it was found by another promise than %s: %s\n%s", b.class, v.line(), out)
			}
		})
	}
}

// testFinds runs a test of a package with a bug, and fails when the test does not.
func testFinds(t *testing.T, bug planted.Bug, test string) {
	t.Helper()
	pkg, name, _ := strings.Cut(test, " ")
	cmd := exec.CommandContext(t.Context(), "go", "test", "-tags=bugs", "-count=1", "-run", "^("+name+")$", pkg)
	cmd.Env = append(os.Environ(), "GATEHOUSE_BUG="+string(bug))
	out, err := cmd.CombinedOutput()
	if err == nil || !bytes.Contains(out, []byte("--- FAIL: ")) {
		t.Errorf("%s did not find it (%v):\n%s", test, err, out)
	}
}

// TestNoBugsAreBuiltIn looks for what plants bugs in the program as it is built for use.
func TestNoBugsAreBuiltIn(t *testing.T) {
	for _, with := range []bool{false, true} {
		b, err := os.ReadFile(program(t, with))
		if err != nil {
			t.Fatal(err)
		}
		if got := bytes.Contains(b, []byte("GATEHOUSE_BUG")); got != with {
			t.Errorf("built with bugs %v: it looks for one: %v", with, got)
		}
	}
}
