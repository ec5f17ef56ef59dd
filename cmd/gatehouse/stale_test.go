package main

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"

	"gatehouse/testbench"
)

// TestGarbageCollectBesideDistribution: a job runs our garbage-collect on a tree that distribution serves between two runs. What it
// tagged again, or came to need, since the run before is not what the index remembers; and it stays.
func TestGarbageCollectBesideDistribution(t *testing.T) {
	root, x := t.TempDir(), expectNothing()
	config := gatehouseConfig(t, root)
	three := testbench.StartRegistry3(t, root)
	p := &peer{t: t, name: "registry 3.1", url: three.URL, expectation: x}
	first := p.image("app", "first", "", "v1")
	p.image("app", "second", "", "v1") // v1 moves
	layer := []byte("no manifest names it yet")
	l := p.blob("app", digest.FromBytes(layer), layer)
	three.Kill()
	garbageCollect(t, "", "--dry-run", "--delete-untagged", config) // adopts the tree

	three = testbench.StartRegistry3(t, root)
	p.url = three.URL
	p.manifest("app", ociManifest, string(x.manifests["app@"+string(first)]), "v1") // v1 moves back
	c := p.blob("app", digest.FromString("{}"), []byte("{}"))
	p.manifest("app", ociManifest, fmt.Sprintf(`{"schemaVersion":2,"mediaType":%q,"config":{"mediaType":"application/vnd.oci.image.config.v1+json","digest":%q,"size":2},"layers":[{"mediaType":"application/vnd.oci.image.layer.v1.tar","digest":%q,"size":%d}]}`,
		ociManifest, c, l, len(layer)), "v3")
	three.Kill()
	garbageCollect(t, "", config) // keeps what has no tag
	three = testbench.StartRegistry3(t, root)
	p.url = three.URL
	p.check()
	three.Kill()
	out := verb(t, 0, "fsck", "--digests", config)
	if !strings.Contains(out, "\n0 defects") {
		t.Errorf("fsck: %s", out)
	}
}

// impatient is gatehouseConfig with a collector that waits for hardly anything, and a listener for metrics.
func impatient(t *testing.T, root, debug string) string {
	t.Helper()
	path := gatehouseConfig(t, root)
	text, err := os.ReadFile(path)
	fatal(t, err)
	text = append(text, "gc: {interval: 10ms, grace: 0s, quarantine: 0s, untagged: 0s}\n"...)
	text = []byte(strings.Replace(string(text), `"127.0.0.1:0"}`, fmt.Sprintf(`"127.0.0.1:0", debug: {addr: %q}}`, debug), 1))
	fatal(t, os.WriteFile(path, text, 0o600))
	return path
}

// wantHeld waits until the collector says that it does nothing before the tree is adopted again.
func wantHeld(t *testing.T, config string) {
	t.Helper()
	testbench.Eventually(t, time.Minute, "the collector stands still", func() error {
		var status struct{ Held string }
		out := verb(t, 0, "gc", "status", "--json", "--config", config)
		if err := json.Unmarshal([]byte(out[max(0, strings.Index(out, "{")):]), &status); err != nil { // warnings come first
			return err
		}
		if !strings.Contains(status.Held, "gatehouse adopt --again") {
			return fmt.Errorf("it is held by %q", status.Held)
		}
		return nil
	})
}

// TestStaleIndex: a server that is started on a tree to which distribution has written, or with an index from a backup, deletes
// nothing before the tree was adopted again; then all is there.
func TestStaleIndex(t *testing.T) {
	t.Run("distribution wrote", func(t *testing.T) {
		root, x := t.TempDir(), expectNothing()
		config := gatehouseConfig(t, root)
		p, stop := x.openGatehouse(t, config)
		again := string(x.manifests["app@"+string(p.image("app", "again", "", "v1"))])
		p.remove("app", "v1")
		stop()
		three := testbench.StartRegistry3(t, root)
		p = &peer{t: t, name: "registry 3.1", url: three.URL, expectation: x}
		delete(x.gone, "app/manifests/v1")
		p.manifest("app", ociManifest, again, "v1")
		three.Kill()
		testStale(t, x, root)
	})
	t.Run("index from a backup", func(t *testing.T) {
		root, x := t.TempDir(), expectNothing()
		config := gatehouseConfig(t, root)
		p, stop := x.openGatehouse(t, config)
		d := p.image("app", "again", "", "v1")
		again := string(x.manifests["app@"+string(d)])
		p.remove("app", string(d))
		stop()
		path := filepath.Join(root, "gatehouse", "index.db")
		backup, err := os.ReadFile(path)
		fatal(t, err)
		p, stop = x.openGatehouse(t, config)
		clear(x.gone)
		p.manifest("app", ociManifest, again, "v1")
		stop()
		fatal(t, os.WriteFile(path, backup, 0o600))
		testStale(t, x, root)
	})
}

// testStale starts a server with an impatient collector, and adopts the tree when that stands still.
func testStale(t *testing.T, x *expectation, root string) {
	t.Helper()
	debug := testbench.FreeAddr(t)
	config := impatient(t, root, debug)
	_, stop := x.openGatehouse(t, config)
	wantHeld(t, config)
	answer, err := http.Get("http://" + debug + "/metrics")
	fatal(t, err)
	metrics, err := io.ReadAll(answer.Body)
	fatal(t, err)
	fatal(t, answer.Body.Close())
	if !strings.Contains(string(metrics), "\ngatehouse_gc_deleted_total 0\n") {
		t.Error("something was deleted")
	}
	stop()
	verb(t, 0, "adopt", "--again", config)
	p, stop := x.openGatehouse(t, config)
	p.check()
	stop()
	three := testbench.StartRegistry3(t, root)
	p.name, p.url = "registry 3.1", three.URL
	p.check()
}
