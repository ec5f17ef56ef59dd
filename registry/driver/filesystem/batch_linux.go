package filesystem

import (
	"io/fs"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// syncAll is syncfs(2): since Linux 5.8 it reports what failed to be written since f was opened.
func syncAll(f *os.File) error {
	return uninterrupted(func() error { return unix.Syncfs(int(f.Fd())) })
}

// deviceOf returns the file system that a file is on.
func deviceOf(info fs.FileInfo) uint64 { return info.Sys().(*syscall.Stat_t).Dev }
