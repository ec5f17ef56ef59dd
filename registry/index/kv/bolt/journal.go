package bolt

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
)

// journal is two files to which commits are appended in turn: while a checkpoint moves into bbolt what one of them has, the other
// is written to. It is for one goroutine.
//
// Room is made by writing zeros and syncing them, a good deal at a time. So an append writes over bytes that the file has
// already: it cannot run out of space (where files are not copied on write), nothing about the file itself changes, and its
// one fdatasync is one flush. A file whose records are all in bbolt is written anew from its start; what it still holds behind
// that is told apart by its sequence.
//
// When a sync fails, or a write other than for want of space, nothing is appended any more: what the system says of these
// pages from then on is not to be believed (it marks what it could not write as clean). The records before were synced and are safe. What
// failed may be found when the index is opened again, or not.
type journal struct {
	path   string // of the files, without the number
	open   func(path string, create bool) (file, error)
	folder func(path string) error // makes the entries of a folder durable
	mark   func(marks byte) error  // writes into bbolt which files there are, a bit for each
	limit  int64                   // what a file should not be much larger than
	id     uint64
	marks  byte // what bbolt says of the files: one that it does not know may be missing

	files  [2]segment
	active int
	seq    uint64 // of the last record
	failed error

	buf []byte
}

// segment is one of the files.
type segment struct {
	file file   // nil until it is needed
	size int64  // of the file: bytes that are written and synced
	end  int64  // of the last record
	last uint64 // sequence of the last record; 0 for none
}

const (
	firstRoom = 256 << 10 // what a file gets at first
	mostRoom  = 4 << 20   // what it gets at a time: as much as it has, up to this
	keptBytes = 1 << 20   // a larger buffer is not kept for the next record
)

// append makes changes durable as one record; all records up to complete are not needed any more. After kv.ErrNoSpace the
// changes are not in the journal, and the next append may work.
func (j *journal) append(changes []change, complete uint64) error {
	if j.failed != nil {
		return j.failed
	}
	b, err := encode(j.buf, j.id, j.seq+1, changes)
	j.buf = b
	if cap(j.buf) > keptBytes {
		j.buf = nil
	}
	if err != nil {
		return err
	}
	if err := j.room(int64(len(b)), complete); err != nil {
		return err
	}
	s := &j.files[j.active]
	if _, err := s.file.WriteAt(b, s.end); err != nil {
		return j.cut(s, err)
	}
	if err := s.file.Sync(); err != nil {
		return j.fail(err)
	}
	j.seq++
	s.end += int64(len(b))
	s.last = j.seq
	return nil
}

// room finds a place for n bytes: at the start of the file if its records are not needed any more, else behind the last one, in
// new room if need be; or, on a full disk, in the other file.
func (j *journal) room(n int64, complete uint64) error {
	s := &j.files[j.active]
	if s.last <= complete {
		s.end = 0
	}
	if s.end+n <= s.size {
		return nil
	}
	err := j.grow(j.active, s.end+n)
	other := &j.files[1-j.active]
	if err != nil && full(err) && other.last <= complete && n <= other.size {
		j.active, other.end = 1-j.active, 0
		return nil
	}
	return err
}

// rotate goes on in the other file, if that is free and has room. It is the beginning of a checkpoint, after which the file that
// was written to till now is free.
func (j *journal) rotate(complete uint64) {
	i := 1 - j.active
	s := &j.files[i]
	if s.last > complete || j.failed != nil {
		return
	}
	if s.size > 2*j.limit { // there was a large record
		if s.file.Truncate(j.limit) == nil {
			s.size = j.limit
		}
	}
	if s.size < firstRoom && j.grow(i, firstRoom) != nil {
		return // the next append tries again, or says why not
	}
	j.active, s.end = i, 0
}

