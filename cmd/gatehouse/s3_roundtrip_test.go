package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"gatehouse/testbench"
)

// bucketConfig writes a configuration for a tree in a bucket.
func bucketConfig(t testing.TB, settings string) string {
	t.Helper()
	dir := t.TempDir()
	path := filepath.Join(dir, "config.yml")
	fatal(t, os.WriteFile(path, fmt.Appendf(nil, `version: 0.1
log: {level: warn}
storage:
  s3: %s
  delete: {enabled: true}
index: {path: %q}
http: {addr: "127.0.0.1:0"}
`, settings, filepath.Join(dir, "names", "index.db")), 0o600))
	return path
}

// TestS3RoundTrip moves a tree in a bucket from registry 2.8 to gatehouse, on to registry 3.1 and back: each serves exactly what
// the one before left, with the same settings of storage.s3.
func TestS3RoundTrip(t *testing.T) {
	testbench.EachS3(t, func(t *testing.T, server *testbench.S3) {
		settings, x := server.Settings(server.Endpoint, server.Bucket, bucketRoot), expectNothing()
		config := bucketConfig(t, settings)

		two := testbench.StartRegistry2OnS3(t, settings)
		p := &peer{t: t, name: "registry 2.8", url: two.URL, expectation: x}
		p.fill()
		p.check()
		two.Kill()

		p, stop := x.openGatehouse(t, config)
		p.check()
		p.image("team/app", "fourth", "", "v1", "fourth") // v1 moves
		p.image("new/repository", "fifth", "", "v1")
		p.remove("team/app", "old")
		p.remove("team/app", string(p.image("team/app", "sixth", "", "sixth")))
		p.check()
		stop()
		if out := verb(t, 0, "fsck", "--digests", config); !strings.Contains(out, "\n0 defects") {
			t.Errorf("fsck after gatehouse: %s", out)
		}
		nothingLeft(t, server, server.Bucket)

		three := testbench.StartRegistry3OnS3(t, settings)
		p = &peer{t: t, name: "registry 3.1", url: three.URL, expectation: x}
		p.check()
		p.image("team/app", "seventh", "", "v1", "seventh")
		p.remove("team/app", x.tags["team/app:latest"])
		p.image("another", "eighth", "", "v1")
		p.check()
		three.Kill()

		verb(t, 0, "adopt", "--again", config)
		verb(t, 0, "fsck", "--digests", config)
		p, stop = x.openGatehouse(t, config)
		p.check()
		p.image("another", "ninth", "", "v1")
		p.check()
		stop()
		verb(t, 0, "fsck", "--digests", config)
	})
}
