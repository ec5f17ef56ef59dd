package main

import (
	"bytes"
	"encoding/binary"
	"os"
	"path/filepath"
	"runtime"
)

// A first image needs a programme that runs without any file around it, and a fresh machine has none to copy. So the start
// page offers one that is made here: a static ELF executable of a few hundred bytes that writes a sentence and exits.

const helloSentence = "Hello from your own registry: this image was pushed to gatehouse and pulled from it.\n"

// helloCode is write(1, sentence, length) and exit(0) for each architecture. The sentence follows the code.
var helloCode = map[string]struct {
	machine uint16 // e_machine of the ELF specification
	code    func(address, length uint32) []byte
}{
	"amd64": {62, func(address, length uint32) []byte {
		le := binary.LittleEndian
		code := []byte{0xb8, 1, 0, 0, 0}                    // mov eax, 1 (write)
		code = append(code, 0xbf, 1, 0, 0, 0)               // mov edi, 1 (standard output)
		code = le.AppendUint32(append(code, 0xbe), address) // mov esi, address
		code = le.AppendUint32(append(code, 0xba), length)  // mov edx, length
		code = append(code, 0x0f, 0x05)                     // syscall
		code = append(code, 0xb8, 60, 0, 0, 0)              // mov eax, 60 (exit)
		code = append(code, 0x31, 0xff)                     // xor edi, edi
		return append(code, 0x0f, 0x05)                     // syscall
	}},
	"arm64": {183, func(address, length uint32) []byte {
		movz := func(register, value uint32) uint32 { return 0xd2800000 | value<<5 | register }
		code := []uint32{
			movz(0, 1),                          // standard output
			movz(1, address&0xffff),             //
			0xf2a00000 | (address>>16)<<5 | 1,   // movk x1, address, lsl 16
			movz(2, length),                     //
			movz(8, 64),                         // write
			0xd4000001,                          // svc 0
			movz(0, 0), movz(8, 93), 0xd4000001, // exit(0)
		}
		b := make([]byte, 4*len(code))
		for i, word := range code {
			binary.LittleEndian.PutUint32(b[4*i:], word)
		}
		return b
	}},
}

// hello returns the programme for an architecture of Go's, or nil where there is none.
func hello(arch string) []byte {
	target, ok := helloCode[arch]
	if !ok {
		return nil
	}
	const (
		base    = 0x400000 // where the file is mapped
		headers = 64 + 56  // ELF header and one programme header
	)
	size := uint32(len(target.code(0, 0)))
	body := append(target.code(base+headers+size, uint32(len(helloSentence))), helloSentence...)
	var b bytes.Buffer
	b.WriteString("\x7fELF\x02\x01\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00") // 64 bits, little endian
	for _, field := range []any{
		uint16(2), target.machine, uint32(1), uint64(base + headers), // executable; entry point
		uint64(64), uint64(0), uint32(0), uint16(64), uint16(56), uint16(1), uint16(0), uint16(0), uint16(0),
		uint32(1), uint32(5), uint64(0), uint64(base), uint64(base), // load, read and execute
		uint64(headers + len(body)), uint64(headers + len(body)), uint64(0x1000),
	} {
		_ = binary.Write(&b, binary.LittleEndian, field) // cannot fail: a buffer and fixed sizes
	}
	b.Write(body)
	return b.Bytes()
}

// writeHello makes the folder from which the start page's second command builds the first image, and reports whether there is one
// for this machine.
func writeHello(folder string) (bool, error) {
	program := hello(runtime.GOARCH)
	if program == nil || runtime.GOOS != "linux" {
		return false, nil
	}
	if err := os.MkdirAll(folder, 0o755); err != nil {
		return false, err
	}
	if err := os.WriteFile(filepath.Join(folder, "hello"), program, 0o755); err != nil {
		return false, err
	}
	return true, os.WriteFile(filepath.Join(folder, "Dockerfile"), []byte("FROM scratch\nCOPY hello /hello\nENTRYPOINT [\"/hello\"]\n"), 0o644)
}
