package bolt

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
)

// checkSize refuses a file that is shorter than what it says it holds. bbolt maps the file and would be killed by the kernel
// when it touches what is not there. A file that is empty or missing is a new one; what else is wrong is for bbolt to say.
//
// Source: go.etcd.io/bbolt internal/common (page.go, meta.go): two pages at the start hold a meta each behind a header of 16
// bytes; the one with the higher transaction id counts, unless its write was torn.
func checkSize(path string) error {
	f, err := os.Open(path)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil || info.Size() == 0 {
		return err
	}
	least := int64(0)
	for _, size := range []int64{4 << 10, 8 << 10, 16 << 10, 32 << 10, 64 << 10} { // the second meta is at the page size
		for _, at := range []int64{0, size} {
			if m, ok := readMeta(f, at); ok && m.pageSize == size {
				least = max(least, m.pages*m.pageSize)
			}
		}
	}
	if least == 0 || info.Size() < least {
		return fmt.Errorf("%s has %d bytes of at least %d: it was cut short or is no index; restore it from a backup, or move it and its journal away and the index is made anew from the tree, without the history of tags",
			path, info.Size(), max(least, 4*4096))
	}
	return nil
}

// meta is what is needed of a meta page.
type meta struct {
	pageSize int64
	pages    int64 // that the file has at least
}

const (
	metaOffset  = 16
	magic       = 0xED0CDAED
	fileVersion = 2
)

func readMeta(f io.ReaderAt, at int64) (meta, bool) {
	var b [64]byte
	if _, err := f.ReadAt(b[:], at+metaOffset); err != nil {
		return meta{}, false
	}
	le := binary.NativeEndian
	if le.Uint32(b[0:]) != magic || le.Uint32(b[4:]) != fileVersion {
		return meta{}, false
	}
	m := meta{pageSize: int64(le.Uint32(b[8:])), pages: int64(le.Uint64(b[40:]))}
	return m, m.pages > 0 && m.pages < 1<<40 && m.pageSize >= 512
}
