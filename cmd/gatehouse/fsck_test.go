package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"

	"gatehouse/testbench"
)

// damage writes a file below the tree, whatever was there, with its folders.
func damage(t *testing.T, root, name, content string) {
	t.Helper()
	path := filepath.Join(root, "docker/registry/v2", name)
	fatal(t, os.MkdirAll(filepath.Dir(path), 0o755))
	fatal(t, os.WriteFile(path, []byte(content), 0o644))
}

func hexOf(d digest.Digest) string { return d.Encoded() }

func blobPath(d digest.Digest) string {
	return "blobs/" + string(d.Algorithm()) + "/" + hexOf(d)[:2] + "/" + hexOf(d) + "/data"
}

// TestDamagedTree damages a tree that registry 2.8 wrote: all that is intact is served, and fsck names each defect.
func TestDamagedTree(t *testing.T) {
	root, x := t.TempDir(), expectNothing()
	config := gatehouseConfig(t, root)
	two := testbench.StartRegistry2(t, root)
	p := &peer{t: t, name: "registry 2.8", url: two.URL, expectation: x}
	p.fill()
	broken := p.image("broken/image", "broken", "", "v1")
	missing := digest.FromString(strings.Repeat("broken ", 1000))
	unread := p.image("broken/image", "unread", "", "unread")
	half := p.image("broken/image", "half", "", "half")
	two.Kill()

	const repo = "repositories/broken/image/"
	app := "repositories/team/app/"
	layer := digest.FromString(strings.Repeat("first ", 1000))
	revision := func(d digest.Digest) string { return "_manifests/revisions/sha256/" + hexOf(d) + "/link" }
	first := digest.Digest(x.tags["team/app:v1"])

	// What can be read in spite of it.
	damage(t, root, app+"_layers/sha256/"+hexOf(layer)+"/link", "")                // a crash of 2.8
	damage(t, root, app+revision(first), "")                                       // the same
	damage(t, root, app+"_manifests/tags/v1/current/link", string(first)+"\n")     // an editor
	damage(t, root, app+"_uploads/5f7b1a9e-0000-4000-8000-000000000000/data", "h") // half an upload
	damage(t, root, app+"_uploads/5f7b1a9e-0000-4000-8000-000000000000/startedat", "2020-01-01T00:00:00Z")
	damage(t, root, app+"README", "not a repository")
	damage(t, root, app+"_manifests/tags/latest/current/link.123e4567-e89b-42d3-a456-426614174000.tmp", "sha256:12")
	damage(t, root, "repositories/lost+found/x", "")
	damage(t, root, "repositories/.snapshot", "")
	damage(t, root, "blobs/tarsum.v1/sha256/aa/"+strings.Repeat("a", 64)+"/data", "tarsum")
	orphan := digest.FromString("orphan")
	damage(t, root, blobPath(orphan), "orphan")

	// What cannot.
	fatal(t, os.RemoveAll(filepath.Join(root, "docker/registry/v2", blobPath(missing))))
	damage(t, root, blobPath(unread), "other bytes")
	damage(t, root, repo+"_manifests/tags/half/current/link", "")
	damage(t, root, repo+"_manifests/tags/half/index/sha256/"+hexOf(broken)+"/link", string(broken))
	damage(t, root, repo+"_manifests/tags/nothing/index/sha256/"+hexOf(broken)+"/link", string(broken))
	schema1 := `{"schemaVersion":1,"name":"broken/image","tag":"old","fsLayers":[],"history":[],"signatures":[]}`
	old := digest.FromString(schema1)
	damage(t, root, blobPath(old), schema1)
	damage(t, root, repo+revision(old), string(old))
	damage(t, root, repo+"_manifests/tags/old/current/link", string(old))
	damage(t, root, repo+"_manifests/revisions/sha256/"+hexOf(old)+"/signatures/sha256/"+hexOf(orphan)+"/link", string(orphan))
	gone := digest.FromString("gone")
	damage(t, root, repo+revision(gone), string(gone))

	delete(x.blobs, "broken/image@"+string(missing))
	delete(x.manifests, "broken/image@"+string(unread))
	delete(x.tags, "broken/image:unread")
	delete(x.tags, "broken/image:half")
	for _, reference := range []string{"unread", string(unread), "half", "nothing", "old", string(old), string(gone)} {
		x.gone["broken/image/manifests/"+reference] = true
	}
	p, stop := x.openGatehouse(t, config)
	p.check() // broken's manifest and the manifest of half are among it
	p.send(404, "GET", "/v2/broken/image/blobs/"+string(missing), nil)
	p.image("broken/image", "repaired", "", "half")
	delete(x.gone, "broken/image/manifests/half")
	p.check()
	stop()
	verb(t, 0, "adopt", config)

	out := verb(t, 1, "fsck", config)
	const in = "docker/registry/v2/"
	for _, want := range []string{
		"defect: empty link: repository team/app, path " + in + app + "_layers/sha256/" + hexOf(layer),
		"defect: empty link: repository team/app, path " + in + app + revision(first),
		"defect: wrong link: repository team/app, path " + in + app + "_manifests/tags/v1/current/link",
		"note: foreign: repository team/app, path " + in + app + "README",
		"note: foreign: path " + in + "repositories/.snapshot",
		"note: orphan: path " + in + blobPath(orphan),
		"note: orphan: path " + in + "blobs/tarsum.v1",
		"defect: missing: repository broken/image, path " + in + repo + "_layers/sha256/" + hexOf(missing),
		"defect: incomplete: repository broken/image, path " + in + repo + revision(broken),
		"defect: damaged: repository broken/image, path " + in + repo + revision(unread),
		"defect: no target: repository broken/image, path " + in + repo + "_manifests/tags/unread",
		"defect: no target: repository broken/image, path " + in + repo + "_manifests/tags/nothing",
		"defect: no target: repository broken/image, path " + in + repo + "_manifests/tags/old",
		"note: schema1: repository broken/image, path " + in + repo + revision(old),
		"note: signatures: repository broken/image, path " + in + repo + "_manifests/revisions/sha256/" + hexOf(old) + "/signatures",
		"defect: missing: repository broken/image, path " + in + repo + revision(gone),
	} {
		if !strings.Contains(out, want) {
			t.Errorf("fsck does not say %q", want)
		}
	}
	if strings.Contains(out, string(half)) || strings.Contains(out, "_uploads") {
		t.Error("fsck complains of what is in order")
	}
	if t.Failed() {
		t.Log(out)
	}

	// What the index knows can be repaired, and only that.
	out = verb(t, 1, "fsck", "--repair", config)
	for _, want := range []string{"repaired: empty link: repository team/app", "repaired: wrong link: repository team/app", "defect: missing: "} {
		if !strings.Contains(out, want) {
			t.Errorf("fsck --repair does not say %q:\n%s", want, out)
		}
	}
	if out = verb(t, 1, "fsck", config); strings.Contains(out, "team/app, path "+in+app+"_") {
		t.Errorf("what was repaired is still wrong:\n%s", out)
	}

	// Bytes that rot are found by reading them.
	damage(t, root, blobPath(layer), strings.Repeat("FIRST ", 1000))
	if out = verb(t, 1, "fsck", "--digests", config); !strings.Contains(out, "defect: wrong digest: path "+in+blobPath(layer)) ||
		!strings.Contains(out, fmt.Sprintf("defect: wrong digest: repository team/app, path %s, digest %s", in+app+"_layers/sha256/"+hexOf(layer)+"/link", layer)) {
		t.Errorf("fsck --digests does not find it:\n%s", out)
	}
}
