package main

import (
	"bytes"
	"crypto/sha256"
	"encoding"
	"encoding/binary"
	"fmt"
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
	digests := noiseDigests(t, blobs, size)
	var wg sync.WaitGroup
	for n, d := range digests {
		wg.Go(func() {
			if err := i.upload(prefix, d, newNoise(n, size)); err != nil {
				t.Errorf("upload %d: %v", n, err)
			}
		})
	}
	wg.Wait()
	if t.Failed() {
		return
	}
	afterUpload := peakMemory(t, i.PID())
	for n, d := range digests {
		wg.Go(func() {
			if err := i.compare(prefix+d, newNoise(n, size)); err != nil {
				t.Errorf("download %d: %v", n, err)
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

// upload pushes a body with POST, PATCH of unknown length, PUT.
func (i *instance) upload(prefix, d string, content io.Reader) error {
	location := i.url + prefix + "uploads/"
	for _, step := range []struct {
		method, query string
		body          io.Reader
		status        int
	}{{"POST", "", nil, 202}, {"PATCH", "", content, 202}, {"PUT", "&digest=" + d, nil, 201}} {
		answer, b, err := i.do(step.method, location+step.query, step.body)
		if err != nil {
			return err
		}
		if answer.StatusCode != step.status {
			return fmt.Errorf("%s: %s: %s", step.method, answer.Status, b)
		}
		next, err := answer.Location()
		if err != nil {
			return err
		}
		location = next.String()
	}
	return nil
}

// compare downloads a blob and compares each byte with content.
func (i *instance) compare(path string, content io.Reader) error {
	answer, err := i.stream("GET", path, nil)
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	got, want := make([]byte, 256<<10), make([]byte, 256<<10)
	for {
		n, err := io.ReadFull(answer.Body, got)
		m, _ := io.ReadFull(content, want)
		if !bytes.Equal(got[:n], want[:m]) {
			return fmt.Errorf("other bytes than were pushed, or fewer: %v", err)
		}
		if err != nil { // the end of both, or they would differ
			return nil
		}
	}
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

// noise is a body of a size that no compression or sparse file makes smaller, and cheap to make: a random block again and again,
// with its number at the end.
type noise struct {
	n, size int64
	number  uint64
}

const numberSize = 8

var noiseBlock = func() []byte {
	r := rand.New(rand.NewPCG(1, 1))
	block := make([]byte, 1<<20)
	for i := range block {
		block[i] = byte(r.Uint32())
	}
	return block
}()

func newNoise(number int, size int64) *noise { return &noise{size: size, number: uint64(number)} }

func (r *noise) Read(p []byte) (int, error) {
	body := r.size - numberSize
	switch {
	case r.n == r.size:
		return 0, io.EOF
	case r.n >= body:
		tail := binary.BigEndian.AppendUint64(nil, r.number)
		n := copy(p, tail[r.n-body:])
		r.n += int64(n)
		return n, nil
	}
	at := r.n % int64(len(noiseBlock))
	n := copy(p, noiseBlock[at:min(int64(len(noiseBlock)), at+body-r.n)])
	r.n += int64(n)
	return n, nil
}

// noiseDigests returns the digests of the first count noises: what they have in common is hashed once.
func noiseDigests(t *testing.T, count int, size int64) []string {
	t.Helper()
	common := sha256.New()
	_, err := io.CopyN(common, newNoise(0, size), size-numberSize)
	fatal(t, err)
	state, err := common.(encoding.BinaryMarshaler).MarshalBinary()
	fatal(t, err)
	var digests []string
	for number := range count {
		h := sha256.New()
		fatal(t, h.(encoding.BinaryUnmarshaler).UnmarshalBinary(state))
		h.Write(binary.BigEndian.AppendUint64(nil, uint64(number)))
		digests = append(digests, fmt.Sprintf("sha256:%x", h.Sum(nil)))
	}
	return digests
}
