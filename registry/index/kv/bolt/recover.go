package bolt

import (
	"errors"
	"fmt"
	"io"

	"gatehouse/registry/index/kv"
)

// place is a record in a file of the journal.
type place struct {
	file int
	at   int64
	head
}

// contents is what the files of the journal hold.
type contents struct {
	whole   map[uint64]place // records that bbolt does not have all of, by sequence
	newest  uint64           // sequence of the newest record that was begun
	foreign string           // a file with records of another index, or ""
}

// recover takes up what is in the journal and not in bbolt, which has some writes of up to touched.
//
// A record is begun only after the one before it is on disk. So a record that is not whole was never acknowledged if it is the
// newest; it is left out and written over. If there is a newer one, or bbolt has seen a newer one, then what was acknowledged
// is missing, and the index is not opened. Nothing can tell a newest record that was damaged later from one that was torn.
//
// What is replayed goes into bbolt at once. Without space for that it stays in memory and in the journal, which goes on behind it.
func (db *DB) recover(touched uint64) error {
	j := db.journal
	if err := j.load(); err != nil {
		return err
	}
	if err := j.whole(); err != nil {
		return err
	}
	found, err := j.scan(db.complete)
	if err != nil {
		return fmt.Errorf("read the journal of the index: %w", err)
	}
	if found.foreign != "" {
		return fmt.Errorf("the journal %s belongs to another index: put the two that belong together side by side, or move the journal away", found.foreign)
	}
	j.seq = db.complete
	db.memory = newTable()
	var last place
	for p, ok := found.whole[j.seq+1]; ok; p, ok = found.whole[j.seq+1] {
		if err := j.replay(p, db.memory.set); err != nil {
			return err
		}
		last = p
	}
	if found.newest > j.seq+1 || touched > j.seq {
		return fmt.Errorf("the journal %s0 and 1 lacks record %d, although there are newer ones up to %d: what was acknowledged would be lost. "+
			"Restore index and journal together from a backup, or move them away and the index is made anew from the tree, without the history of tags",
			j.path, j.seq+1, max(found.newest, touched))
	}
	db.publish()
	err = db.drain()
	if errors.Is(err, kv.ErrNoSpace) {
		return j.rewrite(last)
	}
	if err == nil {
		if err = j.grow(j.active, firstRoom); errors.Is(err, kv.ErrNoSpace) {
			return nil // the first commit tries again
		}
	}
	return err
}

// scan looks for records at each page of each file. Those up to complete are what was there before.
func (j *journal) scan(complete uint64) (contents, error) {
	found := contents{whole: make(map[uint64]place), newest: complete}
	b := make([]byte, headBytes)
	for i, s := range j.files {
		for at := int64(0); at+headBytes <= s.size; {
			if _, err := s.file.ReadAt(b, at); err != nil {
				return found, err
			}
			p := place{file: i, at: at}
			at += pageBytes
			var ok bool
			if p.head, ok = decodeHead(b); !ok {
				continue
			}
			if p.id != j.id {
				if p.at == 0 { // elsewhere it may be part of what somebody has stored
					found.foreign = j.name(i)
				}
				continue
			}
			if p.seq <= complete {
				continue
			}
			found.newest = max(found.newest, p.seq)
			body, err := j.read(p)
			if err != nil {
				return found, err
			}
			if body != nil {
				found.whole[p.seq] = p
				at = p.at + p.size()
			}
		}
	}
	return found, nil
}

// read returns the body of a record, or nil if it is not whole.
func (j *journal) read(p place) ([]byte, error) {
	s := j.files[p.file]
	if p.length > maxBody || p.at+headBytes+p.length > s.size {
		return nil, nil
	}
	b := make([]byte, headBytes+p.length)
	if _, err := s.file.ReadAt(b, p.at); err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	if checksum(b, b[headBytes:]) != p.checksum {
		return nil, nil
	}
	return b[headBytes:], nil
}

// replay hands the changes of a record to set; the journal goes on behind it.
func (j *journal) replay(p place, set func(change)) error {
	body, err := j.read(p)
	if err == nil && body == nil {
		err = errors.New("a record has changed since it was read")
	}
	if err == nil {
		err = decode(body, set)
	}
	if err != nil {
		return fmt.Errorf("read the journal of the index: %w", err)
	}
	s := &j.files[p.file]
	s.last, s.end = p.seq, p.at+p.size()
	j.active, j.seq = p.file, p.seq
	return nil
}

// rewrite writes and syncs the newest record once more, before others are appended to it. It may be in the system's memory only:
// its sync failed, and a new process finds it all the same. If that fails again, the index can be read, and nothing else.
func (j *journal) rewrite(p place) error {
	s := j.files[p.file]
	b := make([]byte, headBytes+p.length)
	if _, err := s.file.ReadAt(b, p.at); err != nil {
		return fmt.Errorf("read the journal of the index: %w", err)
	}
	if _, err := s.file.WriteAt(b, p.at); err != nil {
		j.fail(err)
	} else if err := s.file.Sync(); err != nil {
		j.fail(err)
	}
	return nil
}
