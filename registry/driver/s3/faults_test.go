package s3

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"net/http"
	"strings"
	"testing"
	"time"

	"gatehouse/registry/driver"
	"gatehouse/testbench"
)

func random(size int) []byte {
	b := make([]byte, size)
	rand.NewChaCha8([32]byte{byte(size)}).Read(b)
	return b
}

var (
	small = random(3000)
	large = random(minPart + 3000) // two parts
)

// content reads a file whole.
func content(t *testing.T, d *Driver, path string) ([]byte, error) {
	return d.ReadFile(t.Context(), path, 1<<30)
}

func holds(t *testing.T, d *Driver, path string, want []byte) {
	t.Helper()
	got, err := content(t, d, path)
	if err != nil || !bytes.Equal(got, want) {
		t.Errorf("%s holds %d bytes, error %v; want %d", path, len(got), err, len(want))
	}
}

// push is what a client does that wants data to be the file to, and goes on where an earlier attempt ended: what was said to be
// kept must be there.
func push(t *testing.T, d *Driver, from, to string, data []byte, acknowledged *int64) error {
	if _, err := d.Stat(t.Context(), to); err == nil {
		return nil
	} else if !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	got, err := content(t, d, from)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if int64(len(got)) < *acknowledged || !bytes.HasPrefix(data, got) {
		return fmt.Errorf("the upload has %d bytes that are not those that were written, %d were acknowledged", len(got), *acknowledged)
	}
	w, err := d.Append(t.Context(), from, int64(len(got)))
	if err != nil {
		return err
	}
	defer w.Close()
	rest := data[len(got):]
	for half := range 2 {
		if _, err := w.Write(rest[len(rest)*half/2 : len(rest)*(half+1)/2]); err != nil {
			return err
		}
		if err := w.(driver.Flusher).Flush(t.Context()); err != nil {
			return err
		}
		*acknowledged = w.Size()
	}
	if err := w.Commit(t.Context()); err != nil {
		return err
	}
	return d.Move(t.Context(), from, to)
}

// operation is something that ends well when it is repeated until it does.
type operation struct {
	prepare, check func(t *testing.T, d *Driver)
	run            func(t *testing.T, d *Driver, acknowledged *int64) error
	large          bool
	forgives       bool // it needs not all of its requests
}

func pushOf(data []byte) operation {
	return operation{
		run: func(t *testing.T, d *Driver, acknowledged *int64) error {
			return push(t, d, "uploads/1/data", "blobs/data", data, acknowledged)
		},
		check: func(t *testing.T, d *Driver) { holds(t, d, "blobs/data", data) },
	}
}

func forgiving(op operation) operation {
	op.forgives, op.large = true, true
	return op
}

func placeOf(data []byte) operation {
	return operation{
		run:   func(t *testing.T, d *Driver, _ *int64) error { return place(t, d, "blobs/data", data) },
		check: func(t *testing.T, d *Driver) { holds(t, d, "blobs/data", data) },
	}
}

func place(t *testing.T, d *Driver, path string, data []byte) error {
	w, err := d.Place(t.Context(), path)
	if err != nil {
		return err
	}
	defer w.Close()
	if _, err := w.Write(data); err != nil {
		return err
	}
	return w.Commit(t.Context())
}

var operations = map[string]operation{
	"push small":  pushOf(small),
	"push large":  forgiving(pushOf(large)), // the last requests delete parts that no list names any more
	"place small": placeOf(small),
	"place large": placeOf(large),
	"write": {
		run:   func(t *testing.T, d *Driver, _ *int64) error { return d.WriteFile(t.Context(), "a/link", small) },
		check: func(t *testing.T, d *Driver) { holds(t, d, "a/link", small) },
	},
	"read": {
		prepare: func(t *testing.T, d *Driver) { must(t, place(t, d, "blobs/data", large)) },
		run: func(t *testing.T, d *Driver, _ *int64) error {
			got, err := content(t, d, "blobs/data")
			if err == nil && !bytes.Equal(got, large) {
				t.Errorf("read %d bytes that nobody wrote", len(got))
			}
			return err
		},
		check: func(*testing.T, *Driver) {},
	},
	"list": {
		prepare: func(t *testing.T, d *Driver) { must(t, d.WriteFile(t.Context(), "a/b/c", nil)) },
		run: func(t *testing.T, d *Driver, _ *int64) error {
			n := 0
			for _, err := range d.List(t.Context(), "a") {
				if err != nil {
					return err
				}
				n++
			}
			if n != 1 {
				t.Errorf("listed %d entries of 1, and no error", n)
			}
			return nil
		},
		check: func(*testing.T, *Driver) {},
	},
	"delete": {
		large: true,
		prepare: func(t *testing.T, d *Driver) {
			must(t, d.WriteFile(t.Context(), "a/file", small))
			w, err := d.Append(t.Context(), "a/b/file", 0)
			must(t, err)
			_, err = w.Write(large)
			must(t, err)
			must(t, w.Close())
		},
		run: func(t *testing.T, d *Driver, _ *int64) error {
			for _, path := range []string{"a/b/file", "a"} {
				if err := d.Delete(t.Context(), path); err != nil && !errors.Is(err, fs.ErrNotExist) {
					return err
				}
			}
			return nil
		},
		check: func(t *testing.T, d *Driver) {
			if _, err := d.Stat(t.Context(), "a"); !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("a: %v, want it missing", err)
			}
		},
	},
}

