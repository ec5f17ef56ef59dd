package bolt

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"gatehouse/registry/index/kv"
)

// TestModel does things at random, to an index with many checkpoints and to a map, and compares. Others read meanwhile, and see
// in each state what is true of all.
func TestModel(t *testing.T) {
	for seed := range uint64(4) {
		t.Run(strconv.FormatUint(seed, 10), func(t *testing.T) { runModel(t, rand.New(rand.NewPCG(seed, 7))) })
	}
}

func runModel(t *testing.T, random *rand.Rand) {
	path := filepath.Join(t.TempDir(), "index.db")
	o := newDrive().options()
	o.memory = 4 << 10
	model := pairs{}
	for range 4 { // times that it is opened
		db, err := openWith(path, o)
		must(t, err)
		stop := watch(t, db)
		for range 200 {
			if random.IntN(10) == 0 {
				scanSome(t, db, model, random)
				continue
			}
			model = randomUpdate(t, db, model, random)
		}
		stop()
		if got := contentsOf(t, db); !maps.Equal(got, model) {
			t.Fatalf("found %s\nwant %s", short(got), short(model))
		}
		if random.IntN(2) == 0 {
			must(t, db.Close())
			continue
		}
		killed := copyIndex(t, path)
		must(t, db.Close())
		path = killed
	}
}

// randomUpdate moves the model and the index on alike: keys come, go and change, and the counters "left" and "right" are equal.
func randomUpdate(t *testing.T, db *DB, model pairs, random *rand.Rand) pairs {
	t.Helper()
	no := errors.New("no")
	fails := random.IntN(10) == 0
	next := pairs{}
	for range random.IntN(6) {
		key := fmt.Sprintf("key%02d", random.IntN(60))
		if next[key] = strings.Repeat("v", random.IntN(200)) + "."; random.IntN(3) == 0 {
			next[key] = "-"
		}
	}
	count := strconv.Itoa(random.IntN(1000))
	next["left"], next["right"] = count, count
	if random.IntN(5) == 0 {
		next["left"], next["right"] = "-", "-"
	}
	err := db.Update(t.Context(), func(w kv.Writer) error {
		for k, v := range next {
			if v == "-" {
				w.Delete([]byte(k))
			} else {
				w.Put([]byte(k), []byte(v))
			}
		}
		for k, v := range next { // own writes
			got, err := w.Get([]byte(k))
			if v == "-" && !errors.Is(err, kv.ErrNotFound) || v != "-" && string(got) != v {
				t.Errorf("own write of %s: %q, %v", k, got, err)
			}
		}
		if fails {
			return no
		}
		return nil
	})
	if fails && err == no {
		return model
	}
	must(t, err)
	return model.with(next)
}

// scanSome compares a part of the index with that of the model.
func scanSome(t *testing.T, db *DB, model pairs, random *rand.Rand) {
	t.Helper()
	from, to := fmt.Sprintf("key%02d", random.IntN(60)), fmt.Sprintf("key%02d", random.IntN(60))
	var want, got []string
	for _, k := range slices.Sorted(maps.Keys(model)) {
		if k >= from && k < to {
			want = append(want, k+"="+model[k])
		}
	}
	must(t, db.View(t.Context(), func(r kv.Reader) error {
		for p, err := range r.Scan([]byte(from), []byte(to)) {
			if err != nil {
				return err
			}
			got = append(got, string(p.Key)+"="+string(p.Value))
			if v, err := r.Get(p.Key); err != nil || string(v) != string(p.Value) {
				t.Errorf("get and scan of %s differ", p.Key)
			}
		}
		return nil
	}))
	if !slices.Equal(got, want) {
		t.Fatalf("scan from %s to %s:\n%q, want\n%q", from, to, got, want)
	}
}

// watch reads until it is stopped, on several goroutines: in each state the two counters are there or not, and equal.
func watch(t *testing.T, db *DB) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	for range 2 {
		wg.Go(func() {
			for ctx.Err() == nil {
				err := db.View(context.Background(), func(r kv.Reader) error {
					left, err1 := r.Get([]byte("left"))
					var right []byte
					for p := range r.Scan([]byte("right"), nil) {
						right = p.Value
					}
					if string(left) != string(right) || errors.Is(err1, kv.ErrNotFound) != (right == nil) {
						return fmt.Errorf("left is %q (%v), right is %q", left, err1, right)
					}
					return nil
				})
				if err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	return func() {
		cancel()
		wg.Wait()
	}
}

// TestTransfers has many writers and readers at once: amounts move between accounts, which go when they are empty, and the sum
// is the same in each state.
func TestTransfers(t *testing.T) {
	o := newDrive().options()
	o.memory = 2 << 10
	db, err := openWith(filepath.Join(t.TempDir(), "index.db"), o)
	must(t, err)
	const accounts, sum = 20, 1000
	must(t, pairs{"account0": strconv.Itoa(sum)}.set(db))
	check := func() error {
		return db.View(context.Background(), func(r kv.Reader) error {
			n := 0
			for p, err := range r.Scan(nil, nil) {
				v, _ := strconv.Atoi(string(p.Value))
				if n += v; err != nil || v == 0 {
					return fmt.Errorf("%s has %q: %v", p.Key, p.Value, err)
				}
			}
			if n != sum {
				return fmt.Errorf("the sum is %d", n)
			}
			return nil
		})
	}
	var writers, readers sync.WaitGroup
	ctx, cancel := context.WithCancel(context.Background())
	for range 2 {
		readers.Go(func() {
			for ctx.Err() == nil {
				if err := check(); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	for i := range uint64(8) {
		writers.Go(func() {
			random := rand.New(rand.NewPCG(i, 1))
			for range 200 {
				from, to := random.IntN(accounts), random.IntN(accounts)
				if err := db.Update(context.Background(), func(w kv.Writer) error { return transfer(w, from, to) }); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	writers.Wait()
	cancel()
	readers.Wait()
	must(t, check())
	must(t, db.Close())
}

// transfer moves half of what one account has to another.
func transfer(w kv.Writer, from, to int) error {
	if from == to {
		return nil
	}
	key := func(n int) []byte { return []byte("account" + strconv.Itoa(n)) }
	amount := func(n int) int {
		v, _ := w.Get(key(n))
		i, _ := strconv.Atoi(string(v))
		return i
	}
	a, b := amount(from), amount(to)
	half := (a + 1) / 2
	for n, v := range map[int]int{from: a - half, to: b + half} {
		err := w.Put(key(n), []byte(strconv.Itoa(v)))
		if v == 0 {
			err = w.Delete(key(n))
		}
		if err != nil {
			return err
		}
	}
	return nil
}
