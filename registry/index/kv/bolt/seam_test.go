package bolt

import (
	"context"
	"crypto/rand"
	"errors"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"gatehouse/registry/index/kv"
)

// drive is where a journal is kept in tests. It knows what of it would survive a power loss, counts syncs, and lets operations fail.
type drive struct {
	fail func(op, name string) error // before open, write, sync, truncate of a file; set it before the drive is used

	mu    sync.Mutex
	files map[string]*shadow
	syncs int
}

// shadow is what is known of a file: the bytes that were synced, and what was written since.
type shadow struct {
	durable []byte
	pending []piece
}

type piece struct {
	at   int64
	data []byte
}

func newDrive() *drive { return &drive{files: make(map[string]*shadow)} }

// options are small enough for checkpoints to happen in a test. Nothing waits for the real disk: what survives is what the drive
// says, and bbolt's file as it is.
func (d *drive) options() options {
	return options{
		memory: 8 << 10, journal: 64 << 10, batch: 7, noSync: true,
		open: d.open, random: rand.Reader, step: func(string) error { return nil }, folder: func(string) error { return nil },
	}
}

func (d *drive) check(op, name string) error {
	if d.fail == nil {
		return nil
	}
	return d.fail(op, name)
}

func (d *drive) open(path string, create bool) (file, error) {
	name := filepath.Base(path)
	if err := d.check("open", name); err != nil {
		return nil, err
	}
	f, err := openDisk(path, create)
	if err != nil {
		return nil, err
	}
	content, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.files[name] = &shadow{durable: content}
	return &driven{f, d, name}, nil
}

func (d *drive) takeSyncs() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	n := d.syncs
	d.syncs = 0
	return n
}

// image writes into a new folder what is found after a power loss now: of what was not synced, the sectors that keep chooses.
func (d *drive) image(t *testing.T, index string, keep func() bool) (path string) {
	t.Helper()
	path = filepath.Join(t.TempDir(), "index.db")
	copyFile(t, index, path)
	d.mu.Lock()
	defer d.mu.Unlock()
	for name, s := range d.files {
		b := append([]byte(nil), s.durable...)
		for _, p := range s.pending {
			for i := 0; i < len(p.data); i += 512 {
				if keep() {
					b = place512(b, p.at+int64(i), p.data[i:min(i+512, len(p.data))])
				}
			}
		}
		must(t, os.WriteFile(filepath.Join(filepath.Dir(path), name), b, 0o600))
	}
	return path
}

func place512(b []byte, at int64, data []byte) []byte {
	if more := at + int64(len(data)) - int64(len(b)); more > 0 {
		b = append(b, make([]byte, more)...)
	}
	copy(b[at:], data)
	return b
}

// driven is a file on a drive.
type driven struct {
	file
	d    *drive
	name string
}

func (f *driven) WriteAt(b []byte, at int64) (int, error) {
	err := f.d.check("write", f.name)
	if err != nil {
		b = b[:len(b)/2]
	}
	n, werr := f.file.WriteAt(b, at)
	f.d.mu.Lock()
	defer f.d.mu.Unlock()
	s := f.d.files[f.name]
	s.pending = append(s.pending, piece{at, append([]byte(nil), b...)})
	return n, errors.Join(err, werr)
}

// Sync forgets what it fails to sync, as the system does: it can still be read, and no later sync writes it.
func (f *driven) Sync() error {
	err := f.d.check("sync", f.name)
	f.d.mu.Lock()
	defer f.d.mu.Unlock()
	s := f.d.files[f.name]
	if err == nil {
		for _, p := range s.pending {
			s.durable = place512(s.durable, p.at, p.data)
		}
	}
	s.pending = nil
	f.d.syncs++
	return err
}

func (f *driven) Truncate(size int64) error {
	if err := f.d.check("truncate", f.name); err != nil {
		return err
	}
	f.d.mu.Lock()
	defer f.d.mu.Unlock()
	s := f.d.files[f.name]
	if int64(len(s.durable)) > size {
		s.durable = s.durable[:size]
	}
	var left []piece
	for _, p := range s.pending {
		if p.at < size {
			left = append(left, piece{p.at, p.data[:min(int64(len(p.data)), size-p.at)]})
		}
	}
	s.pending = left
	return f.file.Truncate(size)
}

// pairs are keys and values.
type pairs map[string]string

// set commits pairs; "-" as a value deletes.
func (p pairs) set(db *DB) error {
	return db.Update(context.Background(), func(w kv.Writer) error {
		for k, v := range p {
			err := w.Put([]byte(k), []byte(v))
			if v == "-" {
				err = w.Delete([]byte(k))
			}
			if err != nil {
				return err
			}
		}
		return nil
	})
}

// with returns what is there when more was set on top of p.
func (p pairs) with(more pairs) pairs {
	p = maps.Clone(p)
	if p == nil {
		p = pairs{}
	}
	for k, v := range more {
		if p[k] = v; v == "-" {
			delete(p, k)
		}
	}
	return p
}

func contentsOf(t *testing.T, db *DB) pairs {
	t.Helper()
	p := pairs{}
	must(t, db.View(context.Background(), func(r kv.Reader) error {
		for pair, err := range r.Scan(nil, nil) {
			if err != nil {
				return err
			}
			p[string(pair.Key)] = string(pair.Value)
		}
		return nil
	}))
	return p
}

// finds opens the index at path as it was found, and checks that it has one of the given contents, and has the same, in one
// file, when it was closed.
func finds(t *testing.T, path string, want ...pairs) {
	t.Helper()
	o := newDrive().options()
	o.memory, o.journal = 1<<30, 1<<30
	db, err := openWith(path, o)
	if err != nil {
		t.Fatalf("open what was found: %v", err)
	}
	got := contentsOf(t, db)
	ok := false
	for _, w := range want {
		ok = ok || maps.Equal(got, w)
	}
	if !ok {
		t.Errorf("found %d pairs, %v; want one of %v", len(got), short(got), want)
	}
	must(t, pairs{"new": "1"}.set(db))
	must(t, db.Close())
	if left, _ := filepath.Glob(path + "?*"); len(left) > 0 {
		t.Errorf("a clean close left %s", left)
	}
	db, err = openWith(path, o)
	must(t, err)
	defer db.Close()
	if again := contentsOf(t, db); !maps.Equal(again, got.with(pairs{"new": "1"})) {
		t.Errorf("after closing it there were %v, before %v", short(again), short(got))
	}
}

func short(p pairs) string {
	var b strings.Builder
	for k, v := range p {
		b.WriteString(" " + k + "=" + v[:min(len(v), 10)])
	}
	return b.String()
}

func copyFile(t *testing.T, from, to string) {
	t.Helper()
	b, err := os.ReadFile(from)
	must(t, err)
	must(t, os.WriteFile(to, b, 0o600))
}

// copyIndex copies an index with its journal to a new folder, as a process that is killed now leaves them.
func copyIndex(t *testing.T, path string) string {
	t.Helper()
	files, err := filepath.Glob(path + "*")
	must(t, err)
	dir := t.TempDir()
	for _, f := range files {
		copyFile(t, f, filepath.Join(dir, filepath.Base(f)))
	}
	return filepath.Join(dir, filepath.Base(path))
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
