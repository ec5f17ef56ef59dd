package bolt

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"

	"gatehouse/registry/index/kv"
)

// script lets the k-th operation of a kind fail, counted from when it is set.
type script struct {
	op   string
	err  error
	skip atomic.Int64 // negative: off
}

func (s *script) fail(op, name string) error {
	if op == s.op && s.skip.Add(-1) == -1 {
		return s.err
	}
	return nil
}

// TestSyncFails fails a sync or a write of the journal with anything but a full disk: that commit fails, and so does each after
// it, though the system would take it. Reading goes on, and what was acknowledged is there in the end.
func TestSyncFails(t *testing.T) {
	for _, op := range []string{"sync", "write"} {
		d := newDrive()
		s := &script{op: op, err: syscall.EIO}
		s.skip.Store(1 << 40)
		d.fail = s.fail
		db, path := start(t, d, nil)
		must(t, pairs{"a": "1"}.set(db))
		s.skip.Store(0)
		for i := range 3 {
			d.takeSyncs()
			err := pairs{"a": "2"}.set(db)
			if !errors.Is(err, syscall.EIO) || errors.Is(err, kv.ErrNoSpace) || !strings.Contains(err.Error(), "restart") {
				t.Errorf("%s fails, commit %d: %v", op, i, err)
			}
			if n := d.takeSyncs(); i > 0 && n > 0 {
				t.Errorf("%s failed, and there was a sync after it", op)
			}
		}
		if got := contentsOf(t, db); !maps.Equal(got, pairs{"a": "1"}) {
			t.Errorf("%s fails: found %v", op, got)
		}
		never := func() bool { return false }
		finds(t, d.image(t, path, never), pairs{"a": "1"})
		killed := copyIndex(t, path) // the system's memory has what the disk has not
		finds(t, killed, pairs{"a": "1"}, pairs{"a": "2"})
		must(t, db.Close())
		finds(t, copyIndex(t, path), pairs{"a": "1"})
	}
}

// TestUnsyncedRecordIsNotBuiltOn: a record whose sync failed is found by the next process. On a disk that is full, where it cannot go
// into bbolt, it is synced before anything follows it.
func TestUnsyncedRecordIsNotBuiltOn(t *testing.T) {
	path, states := threeRecords(t, newDrive())
	d := newDrive()
	o := d.options()
	o.step = func(string) error { panic("a checkpoint") }
	db := &DB{options: o}
	db.journal = &journal{path: path + "-journal-", open: d.open, limit: o.journal}
	must(t, db.journal.load())
	h, _ := decodeHead(readAll(t, db.journal.files[0]))
	db.journal.id = h.id
	found, err := db.journal.scan(0)
	must(t, err)
	clear(d.files["index.db-journal-0"].durable[found.whole[3].at:]) // what the disk really has
	must(t, db.journal.rewrite(found.whole[3]))
	must(t, db.journal.close())
	finds(t, d.image(t, path, func() bool { return false }), states[3])
}

func readAll(t *testing.T, s segment) []byte {
	t.Helper()
	b := make([]byte, s.size)
	_, err := s.file.ReadAt(b, 0)
	must(t, err)
	return b
}

