package bolt

import (
	"errors"
	"os"

	"golang.org/x/sys/unix"
)

// datasync is an fsync that leaves out what nobody needs to read the bytes again, such as the time of the change. Where a file
// was written over in place that is one flush, without a commit of the file system's own journal.
func datasync(f *os.File) error {
	for {
		if err := unix.Fdatasync(int(f.Fd())); !errors.Is(err, unix.EINTR) {
			return os.NewSyscallError("fdatasync", err)
		}
	}
}
