// Package kvtest is the contract of kv.DB as tests. Each engine runs it.
package kvtest

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"gatehouse/registry/index/kv"
)

// Run tests the engine that open opens, empty each time.
func Run(t *testing.T, open func(t *testing.T) kv.DB) {
	tests := map[string]func(*testing.T, kv.DB){
		"get and put":               getPut,
		"scan":                      scan,
		"scan sees own writes":      scanOwnWrites,
		"writes during a scan":      writesDuringScan,
		"a failed update":           failedUpdate,
		"failures among successes":  failuresAmongSuccesses,
		"updates are serial":        serialUpdates,
		"a view is one state":       viewIsOneState,
		"a panic":                   panics,
		"empty keys, empty values":  empties,
		"an update that only reads": updateReads,
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			db := open(t)
			t.Cleanup(func() {
				if err := db.Close(); err != nil {
					t.Errorf("close: %v", err)
				}
			})
			test(t, db)
		})
	}
}

// Put writes pairs "key=value".
func Put(t *testing.T, db kv.DB, pairs ...string) {
	t.Helper()
	must(t, db.Update(t.Context(), func(w kv.Writer) error { return puts(w, pairs...) }))
}

// Dump returns all pairs in [from, to) as "key=value"; to "" is the end.
func Dump(t *testing.T, db kv.DB, from, to string) []string {
	t.Helper()
	var out []string
	must(t, db.View(t.Context(), func(r kv.Reader) (err error) {
		out, err = dump(r, from, to)
		return err
	}))
	return out
}

func puts(w kv.Writer, pairs ...string) error {
	for _, p := range pairs {
		k, v, _ := strings.Cut(p, "=")
		if err := w.Put([]byte(k), []byte(v)); err != nil {
			return err
		}
	}
	return nil
}