// faults are tried on each request of small operations and, as those take long, on every fourth of large ones, from another one
// on with each fault.
var faults = []testbench.S3Fault{
	testbench.S3Busy, testbench.S3Dropped, testbench.S3Cut, testbench.S3Truncated, testbench.S3LostIn200, testbench.S3ErrorIn200,
}

// TestFaults spoils the requests of each operation in each way: once, which nobody may notice, and from there on, which is
// ErrUnavailable, and nothing acknowledged is lost when the server is back.
func TestFaults(t *testing.T) {
	s := testbench.StartVersityGW(t)
	for name, op := range operations {
		for i, f := range faults {
			t.Run(name+", "+string(f), func(t *testing.T) {
				t.Parallel()
				p := testbench.NewS3Proxy(t, s.Endpoint)
				step := 1
				if op.large {
					step = 4
				}
				for skip := i % step; runSpoilt(t, s, p, op, f, skip, 1); {
					skip += step
				}
				if f == testbench.S3Truncated || f == testbench.S3Cut {
					return // when it goes on, it is as if the answer were dropped
				}
				for skip := i % step; runSpoilt(t, s, p, op, f, skip, 1<<30); {
					skip += step
				}
			})
		}
	}
}

// runSpoilt runs an operation in a new bucket, and reports whether a request of it was spoilt.
func runSpoilt(t *testing.T, s *testbench.S3, p *testbench.S3Proxy, op operation, f testbench.S3Fault, skip, times int) bool {
	t.Helper()
	o := options(s)
	if op.prepare != nil {
		op.prepare(t, newDriver(t, o))
	}
	o.RegionEndpoint, o.CopyThreshold, o.CopyChunkSize = p.URL, minPart, minPart
	d, err := open(t.Context(), o, time.Millisecond)
	must(t, err)
	defer d.Close()
	var acknowledged int64
	p.Spoil(f, skip, times)
	err = op.run(t, d, &acknowledged)
	seen := p.Heal()
	switch {
	case err == nil:
		if times > 1 && seen > skip && f != testbench.S3LostIn200 && !op.forgives {
			t.Errorf("request %d and all that follow are spoilt: no error", skip)
		}
	case times == 1:
		t.Errorf("request %d is spoilt once: %v", skip, err)
	case !errors.Is(err, driver.ErrUnavailable):
		t.Errorf("request %d and all that follow are spoilt: %v, want ErrUnavailable", skip, err)
	default:
		d = newDriver(t, o) // another process: what the first has in memory does not count
		defer d.Close()
		if err := op.run(t, d, &acknowledged); err != nil {
			t.Errorf("again, after request %d and all that followed were spoilt: %v", skip, err)
		}
	}
	op.check(t, d)
	_, err = d.Sweep(t.Context(), 0)
	must(t, err)
	if left := s.Uploads(o.Bucket); len(left) > 0 {
		t.Errorf("request %d is spoilt: multipart uploads are left after Sweep: %q", skip, left)
	}
	return seen > skip
}

// TestCompleteLost: when the answers to completing an upload are lost, the object says that it was completed.
func TestCompleteLost(t *testing.T) {
	for name, start := range servers {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := start(t)
			p := testbench.NewS3Proxy(t, s.Endpoint)
			o := options(s)
			o.RegionEndpoint = p.URL
			d := newDriver(t, o)
			for _, times := range []int{1, 1 << 30} {
				p.Spoil(testbench.S3LostIn200, 0, times)
				must(t, place(t, d, "blobs/data", large))
				if p.Heal() == 0 {
					t.Error("nothing was lost")
				}
				holds(t, d, "blobs/data", large)
				must(t, d.Delete(t.Context(), "blobs/data"))
			}
		})
	}
}

// TestPartFails: what was saved stays as it was when a later part cannot be sent, and Size says so.
func TestPartFails(t *testing.T) {
	s := testbench.StartVersityGW(t)
	data := random(3*minPart + 3000)
	for _, saved := range []int{0, 1000, minPart + 1000, 2*minPart + 10} {
		p := testbench.NewS3Proxy(t, s.Endpoint)
		o := options(s)
		o.RegionEndpoint = p.URL
		d := newDriver(t, o)
		w, err := d.Append(t.Context(), "up/data", 0)
		must(t, err)
		_, err = w.Write(data[:saved])
		must(t, err)
		must(t, w.(driver.Flusher).Flush(t.Context()))
		p.Choose(func(r *http.Request) testbench.S3Fault {
			if r.Method == http.MethodPut && strings.HasSuffix(r.URL.Path, ".tmp") {
				return testbench.S3Busy
			}
			return testbench.S3Works
		})
		_, err = w.Write(data[saved:])
		if err == nil {
			err = w.(driver.Flusher).Flush(t.Context())
		}
		if !errors.Is(err, driver.ErrUnavailable) || w.Size() != int64(saved) {
			t.Errorf("after %d bytes: %v, size %d", saved, err, w.Size())
		}
		if again := w.Commit(t.Context()); again != err {
			t.Errorf("Commit after %v: %v", err, again)
		}
		must(t, w.Close())
		p.Heal()
		must(t, push(t, newDriver(t, o), "up/data", "blobs/data", data, new(int64(saved))))
		holds(t, d, "blobs/data", data)
	}
}
