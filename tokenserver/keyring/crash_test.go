package keyring

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"gatehouse/durable"
	"gatehouse/tokenserver/token"
)

var errCrash = errors.New("the process has died")

// crashing makes a folder's operations on files fail from the nth on, as if the process had died then: with done, after the
// last had been carried out; else with a file that was begun beside the one that was meant.
func crashing(f *Folder, n int, done bool) (died func() bool) {
	left := n
	f.write = func(path string, data []byte, perm fs.FileMode) error {
		switch {
		case left == 0 && done:
			if err := durable.WriteFile(path, data, perm); err != nil {
				return err
			}
		case left == 0:
			begun := filepath.Join(filepath.Dir(path), "."+filepath.Base(path)+".1.tmp")
			if err := os.WriteFile(begun, data[:len(data)/2], 0o600); err != nil {
				return err
			}
		}
		if left--; left < 0 {
			return errCrash
		}
		return durable.WriteFile(path, data, perm)
	}
	f.remove = func(path string) error {
		if left == 0 && done {
			if err := os.Remove(path); err != nil {
				return err
			}
		}
		if left--; left < 0 {
			return errCrash
		}
		return os.Remove(path)
	}
	return func() bool { return left < 0 }
}

// change is what a crash comes into: what was there before, and whether what was signed then is refused after it.
type change struct {
	before, change func(*bench, *Folder) error
	revokes        bool
}

// changes are all that a folder undergoes, by name.
func changes(t *testing.T) map[string]change {
	imported := newKey(t, token.RS256)
	other := newKey(t, token.ES256)
	return map[string]change{
		"first start": {change: func(_ *bench, f *Folder) error { return f.update(true, f.upkeep) }},
		"first start with x5c": {
			before: func(b *bench, _ *Folder) error { b.o.X5C = true; return nil },
			change: func(_ *bench, f *Folder) error { return f.update(true, f.upkeep) }},
		"first import": {change: func(_ *bench, f *Folder) error { _, err := f.Import(imported, nil, true); return err }},
		"takeover": {
			before: func(b *bench, _ *Folder) error { return b.putKey(other) },
			change: func(_ *bench, f *Folder) error { return f.update(true, f.upkeep) }},
		"rotate":     {before: started, change: func(_ *bench, f *Folder) error { return f.Rotate(Rotation{}) }},
		"rotate now": {before: started, change: func(_ *bench, f *Folder) error { return f.Rotate(Rotation{Now: true}) }},
		"rotate with x5c": {
			before: func(b *bench, f *Folder) error { b.o.X5C = true; return started(b, f) },
			change: func(_ *bench, f *Folder) error { return f.Rotate(Rotation{Now: true, RenewCA: true}) }},
		"revoke": {before: started, revokes: true, change: func(_ *bench, f *Folder) error { return f.Rotate(Rotation{Revoke: true}) }},
		"import": {before: started, change: func(_ *bench, f *Folder) error { _, err := f.Import(imported, nil, true); return err }},
		"a key goes": {
			before: func(b *bench, f *Folder) error {
				if err := started(b, f); err != nil {
					return err
				}
				b.rotate(Rotation{Now: true})
				b.ring.tick()
				b.advance(retire)
				b.sign()
				return nil
			},
			change: func(_ *bench, f *Folder) error { return f.update(false, f.upkeep) }},
	}
}

// TestCrashes has the process die between any two writes of every change: what was signed before is accepted after the next start,
// and the change can be made again.
func TestCrashes(t *testing.T) {
	for name, c := range changes(t) {
		t.Run(name, func(t *testing.T) {
			for _, done := range []bool{false, true} {
				crashes := 0
				for n := 0; ; n++ {
					b := newBench(t)
					if c.before != nil {
						if err := c.before(b, b.folder()); err != nil {
							t.Fatal(err)
						}
					}
					f := b.folder()
					died := crashing(f, n, done)
					err := c.change(b, f)
					if (err != nil) != died() {
						t.Fatalf("operation %d: %v", n, err)
					}
					if !died() {
						break
					}
					crashes++
					b.comesBack(fmt.Sprintf("dead at operation %d (done %v)", n, done), c.revokes, c.change)
				}
				if crashes == 0 {
					t.Error("nothing was written")
				}
			}
		})
	}
}

// comesBack starts the server after a crash, and makes the change again.
func (b *bench) comesBack(when string, revokes bool, change func(*bench, *Folder) error) {
	b.t.Helper()
	ring, err := Open(b.o)
	if err != nil {
		b.t.Fatalf("%s: %v", when, err)
	}
	b.ring, b.trusted = ring, verifier(ring.Public, b.now)
	if !revokes {
		b.verifyAll(b.trusted, when+": our verifier")
	}
	b.sign()
	if err := change(b, b.folder()); err != nil && !errors.Is(err, ErrPending) {
		b.t.Fatalf("%s: again: %v", when, err)
	}
	for _, name := range b.files() {
		if strings.HasSuffix(name, ".tmp") {
			b.t.Errorf("%s: %s is left", when, name)
		}
	}
	ring.tick()
	if revokes {
		b.tokens = nil
	}
	b.sign()
	b.verifyAll(b.trusted, when+": our verifier after the change")
}

