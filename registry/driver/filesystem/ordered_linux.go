package filesystem

import (
	"os"

	"golang.org/x/sys/unix"
)

// ordered reports whether one fsync of folder makes all changes of names before it durable: see sync.go. It asks for each
// folder, since another file system may be mounted anywhere below the root.
func ordered(folder *os.File) bool {
	var s unix.Statfs_t
	if err := unix.Fstatfs(int(folder.Fd()), &s); err != nil {
		return false
	}
	return int64(s.Type) == unix.EXT4_SUPER_MAGIC || int64(s.Type) == unix.XFS_SUPER_MAGIC
}
