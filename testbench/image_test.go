package testbench

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func TestLayout(t *testing.T) {
	image := Image{Seed: t.Name(), Size: 1000}
	dir, digest := image.Layout(t, "v1")
	top := readLayout(t, dir)
	if len(top.Manifests) != 1 || top.Manifests[0].Digest != digest || top.Manifests[0].MediaType != mediaTypeManifest {
		t.Fatalf("index.json names %+v, want %s", top.Manifests, digest)
	}
	if tag := top.Manifests[0].Annotations["org.opencontainers.image.ref.name"]; tag != "v1" {
		t.Errorf("tag is %q", tag)
	}
	var m manifest
	readBlob(t, dir, top.Manifests[0], &m)
	if len(m.Layers) != 3 {
		t.Errorf("%d layers, want program, message and data", len(m.Layers))
	}
	for _, d := range append(m.Layers, m.Config) {
		readBlob(t, dir, d, nil)
	}

	_, again := image.Layout(t, "v2")
	if again != digest {
		t.Errorf("the same image has digests %s and %s", digest, again)
	}
	otherDir, otherDigest := Image{Seed: "another"}.Layout(t, "v1")
	if otherDigest == digest {
		t.Error("different images have the same digest")
	}
	var other manifest
	readBlob(t, otherDir, readLayout(t, otherDir).Manifests[0], &other)
	if other.Layers[0].Digest != m.Layers[0].Digest || other.Layers[1].Digest == m.Layers[1].Digest {
		t.Error("different images must share the program's layer and no other")
	}
}

func TestLayoutIndex(t *testing.T) {
	platforms := []string{"linux/amd64", "linux/arm64"}
	dir, digest := Image{Seed: t.Name()}.Layout(t, "v1", platforms...)
	top := readLayout(t, dir)
	if len(top.Manifests) != 1 || top.Manifests[0].Digest != digest || top.Manifests[0].MediaType != mediaTypeIndex {
		t.Fatalf("index.json names %+v, want %s", top.Manifests, digest)
	}
	var i index
	readBlob(t, dir, top.Manifests[0], &i)
	var got []string
	for _, d := range i.Manifests {
		got = append(got, d.Platform.OS+"/"+d.Platform.Architecture)
		var m manifest
		readBlob(t, dir, d, &m)
		var c config
		readBlob(t, dir, m.Config, &c)
		if c.platform != *d.Platform {
			t.Errorf("index says %v, configuration says %v", *d.Platform, c.platform)
		}
	}
	if !slices.Equal(got, platforms) {
		t.Errorf("index holds %v, want %v", got, platforms)
	}
}

func TestImagesRun(t *testing.T) {
	docker := Docker(t)
	built, loaded := Image{Seed: "a build", Size: 10}, Image{Seed: "an archive", Size: 10}
	// Another run of the tests may use the same engine.
	builtRef, loadedRef := fmt.Sprintf("gatehouse-testbench/build:%d", os.Getpid()), fmt.Sprintf("gatehouse-testbench/archive:%d", os.Getpid())
	t.Cleanup(func() {
		if out, err := exec.Command(docker, "image", "rm", "--force", builtRef, loadedRef).CombinedOutput(); err != nil {
			t.Errorf("images left behind: %v\n%s", err, out)
		}
	})
	run := func(args ...string) string {
		t.Helper()
		out, err := exec.Command(docker, args...).CombinedOutput()
		if err != nil {
			t.Fatalf("docker %s: %v\n%s", strings.Join(args, " "), err, out)
		}
		return string(out)
	}
	run("build", "--quiet", "--tag", builtRef, built.BuildContext(t))
	run("load", "--input", loaded.DockerArchive(t, loadedRef))
	for ref, image := range map[string]Image{builtRef: built, loadedRef: loaded} {
		if got := run("run", "--rm", ref); got != image.Message() {
			t.Errorf("%s prints %q, want %q", ref, got, image.Message())
		}
	}
}

func readLayout(t *testing.T, dir string) (i index) {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(dir, "index.json"))
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(data, &i); err != nil {
		t.Fatal(err)
	}
	return i
}

// readBlob checks a blob against its descriptor and decodes it into v, if any.
func readBlob(t *testing.T, dir string, d descriptor, v any) {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(dir, "blobs", strings.ReplaceAll(d.Digest, ":", "/")))
	if err != nil {
		t.Fatal(err)
	}
	if len(data) != d.Size || "sha256:"+hexDigest(data) != d.Digest {
		t.Errorf("blob %s does not match its descriptor", d.Digest)
	}
	if v != nil {
		if err := json.Unmarshal(data, v); err != nil {
			t.Fatal(err)
		}
	}
}
