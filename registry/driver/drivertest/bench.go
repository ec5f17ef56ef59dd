package drivertest

import (
	"fmt"
	"io"
	"slices"
	"strconv"
	"sync/atomic"
	"testing"

	"gatehouse/registry/driver"
)

// Bench measures the driver that open opens: what a manifest, a small and a large layer cost to write and to read.
func Bench(b *testing.B, open func(b *testing.B) driver.Driver) {
	for _, c := range []struct {
		name string
		size int
		run  func(*testing.B, driver.Driver, []byte)
	}{
		{"WriteFile/4KiB", 4 << 10, benchWriteFile},
		{"ReadFile/4KiB", 4 << 10, benchReadFile},
		{"Upload/4KiB", 4 << 10, benchUpload},
		{"Upload/4KiB/8 at once", 4 << 10, benchUploadMany},
		{"Upload/64MiB", 64 << 20, benchUpload},
		{"Read/4KiB", 4 << 10, benchRead},
		{"Read/64MiB", 64 << 20, benchRead},
	} {
		b.Run(c.name, func(b *testing.B) {
			d := open(b)
			defer d.Close()
			b.SetBytes(int64(c.size))
			b.ReportAllocs()
			c.run(b, d, make([]byte, c.size))
		})
	}
}

func benchWriteFile(b *testing.B, d driver.Driver, data []byte) {
	for b.Loop() {
		must(b, d.WriteFile(b.Context(), "docker/registry/v2/repositories/r/_manifests/tags/t/current/link", data))
	}
}

func benchReadFile(b *testing.B, d driver.Driver, data []byte) {
	name := blobPath(0)
	must(b, d.WriteFile(b.Context(), name, data))
	for b.Loop() {
		_, err := d.ReadFile(b.Context(), name, int64(len(data)))
		must(b, err)
	}
}

func blobPath(i int) string {
	return fmt.Sprintf("docker/registry/v2/blobs/sha256/%02x/%064x/data", i%256, i)
}

// push is one upload: the bytes in pieces, made durable and moved to where a blob is.
func push(b *testing.B, d driver.Driver, i int, data []byte) error {
	name := "docker/registry/v2/repositories/r/_uploads/" + strconv.Itoa(i) + "/data"
	w, err := d.Append(b.Context(), name, 0)
	if err != nil {
		return err
	}
	defer w.Close()
	for piece := range slices.Chunk(data, 256<<10) {
		if _, err := w.Write(piece); err != nil {
			return err
		}
	}
	if err := w.Commit(b.Context()); err != nil {
		return err
	}
	return d.Move(b.Context(), name, blobPath(i))
}

func benchUpload(b *testing.B, d driver.Driver, data []byte) {
	blobs := (1 << 30) / len(data) // so many different ones, then again: a disk is not endless
	for i := 0; b.Loop(); i++ {
		must(b, push(b, d, i%blobs, data))
	}
}

// benchUploadMany has eight clients.
func benchUploadMany(b *testing.B, d driver.Driver, data []byte) {
	var next atomic.Int64
	b.ResetTimer()
	must(b, atOnce(8, func(int) error {
		for i := int(next.Add(1)); i <= b.N; i = int(next.Add(1)) {
			if err := push(b, d, i, data); err != nil {
				return err
			}
		}
		return nil
	}))
}

func benchRead(b *testing.B, d driver.Driver, data []byte) {
	name := blobPath(0)
	must(b, d.WriteFile(b.Context(), name, data))
	buf := make([]byte, 256<<10)
	for b.Loop() {
		f, err := d.Open(b.Context(), name)
		must(b, err)
		n, err := io.CopyBuffer(struct{ io.Writer }{io.Discard}, struct{ io.Reader }{f}, buf)
		if n != int64(len(data)) {
			b.Fatalf("read %d bytes: %v", n, err)
		}
		f.Close()
	}
}
