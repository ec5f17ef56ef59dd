package drivertest

import (
	"context"
	"iter"
	"slices"
	"sync"

	"gatehouse/registry/driver"
)

// Op is an operation that can be made to fail.
type Op struct {
	Name string // Driver's method, or "Read" and "ReadAt" of a File, "Write", "Commit" and "Close" of a Writer
	Path string // for Files and Writers the one they were opened with
	To   string // of a Move
}

// On returns a Match for operations by their names.
func On(names ...string) func(Op) bool {
	return func(op Op) bool { return slices.Contains(names, op.Name) }
}

// Fault says which operations fail, and how.
type Fault struct {
	Match func(Op) bool // asked about each operation, at once from many goroutines; it may wait. nil is all of them
	Skip  int           // so many that match are let pass first
	Times int           // so many fail then; 0 is all that follow
	Err   error
	After bool // the operation is carried out and its answer lost; otherwise it is not carried out
}

// Faults is a driver over another one that fails as told.
type Faults struct {
	driver driver.Driver

	mu     sync.Mutex
	faults []*fault // guarded by mu
	seen   int      // guarded by mu
}

// fault is a Fault with what is left of Skip and Times, guarded by Faults.mu.
type fault struct {
	Fault
	over bool
}

var _ driver.Driver = (*Faults)(nil)

// NewFaults returns a driver over d with faults. They are asked in turn; the first that fails an operation keeps it from the
// others.
func NewFaults(d driver.Driver, faults ...Fault) *Faults {
	f := &Faults{driver: d}
	f.Set(faults...)
	return f
}

// Set replaces the faults, and sets Seen to 0. None is a driver that works.
func (f *Faults) Set(faults ...Fault) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.faults, f.seen = nil, 0
	for _, x := range faults {
		f.faults = append(f.faults, &fault{Fault: x})
	}
}

// Seen returns how many operations there were since Set: fail each of them in turn (Skip: k, Times: 1) to try them all.
func (f *Faults) Seen() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.seen
}

// do carries out an operation, or not.
func (f *Faults) do(op Op, carryOut func() error) error {
	err, after := f.fault(op)
	if err != nil && !after {
		return err
	}
	if e := carryOut(); e != nil {
		return e
	}
	return err
}

// fault returns the error of an operation, if it has one.
func (f *Faults) fault(op Op) (err error, after bool) {
	f.mu.Lock()
	f.seen++
	faults := f.faults
	f.mu.Unlock()
	for _, x := range faults {
		if x.Match != nil && !x.Match(op) { // not under the lock: it may wait
			continue
		}
		if x.strikes(&f.mu) {
			return x.Err, x.After
		}
	}
	return nil, false
}

// strikes counts an operation that matches, and reports whether it fails.
func (x *fault) strikes(mu *sync.Mutex) bool {
	mu.Lock()
	defer mu.Unlock()
	if x.Skip > 0 {
		x.Skip--
		return false
	}
	if x.Times == 0 {
		return !x.over
	}
	x.Times--
	x.over = x.over || x.Times == 0
	return true
}

// Name is the other driver's.
func (f *Faults) Name() string { return f.driver.Name() }

// Close closes the other driver.
func (f *Faults) Close() error { return f.driver.Close() }

// Open is the operation "Open"; the File's are "Read" and "ReadAt".
func (f *Faults) Open(ctx context.Context, path string) (file driver.File, err error) {
	err = f.do(Op{Name: "Open", Path: path}, func() (err error) {
		file, err = f.driver.Open(ctx, path)
		return err
	})
	if err != nil {
		if file != nil {
			file.Close()
		}
		return nil, err
	}
	return faultyFile{file, f, path}, nil
}

type faultyFile struct {
	driver.File
	faults *Faults
	path   string
}

func (file faultyFile) Read(p []byte) (n int, err error) {
	err = file.faults.do(Op{Name: "Read", Path: file.path}, func() (err error) {
		n, err = file.File.Read(p)
		return err
	})
	return n, err
}

func (file faultyFile) ReadAt(p []byte, offset int64) (n int, err error) {
	err = file.faults.do(Op{Name: "ReadAt", Path: file.path}, func() (err error) {
		n, err = file.File.ReadAt(p, offset)
		return err
	})
	return n, err
}

// ReadFile is the operation "ReadFile".
func (f *Faults) ReadFile(ctx context.Context, path string, limit int64) (data []byte, err error) {
	err = f.do(Op{Name: "ReadFile", Path: path}, func() (err error) {
		data, err = f.driver.ReadFile(ctx, path, limit)
		return err
	})
	if err != nil {
		return nil, err
	}
	return data, nil
}

// WriteFile is the operation "WriteFile".
func (f *Faults) WriteFile(ctx context.Context, path string, data []byte) error {
	return f.do(Op{Name: "WriteFile", Path: path}, func() error { return f.driver.WriteFile(ctx, path, data) })
}

// Append is the operation "Append"; the Writer's are "Write", "Commit" and "Close".
func (f *Faults) Append(ctx context.Context, path string, offset int64) (w driver.Writer, err error) {
	err = f.do(Op{Name: "Append", Path: path}, func() (err error) {
		w, err = f.driver.Append(ctx, path, offset)
		return err
	})
	if err != nil {
		if w != nil {
			w.Close()
		}
		return nil, err
	}
	return &faultyWriter{Writer: w, faults: f, path: path}, nil
}

type faultyWriter struct {
	driver.Writer
	faults *Faults
	path   string
	err    error // of a Write
}

func (w *faultyWriter) Write(p []byte) (n int, err error) {
	if w.err == nil {
		w.err = w.faults.do(Op{Name: "Write", Path: w.path}, func() (err error) {
			n, err = w.Writer.Write(p)
			return err
		})
	}
	return n, w.err
}

func (w *faultyWriter) Commit(ctx context.Context) error {
	if w.err != nil {
		return w.err
	}
	return w.faults.do(Op{Name: "Commit", Path: w.path}, func() error { return w.Writer.Commit(ctx) })
}

func (w *faultyWriter) Close() error {
	return w.faults.do(Op{Name: "Close", Path: w.path}, w.Writer.Close)
}

// Stat is the operation "Stat".
func (f *Faults) Stat(ctx context.Context, path string) (info driver.Info, err error) {
	err = f.do(Op{Name: "Stat", Path: path}, func() (err error) {
		info, err = f.driver.Stat(ctx, path)
		return err
	})
	if err != nil {
		return driver.Info{}, err
	}
	return info, nil
}

// Move is the operation "Move".
func (f *Faults) Move(ctx context.Context, from, to string) error {
	return f.do(Op{Name: "Move", Path: from, To: to}, func() error { return f.driver.Move(ctx, from, to) })
}

// Delete is the operation "Delete".
func (f *Faults) Delete(ctx context.Context, path string) error {
	return f.do(Op{Name: "Delete", Path: path}, func() error { return f.driver.Delete(ctx, path) })
}

// List is the operation "List" when it is ranged over. With After the error comes behind the last entry.
func (f *Faults) List(ctx context.Context, path string) iter.Seq2[driver.Entry, error] {
	return func(yield func(driver.Entry, error) bool) {
		stopped := false
		err := f.do(Op{Name: "List", Path: path}, func() error {
			for e, err := range f.driver.List(ctx, path) {
				if err != nil {
					return err
				}
				if stopped = !yield(e, nil); stopped {
					break
				}
			}
			return nil
		})
		if err != nil && !stopped {
			yield(driver.Entry{}, err)
		}
	}
}
