package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"testing/iotest"
	"time"

	"github.com/opencontainers/go-digest"

	"gatehouse/testbench"
)

// TestS3Resume kills the server between the chunks of an upload, and once in the middle of one; it goes on behind what was
// acknowledged, or behind more that is right.
func TestS3Resume(t *testing.T) {
	testbench.EachS3(t, func(t *testing.T, server *testbench.S3) {
		i, bucket := startOnBucket(t, server, server.Endpoint, sendsAll)
		content := bytesOf(t.Name(), 4*bucketPart+1000)
		d := digest.FromBytes(content)
		begun, _ := i.want(202, "POST", "/v2/app/blobs/uploads/", nil)
		to, at := i.location(begun), 0
		// Below, at and above the size of a part, and so that a last part is too small for one.
		for _, end := range []int{1000, 2000, bucketPart, 2*bucketPart + 10, 3 * bucketPart} {
			a, _ := i.want(202, "PATCH", to, bytes.NewReader(content[at:end]), fmt.Sprintf("Content-Range: %d-%d", at, end-1))
			i.Kill()
			i.again()
			if got := i.offset(to); got != end || a.Header.Get("Range") != fmt.Sprintf("0-%d", end-1) {
				t.Fatalf("the upload goes on at %d, acknowledged were %d", got, end)
			}
			at = end
		}
		i.want(416, "PATCH", to, bytes.NewReader(content[:10]), "Content-Range: 0-9")

		reader, writer := io.Pipe()
		broken := make(chan error, 1)
		go func() {
			_, _, err := i.do("PATCH", to, reader)
			broken <- err
		}()
		_, err := writer.Write(content[at : at+bucketPart+500]) // the transport has it; the server, nearly all
		fatal(t, err)
		i.Kill()
		writer.CloseWithError(errors.New("the server is gone"))
		if err := <-broken; err == nil {
			t.Fatal("the request was answered by a server that was killed")
		}
		i.again()
		got := i.offset(to)
		if got < at || got > at+bucketPart+500 {
			t.Fatalf("the upload goes on at %d, acknowledged were %d", got, at)
		}
		i.want(201, "PUT", to+"&digest="+string(d), bytes.NewReader(content[got:]))
		if _, b := i.want(200, "GET", "/v2/app/blobs/"+string(d), nil); !bytes.Equal(b, content) {
			t.Error("the blob has other bytes")
		}
		i.purge(server, bucket)
	})
}

// offset asks how far an upload is.
func (i *instance) offset(to string) int {
	i.t.Helper()
	a, _ := i.want(204, "GET", to, nil)
	last, err := strconv.Atoi(strings.TrimPrefix(a.Header.Get("Range"), "0-"))
	fatal(i.t, err)
	return last + 1
}

// serveWith starts the server anew with more in its environment.
func (i *instance) serveWith(environ ...string) {
	i.t.Helper()
	program, err := built()
	fatal(i.t, err)
	cmd := exec.Command(program, "serve", filepath.Join(i.data, "config.yml"))
	cmd.Env = append(os.Environ(), environ...)
	i.Process = testbench.StartCmd(i.t, cmd)
	i.CloseIdleConnections()
	i.ready()
}

// purge starts the server anew so that it removes what uploads left, however new that is, and waits until nothing is left.
func (i *instance) purge(server *testbench.S3, bucket string) {
	i.t.Helper()
	i.Kill()
	i.serveWith("REGISTRY_STORAGE_MAINTENANCE_UPLOADPURGING_AGE=1ms", "REGISTRY_STORAGE_MAINTENANCE_UPLOADPURGING_INTERVAL=100ms")
	testbench.Eventually(i.t, time.Minute, "nothing of uploads left in the bucket", func() error {
		for _, key := range server.Objects(bucket) {
			if strings.Contains(key, "/_uploads/") {
				return fmt.Errorf("%s is left", key)
			}
		}
		if left := server.Uploads(bucket); len(left) > 0 {
			return fmt.Errorf("multipart uploads are left: %q", left)
		}
		return nil
	})
}

