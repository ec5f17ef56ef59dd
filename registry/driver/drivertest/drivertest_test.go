package drivertest_test

import (
	"errors"
	"io"
	"slices"
	"sync/atomic"
	"testing"

	"gatehouse/registry/driver"
	"gatehouse/registry/driver/drivertest"
	"gatehouse/registry/driver/inmemory"
)

// TestTransparent checks that counting and not failing change nothing.
func TestTransparent(t *testing.T) {
	t.Run("Counter", func(t *testing.T) {
		drivertest.Run(t, func(*testing.T) driver.Driver { return drivertest.Count(inmemory.New()) })
	})
	t.Run("Faults", func(t *testing.T) {
		drivertest.Run(t, func(*testing.T) driver.Driver { return drivertest.NewFaults(inmemory.New()) })
	})
}

// everything calls each method of a driver and of what it gives out, once, and returns the error of each.
func everything(t *testing.T, d driver.Driver) map[string]error {
	ctx := t.Context()
	errs := map[string]error{}
	w, err := d.Append(ctx, "upload", 0)
	if errs["Append"] = err; err == nil {
		_, errs["Write"] = w.Write([]byte("bytes"))
		errs["Commit"] = w.Commit(ctx)
		errs["Close"] = w.Close()
	}
	errs["Move"] = d.Move(ctx, "upload", "blob")
	errs["WriteFile"] = d.WriteFile(ctx, "file", []byte("bytes"))
	_, errs["ReadFile"] = d.ReadFile(ctx, "file", 10)
	f, err := d.Open(ctx, "file")
	if errs["Open"] = err; err == nil {
		_, errs["Read"] = f.Read(make([]byte, 2))
		_, errs["ReadAt"] = f.ReadAt(make([]byte, 2), 0)
		f.Close()
	}
	_, errs["Stat"] = d.Stat(ctx, "file")
	for _, err := range d.List(ctx, ".") {
		errs["List"] = err
	}
	errs["Delete"] = d.Delete(ctx, "file")
	return errs
}

var names = []string{"Append", "Write", "Commit", "Close", "Move", "WriteFile", "ReadFile", "Open", "Read", "ReadAt", "Stat", "List", "Delete"}

func TestCounter(t *testing.T) {
	c := drivertest.Count(inmemory.New())
	for name, err := range everything(t, c) {
		if err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	if got, want := c.String(), "Append 1, Commit 1, Delete 1, List 1, Move 1, Open 1, ReadFile 1, Stat 1, WriteFile 1"; got != want || c.Total() != 9 {
		t.Errorf("counted %d: %s; want %s", c.Total(), got, want)
	}
	c.Reset()
	if _, err := c.Stat(t.Context(), "."); err != nil || c.Total() != 1 || c.Counts()["Stat"] != 1 {
		t.Errorf("counted %s after Reset, error %v", c, err)
	}
}

var errFault = errors.New("fault")

// TestFaults fails each operation, before and after it is carried out.
func TestFaults(t *testing.T) {
	for _, after := range []bool{false, true} {
		for _, name := range names {
			f := drivertest.NewFaults(inmemory.New(), drivertest.Fault{Match: drivertest.On(name), Times: 1, Err: errFault, After: after})
			if err := everything(t, f)[name]; err != errFault {
				t.Errorf("%s, after %v: error is %v", name, after, err)
			}
			if err := everything(t, f)[name]; err == errFault {
				t.Errorf("%s, after %v: the fault did not end", name, after)
			}
		}
	}
	for k := range names { // Seen, Skip and Times reach each operation once
		f := drivertest.NewFaults(inmemory.New())
		everything(t, f)
		if f.Seen() != len(names) {
			t.Errorf("seen %d operations of %d", f.Seen(), len(names))
		}
		f = drivertest.NewFaults(inmemory.New(), drivertest.Fault{Skip: k, Times: 1, Err: errFault, After: true})
		for name, err := range everything(t, f) {
			if name == names[k] && err != errFault {
				t.Errorf("operation %d, %s: error is %v", k, name, err)
			}
		}
	}
}

// TestFaultsEffect checks what a fault leaves behind.
func TestFaultsEffect(t *testing.T) {
	ctx := t.Context()
	d := inmemory.New()
	f := drivertest.NewFaults(d, drivertest.Fault{Err: errFault})
	if err := f.WriteFile(ctx, "file", nil); err != errFault || len(drivertest.Files(t, d)) != 0 {
		t.Errorf("a write that is not carried out: error %v, files %q", err, drivertest.Files(t, d))
	}
	f.Set(drivertest.Fault{Match: func(op drivertest.Op) bool { return op.To == "blob" }, Err: errFault, After: true})
	if err := f.WriteFile(ctx, "file", nil); err != nil {
		t.Error(err)
	}
	if err := f.Move(ctx, "file", "blob"); err != errFault || !slices.Equal(drivertest.Files(t, d), []string{"blob"}) {
		t.Errorf("a move whose answer is lost: error %v, files %q", err, drivertest.Files(t, d))
	}

	// A list that breaks off has yielded all there is, and says that it is not complete.
	f.Set(drivertest.Fault{Match: drivertest.On("List"), Err: errFault, After: true})
	var yielded []string
	var err error
	for e, e2 := range f.List(ctx, ".") {
		if err = e2; err == nil {
			yielded = append(yielded, e.Name)
		}
	}
	if err != errFault || !slices.Equal(yielded, []string{"blob"}) {
		t.Errorf("a list that breaks off: %q, error %v", yielded, err)
	}

	// A write fails from then on, and the file has what came before.
	f.Set(drivertest.Fault{Match: drivertest.On("Write"), Skip: 1, Times: 1, Err: errFault})
	w, err := f.Append(ctx, "upload", 0)
	if err != nil {
		t.Fatal(err)
	}
	_, err1 := io.WriteString(w, "taken")
	_, err2 := io.WriteString(w, "refused")
	_, err3 := io.WriteString(w, "refused")
	if err1 != nil || err2 != errFault || err3 != errFault || w.Commit(ctx) != errFault || w.Size() != 5 {
		t.Errorf("writes: %v, %v, %v; size %d", err1, err2, err3, w.Size())
	}

	// Two faults on the same operations each do their part.
	f.Set(drivertest.Fault{Times: 1, Err: io.ErrUnexpectedEOF}, drivertest.Fault{Skip: 1, Times: 1, Err: errFault})
	for i, want := range []error{io.ErrUnexpectedEOF, nil, errFault, nil} {
		if _, err := f.Stat(ctx, "."); err != want {
			t.Errorf("call %d: error %v, want %v", i, err, want)
		}
	}
}

// TestFaultsWait holds an operation up while others go on.
func TestFaultsWait(t *testing.T) {
	reached, release := make(chan bool), make(chan bool)
	var n atomic.Int32
	f := drivertest.NewFaults(inmemory.New(), drivertest.Fault{Err: errFault, Match: func(op drivertest.Op) bool {
		if op.Name == "Delete" {
			reached <- true
			<-release
			n.Add(1)
		}
		return op.Name == "Delete"
	}})
	done := make(chan error)
	go func() { done <- f.Delete(t.Context(), "file") }()
	<-reached
	if err := f.WriteFile(t.Context(), "file", nil); err != nil || n.Load() != 0 {
		t.Errorf("write during a delete that waits: %v", err)
	}
	release <- true
	if err := <-done; err != errFault {
		t.Errorf("delete: %v", err)
	}
}
