package store

import (
	"bytes"
	"errors"
	"io"
	"io/fs"
	"log/slog"
	"math/rand/v2"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/opencontainers/go-digest"

	"gatehouse/registry/driver"
	"gatehouse/registry/driver/drivertest"
	"gatehouse/registry/driver/inmemory"
	"gatehouse/registry/tree"
)

const id = "0195a1f2-7d3c-4c6f-9d2a-0c2f5a7b9e11"

func newStore(d driver.Driver) *Store { return New(d, time.Now, slog.New(slog.DiscardHandler)) }

func upload(t *testing.T, s *Store) *Upload {
	t.Helper()
	u, err := s.Upload(t.Context(), "a", id, digest.SHA256)
	if err != nil {
		t.Fatal(err)
	}
	return u
}

func appendString(t *testing.T, u *Upload, content string) {
	t.Helper()
	if err := u.Append(t.Context(), strings.NewReader(content)); err != nil {
		t.Fatal(err)
	}
}

// commit commits u as content and checks that the blob is there, and nothing of the upload.
func commit(t *testing.T, s *Store, u *Upload, content string) {
	t.Helper()
	d := digest.FromString(content)
	if err := u.Commit(t.Context(), d); err != nil {
		t.Fatal(err)
	}
	u.Release()
	f, err := s.Open(t.Context(), d, int64(len(content)))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if got, err := io.ReadAll(f); string(got) != content || err != nil {
		t.Errorf("blob %.20q, %v; want %.20q", got, err, content)
	}
	if _, err := s.driver.Stat(t.Context(), tree.UploadData("a", id)); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the upload's bytes: %v, want them gone", err)
	}
	if _, err := s.Upload(t.Context(), "a", id, digest.SHA256); !errors.Is(err, ErrUploadUnknown) {
		t.Errorf("upload after its end: %v, want ErrUploadUnknown", err)
	}
}

// TestResumeAfterRestart: a new Store over the same driver knows nothing but the bytes.
func TestResumeAfterRestart(t *testing.T) {
	for name, end := range map[string]func(*Store, *Upload){
		"stopped": func(s *Store, u *Upload) { u.Release() },
		"killed":  func(*Store, *Upload) {},
	} {
		t.Run(name, func(t *testing.T) {
			d := inmemory.New()
			s := newStore(d)
			u := upload(t, s)
			appendString(t, u, "hello ")
			end(s, u)
			s = newStore(d)
			u = upload(t, s)
			if u.Size() != 6 {
				t.Fatalf("resumed at %d, want 6", u.Size())
			}
			appendString(t, u, "world")
			commit(t, s, u, "hello world")
		})
	}
}

// TestRestingUploads: an upload that rests gives up what it holds in memory, and goes on all the same.
func TestRestingUploads(t *testing.T) {
	now := time.Unix(0, 0)
	s := New(inmemory.New(), func() time.Time { return now }, slog.New(slog.DiscardHandler))
	u := upload(t, s)
	appendString(t, u, "hello ")
	u.Release()
	ended, err := s.Upload(t.Context(), "b", id, digest.SHA256)
	if err != nil {
		t.Fatal(err)
	}
	ended.Cancel(t.Context())
	ended.Release()
	sweep := func() int {
		s.session("c", id)
		return len(s.sessions)
	}
	now = now.Add(restTime + time.Second)
	if n := sweep(); n != 2 {
		t.Errorf("%d sessions after a rest, want the ended one and the new one", n)
	}
	if _, err := s.Upload(t.Context(), "b", id, digest.SHA256); !errors.Is(err, ErrUploadUnknown) {
		t.Errorf("ended upload: %v, want ErrUploadUnknown", err)
	}
	now = now.Add(forgetTime + time.Second)
	if n := sweep(); n != 1 {
		t.Errorf("%d sessions after a long rest, want the new one", n)
	}
	u = upload(t, s)
	appendString(t, u, "world")
	commit(t, s, u, "hello world")
}

