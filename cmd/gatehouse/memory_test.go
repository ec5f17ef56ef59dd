package main

import (
	"crypto/sha256"
	"fmt"
	"hash"
	"io"
	"math/rand/v2"
	"os"
	"strconv"
	"strings"
	"sync"
	"testing"
)

// TestMemoryOfLargeBlobs uploads eight blobs of 1 GiB at once and downloads them at once, and looks at the most memory the
// server ever had (the kernel's VmHWM): below 150 MiB.
func TestMemoryOfLargeBlobs(t *testing.T) {
	if testing.Short() {
		t.Skip("16 GiB go through the server")
	}
	const (
		size   = 1 << 30
		bound  = 150 << 20
		blobs  = 8
		prefix = "/v2/large/blobs/"
	)
	i := start(t)
	digests := make([]string, blobs)
	var wg sync.WaitGroup
	for n := range blobs {
		wg.Go(func() {
			begun, _, err := i.do("POST", prefix+"uploads/", nil)
			if err != nil || begun.StatusCode != 202 {
				t.Errorf("begin: %v, %v", begun, err)
				return
			}
			content := newNoise(n, size)
			patched, b, err := i.do("PATCH", i.location(begun), content)
			if err != nil || patched.StatusCode != 202 {
				t.Errorf("upload: %v, %v: %s", patched, err, b)
				return
			}
			digests[n] = fmt.Sprintf("sha256:%x", content.hash.Sum(nil))
			done, b, err := i.do("PUT", i.location(patched)+"&digest="+digests[n], nil)
			if err != nil || done.StatusCode != 201 {
				t.Errorf("commit: %v, %v: %s", done, err, b)
			}
		})
	}
	wg.Wait()
	if t.Failed() {
		return
	}
	afterUpload := peakMemory(t, i.PID())
	for _, d := range digests {
		wg.Go(func() {
			if got, n, err := i.download(prefix + d); got != d || n != size || err != nil {
				t.Errorf("downloaded %d bytes with digest %s, %v; want %s", n, got, err, d)
			}
		})
	}
	wg.Wait()
	peak := peakMemory(t, i.PID())
	t.Logf("peak resident memory: %d MiB after %d uploads, %d MiB after as many downloads", afterUpload>>20, blobs, peak>>20)
	if peak > bound {
		t.Errorf("peak resident memory %d MiB, want %d MiB at most", peak>>20, bound>>20)
	}
}

// download reads a blob to its end and returns its digest and its size.
func (i *instance) download(path string) (d string, n int64, err error) {
	answer, err := i.stream("GET", path, nil)
	if err != nil {
		return "", 0, err
	}
	defer answer.Body.Close()
	h := sha256.New()
	n, err = io.CopyBuffer(struct{ io.Writer }{h}, struct{ io.Reader }{answer.Body}, make([]byte, 256<<10))
	return fmt.Sprintf("sha256:%x", h.Sum(nil)), n, err
}

// peakMemory returns the most resident memory that a process ever had.
func peakMemory(t *testing.T, pid int) int64 {
	t.Helper()
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	fatal(t, err)
	for line := range strings.Lines(string(b)) {
		if rest, ok := strings.CutPrefix(line, "VmHWM:"); ok {
			kib, err := strconv.ParseInt(strings.Fields(rest)[0], 10, 64)
			fatal(t, err)
			return kib << 10
		}
	}
	t.Fatal("the kernel does not say how much memory the process had")
	return 0
}

// noise is a body of a size that no compression or sparse file makes smaller, cheap to make, hashed as it is read.
type noise struct {
	block []byte
	n     int64
	left  int64
	hash  hash.Hash
}

func newNoise(seed int, size int64) *noise {
	r := rand.New(rand.NewPCG(uint64(seed), 1))
	block := make([]byte, 1<<20)
	for i := range block {
		block[i] = byte(r.Uint32())
	}
	return &noise{block: block, left: size, hash: sha256.New()}
}

func (r *noise) Read(p []byte) (int, error) {
	if r.left == 0 {
		return 0, io.EOF
	}
	at := r.n % int64(len(r.block))
	n := copy(p, r.block[at:])
	n = int(min(int64(n), r.left))
	r.hash.Write(p[:n])
	r.n += int64(n)
	r.left -= int64(n)
	return n, nil
}
