package bolt

import (
	"errors"
	"os"

	"gatehouse/registry/index/kv"
)

// reserve is a file that holds room on the disk, for one goroutine. Deleting is what makes room on a full disk, and it is written
// into the index first: then the room is given up for that. There is as much of it as there was space for, down to none, and it is
// not relied on: nothing is wrong where it is missing.
type reserve struct {
	path string
	want int64 // bytes; 0 for no reserve
	held int64
}

// reserveBytes is what bbolt may need to take up a journal, several times over.
const reserveBytes = 2 << 20

// fill takes room up to what is wanted, or what there is.
func (r *reserve) fill() {
	if r.held >= r.want {
		return
	}
	f, err := os.OpenFile(r.path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return
	}
	defer f.Close()
	zeros := make([]byte, 64<<10)
	for r.held < r.want {
		n, err := f.WriteAt(zeros[:min(int64(len(zeros)), r.want-r.held)], r.held)
		r.held += int64(n)
		if err != nil {
			break
		}
	}
	if f.Sync() != nil {
		r.release()
	}
}

// release gives the room back, and reports whether there was any.
func (r *reserve) release() bool {
	held := r.held > 0
	r.held = 0
	return r.want > 0 && os.Remove(r.path) == nil && held
}

// makeRoom is drain, with the reserve if need be. What bbolt did not need of that is taken again. Whoever leads calls it.
func (db *DB) makeRoom() error {
	err := db.drain()
	if errors.Is(err, kv.ErrNoSpace) && db.reserve.release() {
		err = db.drain()
		db.reserve.fill()
	}
	return err
}
