// Package driver is the seam under the store: named bytes in folders, on a disk, in a bucket or in memory. The interface's
// comments are the contract; package drivertest holds it as tests, and package inmemory is the reference to read first.
package driver

import (
	"context"
	"errors"
	"io"
	"iter"
	"time"
)

// What a caller tells apart. Missing is fs.ErrNotExist; a path that ValidPath refuses is fs.ErrInvalid; a Writer used after
// its end is fs.ErrClosed. Any other error says nothing about what is stored.
var (
	// ErrTooLarge is a file that has more bytes than the caller allowed.
	ErrTooLarge = errors.New("file is larger than allowed")
	// ErrOffset is an append at another offset than the file's size.
	ErrOffset = errors.New("offset is not the file's size")
	// ErrDamaged is what failed to reach stable storage. It is lost for good: once the system has failed to write a page it may
	// take the page for written, so trying again would succeed without having done anything. The object must be sent anew.
	ErrDamaged = errors.New("bytes did not reach stable storage: check the disk, then restart")
	// ErrNoSpace is a full disk or an exhausted quota. Reading and deleting still work.
	ErrNoSpace = errors.New("no space left for the registry's data: free some or raise the quota")
	// ErrReadOnly is storage that is mounted read-only. Reading still works.
	ErrReadOnly = errors.New("the registry's storage is read-only: check the disk and how it is mounted")
	// ErrUnavailable is a backend that could not be reached, or was too busy, for as long as the driver tried. Later it may work.
	ErrUnavailable = errors.New("the registry's storage does not answer: try again later")
)

// Driver keeps files in folders. Paths are as ValidPath says, relative to the driver's root; List and Stat also take ".",
// the root itself, which is always there.
//
// A folder comes with the first file below it and is there at least as long as something is below it; whether one that is
// empty is still there is up to the backend. The caller uses a path as a file or as a folder, never as both; to read one where
// the other is is an error, of no particular kind.
//
// All methods may be called at once from many goroutines, on the same paths too. What the caller prevents is two Writers of
// one file at a time, and deleting a folder while something is appended below it.
//
// ctx is looked at when a method begins, and by List at each entry. A step that has begun is carried out, and what a method
// returned (File, Writer) lives on when ctx is done.
//
// When a method that changes something returns nil, the change is on stable storage, unless its comment says otherwise: it is
// still there after a power loss. When it returns an error, the change may or may not have taken place, whole.
type Driver interface {
	// Name is the kind of backend as the configuration names it: "filesystem", "inmemory", "s3".
	Name() string

	// Open opens a file for reading. Missing is fs.ErrNotExist, and only when the backend really said so. The file reads on as
	// it was, and to its end, when the path is deleted, replaced or moved meanwhile.
	Open(ctx context.Context, path string) (File, error)

	// ReadFile returns what a small file holds. More than limit bytes are ErrTooLarge. Missing is fs.ErrNotExist.
	ReadFile(ctx context.Context, path string, limit int64) ([]byte, error)

	// WriteFile makes path a file of data, creating its folders, in one step: whoever reads sees the old file whole, or nothing
	// where none was, or the new one whole. Of several at once on a path, one is the last.
	WriteFile(ctx context.Context, path string, data []byte) error

	// Append opens a file for writing behind its end, which must be at offset, else ErrOffset. At offset 0 a missing file is
	// created, with its folders; elsewhere it is fs.ErrNotExist. Not durable, name and bytes: see Writer.Commit and Move.
	Append(ctx context.Context, path string, offset int64) (Writer, error)

	// Stat describes a file or a folder. Missing is fs.ErrNotExist.
	Stat(ctx context.Context, path string) (Info, error)

	// Move makes the file from appear at to, in one step, creating to's folders. from's folder goes too when nothing is left in
	// it. The name is durable; the bytes are when Writer.Commit or WriteFile said so before. Missing from is fs.ErrNotExist.
	//
	// A file at to is replaced. to is meant to be named by its content: then the bytes are the same ones, or the older are
	// damaged and the newer were just verified. So of several moves to one path each succeeds, none takes away what another
	// reported as done, and a reader finds the file at every moment.
	Move(ctx context.Context, from, to string) error

	// Delete removes a file, or a folder and everything below it. Missing is fs.ErrNotExist. Deleting a folder is not one step:
	// an error can leave a part of it, and what is written or moved to below it meanwhile goes with it or stays, whole.
	Delete(ctx context.Context, path string) error

	// List yields what is directly below a folder, in ascending byte order of the names. An entry that comes or goes meanwhile
	// may or may not be yielded. After an error it yields that error once, with an empty Entry, and ends; a listing that ended
	// without one is complete. A missing folder is fs.ErrNotExist. Names for which IsTemp is true are no content. A name that
	// ValidPath refuses (ext4's lost+found) is not yielded: no path leads there.
	List(ctx context.Context, path string) iter.Seq2[Entry, error]

	// Close releases the driver, not the Files and Writers it gave out. Using the driver afterwards is an error.
	Close() error
}