// TestFull has no space for each write, and for each sync that makes room, in turn: the commit says so and takes place not at
// all, what was acknowledged is there, and the next commit works.
func TestFull(t *testing.T) {
	for _, op := range []string{"write", "sync"} {
		for k := range 40 {
			d := newDrive()
			s := &script{op: op, err: syscall.ENOSPC}
			s.skip.Store(1 << 40)
			d.fail = s.fail
			db, path := start(t, d, func(o *options) { o.memory = 1 << 30; o.journal = 1 << 30 })
			s.skip.Store(int64(k))
			want, failed := pairs{}, 0
			for i := range 12 {
				p := pairs{"key" + strconv.Itoa(i): strings.Repeat("x", 60<<10)}
				switch err := p.set(db); {
				case err == nil:
					want = want.with(p)
				case errors.Is(err, kv.ErrNoSpace):
					failed++
				case op == "sync" && errors.Is(err, syscall.ENOSPC) && strings.Contains(err.Error(), "restart"):
					failed = 100 // the sync of a record: nothing else is true
				default:
					t.Fatalf("%s %d: %v", op, k, err)
				}
				if failed >= 100 {
					break
				}
			}
			if failed > 1 && failed < 100 {
				t.Errorf("%s %d: %d commits failed", op, k, failed)
			}
			if got := contentsOf(t, db); !maps.Equal(got, want) {
				t.Errorf("%s %d: found %d pairs, want %d", op, k, len(got), len(want))
			}
			if failed < 100 && k%5 == 0 {
				finds(t, d.image(t, path, func() bool { return false }), want)
			}
			must(t, db.Close())
			if s.skip.Load() > 0 {
				break // there are fewer operations
			}
		}
	}
}

// TestCutOff: of a record for which there was no space nothing is left in the file.
func TestCutOff(t *testing.T) {
	d := newDrive()
	s := &script{op: "write", err: syscall.ENOSPC}
	s.skip.Store(1 << 40)
	d.fail = s.fail
	db, path := start(t, d, nil)
	must(t, pairs{"a": "1"}.set(db))
	s.skip.Store(0)
	err := db.journal.append([]change{{"b", write{value: make([]byte, 3*pageBytes)}}}, 0)
	if !errors.Is(err, kv.ErrNoSpace) {
		t.Fatal(err)
	}
	content, err := os.ReadFile(path + "-journal-0")
	must(t, err)
	if starts, _ := recordsAt(t, content); len(starts) != 1 || len(content) != pageBytes {
		t.Errorf("the file has %d bytes, records at %d", len(content), starts)
	}
}

// TestNothingGrows has a disk on which no file can grow any more: the journal goes on in the room that it has, with a checkpoint
// each time that it is full.
func TestNothingGrows(t *testing.T) {
	var full atomic.Bool
	db, path := start(t, newDrive(), func(o *options) {
		o.memory, o.journal = 1<<30, 1<<30
		plain := o.open
		o.open = func(path string, create bool) (file, error) {
			f, err := plain(path, create)
			return bounded{f, &full}, err
		}
	})
	full.Store(true)
	want := pairs{}
	for i := range 300 { // of 4 KiB each, in 256 KiB
		p := pairs{"key" + strconv.Itoa(i%10): strconv.Itoa(i)}
		if err := p.set(db); err != nil {
			t.Fatalf("commit %d: %v", i, err)
		}
		want = want.with(p)
	}
	finds(t, copyIndex(t, path), want)
	err := pairs{"large": strings.Repeat("x", 300<<10)}.set(db)
	if !errors.Is(err, kv.ErrNoSpace) {
		t.Errorf("a record that is larger than the journal: %v", err)
	}
	must(t, pairs{"small": "1"}.set(db))
	finds(t, copyIndex(t, path), want.with(pairs{"small": "1"}))
	full.Store(false)
	must(t, pairs{"large": strings.Repeat("x", 300<<10)}.set(db))
}

// bounded is a file that cannot grow while the disk is full.
type bounded struct {
	file
	full *atomic.Bool
}

func (b bounded) WriteAt(p []byte, at int64) (int, error) {
	size, err := b.Size()
	if err != nil || !b.full.Load() || at+int64(len(p)) <= size {
		return b.file.WriteAt(p, at)
	}
	n, err := b.file.WriteAt(p[:max(0, min(int64(len(p)), size-at))], at)
	return n, errors.Join(syscall.ENOSPC, err)
}

