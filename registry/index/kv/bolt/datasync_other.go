//go:build !linux

package bolt

import "os"

// datasync is an fsync where the system has no cheaper one.
func datasync(f *os.File) error { return f.Sync() }
