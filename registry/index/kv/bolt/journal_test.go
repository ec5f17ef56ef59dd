package bolt

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"go.etcd.io/bbolt"
)

// start opens a new index with its journal on a drive.
func start(t *testing.T, d *drive, change func(*options)) (*DB, string) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "index.db")
	o := d.options()
	if change != nil {
		change(&o)
	}
	db, err := openWith(path, o)
	must(t, err)
	t.Cleanup(func() { db.Close() })
	return db, path
}

// TestOneSync counts what a commit costs: one sync, and one more when the journal gets room.
func TestOneSync(t *testing.T) {
	d := newDrive()
	db, _ := start(t, d, func(o *options) { o.memory, o.journal = 1<<30, 1<<30 })
	d.takeSyncs()
	before := db.bolt.Stats().TxStats
	growths := 0
	for i := range 1000 {
		must(t, pairs{"key": strconv.Itoa(i), "other": strings.Repeat("x", i)}.set(db))
		switch n := d.takeSyncs(); {
		case n == 2:
			growths++
		case n != 1:
			t.Fatalf("commit %d made %d syncs", i, n)
		}
	}
	if growths != 4 { // from 256 KiB to 512 KiB, 1, 2 and 4 MiB; each is synced before there is a record in it
		t.Errorf("the journal was given room %d times for 1000 pages", growths)
	}
	after := db.bolt.Stats().TxStats
	if n := after.GetWrite() - before.GetWrite(); n > 0 {
		t.Errorf("bbolt wrote %d pages", n)
	}
	contentsOf(t, db)
	must(t, pairs{}.set(db)) // nothing
	if n := d.takeSyncs(); n > 0 {
		t.Errorf("%d syncs for reading", n)
	}
}

// threeRecords returns an index that was killed after three commits, and the contents after each.
func threeRecords(t *testing.T, d *drive) (path string, states []pairs) {
	t.Helper()
	db, path := start(t, d, nil)
	states = []pairs{{}}
	for i, p := range []pairs{{"a": "1", "b": "1"}, {"a": strings.Repeat("2", 5000), "c": "2"}, {"b": "-", "d": "3"}} {
		must(t, p.set(db))
		states = append(states, states[i].with(p))
	}
	return copyIndex(t, path), states
}

// recordsAt returns where each record of a journal file starts, and where what it says ends.
func recordsAt(t *testing.T, journal []byte) (starts, ends []int) {
	t.Helper()
	for at := 0; at < len(journal); {
		h, ok := decodeHead(journal[at:])
		if !ok {
			break
		}
		starts, ends = append(starts, at), append(ends, at+headBytes+int(h.length))
		at += int(h.size())
	}
	return starts, ends
}

// TestCut cuts the journal at every byte of three records, and lets each byte be the first that is lost while the file has its
// size: what was committed before is there, and the record that is not whole is not. A file of a size that it never had is refused.
func TestCut(t *testing.T) {
	path, states := threeRecords(t, newDrive())
	whole, err := os.ReadFile(path + "-journal-0")
	must(t, err)
	starts, ends := recordsAt(t, whole)
	if len(starts) != 3 || starts[2]-starts[1] != 2*pageBytes {
		t.Fatalf("the records start at %d", starts)
	}
	index := filepath.Join(t.TempDir(), "index.db")
	for at := 0; at <= starts[2]+pageBytes; at++ {
		left := 0
		for left < 3 && ends[left] <= at {
			left++
		}
		for _, content := range [][]byte{whole[:at], append(append([]byte(nil), whole[:at]...), make([]byte, len(whole)-at)...)} {
			j := journal{path: "journal"}
			j.files[0] = segment{file: memory(content), size: int64(len(content))}
			h, _ := decodeHead(whole)
			j.id = h.id
			found, err := j.scan(0)
			must(t, err)
			if len(found.whole) != left || found.newest > uint64(left+1) {
				t.Fatalf("cut at %d: %d records, the newest %d; want %d", at, len(found.whole), found.newest, left)
			}
			if near(at, starts) || near(at, ends) {
				copyFile(t, path, index)
				must(t, os.WriteFile(index+"-journal-0", content, 0o600))
				if len(content) > 0 && len(content)%pageBytes == 0 {
					finds(t, index, states[left])
				} else if db, err := openWith(index, newDrive().options()); err == nil || !strings.Contains(err.Error(), "was cut short") {
					t.Fatalf("cut at %d: %v, %v", at, db, err)
				}
			}
		}
	}
}

// near reports whether at is one of places, or next to it.
func near(at int, places []int) bool {
	for _, p := range places {
		if at >= p-1 && at <= p+1 {
			return true
		}
	}
	return false
}

// memory is a file that is only read.
type memory []byte