// grow makes room in file i for need bytes and, if there is space, some more. After kv.ErrNoSpace the file is as before.
func (j *journal) grow(i int, need int64) error {
	s := &j.files[i]
	if err := j.create(i); err != nil {
		return err
	}
	more := pages(min(max(s.size, firstRoom), mostRoom))
	err := j.fill(s, max(need, s.size+more))
	if err != nil && full(err) && j.failed == nil {
		err = j.fill(s, need)
	}
	if err == nil && j.marks&(1<<i) == 0 && j.mark(j.marks|1<<i) == nil { // without space the next growth marks it
		j.marks |= 1 << i
	}
	return err
}

// whole returns an error when a file that bbolt knows is missing, or shorter than it can be: it had what was acknowledged.
func (j *journal) whole() error {
	for i := range j.files {
		if s := &j.files[i]; j.marks&(1<<i) != 0 && (s.size == 0 || s.size%pageBytes != 0) {
			return fmt.Errorf("the journal %s is missing or was cut short, and with it what was acknowledged last. Put it back; or restore index and journals together "+
				"from a backup; or move them all away, and the index is made anew from the tree, without the history of tags", j.name(i))
		}
	}
	return nil
}

// create opens file i, and makes it when it is not there.
func (j *journal) create(i int) (err error) {
	s := &j.files[i]
	if s.file != nil {
		return nil
	}
	name := j.name(i)
	f, err := j.open(name, true)
	if err != nil {
		if full(err) {
			return noSpace(err)
		}
		return fmt.Errorf("make the journal of the index: %w", err)
	}
	s.file = f
	if err := j.folder(filepath.Dir(name)); err != nil {
		return j.fail(err)
	}
	return nil
}

func (j *journal) name(i int) string { return j.path + strconv.Itoa(i) }

// fill writes zeros up to size. Nothing but zeros is in what it has written when it fails, so that is cut off again and nothing
// depends on how the pages fared.
func (j *journal) fill(s *segment, size int64) error {
	zeros := make([]byte, min(size-s.size, 1<<20))
	var err error
	for at := s.size; at < size && err == nil; at += int64(len(zeros)) {
		_, err = s.file.WriteAt(zeros[:min(int64(len(zeros)), size-at)], at)
	}
	if err == nil {
		err = s.file.Sync()
	}
	switch {
	case err == nil:
		s.size = size
		return nil
	case !full(err):
		return j.fail(err)
	}
	if err := s.file.Truncate(s.size); err != nil {
		return j.fail(err)
	}
	return noSpace(err)
}

// cut takes back a record that could not be written. It was not whole when the write failed for want of space; cut off, it can
// also not be what a shorter record in its place leaves behind.
func (j *journal) cut(s *segment, err error) error {
	if !full(err) {
		return j.fail(err)
	}
	keep := max(s.end, pageBytes) // an empty file would seem to have lost something
	if err := s.file.Truncate(keep); err != nil {
		return j.fail(err)
	}
	s.size = keep
	return noSpace(err)
}

// fail ends writing to the journal.
func (j *journal) fail(err error) error {
	j.failed = fmt.Errorf("the journal of the index could not be written, so nothing is written to the index any more: check the disk, then restart: %w", err)
	return j.failed
}

// used is how many bytes of the active file are needed.
func (j *journal) used(complete uint64) int64 {
	s := j.files[j.active]
	if s.last <= complete {
		return 0
	}
	return s.end
}

// remove removes the files, all of whose records are in bbolt. It is no trouble if they are found again.
func (j *journal) remove() {
	for i := range j.files {
		os.Remove(j.name(i))
	}
}

func (j *journal) close() (err error) {
	for i := range j.files {
		if s := &j.files[i]; s.file != nil {
			err = errors.Join(err, s.file.Close())
			s.file = nil
		}
	}
	return err
}

// load opens the files that are there.
func (j *journal) load() error {
	for i := range j.files {
		f, err := j.open(j.name(i), false)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return fmt.Errorf("open the journal of the index: %w", err)
		}
		j.files[i].file = f
		if j.files[i].size, err = f.Size(); err != nil {
			return fmt.Errorf("open the journal of the index: %w", err)
		}
	}
	return nil
}
