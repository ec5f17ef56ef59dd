package main

import (
	"net"
	"os/exec"
	"testing"
)

func TestShellWord(t *testing.T) {
	for _, word := range []string{"gatehouse-data/hello", "/var/lib/a b", "it's", "$HOME", "a;b", "`x`", "ü"} {
		out, err := exec.Command("sh", "-c", "printf %s "+shellWord(word)).Output()
		if err != nil || string(out) != word {
			t.Errorf("%s is quoted %s, which a shell reads as %s, %v", word, shellWord(word), out, err)
		}
	}
	if got := shellWord("gatehouse-data/hello"); got != "gatehouse-data/hello" {
		t.Errorf("quoted without need: %s", got)
	}
}

func TestShownHost(t *testing.T) {
	for addr, want := range map[string]string{"0.0.0.0:5000": "localhost:5000", "[::]:5000": "localhost:5000", "127.0.0.1:1": "localhost:1", "192.0.2.1:5000": "192.0.2.1:5000"} {
		a, err := net.ResolveTCPAddr("tcp", addr)
		if err != nil {
			t.Fatal(err)
		}
		if got := shownHost(a); got != want {
			t.Errorf("%s is shown as %s, want %s", addr, got, want)
		}
	}
}
