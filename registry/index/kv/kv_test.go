package kv

import "testing"

func TestEnd(t *testing.T) {
	for prefix, want := range map[string]string{"": "", "a": "b", "a\x00": "a\x01", "a\xff": "b", "\xff\xff": ""} {
		if got := End([]byte(prefix)); string(got) != want || (want == "") != (got == nil) {
			t.Errorf("End(%q) = %q, want %q", prefix, got, want)
		}
	}
}
