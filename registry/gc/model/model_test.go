package model

import (
	"strings"
	"testing"
)

// ofTheIndex are the protections that are package index's alone.
const ofTheIndex = Tickets | Tombstones | HeadPromise | UploadPromise | PushPromise | NeedAgain | HoldersAgain | OutboxWait |
	EventFirst | Completeness | StrayGrace | Revival | PromisesNotMTimes | ReaderTime

const (
	all  = properties - 1
	many = 3_000_000 // states: a scenario has less
)

func scenario(t testing.TB, name string) *Scenario {
	t.Helper()
	for _, sc := range Scenarios() {
		if sc.Name == name {
			return sc
		}
	}
	t.Fatalf("there is no scenario %q", name)
	return nil
}

// TestNothingIsBroken: with all protections all properties hold, in all states of all scenarios; and there are as many states as
// there should be.
func TestNothingIsBroken(t *testing.T) {
	for _, sc := range Scenarios() {
		t.Run(sc.Name, func(t *testing.T) {
			t.Parallel()
			r := sc.Explore(0, all, many)
			t.Log(r)
			if r.Violation != nil {
				t.Fatalf("\n%s", strings.Join(r.Violation.Trace, "\n"))
			}
			if r.States < sc.Least {
				t.Errorf("%d states, there should be %d: does everybody act?", r.States, sc.Least)
			}
		})
	}
}

// needed says what is broken without a protection, and where that is seen.
var needed = []struct {
	off      Protection
	scenario string
	broken   Property
}{
	{Tickets, "mount", Whole},
	{Tombstones, "mount", Whole},
	{HeadPromise, "two pushers", Promised},
	{UploadPromise, "one tag", Promised},
	{PushPromise, "signatures", Promised},
	{NeedAgain, "mount", Whole},
	{HoldersAgain, "mount", Whole},
	{OutboxWait, "tree", TrueTree},
	{EventFirst, "tree", TrueTree},
	{MarkFirst, "mount", Whole},
	{BytesFirst, "mount", Whole},
	{BytesFirst | OrphanScan, "errors", Clean}, // a crash, and nobody knows of the bytes any more
	{Completeness, "mount", Whole},
	{Durable, "mount", Whole},
	{Settling, "late deletions", Whole},
	{NoRetries, "late deletions", Whole},
	{ErrorsOfIndex, "errors", Whole},
	{ErrorsOfStore, "late deletions", Whole},
	{Exclusion, "two collectors", Alone},
	{Exclusion, "two collectors", Whole},
	{StrayGrace, "strays", Welcome},
	{StrayQuarantine, "strays", Whole},
	{OrphanScan, "strays", Clean},
	{Revival, "mount", Sound},                // the look at the holders saves the bytes, and nothing else
	{Revival | HoldersAgain, "mount", Whole}, // as this shows
	{PromisesNotMTimes, "two pushers", Promised},
	{ReaderTime, "one tag", Readable},
}

// TestEachProtectionIsNeeded: without it a property does not hold, and the shortest way to that is as printed (-v).
func TestEachProtectionIsNeeded(t *testing.T) {
	tested := Protection(0)
	for _, test := range needed {
		tested |= test.off
		t.Run(test.off.String()+"/"+test.broken.String(), func(t *testing.T) {
			r := scenario(t, test.scenario).Explore(test.off, test.broken, many)
			if r.Violation == nil {
				t.Fatalf("%s: %s, and nothing is broken", test.scenario, r)
			}
			t.Logf("%s, %d states:\n%s", test.scenario, r.States, strings.Join(r.Violation.Trace, "\n"))
		})
	}
	if tested != protections-1 {
		t.Errorf("no test without the protections %b", protections-1&^tested)
	}
}