// TestS3Abort gives uploads up at different lengths: nothing of them is left in the bucket, at once.
func TestS3Abort(t *testing.T) {
	testbench.EachS3(t, func(t *testing.T, server *testbench.S3) {
		i, bucket := startOnBucket(t, server, server.Endpoint)
		for _, size := range []int{0, 1000, bucketPart, 2*bucketPart + 1000} {
			content := bytesOf(t.Name(), size)
			begun, _ := i.want(202, "POST", "/v2/app/blobs/uploads/", nil)
			to := i.location(begun)
			i.want(202, "PATCH", to, bytes.NewReader(content))
			if size > 0 && len(server.Objects(bucket)) == 0 {
				t.Errorf("%d bytes: nothing is in the bucket", size)
			}
			i.want(204, "DELETE", to, nil)
			i.want(404, "GET", to, nil)
			i.want(404, "PUT", to+"&digest="+string(digest.FromBytes(content)), nil)
			if keys := server.Objects(bucket); len(keys) > 0 {
				t.Errorf("%d bytes: the bucket holds %q", size, keys)
			}
			nothingLeft(t, server, bucket)
		}
	})
}

// TestS3ClientGone has clients break off in the middle of what goes straight to its place: it is dropped.
func TestS3ClientGone(t *testing.T) {
	testbench.EachS3(t, func(t *testing.T, server *testbench.S3) {
		var aborted atomic.Int32
		p := testbench.NewS3Proxy(t, server.Endpoint)
		p.Choose(func(r *http.Request) testbench.S3Fault {
			if r.Method == "DELETE" && r.URL.Query().Has("uploadId") {
				aborted.Add(1)
			}
			return testbench.S3Works
		})
		i, bucket := startOnBucket(t, server, p.URL)
		gone := errors.New("the client has gone")
		for _, method := range []string{"POST", "PUT"} {
			to := i.url + "/v2/app/blobs/uploads/?"
			if method == "PUT" {
				begun, _ := i.want(202, "POST", "/v2/app/blobs/uploads/", nil)
				to = i.location(begun) + "&"
			}
			aborted.Store(0)
			body := io.MultiReader(bytes.NewReader(bytesOf("x", 2*bucketPart+1000)), iotest.ErrReader(gone))
			if _, _, err := i.do(method, to+"digest="+string(digest.FromString("x")), body); !errors.Is(err, gone) {
				t.Errorf("%s: %v", method, err)
			}
			testbench.Eventually(t, time.Minute, "the upload's end", func() error {
				if aborted.Load() == 0 {
					return errors.New("no multipart upload was aborted")
				}
				if keys, left := server.Objects(bucket), server.Uploads(bucket); len(keys)+len(left) > 0 {
					return fmt.Errorf("objects %q, multipart uploads %q", keys, left)
				}
				return nil
			})
		}
	})
}

// TestS3KilledWhilePlacing kills the server in the middle of what goes straight to its place: nothing is there, and the multipart
// upload that is left goes when it is old enough.
func TestS3KilledWhilePlacing(t *testing.T) {
	testbench.EachS3(t, func(t *testing.T, server *testbench.S3) {
		i, bucket := startOnBucket(t, server, server.Endpoint)
		content := bytesOf(t.Name(), 2*bucketPart+1000)
		to := "/v2/app/blobs/uploads/?digest=" + string(digest.FromBytes(content))
		reader, writer := io.Pipe()
		broken := make(chan error, 1)
		go func() {
			_, _, err := i.do("POST", to, reader)
			broken <- err
		}()
		_, err := writer.Write(content[:2*bucketPart])
		fatal(t, err)
		testbench.Eventually(t, time.Minute, "a multipart upload", func() error {
			if len(server.Uploads(bucket)) == 0 {
				return errors.New("there is none")
			}
			return nil
		})
		i.Kill()
		writer.CloseWithError(errors.New("the server is gone"))
		if err := <-broken; err == nil {
			t.Error("the request was answered by a server that was killed")
		}
		if keys, left := server.Objects(bucket), server.Uploads(bucket); len(keys) > 0 || len(left) != 1 {
			t.Errorf("after the kill the bucket holds %q, and the multipart uploads %q", keys, left)
		}
		i.again()
		i.want(201, "POST", to, bytes.NewReader(content))
		i.purge(server, bucket)
		if _, b := i.want(307, "GET", "/v2/app/blobs/"+string(digest.FromBytes(content)), nil); len(b) > 0 {
			t.Errorf("redirected with %q", b)
		}
		if got, _ := server.Object(bucket, blobKey(digest.FromBytes(content))); !bytes.Equal(got, content) {
			t.Errorf("the bucket has %d other bytes", len(got))
		}
	})
}
