// Package filesystem keeps the registry's files in a folder of a local disk, as distribution does: folders with mode 0777 and
// files with 0666, less the umask, bytes as they are. Nothing outside of that folder is reached, through symbolic links neither:
// one that leads out of it is an error, another disk is brought in by a mount. It is for Unix systems.
//
// Start at Driver; files.go is how bytes get there, sync.go what makes them stay after a power loss.
package filesystem

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"gatehouse/registry/driver"
)

// Driver is a driver.Driver over a folder. The folder must be on file systems that can fsync a folder, and a file and where it
// is moved to on the same one.
type Driver struct {
	root *os.Root

	sync    func(*os.File) error // fsync, for files and folders
	ordered func(*os.File) bool  // see sync.go
	syncAll func(*os.File) error // syncs all of the file system that a file is on; nil where the system cannot
	batch   batch

	mu      sync.Mutex
	lost    map[string]struct{} // files and folders that failed to be synced; guarded by mu
	allLost bool                // more than are worth remembering; guarded by mu
}

var _ driver.Driver = (*Driver)(nil)

// New returns a driver over the folder dir, which is created when it is missing, with those above it.
func New(dir string) (*Driver, error) {
	d, err := open(dir, (*os.File).Sync, ordered)
	if err == nil {
		d.syncAll = syncAll
	}
	return d, err
}

func open(dir string, sync func(*os.File) error, ordered func(*os.File) bool) (*Driver, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return nil, fmt.Errorf("open storage folder: %w", err)
	}
	if err := createRoot(dir, sync); err != nil {
		return nil, fmt.Errorf("create storage folder: %w", err)
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, fmt.Errorf("open storage folder: %w", err)
	}
	if err := syncFolderAt(dir, sync); err != nil {
		root.Close()
		return nil, fmt.Errorf("storage folder cannot be made durable, use a local disk: %w", err)
	}
	return &Driver{root: root, sync: sync, ordered: ordered, lost: make(map[string]struct{})}, nil
}

// createRoot makes the folder dir and those above it, each one durable.
func createRoot(dir string, sync func(*os.File) error) error {
	err := os.Mkdir(dir, 0o777)
	if errors.Is(err, fs.ErrNotExist) {
		if err = createRoot(filepath.Dir(dir), sync); err == nil {
			err = os.Mkdir(dir, 0o777)
		}
	}
	if errors.Is(err, fs.ErrExist) {
		return nil
	}
	if err != nil {
		return err
	}
	return syncFolderAt(filepath.Dir(dir), sync)
}

func syncFolderAt(dir string, sync func(*os.File) error) error {
	f, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer f.Close()
	return sync(f)
}

// Name is "filesystem".
func (d *Driver) Name() string { return "filesystem" }

// Open is driver.Driver's. The File is a syscall.Conn.
func (d *Driver) Open(ctx context.Context, name string) (driver.File, error) {
	if err := driver.Check(ctx, "open", name); err != nil {
		return nil, err
	}
	f, err := d.open(name)
	if err != nil {
		return nil, err
	}
	return f, nil
}

// file is what makes an *os.File a driver.File. It embeds the file so that the kernel can send it.
type file struct {
	*os.File
	info fs.FileInfo
}

func (f file) Size() int64        { return f.info.Size() }
func (f file) ModTime() time.Time { return f.info.ModTime() }

func (d *Driver) open(name string) (file, error) {
	f, err := d.root.OpenFile(name, os.O_RDONLY|syscall.O_NONBLOCK, 0) // which does not wait for who writes to a FIFO
	if err != nil {
		return file{}, err
	}
	info, err := f.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = notFile("open", name)
	}
	if err != nil {
		f.Close()
		return file{}, err
	}
	return file{f, info}, nil
}

// notFile is the error for a folder, or something stranger, where a file should be.
func notFile(op, name string) error {
	return &fs.PathError{Op: op, Path: name, Err: syscall.EISDIR}
}

// ReadFile is driver.Driver's.
func (d *Driver) ReadFile(ctx context.Context, name string, limit int64) ([]byte, error) {
	if err := driver.Check(ctx, "read", name); err != nil {
		return nil, err
	}
	f, err := d.open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if f.Size() > limit {
		return nil, fmt.Errorf("read %s: %w: %d bytes, not %d", name, driver.ErrTooLarge, f.Size(), limit)
	}
	data := make([]byte, f.Size())
	if _, err := io.ReadFull(f, data); err != nil {
		return nil, fmt.Errorf("read %s: %w", name, err)
	}
	return data, nil
}

// Stat is driver.Driver's.
func (d *Driver) Stat(ctx context.Context, name string) (driver.Info, error) {
	if err := driver.CheckFolder(ctx, "stat", name); err != nil {
		return driver.Info{}, err
	}
	info, err := d.root.Stat(name)
	if err != nil {
		return driver.Info{}, err
	}
	if info.IsDir() {
		return driver.Info{Dir: true}, nil
	}
	return driver.Info{Size: info.Size(), ModTime: info.ModTime()}, nil
}

// List is driver.Driver's. It holds the names of the whole folder in memory, to sort them.
func (d *Driver) List(ctx context.Context, name string) iter.Seq2[driver.Entry, error] {
	return func(yield func(driver.Entry, error) bool) {
		entries, err := d.readFolder(ctx, name)
		if err != nil {
			yield(driver.Entry{}, err)
			return
		}
		for _, e := range entries {
			if err := ctx.Err(); err != nil {
				yield(driver.Entry{}, err)
				return
			}
			if !yield(driver.Entry{Name: e.Name(), Dir: d.isFolder(name, e)}, nil) {
				return
			}
		}
	}
}

func (d *Driver) readFolder(ctx context.Context, name string) ([]fs.DirEntry, error) {
	if err := driver.CheckFolder(ctx, "list", name); err != nil {
		return nil, err
	}
	f, err := d.root.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	entries, err := f.ReadDir(-1)
	if err != nil {
		return nil, err
	}
	entries = slices.DeleteFunc(entries, func(e fs.DirEntry) bool { return !driver.ValidPath(e.Name()) })
	slices.SortFunc(entries, func(a, b fs.DirEntry) int { return strings.Compare(a.Name(), b.Name()) })
	return entries, nil
}

// isFolder follows a symbolic link, as opening what is below it does.
func (d *Driver) isFolder(folder string, e fs.DirEntry) bool {
	if e.Type()&fs.ModeSymlink == 0 {
		return e.IsDir()
	}
	info, err := d.root.Stat(path.Join(folder, e.Name()))
	return err == nil && info.IsDir()
}

// Close is driver.Driver's.
func (d *Driver) Close() error {
	d.batch.close()
	return d.root.Close()
}
