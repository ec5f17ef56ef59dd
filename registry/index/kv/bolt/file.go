package bolt

import (
	"errors"
	"fmt"
	"io"
	"os"
	"syscall"

	"gatehouse/registry/index/kv"
)

// file is what the journal needs of a file.
type file interface {
	io.ReaderAt
	io.WriterAt
	io.Closer
	Truncate(size int64) error
	Size() (int64, error)
	Sync() error // of the bytes, and of what is needed to find them again
}

// disk is a file of the system.
type disk struct{ *os.File }

// openDisk opens the file at path, for the owner only. Without create it must be there.
func openDisk(path string, create bool) (file, error) {
	flags := os.O_RDWR
	if create {
		flags |= os.O_CREATE
	}
	f, err := os.OpenFile(path, flags, 0o600)
	if err != nil {
		return nil, err
	}
	return disk{f}, nil
}

func (d disk) Size() (int64, error) {
	info, err := d.Stat()
	if err != nil {
		return 0, err
	}
	return info.Size(), nil
}

func (d disk) Sync() error { return datasync(d.File) }

// full reports whether an error is for want of space.
func full(err error) bool {
	return errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT)
}

func noSpace(err error) error { return fmt.Errorf("%w: %w", kv.ErrNoSpace, err) }
