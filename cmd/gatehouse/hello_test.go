package main

import (
	"bytes"
	"debug/elf"
	"os/exec"
	"path/filepath"
	"runtime"
	"testing"
)

func TestHello(t *testing.T) {
	for arch, machine := range map[string]elf.Machine{"amd64": elf.EM_X86_64, "arm64": elf.EM_AARCH64} {
		f, err := elf.NewFile(bytes.NewReader(hello(arch)))
		if err != nil || f.Machine != machine || f.Type != elf.ET_EXEC {
			t.Errorf("%s: %+v, %v", arch, f, err)
		}
	}
	if hello("mips") != nil {
		t.Error("a programme for an architecture that was never written")
	}
	folder := t.TempDir()
	ok, err := writeHello(folder)
	if err != nil {
		t.Fatal(err)
	}
	if !ok {
		t.Skipf("no programme for %s/%s", runtime.GOOS, runtime.GOARCH)
	}
	out, err := exec.Command(filepath.Join(folder, "hello")).CombinedOutput()
	if string(out) != helloSentence || err != nil {
		t.Errorf("it said %q, %v", out, err)
	}
}