func (m memory) ReadAt(b []byte, at int64) (int, error) {
	return bytes.NewReader(m).ReadAt(b, at)
}
func (memory) WriteAt(b []byte, at int64) (int, error) { panic("written") }
func (memory) Truncate(int64) error                    { panic("truncated") }
func (memory) Sync() error                             { panic("synced") }
func (memory) Close() error                            { return nil }
func (m memory) Size() (int64, error)                  { return int64(len(m)), nil }

// TestDamage turns each byte of three records in turn. A record behind which there are others was acknowledged: the index is not
// opened without it, and nothing is changed, so that it opens again when the byte is right.
func TestDamage(t *testing.T) {
	path, states := threeRecords(t, newDrive())
	file := path + "-journal-0"
	whole, err := os.ReadFile(file)
	must(t, err)
	starts, ends := recordsAt(t, whole)
	for k := range starts {
		for at := starts[k]; at < ends[k]; at++ {
			if at > starts[k]+headBytes+100 && at < ends[k]-10 && at%97 != 0 {
				continue // the long value
			}
			if k == 2 && at > starts[k] && at%10 != 0 {
				continue // all the same
			}
			damaged := append([]byte(nil), whole...)
			damaged[at] ^= 0x40
			must(t, os.WriteFile(file, damaged, 0o600))
			if k == 2 && (at < starts[k]+16 || at >= starts[k]+24) { // as if it had been torn; but its sequence is believed
				c := copyIndex(t, path)
				finds(t, c, states[2])
				continue
			}
			db, err := openWith(path, newDrive().options())
			if err == nil {
				t.Fatalf("record %d, byte %d: opened", k+1, at-starts[k])
			}
			lacks := fmt.Sprintf("lacks record %d", k+1)
			foreign := k == 0 && at >= 8 && at < 16
			if !strings.Contains(err.Error(), lacks) && !foreign || foreign && !strings.Contains(err.Error(), "another index") {
				t.Fatalf("record %d, byte %d: %v", k+1, at-starts[k], err)
			}
			if now, _ := os.ReadFile(file); db != nil || string(now) != string(damaged) {
				t.Fatalf("record %d, byte %d: the journal was changed", k+1, at-starts[k])
			}
		}
	}
	must(t, os.WriteFile(file, whole, 0o600))
	finds(t, path, states[3])
}

// TestWrongJournal has journals that do not belong to the index: one of another, and one that goes on where the index, restored
// from a backup, is not.
func TestWrongJournal(t *testing.T) {
	path, _ := threeRecords(t, newDrive())
	other, _ := threeRecords(t, newDrive())
	mixed := copyIndex(t, path)
	copyFile(t, other+"-journal-0", mixed+"-journal-0")
	if _, err := Open(mixed); err == nil || !strings.Contains(err.Error(), "belongs to another index") {
		t.Errorf("with the journal of another index: %v", err)
	}
	must(t, os.Remove(mixed+"-journal-0"))
	if _, err := Open(mixed); err == nil || !strings.Contains(err.Error(), "is missing") {
		t.Errorf("without a journal: %v", err)
	}

	db, err := openWith(path, newDrive().options())
	must(t, err)
	must(t, db.Close())
	db, err = openWith(path, newDrive().options())
	must(t, err)
	must(t, pairs{"f": "4"}.set(db))
	later := copyIndex(t, path)
	must(t, db.Close())
	copyFile(t, other, later) // an older index.db; then one of the same identity
	if _, err := Open(later); err == nil {
		t.Error("opened with the journal of another index")
	}
	copyFile(t, mixed, later)
	if _, err := Open(later); err == nil || !strings.Contains(err.Error(), "lacks record") {
		t.Errorf("an index from a backup with a newer journal: %v", err)
	}
}

// TestForged stores values that look like records of a journal, where a torn or old record leaves them on the pages that are
// looked at: they are not taken for records.
func TestForged(t *testing.T) {
	d := newDrive()
	db, path := start(t, d, nil)
	forged, err := encode(nil, 12345, 99, []change{{"forged", write{value: []byte("1")}}})
	must(t, err)
	want := pairs{}
	for shift := range 64 { // in some of them a record's head is at the start of a page
		value := strings.Repeat("x", shift*64) + strings.Repeat(string(forged[:64]), 300)
		p := pairs{"key" + strconv.Itoa(shift): value}
		must(t, p.set(db))
		want = want.with(p)
	}
	must(t, pairs{"last": strings.Repeat(string(forged[:64]), 300)}.set(db))
	finds(t, copyIndex(t, path), want.with(pairs{"last": strings.Repeat(string(forged[:64]), 300)}))
}

// TestOlder opens a file of the time before there was a journal.
func TestOlder(t *testing.T) {
	path := filepath.Join(t.TempDir(), "index.db")
	b, err := bbolt.Open(path, 0o600, nil)
	must(t, err)
	must(t, b.Update(func(tx *bbolt.Tx) error {
		b, err := tx.CreateBucket(bucket)
		if err != nil {
			return err
		}
		return b.Put([]byte("a"), []byte("1"))
	}))
	must(t, b.Close())
	finds(t, path, pairs{"a": "1"})
}
