// Package regular reads files that an operator named, and nothing else that a name may stand for: a pipe that nobody writes to would
// hold up whoever waits for the file, and a device has no end.
package regular

import (
	"fmt"
	"io"
	"os"
	"syscall"
)

// Read returns what is in the file at path and what the file was before it was read. Symbolic links are followed. What is no regular
// file, or has more than limit bytes, is an error, at once. Errors of the system are as package os has them.
func Read(path string, limit int64) ([]byte, os.FileInfo, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0) // without it, to open a pipe is to wait for a writer
	if err != nil {
		return nil, nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, nil, fmt.Errorf("%s is not a regular file", path)
	}
	data, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err != nil {
		return nil, nil, err
	}
	if int64(len(data)) > limit {
		return nil, nil, fmt.Errorf("%s is larger than %d bytes", path, limit)
	}
	return data, info, nil
}
