package main

import (
	"testing"
	"time"
)

// at is a step between two moments.
func at(from, to int, c change, value string) step {
	return step{change: c, value: value, start: time.Duration(from), end: time.Duration(to)}
}

func unsure(s step) step {
	s.unsure = true
	return s
}

// TestLinearize has histories with and without an order that explains them.
func TestLinearize(t *testing.T) {
	for name, test := range map[string]struct {
		steps  []step
		decays bool
		want   bool
	}{
		"nothing":                                 {nil, false, true},
		"a read of nothing":                       {[]step{at(0, 1, reads, "")}, false, true},
		"a read of what nobody wrote":             {[]step{at(0, 1, reads, "a")}, false, false},
		"a write and a read":                      {[]step{at(0, 1, sets, "a"), at(2, 3, reads, "a")}, false, true},
		"a lost write":                            {[]step{at(0, 1, sets, "a"), at(2, 3, reads, "")}, false, false},
		"a read during a write":                   {[]step{at(0, 9, sets, "a"), at(2, 3, reads, "")}, false, true},
		"a read goes back":                        {[]step{at(0, 9, sets, "a"), at(1, 2, reads, "a"), at(3, 4, reads, "")}, false, false},
		"two writes at once":                      {[]step{at(0, 9, sets, "a"), at(0, 9, sets, "b"), at(10, 11, reads, "a")}, false, true},
		"two writes at once, and two minds":       {[]step{at(0, 9, sets, "a"), at(0, 9, sets, "b"), at(10, 11, reads, "a"), at(12, 13, reads, "b")}, false, false},
		"an old value":                            {[]step{at(0, 1, sets, "a"), at(2, 3, sets, "b"), at(4, 5, reads, "a")}, false, false},
		"a write that may have been":              {[]step{unsure(at(0, 5, sets, "a")), at(6, 7, reads, "a")}, false, true},
		"a write that may not have been":          {[]step{unsure(at(0, 5, sets, "a")), at(6, 7, reads, "")}, false, true},
		"a write that both was and was not":       {[]step{unsure(at(0, 5, sets, "a")), at(6, 7, reads, "a"), at(8, 9, reads, "")}, false, false},
		"a write after its time":                  {[]step{unsure(at(0, 5, sets, "a")), at(6, 7, reads, ""), at(8, 9, reads, "a")}, false, false},
		"a late write in its time":                {[]step{unsure(at(0, 20, sets, "a")), at(6, 7, reads, ""), at(8, 9, reads, "a")}, false, true},
		"a deletion":                              {[]step{at(0, 1, sets, "a"), at(2, 3, clears, ""), at(4, 5, reads, "")}, false, true},
		"a deletion that did not":                 {[]step{at(0, 1, sets, "a"), at(2, 3, clears, ""), at(4, 5, reads, "a")}, false, false},
		"a deletion of nothing":                   {[]step{at(2, 3, clears, "")}, false, false},
		"a deletion of another value":             {[]step{at(0, 1, sets, "a"), at(2, 3, clearsV, "b"), at(4, 5, reads, "")}, false, false},
		"a deletion of the value":                 {[]step{at(0, 1, sets, "a"), at(2, 3, clearsV, "a"), at(4, 5, reads, "")}, false, true},
		"what decays may go":                      {[]step{at(0, 1, sets, "a"), at(4, 5, reads, "")}, true, true},
		"what decays does not come back":          {[]step{at(0, 1, sets, "a"), at(2, 3, reads, ""), at(4, 5, reads, "a")}, true, false},
		"what decays does not outlive a deletion": {[]step{at(0, 1, sets, "a"), at(2, 3, clears, ""), at(4, 5, reads, "a")}, true, false},
	} {
		if bad := linearize(test.steps, test.decays); (bad == nil) != test.want {
			t.Errorf("%s: explained is %v, want %v", name, bad == nil, test.want)
		}
	}
}