func dump(r kv.Reader, from, to string) ([]string, error) {
	var out []string
	var end []byte
	if to != "" {
		end = []byte(to)
	}
	for p, err := range r.Scan([]byte(from), end) {
		if err != nil {
			return nil, err
		}
		out = append(out, string(p.Key)+"="+string(p.Value))
	}
	return out, nil
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func equal(t *testing.T, got []string, want ...string) {
	t.Helper()
	if !slices.Equal(got, want) {
		t.Errorf("got  %q\nwant %q", got, want)
	}
}

func getPut(t *testing.T, db kv.DB) {
	Put(t, db, "a=1", "b=2", "a=3")
	must(t, db.Update(t.Context(), func(w kv.Writer) error {
		if err := w.Delete([]byte("b")); err != nil {
			return err
		}
		if _, err := w.Get([]byte("b")); !errors.Is(err, kv.ErrNotFound) {
			t.Errorf("get after delete: %v, want ErrNotFound", err)
		}
		return w.Delete([]byte("never there"))
	}))
	must(t, db.View(t.Context(), func(r kv.Reader) error {
		v, err := r.Get([]byte("a"))
		if string(v) != "3" || err != nil {
			t.Errorf("get a = %q, %v; want 3", v, err)
		}
		if _, err := r.Get([]byte("b")); !errors.Is(err, kv.ErrNotFound) {
			t.Errorf("get b: %v, want ErrNotFound", err)
		}
		return nil
	}))
}

func scan(t *testing.T, db kv.DB) {
	Put(t, db, "a=1", "a/b=2", "a/c=3", "a0=4", "b=5")
	equal(t, Dump(t, db, "", ""), "a=1", "a/b=2", "a/c=3", "a0=4", "b=5")
	equal(t, Dump(t, db, "a/", string(kv.End([]byte("a/")))), "a/b=2", "a/c=3")
	equal(t, Dump(t, db, "a/c", "b"), "a/c=3", "a0=4")
	equal(t, Dump(t, db, "c", ""))
	equal(t, Dump(t, db, "b", "a"))
}

func scanOwnWrites(t *testing.T, db kv.DB) {
	Put(t, db, "b=1", "d=1", "f=1")
	must(t, db.Update(t.Context(), func(w kv.Writer) error {
		if err := puts(w, "a=2", "b=2", "e=2", "g=2", "h=2"); err != nil {
			return err
		}
		for _, k := range []string{"d", "h", "x"} {
			if err := w.Delete([]byte(k)); err != nil {
				return err
			}
		}
		got, err := dump(w, "", "")
		equal(t, got, "a=2", "b=2", "e=2", "f=1", "g=2")
		if err != nil {
			return err
		}
		got, err = dump(w, "b", "f")
		equal(t, got, "b=2", "e=2")
		for p := range w.Scan(nil, nil) { // leaving early is fine
			equal(t, []string{string(p.Key)}, "a")
			break
		}
		return err
	}))
	equal(t, Dump(t, db, "", ""), "a=2", "b=2", "e=2", "f=1", "g=2")
}

func writesDuringScan(t *testing.T, db kv.DB) {
	Put(t, db, "a=1", "b=1", "c=1")
	must(t, db.Update(t.Context(), func(w kv.Writer) error {
		n := 0
		for p, err := range w.Scan(nil, nil) {
			if err != nil {
				return err
			}
			n++
			if err := w.Delete(p.Key); err != nil {
				return err
			}
			if err := w.Put(append([]byte("z"), p.Key...), nil); err != nil {
				return err
			}
		}
		if n != 3 {
			t.Errorf("scan yielded %d pairs, want the 3 of its start", n)
		}
		return nil
	}))
	equal(t, Dump(t, db, "", ""), "za=", "zb=", "zc=")
}

func failedUpdate(t *testing.T, db kv.DB) {
	Put(t, db, "a=1")
	no := errors.New("no")
	err := db.Update(t.Context(), func(w kv.Writer) error {
		if err := puts(w, "a=2", "b=2"); err != nil {
			return err
		}
		return no
	})
	if err != no {
		t.Errorf("update returned %v, want fn's own error", err)
	}
	if err := db.View(t.Context(), func(kv.Reader) error { return no }); err != no {
		t.Errorf("view returned %v, want fn's own error", err)
	}
	equal(t, Dump(t, db, "", ""), "a=1")
}

// failuresAmongSuccesses has many transactions at once, half of which fail after writing: what they wrote must not be
// seen, whatever else was committed with them.
func failuresAmongSuccesses(t *testing.T, db kv.DB) {
	no := errors.New("no")
	var wg sync.WaitGroup
	for i := range 200 {
		wg.Go(func() {
			err := db.Update(t.Context(), func(w kv.Writer) error {
				if err := puts(w, fmt.Sprintf("k%03d=%d", i, i), "shared="+strconv.Itoa(i)); err != nil {
					return err
				}
				if i%2 == 1 {
					return no
				}
				return nil
			})
			if i%2 == 1 && err != no || i%2 == 0 && err != nil {
				t.Errorf("update %d: %v", i, err)
			}
		})
	}
	wg.Wait()
	got := Dump(t, db, "k", "l")
	if len(got) != 100 {
		t.Errorf("%d keys, want the 100 that were committed", len(got))
	}
	for _, p := range append(got, Dump(t, db, "shared", "")...) {
		_, v, _ := strings.Cut(p, "=")
		if n, err := strconv.Atoi(v); err != nil || n%2 == 1 {
			t.Errorf("%s was written by a transaction that failed", p)
		}
	}
}

func serialUpdates(t *testing.T, db kv.DB) {
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 50 {
				err := db.Update(t.Context(), func(w kv.Writer) error {
					n := 0
					if v, err := w.Get([]byte("n")); err == nil {
						n, _ = strconv.Atoi(string(v))
					} else if !errors.Is(err, kv.ErrNotFound) {
						return err
					}
					return w.Put([]byte("n"), []byte(strconv.Itoa(n+1)))
				})
				if err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	equal(t, Dump(t, db, "", ""), "n=400")
}

func viewIsOneState(t *testing.T, db kv.DB) {
	Put(t, db, "a=1", "b=1")
	must(t, db.View(t.Context(), func(r kv.Reader) error {
		if _, err := r.Get([]byte("a")); err != nil {
			return err
		}
		done := make(chan struct{})
		go func() {
			defer close(done)
			Put(t, db, "a=2", "b=2")
		}()
		<-done
		got, err := dump(r, "", "")
		equal(t, got, "a=1", "b=1")
		return err
	}))
	equal(t, Dump(t, db, "", ""), "a=2", "b=2")
}

func panics(t *testing.T, db kv.DB) {
	func() {
		defer func() {
			if got := recover(); got != "oops" {
				t.Errorf("recovered %v, want fn's panic", got)
			}
		}()
		_ = db.Update(t.Context(), func(w kv.Writer) error {
			_ = w.Put([]byte("a"), nil)
			panic("oops")
		})
	}()
	Put(t, db, "b=1")
	equal(t, Dump(t, db, "", ""), "b=1")
}

func empties(t *testing.T, db kv.DB) {
	err := db.Update(t.Context(), func(w kv.Writer) error { return w.Put(nil, []byte("x")) })
	if err == nil {
		t.Error("an empty key was taken")
	}
	Put(t, db, "a=")
	must(t, db.View(t.Context(), func(r kv.Reader) error {
		v, err := r.Get([]byte("a"))
		if len(v) != 0 || err != nil {
			t.Errorf("get a = %q, %v; want an empty value", v, err)
		}
		return nil
	}))
}

func updateReads(t *testing.T, db kv.DB) {
	Put(t, db, "a=1")
	must(t, db.Update(t.Context(), func(w kv.Writer) error {
		_, err := w.Get([]byte("a"))
		return err
	}))
	equal(t, Dump(t, db, "", ""), "a=1")
}