// TestPushingRepairs: what was just verified takes the place of what is there, even where that has the right size.
func TestPushingRepairs(t *testing.T) {
	d := inmemory.New()
	const content = "hello"
	dgst := digest.FromString(content)
	for _, damaged := range []string{content, "hell", "hellO", ""} {
		if err := d.WriteFile(t.Context(), tree.Blob(dgst), []byte(damaged)); err != nil {
			t.Fatal(err)
		}
		s := newStore(d) // another one has no memory of the upload
		u := upload(t, s)
		appendString(t, u, content)
		commit(t, s, u, content)
		if err := d.WriteFile(t.Context(), tree.Blob(dgst), []byte(damaged)); err != nil {
			t.Fatal(err)
		}
		if err := s.Write(t.Context(), dgst, []byte(content), true); err != nil {
			t.Fatal(err)
		}
		if b, err := s.Read(t.Context(), dgst, 5); string(b) != content || err != nil {
			t.Errorf("read %q, %v", b, err)
		}
	}
	counter := drivertest.Count(d)
	if err := newStore(counter).Write(t.Context(), dgst, []byte(content), true); err != nil || counter.Counts()["WriteFile"] > 0 {
		t.Errorf("a small blob that is there was written again: %v, %s", err, counter)
	}
}

// TestRestingUploadsAreClosed: an upload that no request works on holds no file open.
func TestRestingUploadsAreClosed(t *testing.T) {
	s := newStore(inmemory.New())
	u := upload(t, s)
	appendString(t, u, "hello ")
	u.Release()
	if u.writer != nil || u.hash == nil {
		t.Error("the file is open, or the hash gone")
	}
	u = upload(t, s)
	appendString(t, u, "world")
	commit(t, s, u, "hello world")
}

func TestDamaged(t *testing.T) {
	s := newStore(inmemory.New())
	d := digest.FromString("hello")
	if _, err := s.Open(t.Context(), d, 5); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("open what is not there: %v", err)
	}
	for _, bytes := range []string{"hell", "hello!", "hellO", ""} {
		if err := s.driver.WriteFile(t.Context(), tree.Blob(d), []byte(bytes)); err != nil {
			t.Fatal(err)
		}
		if _, err := s.Read(t.Context(), d, 5); err == nil {
			t.Errorf("read gave %q for %s", bytes, d)
		}
		if _, err := s.Open(t.Context(), d, 5); len(bytes) != 5 && !errors.Is(err, ErrDamaged) {
			t.Errorf("open with %q stored: %v, want ErrDamaged", bytes, err)
		}
	}
}

func TestPump(t *testing.T) {
	content := make([]byte, 5*pieceSize+17)
	for i := range content {
		content[i] = byte(rand.Uint32())
	}
	gone := errors.New("gone")
	full := errors.New("full")
	for _, size := range []int{0, 1, pieceSize - 1, pieceSize, pieceSize + 1, 3 * pieceSize, len(content)} {
		part := content[:size]
		for name, r := range map[string]io.Reader{
			"whole": bytes.NewReader(part), "halves": iotest.HalfReader(bytes.NewReader(part)), "data with EOF": iotest.DataErrReader(bytes.NewReader(part)),
		} {
			var w bytes.Buffer
			if n, err := pump(&w, r); n != int64(size) || err != nil || !bytes.Equal(w.Bytes(), part) {
				t.Errorf("%d bytes, %s: %d, %v", size, name, n, err)
			}
		}
		var w bytes.Buffer
		var source *SourceError
		n, err := pump(&w, io.MultiReader(bytes.NewReader(part), iotest.ErrReader(gone)))
		if !errors.As(err, &source) || !errors.Is(err, gone) || n != int64(size) || !bytes.Equal(w.Bytes(), part) {
			t.Errorf("%d bytes, then gone: %d, %v", size, n, err)
		}
		for limit := 0; limit < size; limit += pieceSize {
			_, err := pump(&limitedWriter{limit, full}, bytes.NewReader(part))
			if !errors.Is(err, full) || errors.As(err, &source) {
				t.Errorf("%d bytes, room for %d: %v, want the writer's error", size, limit, err)
			}
		}
	}
}

// limitedWriter fails once it has taken left bytes.
type limitedWriter struct {
	left int
	err  error
}

func (w *limitedWriter) Write(p []byte) (int, error) {
	n := min(len(p), w.left)
	w.left -= n
	if n < len(p) {
		return n, w.err
	}
	return n, nil
}
