package s3

import (
	"bytes"
	"errors"
	"io/fs"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"

	"gatehouse/registry/driver"
	"gatehouse/registry/driver/drivertest"
	"gatehouse/testbench"
)

// TestResumeAfterKill abandons drivers and their Writers, as a process that is killed does, and goes on with others where the
// last Flush or Close was.
func TestResumeAfterKill(t *testing.T) {
	for name, start := range servers {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			o := options(start(t))
			o.CopyThreshold = minPart
			data := random(3*minPart + 1000)
			saved := 0
			// Below, at and above the size of a part, and amounts that leave a last part too small for one.
			for _, to := range []int{1000, 2000, minPart - 1, minPart + 1, 2*minPart + 100, 2*minPart + 200, len(data)} {
				d := newDriver(t, o)
				info, err := d.Stat(t.Context(), "up/1/data")
				if saved > 0 && (err != nil || info.Size != int64(saved)) {
					t.Fatalf("the file has %d bytes, error %v; saved were %d", info.Size, err, saved)
				}
				w, err := d.Append(t.Context(), "up/1/data", int64(saved))
				must(t, err)
				_, err = w.Write(data[saved:to])
				must(t, err)
				must(t, w.(driver.Flusher).Flush(t.Context()))
				saved = to
				holds(t, d, "up/1/data", data[:saved])
				_, err = w.Write(random(minPart + 10)) // of which a part is sent, and nothing saved
				must(t, err)
				w.(*writer).sender.wait() // a process that is killed sends nothing later
			}
			d := newDriver(t, o)
			w, err := d.Append(t.Context(), "up/1/data", int64(saved))
			must(t, err)
			must(t, w.Commit(t.Context()))
			must(t, d.Move(t.Context(), "up/1/data", "blobs/data"))
			holds(t, d, "blobs/data", data)
			for _, left := range drivertest.Files(t, d) {
				if left != "blobs/data" && !driver.IsTemp(left[strings.LastIndex(left, "/")+1:]) {
					t.Errorf("%s is left", left)
				}
			}
			must(t, d.Delete(t.Context(), "up"))
			if files := drivertest.Files(t, d); len(files) != 1 {
				t.Errorf("left are %q, want the blob", files)
			}
		})
	}
}

// TestAppendToPlain appends to a file that is one object, larger than a part.
func TestAppendToPlain(t *testing.T) {
	o := options(testbench.StartVersityGW(t))
	d := newDriver(t, o)
	data := random(minPart + 5000)
	must(t, d.WriteFile(t.Context(), "a/file", data[:minPart+1000]))
	w, err := d.Append(t.Context(), "a/file", minPart+1000)
	must(t, err)
	_, err = w.Write(data[minPart+1000:])
	must(t, err)
	must(t, w.Close())
	holds(t, d, "a/file", data)
	f, err := d.Open(t.Context(), "a/file")
	must(t, err)
	defer f.Close()
	got := make([]byte, 2000)
	n, err := f.ReadAt(got, minPart) // over the end of a part
	must(t, err)
	if !bytes.Equal(got[:n], data[minPart:minPart+2000]) {
		t.Errorf("ReadAt gave %d other bytes", n)
	}
	must(t, d.Delete(t.Context(), "a/file"))
	if _, err := d.Stat(t.Context(), "a"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the folder: %v, want that nothing is left", err)
	}
}