// started is a folder with a key that has signed.
func started(b *bench, _ *Folder) error {
	b.open()
	b.sign()
	return nil
}

// putKey leaves a key as a version without a manifest does.
func (b *bench) putKey(key *token.Key) error {
	data, err := key.PEM()
	if err != nil {
		return err
	}
	b.put(firstFile, string(data), 0o600)
	raw, err := key.Sign(token.Claims{Issuer: "i", Audience: "s", Expires: b.now().Add(lifetime)})
	b.tokens = append(b.tokens, signed{raw, b.now().Add(lifetime + token.Leeway)})
	return err
}

// TestTakeover: the key of a version without a manifest goes on signing, and its file stays for as long as it is one of the keys.
func TestTakeover(t *testing.T) {
	b := newBench(t)
	key := newKey(t, token.ES256)
	if err := b.putKey(key); err != nil {
		t.Fatal(err)
	}
	before := b.read(firstFile)
	made := b.now().Add(-1000 * time.Hour)
	if err := os.Chtimes(filepath.Join(b.o.Dir, firstFile), made, made); err != nil {
		t.Fatal(err)
	}
	b.open()
	b.verifyAll(b.trusted, "our verifier")
	if b.ring.Active().Public().KeyID() != key.Public().KeyID() {
		t.Fatal("another key signs")
	}
	list, err := b.folder().List()
	if err != nil || !list[0].Since.Equal(made) {
		t.Errorf("%+v, %v", list, err)
	}
	b.rotate(Rotation{})
	b.advance(prepublish + retire - 1)
	b.ring.tick()
	if b.read(firstFile) != before {
		t.Error("the file was changed")
	}
	b.advance(1)
	b.ring.tick()
	if slices.Contains(b.files(), firstFile) {
		t.Error("a key that is gone is still there")
	}
}

// TestVerbsTakeOver: a verb on the folder of an earlier version needs no server before.
func TestVerbsTakeOver(t *testing.T) {
	b := newBench(t)
	if _, err := b.folder().List(); !errors.Is(err, ErrNoKeys) {
		t.Errorf("no folder: %v", err)
	}
	if err := b.putKey(newKey(t, token.ES256)); err != nil {
		t.Fatal(err)
	}
	b.rotate(Rotation{})
	b.open()
	b.verifyAll(b.trusted, "our verifier")
	if got := b.states(); got != "active published" {
		t.Error(got)
	}
}

// TestOtherProcess is not a test: it is the other process of TestProcesses.
func TestOtherProcess(t *testing.T) {
	dir := os.Getenv("KEYRING_DIR")
	if dir == "" {
		return
	}
	b := newBench(t)
	b.o.Dir = dir
	if err := b.folder().Rotate(Rotation{Now: os.Getenv("KEYRING_NOW") != ""}); err != nil {
		t.Fatal(err)
	}
}

// TestProcesses: of processes that rotate at once, one publishes a key and the others learn that it did; with --now each rotates,
// one after the other.
func TestProcesses(t *testing.T) {
	for _, now := range []string{"", "1"} {
		b := newBench(t)
		b.open()
		var processes []*exec.Cmd
		for range 5 {
			p := exec.Command(os.Args[0], "-test.run=^TestOtherProcess$")
			p.Env = append(os.Environ(), "KEYRING_DIR="+b.o.Dir, "KEYRING_NOW="+now)
			if err := p.Start(); err != nil {
				t.Fatal(err)
			}
			processes = append(processes, p)
		}
		succeeded := 0
		for _, p := range processes {
			if p.Wait() == nil {
				succeeded++
			}
		}
		b.sign()
		b.ring.tick()
		b.sign()
		b.verifyAll(b.trusted, "our verifier")
		want, states := 1, "active published"
		if now != "" {
			want, states = 5, "retiring retiring retiring retiring retiring active"
		}
		if got := b.states(); succeeded != want || got != states {
			t.Errorf("%d processes rotated, %s", succeeded, got)
		}
	}
}

// TestStartsAtOnce: whoever starts first on an empty folder, all end up with the same key.
func TestStartsAtOnce(t *testing.T) {
	b := newBench(t)
	ids := make(chan string, 8)
	for range cap(ids) {
		go func() {
			ring, err := Open(b.o)
			if err != nil {
				ids <- err.Error()
				return
			}
			ids <- ring.Active().Public().KeyID()
		}()
	}
	first := <-ids
	for range cap(ids) - 1 {
		if id := <-ids; id != first || strings.Count(id, ":") != 11 {
			t.Errorf("%s and %s", first, id)
		}
	}
}
