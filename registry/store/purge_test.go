package store

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"

	"gatehouse/registry/driver/drivertest"
	"gatehouse/registry/driver/inmemory"
	"gatehouse/registry/tree"
)

func TestPurge(t *testing.T) {
	d := inmemory.New()
	now := time.Now()
	s := New(d, func() time.Time { return now }, slog.New(slog.DiscardHandler))
	begin := func(repo, id string) *Upload {
		u, err := s.Upload(t.Context(), repo, id, digest.SHA256)
		if err != nil {
			t.Fatal(err)
		}
		if err := u.Append(t.Context(), strings.NewReader("hello")); err != nil {
			t.Fatal(err)
		}
		return u
	}
	blob := digest.FromString("blob")
	if err := s.Write(t.Context(), blob, []byte("blob"), false); err != nil {
		t.Fatal(err)
	}
	begin("a", "1").Release()
	begin("a/b/c", "2").Release()
	busy := begin("a/b", "3")
	// What the incumbent left behind, and what only looks like an upload.
	for _, file := range []string{"a/_uploads/old/startedat", "a/_uploads/old/hashstates/sha256/0", "a/_layers/_uploads/x/data", "a/_manifests/tags/_uploads/current/link"} {
		if err := d.WriteFile(t.Context(), tree.Repositories+"/"+file, []byte("x")); err != nil {
			t.Fatal(err)
		}
	}
	purge := func(p Purging, want int) {
		t.Helper()
		if n, err := s.PurgeOnce(t.Context(), p); n != want || err != nil {
			t.Errorf("%d purged, %v; want %d; files %v", n, err, want, drivertest.Files(t, d))
		}
	}
	purge(Purging{Age: time.Hour}, 0)
	now = now.Add(2 * time.Hour)
	purge(Purging{Age: time.Hour, DryRun: true}, 3)
	purge(Purging{Age: time.Hour}, 3)
	purge(Purging{Age: time.Hour}, 0)
	if _, err := s.Upload(t.Context(), "a", "1", digest.SHA256); !errors.Is(err, ErrUploadUnknown) {
		t.Errorf("a purged upload: %v, want ErrUploadUnknown", err)
	}
	if err := busy.Commit(t.Context(), digest.FromString("hello")); err != nil {
		t.Errorf("the upload that was worked on: %v", err)
	}
	busy.Release()
	left := drivertest.Files(t, d)
	for _, want := range []string{tree.Blob(blob), tree.Blob(digest.FromString("hello")), tree.Repositories + "/a/_layers/_uploads/x/data", tree.Repositories + "/a/_manifests/tags/_uploads/current/link"} {
		if !strings.Contains(strings.Join(left, "\n"), want) {
			t.Errorf("%s is gone; left: %v", want, left)
		}
	}
	if len(left) != 4 {
		t.Errorf("left behind: %v", left)
	}
}

// TestPurgeFails: storage that cannot say how old an upload is keeps it.
func TestPurgeFails(t *testing.T) {
	inner := inmemory.New()
	path := tree.UploadData("a", "1")
	if err := inner.WriteFile(t.Context(), path, []byte("x")); err != nil {
		t.Fatal(err)
	}
	for k := range 3 {
		d := drivertest.NewFaults(inner, drivertest.Fault{Match: drivertest.On("List", "Stat"), Skip: k, Times: 1, Err: errors.New("away")})
		s := New(d, func() time.Time { return time.Now().Add(time.Hour) }, slog.New(slog.DiscardHandler))
		if n, err := s.PurgeOnce(t.Context(), Purging{Age: time.Minute}); n != 0 || err == nil {
			t.Errorf("fault %d: %d purged, %v", k, n, err)
		}
		if _, err := inner.Stat(t.Context(), path); err != nil {
			t.Fatalf("fault %d: the upload is gone: %v", k, err)
		}
	}
}

// leaky is a driver that leaves things behind, and says how many.
type leaky struct {
	*inmemory.Driver
	asked time.Duration
}

func (d *leaky) Sweep(_ context.Context, olderThan time.Duration) (int, error) {
	d.asked = olderThan
	return 3, nil
}

func TestPurgeSweepsTheDriver(t *testing.T) {
	d := &leaky{Driver: inmemory.New()}
	if n, err := newStore(d).PurgeOnce(t.Context(), Purging{Age: time.Hour, DryRun: true}); n != 0 || err != nil || d.asked != 0 {
		t.Errorf("a dry run swept: %d, %v", n, err)
	}
	if n, err := newStore(d).PurgeOnce(t.Context(), Purging{Age: time.Hour}); n != 3 || err != nil || d.asked != time.Hour {
		t.Errorf("swept %d of what was older than %v, %v", n, d.asked, err)
	}
}
