package main

import (
	"bytes"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/opencontainers/go-digest"

	"gatehouse/testbench"
)

// TestS3Redirect: clients fetch blobs from the bucket, whole and in ranges, and the server asks the bucket nothing for it; where
// that is disabled, it sends them.
func TestS3Redirect(t *testing.T) {
	testbench.EachS3(t, func(t *testing.T, server *testbench.S3) {
		var asked atomic.Int32
		p := testbench.NewS3Proxy(t, server.Endpoint)
		p.Choose(func(r *http.Request) testbench.S3Fault {
			if strings.Contains(r.URL.Path, "/v2/blobs/") { // links are written whenever there is time
				asked.Add(1)
			}
			return testbench.S3Works
		})
		i, _ := startOnBucket(t, server, p.URL)
		content := bytesOf(t.Name(), bucketPart+1000)
		d := i.pushBlob("app", content)
		blob := "/v2/app/blobs/" + string(d)

		asked.Store(0)
		answer, body := i.want(307, "GET", blob, nil)
		if answer.Header.Get("Docker-Content-Digest") != string(d) || answer.Header.Get("Cache-Control") != "no-store" || len(body) > 0 {
			t.Errorf("redirected with %v and %q", answer.Header, body)
		}
		head, _ := i.want(200, "HEAD", blob, nil)
		if head.ContentLength != int64(len(content)) {
			t.Errorf("HEAD says %d bytes", head.ContentLength)
		}
		i.want(304, "GET", blob, nil, `If-None-Match: "`+string(d)+`"`)
		for _, path := range []string{"/v2/other/blobs/" + string(d), "/v2/app/blobs/" + string(digest.FromString("never pushed"))} {
			if a, _ := i.want(404, "GET", path, nil); a.Header.Get("Location") != "" {
				t.Errorf("%s: 404 with a Location", path)
			}
		}
		if n := asked.Load(); n > 0 {
			t.Errorf("the bucket was asked for the blob %d times", n)
		}

		to, err := answer.Location()
		fatal(t, err)
		if "http://"+to.Host != p.URL || to.Query().Get("X-Amz-Expires") != "1200" {
			t.Errorf("redirected to %s", to)
		}
		i.fetch(to, 200, content)
		i.fetch(to, 206, content[1000:2000], "Range: bytes=1000-1999")
		tampered := *to
		tampered.Path = strings.Replace(to.Path, d.Encoded(), digest.FromString("another").Encoded(), 1)
		i.fetch(&tampered, 403, nil)
		i.curl(blob, content)

		off, _ := startOnBucket(t, server, p.URL, sendsAll)
		off.pushBlob("app", content)
		if _, got := off.want(200, "GET", blob, nil); !bytes.Equal(got, content) {
			t.Error("sent other bytes")
		}
		off.curl(blob, content)
		if asked.Load() == 0 {
			t.Error("the bucket was never asked for the blob: the test looks at other requests")
		}
	})
}

// fetch asks a bucket for an object as somebody whom nobody knows, and wants these bytes where it is answered.
func (i *instance) fetch(to *url.URL, status int, want []byte, headers ...string) {
	i.t.Helper()
	r, err := http.NewRequestWithContext(i.t.Context(), "GET", to.String(), nil)
	fatal(i.t, err)
	for _, h := range headers {
		name, value, _ := strings.Cut(h, ": ")
		r.Header.Set(name, value)
	}
	answer, err := i.Do(r)
	fatal(i.t, err)
	defer answer.Body.Close()
	var got bytes.Buffer
	_, err = got.ReadFrom(answer.Body)
	fatal(i.t, err)
	if answer.StatusCode != status || want != nil && !bytes.Equal(got.Bytes(), want) {
		i.t.Errorf("the bucket answered %s with %d bytes, want %d with %d", answer.Status, got.Len(), status, len(want))
	}
}

// curl fetches a blob as an operator does, whole and in part.
func (i *instance) curl(path string, content []byte) {
	i.t.Helper()
	curl, file := testbench.Tool(i.t, "curl"), filepath.Join(i.t.TempDir(), "blob")
	for rng, want := range map[string][]byte{"": content, "100-199": content[100:200], "-5": content[len(content)-5:]} {
		args := []string{"--silent", "--show-error", "--fail", "--location", "--output", file, i.url + path}
		if rng != "" {
			args = append(args, "--range", rng)
		}
		if out, err := exec.CommandContext(i.t.Context(), curl, args...).CombinedOutput(); err != nil {
			i.t.Errorf("curl, range %q: %v\n%s", rng, err, out)
			continue
		}
		got, err := os.ReadFile(file)
		fatal(i.t, err)
		if !bytes.Equal(got, want) {
			i.t.Errorf("curl, range %q: %d other bytes, want %d", rng, len(got), len(want))
		}
	}
}
