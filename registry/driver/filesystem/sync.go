package filesystem

import (
	"errors"
	"fmt"
	"os"
	"path"
	"syscall"

	"gatehouse/registry/driver"
)

// A name is durable when every folder on its path has been synced since it got its entry for the next one. There are two ways:
//
// On ext4 and XFS all changes of names go through one journal, in the order in which they are made, and the fsync of a folder
// writes the journal out up to the folder's last change (ext4: jbd2 commits the transaction of that change, and transactions
// are committed in order; XFS: the log is forced up to the sequence number of that change). So after the last step, which is
// always a change in the innermost folder, one fsync of that folder makes all steps before it durable too: the folders above it
// that were made for it, also by another goroutine or by a process that was killed in between, and the name that was given up.
// Without a journal (ext2, ext4 by choice) no order is kept, but then a power loss costs more than our last blob.
//
// Everywhere else POSIX is taken at its word: each folder up to the root is synced, those too that were there before: another
// goroutine may just have made one and not be done. An fsync of a folder that has not changed is cheap.
//
// The innermost folder is open from before its change on. That keeps it, and all folders above it, in the kernel's memory:
// dropped from there, a failed write of it would be forgotten, and the fsync would not report it.

// syncNames makes the changes in the folder called name, opened as folder before they were made, durable.
func (d *Driver) syncNames(folder *os.File, name string) error {
	if err := d.syncOne(folder, name); err != nil || d.ordered(folder) {
		return err
	}
	for name != "." {
		name = path.Dir(name)
		above, err := d.root.Open(name)
		if err != nil {
			return fmt.Errorf("sync folder: %w", err)
		}
		err = d.syncOne(above, name)
		above.Close()
		if err != nil {
			return err
		}
	}
	return nil
}

// syncOne is an fsync that is never repeated after an error: the kernel marks pages that it failed to write as clean, so the
// second one would return nil for bytes that are on no disk. What is called name stays lost for the life of the driver.
func (d *Driver) syncOne(f *os.File, name string) error {
	if err := d.checkLost(name); err != nil {
		return err
	}
	if err := d.sync(f); err != nil {
		d.lose(name)
		return damaged(err)
	}
	return nil
}

const maxLost = 1024 // names remembered as lost; a disk that fails more often is lost as a whole

func (d *Driver) lose(name string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if len(d.lost) == maxLost {
		d.allLost = true
		return
	}
	d.lost[name] = struct{}{}
}

func (d *Driver) checkLost(name string) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if _, lost := d.lost[name]; lost || d.allLost {
		return fmt.Errorf("%s: %w", name, driver.ErrDamaged)
	}
	return nil
}

func damaged(err error) error { return fmt.Errorf("%w: %w", driver.ErrDamaged, known(err)) }

// known adds to an error of the system what the driver's callers ask for.
func known(err error) error {
	switch {
	case errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT):
		return fmt.Errorf("%w: %w", driver.ErrNoSpace, err)
	case errors.Is(err, syscall.EROFS):
		return fmt.Errorf("%w: %w", driver.ErrReadOnly, err)
	}
	return err
}
