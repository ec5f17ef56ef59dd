package bolt

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"testing"
)

// TestPowerLossInACommit loses power before and after each operation on the journal's files, with any part of what was not
// synced on disk: what was acknowledged is there, and of the commit under way all or nothing.
func TestPowerLossInACommit(t *testing.T) {
	d := newDrive()
	random := rand.New(rand.NewPCG(1, 2))
	var path string
	var before, after pairs
	armed := false
	look := func() {
		for _, chance := range []float64{0, 0.5, 0.9, 1} {
			image := d.image(t, path, func() bool { return random.Float64() < chance })
			finds(t, image, before, after)
		}
	}
	d.fail = func(op, name string) error {
		if armed {
			look()
		}
		return nil
	}
	db, path2 := start(t, d, func(o *options) { o.memory, o.journal = 1<<30, 1<<30 })
	path = path2
	before = pairs{}
	for i, size := range []int{10, 6000, 1, 300 << 10} { // the last needs room
		next := pairs{"key": strings.Repeat(strconv.Itoa(i), size), "n" + strconv.Itoa(i): "1", "n" + strconv.Itoa(i-1): "-"}
		after = before.with(next)
		armed = true
		must(t, next.set(db))
		armed = false
		before = after
		look()
	}
}

// TestCrashInACheckpoint ends the process, or loses power, at each step of checkpoints, with commits between the steps. What was
// acknowledged by then is there.
func TestCrashInACheckpoint(t *testing.T) {
	for _, power := range []bool{true, false} {
		t.Run(map[bool]string{true: "power", false: "process"}[power], func(t *testing.T) { crashInACheckpoint(t, power) })
	}
}

func crashInACheckpoint(t *testing.T, power bool) {
	d := newDrive()
	random := rand.New(rand.NewPCG(3, 4))
	var (
		db           *DB
		path         string
		acknowledged = pairs{}
		n            int
		closing      bool
		seen         = map[string]int{}
	)
	commit := func() {
		next := pairs{fmt.Sprint("key", random.IntN(40)): strings.Repeat("v", random.IntN(600)) + strconv.Itoa(n),
			fmt.Sprint("other", random.IntN(40)): "-", fmt.Sprint("other", random.IntN(40)): "o"}
		n++
		acknowledged = acknowledged.with(next) // by the time that anybody looks, which is after a checkpoint began
		if err := next.set(db); err != nil {
			t.Error(err)
		}
	}
	crash := func() {
		if power {
			finds(t, d.image(t, path, func() bool { return random.IntN(2) == 0 }), acknowledged)
		} else {
			finds(t, copyIndex(t, path), acknowledged)
		}
	}
	db, path = start(t, d, func(o *options) {
		o.step = func(step string) error {
			if step != "transaction" && step != "moved" {
				return nil
			}
			seen[step]++
			crash()
			if !closing {
				commit() // while the checkpoint is under way
				crash()
			}
			return nil
		}
	})
	for range 80 {
		commit()
		db.lead <- struct{}{}
		running := db.running
		<-db.lead
		if running != nil { // let it commit
			<-running.done
		}
	}
	if seen["transaction"] < 10 || seen["moved"] < 3 {
		t.Errorf("only %v steps were seen", seen)
	}
	if got := contentsOf(t, db); !maps.Equal(got, acknowledged) {
		t.Errorf("found %s, want %s", short(got), short(acknowledged))
	}
	closing = true
	must(t, db.Close())
	finds(t, copyIndex(t, path), acknowledged)
}

// TestCrashInRecovery ends the process at each step of a recovery, again and again.
func TestCrashInRecovery(t *testing.T) {
	d := newDrive()
	db, path := start(t, d, func(o *options) { o.memory, o.journal = 1<<30, 1<<30 })
	want := pairs{}
	for i := range 30 {
		p := pairs{"key" + strconv.Itoa(i): strconv.Itoa(i)}
		must(t, p.set(db))
		want = want.with(p)
	}
	left := copyIndex(t, path)
	steps, opened := 0, false
	o := newDrive().options()
	o.step = func(string) error {
		if !opened {
			steps++
			finds(t, copyIndex(t, left), want)
		}
		return nil
	}
	recovered, err := openWith(left, o)
	must(t, err)
	opened = true
	defer recovered.Close()
	if steps != 7 || !maps.Equal(contentsOf(t, recovered), want) {
		t.Errorf("%d steps, %s", steps, short(contentsOf(t, recovered)))
	}
	// The journal is found although bbolt has all of it, and what was committed after it too.
	finds(t, copyIndex(t, left), want)
	must(t, pairs{"after": "1"}.set(recovered))
	finds(t, copyIndex(t, left), want.with(pairs{"after": "1"}))
	if files, _ := filepath.Glob(left + "-journal-*"); len(files) == 0 {
		t.Error("an index that is open has no journal")
	}
}

// TestJournalLost takes the journal away in the middle of a checkpoint: bbolt has a part of it, and is not opened as if that were all.
func TestJournalLost(t *testing.T) {
	var path, half string
	db, path := start(t, newDrive(), func(o *options) {
		o.memory = 1 << 30
		n := 0
		o.step = func(step string) error {
			if n++; step == "transaction" && n == 3 { // the second
				half = filepath.Join(t.TempDir(), "index.db")
				copyFile(t, path, half)
			}
			return nil
		}
	})
	for i := range 10 {
		must(t, pairs{"key" + strconv.Itoa(i): strconv.Itoa(i)}.set(db))
	}
	must(t, db.Close())
	if _, err := openWith(half, newDrive().options()); err == nil || !strings.Contains(err.Error(), "is missing or was cut short") {
		t.Errorf("opened with half a checkpoint: %v", err)
	}
}

// TestReaderIsOvertaken has a reader that took its state before a checkpoint of something newer began, and comes to bbolt when a
// part of that is there: it starts over.
func TestReaderIsOvertaken(t *testing.T) {
	var db *DB
	var older *state
	read := make(chan pairs)
	steps := 0
	db, _ = start(t, newDrive(), func(o *options) {
		o.memory = 1 << 30
		o.step = func(step string) error {
			if steps++; steps != 3 { // the second transaction
				return nil
			}
			newer := db.state.Swap(older)
			started := make(chan struct{})
			go func() {
				close(started)
				read <- contentsOf(t, db)
			}()
			<-started
			for range 1000 { // in which a reader that does not look gets along
				runtime.Gosched()
			}
			db.state.Store(newer)
			if p := <-read; len(p) != 21 || p["z"] != "2" {
				t.Errorf("in the middle of a checkpoint there is %s", short(p))
			}
			return nil
		}
	})
	must(t, pairs{"z": "1"}.set(db))
	older = db.state.Load()
	newer := pairs{"z": "2"}
	for i := range 20 {
		newer["key"+strconv.Itoa(i)] = "2"
	}
	must(t, newer.set(db))
	must(t, db.Close())
	if steps < 4 {
		t.Errorf("%d steps", steps)
	}
}