// TestCheckpointFails ends bbolt in the middle of a checkpoint: nothing is committed any more, and nothing is lost.
func TestCheckpointFails(t *testing.T) {
	transactions := 0
	var db *DB
	db, path := start(t, newDrive(), func(o *options) {
		o.step = func(step string) error {
			if step == "transaction" {
				if transactions++; transactions == 2 {
					db.bolt.Close()
				}
			}
			return nil
		}
	})
	want := pairs{}
	var err error
	for i := range 1000 {
		p := pairs{"key" + strconv.Itoa(i): strings.Repeat("x", 100)}
		if err = p.set(db); err != nil {
			break
		}
		want = want.with(p)
	}
	if err == nil {
		t.Fatal("commits go on although checkpoints fail")
	}
	if err = db.Close(); err == nil || !strings.Contains(err.Error(), "still in its journal") {
		t.Errorf("close: %v", err)
	}
	finds(t, path, want)
}

// TestCheckpointWithoutSpace has no space for bbolt, at the start of a checkpoint or in the middle: commits go on until memory is
// full, nothing is lost meanwhile, and all is well when there is space.
func TestCheckpointWithoutSpace(t *testing.T) {
	var full atomic.Bool
	steps := 0
	db, path := start(t, newDrive(), func(o *options) {
		o.step = func(step string) error {
			if step == "transaction" {
				if steps++; full.Load() && steps%3 > 0 {
					return syscall.ENOSPC
				}
			}
			return nil
		}
	})
	want := pairs{}
	commit := func(i int) error {
		p := pairs{"key" + strconv.Itoa(i): strings.Repeat("x", 300) + strconv.Itoa(i)}
		err := p.set(db)
		if err == nil {
			want = want.with(p)
		}
		return err
	}
	full.Store(true)
	refused := 0
	for i := range 200 {
		if err := commit(i); errors.Is(err, kv.ErrNoSpace) {
			refused++
		} else if err != nil {
			t.Fatalf("commit %d: %v", i, err)
		}
		if i%10 == 0 {
			finds(t, copyIndex(t, path), want)
		}
	}
	if refused < 100 || len(want) < 30 { // of 450 bytes, in 16 KiB
		t.Errorf("%d commits were refused, %d taken", refused, len(want))
	}
	if got := contentsOf(t, db); !maps.Equal(got, want) {
		t.Errorf("found %d pairs, want %d", len(got), len(want))
	}
	full.Store(false)
	for i := range 200 {
		must(t, commit(i))
	}
	must(t, db.Close())
	finds(t, path, want)
}

// TestSlowCheckpoint holds a checkpoint up: commits go on until memory is full, and wait then. Readers wait for nothing.
func TestSlowCheckpoint(t *testing.T) {
	held, full := make(chan struct{}), make(chan struct{}, 100)
	db, path := start(t, newDrive(), func(o *options) {
		o.step = func(step string) error {
			switch step {
			case "transaction":
				<-held
			case "full":
				full <- struct{}{}
			}
			return nil
		}
	})
	const n = 100
	var done atomic.Int64
	errs := make(chan error, 1)
	go func() {
		for i := range n {
			p := pairs{fmt.Sprintf("key%03d", i): strings.Repeat("x", 900)}
			if err := p.set(db); err != nil {
				errs <- err
				return
			}
			done.Add(1)
		}
		errs <- nil
	}()
	<-full
	waiting := int(done.Load())
	if waiting < 8 || waiting > 17 { // 8 KiB begin a checkpoint, 16 KiB wait for it
		t.Errorf("commits wait for a checkpoint after %d of 1 KiB", waiting)
	}
	if got := contentsOf(t, db); len(got) != waiting {
		t.Errorf("%d pairs while commits wait, want %d", len(got), waiting)
	}
	close(held)
	must(t, <-errs)
	if got := contentsOf(t, db); len(got) != n {
		t.Errorf("%d pairs, want %d", len(got), n)
	}
	must(t, db.Close())
	db = open(t, path)
	defer db.Close()
	if got := contentsOf(t, db); len(got) != n {
		t.Errorf("%d pairs after reopening, want %d", len(got), n)
	}
}
