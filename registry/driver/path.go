package driver

import (
	"context"
	"io/fs"
	"strings"

	"github.com/google/uuid"
)

const (
	maxPath = 1024 // bytes; S3 takes no longer key
	maxName = 255  // bytes; common file systems take no longer name
)

// ValidPath reports whether path may name a file or folder: names of A-Z, a-z, 0-9, ".", "_" and "-", as distribution's
// drivers accept them, with one "/" between two of them, none of them "." or "..", none over 255 bytes, in all not over 1024.
func ValidPath(path string) bool {
	if len(path) > maxPath {
		return false
	}
	for name := range strings.SplitSeq(path, "/") {
		if name == "" || name == "." || name == ".." || len(name) > maxName || strings.ContainsFunc(name, unusual) {
			return false
		}
	}
	return true
}

func unusual(r rune) bool {
	return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && r != '.' && r != '_' && r != '-'
}

// Check is what each method of a driver begins with: ctx's error, or fs.ErrInvalid with op and the path that ValidPath refuses.
func Check(ctx context.Context, op string, paths ...string) error {
	for _, path := range paths {
		if !ValidPath(path) {
			return &fs.PathError{Op: op, Path: path, Err: fs.ErrInvalid}
		}
	}
	return ctx.Err()
}

// CheckFolder is Check for the methods that also take ".", the driver's root.
func CheckFolder(ctx context.Context, op, path string) error {
	if path == "." {
		return ctx.Err()
	}
	return Check(ctx, op, path)
}

const tempSuffix = ".tmp"

// TempName returns a name that no other file has, for the bytes of the file name until they are whole: name, a random UUID and
// ".tmp", as distribution 3.1 calls its own. A name that would get too long is cut.
func TempName(name string) string {
	suffix := "." + uuid.NewString() + tempSuffix
	return name[:min(len(name), maxName-len(suffix))] + suffix
}

// IsTemp reports whether name is one of TempName's or of distribution's: a write that is under way or that a crash cut short.
func IsTemp(name string) bool {
	rest, found := strings.CutSuffix(name, tempSuffix)
	i := strings.LastIndexByte(rest, '.')
	return found && i > 0 && len(rest)-i-1 == 36 && uuid.Validate(rest[i+1:]) == nil
}