// TestMemory lets no part arrive: Writers hold a buffer each, and there are partsInFlight more; nothing else is taken.
func TestMemory(t *testing.T) {
	const writers = 2
	s := testbench.StartVersityGW(t)
	p := testbench.NewS3Proxy(t, s.Endpoint)
	o := options(s)
	o.RegionEndpoint = p.URL
	d := newDriver(t, o)
	open := make(chan struct{})
	release := sync.OnceFunc(func() { close(open) })
	defer release()
	p.Choose(func(r *http.Request) testbench.S3Fault {
		if r.Method == http.MethodPut && (strings.HasSuffix(r.URL.Path, ".tmp") || r.URL.Query().Has("partNumber")) {
			<-open
		}
		return testbench.S3Works
	})
	var taken atomic.Int64
	var group sync.WaitGroup
	ws := make([]driver.Writer, writers)
	for i := range ws {
		var err error
		if i == 0 {
			ws[i], err = d.Place(t.Context(), "blobs/0")
		} else {
			ws[i], err = d.Append(t.Context(), "up/"+string(rune('0'+i)), 0)
		}
		must(t, err)
		group.Go(func() {
			piece := random(256 << 10)
			for range (partsInFlight + 2) * minPart / len(piece) { // more than can be on its way, even for one alone
				n, err := ws[i].Write(piece)
				taken.Add(int64(n))
				if err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	testbench.Eventually(t, time.Minute, "all buffers full", func() error {
		if d.held.Load() < writers+partsInFlight || len(d.flight) < partsInFlight || taken.Load() < (writers+partsInFlight)*minPart-writers*(256<<10) {
			return errors.New("not yet")
		}
		return nil
	})
	if held, most := d.held.Load(), int64(writers+partsInFlight); held != most || taken.Load() > most*minPart {
		t.Errorf("%d buffers with %d bytes are held, want %d", held, taken.Load(), most)
	}
	release()
	group.Wait()
	for _, w := range ws {
		must(t, w.Commit(t.Context()))
	}
	if held := d.held.Load(); held != 0 {
		t.Errorf("%d buffers are held after the end", held)
	}
}

// TestPlace: nothing is there before Commit, nor after Close without one, and what was there before stays.
func TestPlace(t *testing.T) {
	for name, start := range servers {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := start(t)
			o := options(s)
			d := newDriver(t, o)
			for what, data := range map[string][]byte{"empty": {}, "small": small, "large": large, "one part": random(minPart)} {
				w, err := d.Place(t.Context(), "blobs/data")
				must(t, err)
				_, err = w.Write(data)
				must(t, err)
				if w.Size() != int64(len(data)) {
					t.Errorf("%s: size %d of %d", what, w.Size(), len(data))
				}
				if _, err := d.Stat(t.Context(), "blobs/data"); !errors.Is(err, fs.ErrNotExist) {
					t.Errorf("%s: before Commit: %v", what, err)
				}
				must(t, w.Close())
				must(t, place(t, d, "blobs/data", data))
				holds(t, d, "blobs/data", data)
				w, err = d.Place(t.Context(), "blobs/data")
				must(t, err)
				_, err = w.Write(large)
				must(t, err)
				must(t, w.Close())
				holds(t, d, "blobs/data", data)
				if _, err := w.Write(data); !errors.Is(err, fs.ErrClosed) {
					t.Errorf("%s: Write after Close: %v", what, err)
				}
				must(t, d.Delete(t.Context(), "blobs/data"))
			}
			if left := s.Uploads(o.Bucket); len(left) > 0 {
				t.Errorf("multipart uploads are left: %q", left)
			}
			if held := d.held.Load(); held != 0 {
				t.Errorf("%d buffers are held after the end", held)
			}
		})
	}
}

// TestSweep aborts what a killed process left, below the root and nowhere else.
func TestSweep(t *testing.T) {
	for name, start := range servers {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := start(t)
			o := options(s)
			o.RootDirectory = "/root"
			d := newDriver(t, o)
			w, err := d.Place(t.Context(), "blobs/data")
			must(t, err)
			_, err = w.Write(large)
			must(t, err)
			w.(*placer).sender.wait()
			for _, key := range []string{"rooted", "root/docker/upload"} {
				_, err := s.Client.CreateMultipartUpload(t.Context(), &s3.CreateMultipartUploadInput{Bucket: &o.Bucket, Key: aws.String(key)})
				must(t, err)
			}
			if n, err := d.Sweep(t.Context(), time.Hour); n != 0 || err != nil {
				t.Errorf("%d of the new ones swept, error %v", n, err)
			}
			if n, err := newDriver(t, o).Sweep(t.Context(), 0); n != 2 || err != nil {
				t.Errorf("%d swept, error %v; want 2", n, err)
			}
			if left := s.Uploads(o.Bucket); len(left) != 1 || left[0] != "rooted" {
				t.Errorf("left are %q, want the one that is not ours", left)
			}
			if err := w.Commit(t.Context()); err == nil {
				t.Error("a write that was swept is committed")
			}
			if _, err := d.Stat(t.Context(), "blobs/data"); !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("after that: %v", err)
			}
		})
	}
}

// TestPlaceAtOnce writes one file to its path several times at once: each write succeeds, and is whole.
func TestPlaceAtOnce(t *testing.T) {
	testbench.EachS3(t, func(t *testing.T, s *testbench.S3) {
		o := options(s)
		d := newDriver(t, o)
		var group sync.WaitGroup
		for range 4 {
			group.Go(func() {
				if err := place(t, d, "blobs/data", large); err != nil {
					t.Error(err)
				}
				got, err := content(t, d, "blobs/data")
				if err != nil && !errors.Is(err, errReplaced) || err == nil && !bytes.Equal(got, large) {
					t.Errorf("%d bytes of %d, %v", len(got), len(large), err)
				}
			})
		}
		group.Wait()
		holds(t, d, "blobs/data", large)
		if left := s.Uploads(o.Bucket); len(left) > 0 {
			t.Errorf("multipart uploads are left: %q", left)
		}
	})
}