// Info describes a file or a folder. Size and ModTime are a file's.
type Info struct {
	Size    int64
	ModTime time.Time // of the last change of the bytes
	Dir     bool
}

// Entry is a file or a folder in its folder.
type Entry struct {
	Name string
	Dir  bool
}

// File is a file open for reading. ReadAt may be called at once from many goroutines, the rest is for one.
//
// A File that is also a syscall.Conn lets the kernel send it: net's TCPConn looks for that method in the reader it copies
// from, or in the one inside an io.LimitedReader, so hand the File to io.Copy, io.CopyN or http.ServeContent as it is, and
// write to a ResponseWriter that has ReadFrom. Over TLS it makes no difference.
type File interface {
	io.ReadSeekCloser
	io.ReaderAt
	Size() int64 // when it was opened
	ModTime() time.Time
}

// Writer appends to a file. It is for one goroutine. It ends with Commit or Close; then Write and Commit are fs.ErrClosed
// and Close does nothing.
type Writer interface {
	// Write writes at the end. After an error, Write and Commit return it again; Size says how much is written, and the file
	// can be appended to there.
	io.Writer
	// Size is the size of the file: the offset behind the last byte written.
	Size() int64
	// Commit makes the bytes durable, those of earlier Writers of the file too, and ends the Writer. After ErrDamaged the file
	// is given up: appending to it or moving it fails.
	Commit(ctx context.Context) error
	// Close ends the Writer and keeps what was written, not durable, so that appending can go on later.
	Close() error
}

// What some drivers can do besides. A caller asks by a type assertion, once, and does without where there is none. A driver
// around another one has it only if it says so itself.
type (
	// Placer is a Driver that can write a file straight to where it belongs, for a caller that knows that beforehand: it saves
	// the Move, which is a copy of all bytes where a name cannot be changed.
	Placer interface {
		// Place returns a Writer of a new file at path: nothing is there, or what was before, until Commit makes it the bytes
		// that were written, in one step and durable. Close before Commit drops them. Size begins at 0; after an error nothing is
		// kept, and Size is 0. There may be several at once for a path that is named by its content, as Move's is.
		Place(ctx context.Context, path string) (Writer, error)
	}

	// Flusher is a Writer that keeps bytes in the process until Flush, Commit or Close.
	Flusher interface {
		// Flush returns when all that was written outlives the process: another one finds the file at Size and can append
		// there. The Writer goes on. The error is as Write's.
		Flush(ctx context.Context) error
	}

	// Redirector is a Driver whose backend a client can ask itself.
	Redirector interface {
		// Redirect returns a URL with which anybody can GET or HEAD, as method says, the file at path for some minutes; ok is
		// false when there is none for the method. Whether the file exists is not looked at; one that was appended to must have
		// been moved.
		Redirect(ctx context.Context, path, method string) (url string, ok bool, err error)
	}

	// Batcher is a Driver that makes many small files durable at once.
	Batcher interface {
		// WriteFileLater is WriteFile, but durable only when a Sync that began after it has returned nil.
		WriteFileLater(ctx context.Context, path string, data []byte) error
		// Sync makes durable what was written with WriteFileLater before it began. After an error all of that since the Sync before
		// is to be written anew.
		Sync(ctx context.Context) error
	}

	// Remover is a Driver for which it takes time to make a deletion durable.
	Remover interface {
		// Remove is Delete, but a power cut soon after may bring path back. It is for who finds that then, and deletes it anew.
		Remove(ctx context.Context, path string) error
	}

	// Eraser is a Driver whose backend may carry out a deletion after the answer to it was given up, and whose Delete asks again
	// then.
	Eraser interface {
		// Erase is Delete without asking again: when it returns nil or fs.ErrNotExist, nothing of it is under way any more. After
		// another error it may be carried out later.
		Erase(ctx context.Context, path string) error
	}

	// Sweeper is a Driver of which a crash, or an outage, can leave what no path leads to.
	Sweeper interface {
		// Sweep removes what was begun longer ago than olderThan and has not ended, and returns how many it was. A write that
		// is under way for that long fails.
		Sweep(ctx context.Context, olderThan time.Duration) (int, error)
	}
)
