package store

import (
	"bytes"
	"errors"
	"io"
	"io/fs"
	"math/rand/v2"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"testing/iotest"

	"github.com/opencontainers/go-digest"

	"gatehouse/registry/driver/drivertest"
	"gatehouse/registry/driver/s3"
	"gatehouse/registry/tree"
	"gatehouse/testbench"
)

// bucket is a store over a new bucket, and what can be seen of it from outside.
type bucket struct {
	*Store
	server *testbench.S3
	name   string
	copies atomic.Int32 // requests that have the server copy bytes
}

const part = 5 << 20 // bytes of a part

func newBucket(t *testing.T, server *testbench.S3) *bucket {
	t.Helper()
	b := &bucket{server: server, name: server.NewBucket()}
	p := testbench.NewS3Proxy(t, server.Endpoint)
	p.Choose(func(r *http.Request) testbench.S3Fault {
		if r.Header.Get("X-Amz-Copy-Source") != "" {
			b.copies.Add(1)
		}
		return testbench.S3Works
	})
	d, err := s3.New(t.Context(), s3.Options{
		AccessKey: server.AccessKey, SecretKey: s3.Secret(server.SecretKey), RegionEndpoint: p.URL, Bucket: b.name, ChunkSize: part,
	})
	if err != nil {
		t.Fatal(err)
	}
	b.Store = newStore(d)
	return b
}

// holds checks that the bucket holds blobs of these bytes, and nothing else.
func (b *bucket) holds(t *testing.T, blobs ...[]byte) {
	t.Helper()
	for _, want := range blobs {
		f, err := b.Open(t.Context(), digest.FromBytes(want), int64(len(want)))
		if err != nil {
			t.Error(err)
			continue
		}
		got, err := io.ReadAll(f)
		f.Close()
		if err != nil || !bytes.Equal(got, want) {
			t.Errorf("%d bytes of %d, %v", len(got), len(want), err)
		}
	}
	if files := drivertest.Files(t, b.driver); len(files) != len(blobs) {
		t.Errorf("the bucket holds %q, want %d blobs", files, len(blobs))
	}
	if left := b.server.Uploads(b.name); len(left) > 0 {
		t.Errorf("multipart uploads are left: %q", left)
	}
}

// TestPlace: an upload of which the digest is known before the first byte goes straight to where the blob belongs, and what
// does not match is never there.
func TestPlace(t *testing.T) {
	large := make([]byte, 2*part+100)
	rand.NewChaCha8([32]byte{}).Read(large)
	testbench.EachS3(t, func(t *testing.T, server *testbench.S3) {
		for size, content := range map[string][]byte{"empty": {}, "small": []byte("hello"), "large": large} {
			t.Run(size, func(t *testing.T) { testPlace(t, newBucket(t, server), content) })
			t.Run(size+", refused", func(t *testing.T) { testPlaceRefused(t, newBucket(t, server), content) })
		}
		t.Run("too late", func(t *testing.T) { testPlaceTooLate(t, newBucket(t, server)) })
	})
}

func testPlace(t *testing.T, b *bucket, content []byte) {
	d := digest.FromBytes(content)
	u := upload(t, b.Store)
	u.Expect(d)
	if len(content) > 0 {
		if err := u.Append(t.Context(), bytes.NewReader(content)); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := b.driver.Stat(t.Context(), tree.Blob(d)); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("before Commit: %v", err)
	}
	if err := u.Commit(t.Context(), d); err != nil {
		t.Fatal(err)
	}
	u.Release()
	b.holds(t, content)
	if n := b.copies.Load(); n > 0 {
		t.Errorf("%d copies", n)
	}
	if _, err := b.Upload(t.Context(), "a", id, digest.SHA256); !errors.Is(err, ErrUploadUnknown) {
		t.Errorf("the upload after its end: %v", err)
	}
}

// testPlaceRefused lets a request break off, and another bring other bytes; then the right ones come, in another algorithm than
// was announced.
func testPlaceRefused(t *testing.T, b *bucket, content []byte) {
	other := append([]byte("other"), content...)
	if err := b.Write(t.Context(), digest.FromBytes(other), other, false); err != nil {
		t.Fatal(err)
	}
	d := digest.FromBytes(content)
	u := upload(t, b.Store)
	u.Expect(d)
	away := errors.New("the client has gone")
	err := u.Append(t.Context(), io.MultiReader(bytes.NewReader(content), iotest.ErrReader(away)))
	if source := (*SourceError)(nil); !errors.As(err, &source) || !errors.Is(err, away) || u.Size() != 0 {
		t.Errorf("a request that broke off: %v, size %d", err, u.Size())
	}
	u.Release()
	b.holds(t, other)

	u = upload(t, b.Store)
	u.Expect(d)
	if err := u.Append(t.Context(), bytes.NewReader(other)); err != nil {
		t.Fatal(err)
	}
	if err := u.Commit(t.Context(), d); !errors.Is(err, ErrDigestMismatch) || u.Size() != 0 {
		t.Errorf("other bytes: %v, size %d", err, u.Size())
	}
	u.Release()
	b.holds(t, other)

	d = digest.SHA512.FromBytes(content)
	u = upload(t, b.Store)
	u.Expect(d)
	if err := u.Append(t.Context(), bytes.NewReader(content)); err != nil {
		t.Fatal(err)
	}
	if err := u.Commit(t.Context(), d); err != nil {
		t.Fatal(err)
	}
	u.Release()
	if got, err := b.Read(t.Context(), d, int64(len(content))); err != nil || !bytes.Equal(got, content) {
		t.Errorf("%d bytes, %v", len(got), err)
	}
}

// testPlaceTooLate: bytes that were stored before the digest was known are kept, and moved.
func testPlaceTooLate(t *testing.T, b *bucket) {
	u := upload(t, b.Store)
	appendString(t, u, "hello ")
	u.Release()
	b.Store = newStore(b.driver) // another process
	for _, rest := range []string{"moon", "world"} {
		u = upload(t, b.Store)
		if u.Size() < 6 {
			t.Fatalf("%d bytes are kept", u.Size())
		}
		d := digest.FromString("hello " + rest)
		u.Expect(d)
		if rest == "moon" {
			if err := u.Append(t.Context(), iotest.ErrReader(io.ErrUnexpectedEOF)); err == nil {
				t.Error("a broken request is taken")
			}
			u.Release()
			continue
		}
		if err := u.Append(t.Context(), strings.NewReader(rest)); err != nil {
			t.Fatal(err)
		}
		if err := u.Commit(t.Context(), d); err != nil {
			t.Fatal(err)
		}
		u.Release()
	}
	b.holds(t, []byte("hello world"))
	if b.copies.Load() == 0 {
		t.Error("no copy was seen: the test looks at the wrong requests")
	}
}
