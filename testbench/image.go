package testbench

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"
)

// Image is a small runnable image, made on this machine out of nothing: the
// program of package hello, the message that it prints, and data of the wanted
// size. Images with the same fields have the same bytes; images with different
// seeds share the layer with the program and no other blob, so that a registry
// has seen neither, one or all of an image's layers as a test likes.
type Image struct {
	Seed string // what makes it another image
	Size int    // bytes of incompressible data in a layer of their own; 0: no such layer
}

// Media types, from the OCI image specification 1.1.
const (
	mediaTypeIndex    = "application/vnd.oci.image.index.v1+json"
	mediaTypeManifest = "application/vnd.oci.image.manifest.v1+json"
	mediaTypeConfig   = "application/vnd.oci.image.config.v1+json"
	mediaTypeLayer    = "application/vnd.oci.image.layer.v1.tar+gzip"
)

// epoch is when all files were last changed.
var epoch = time.Unix(0, 0)

// Message is what the image prints when it runs.
func (i Image) Message() string {
	return "hello from " + i.Seed + "\n"
}

// Platform is the machine's own platform, which `docker run` needs.
func Platform() string {
	return "linux/" + runtime.GOARCH
}

// BuildContext makes a directory with a Dockerfile, FROM scratch, for `docker
// build`, and returns it. What docker makes of it has the same layers each time
// and in each image with the same files, but holds the time of the build.
func (i Image) BuildContext(t testing.TB) string {
	t.Helper()
	dir := t.TempDir()
	dockerfile := "FROM scratch\n"
	for _, f := range i.files(t, Platform()) {
		dockerfile += fmt.Sprintf("COPY %s /\n", f.name)
		path := filepath.Join(dir, f.name)
		writeFile(t, path, f.data, f.mode)
		if err := os.Chtimes(path, epoch, epoch); err != nil { // docker keeps it in the layer
			t.Fatal(err)
		}
	}
	dockerfile += "ENTRYPOINT [\"/hello\"]\n"
	writeFile(t, filepath.Join(dir, "Dockerfile"), []byte(dockerfile), 0o644)
	return dir
}

// DockerArchive writes the image for [Platform] as `docker save` does, named
// ref, to a file, and returns its path. docker load, skopeo (docker-archive:)
// and crane push read it.
func (i Image) DockerArchive(t testing.TB, ref string) string {
	t.Helper()
	var entries []file
	var names []string
	layers := i.layers(t, Platform())
	for _, l := range layers {
		name := hexDigest(l.tar) + ".tar"
		names = append(names, name)
		entries = append(entries, file{name, l.tar, 0o644})
	}
	config := marshal(t, newConfig(Platform(), layers))
	configName := hexDigest(config) + ".json"
	manifest := marshal(t, []map[string]any{{"Config": configName, "RepoTags": []string{ref}, "Layers": names}})
	entries = append(entries, file{configName, config, 0o644}, file{"manifest.json", manifest, 0o644})

	path := filepath.Join(t.TempDir(), "image.tar")
	writeFile(t, path, tarOf(t, entries...), 0o644)
	return path
}

// Layout writes the image as an OCI image layout, with the reference name tag,
// to a directory, and returns it and the digest of what tag names: the manifest
// for one platform (none given: [Platform]), the index of them all for several.
// skopeo reads it as oci:DIR:TAG.
func (i Image) Layout(t testing.TB, tag string, platforms ...string) (dir, digest string) {
	t.Helper()
	if len(platforms) == 0 {
		platforms = []string{Platform()}
	}
	dir = t.TempDir()
	var manifests []descriptor
	for _, platform := range platforms {
		d := i.layoutManifest(t, dir, platform)
		if len(platforms) > 1 {
			d.Platform = newPlatform(platform)
		}
		manifests = append(manifests, d)
	}
	top := manifests[0]
	if len(platforms) > 1 {
		top = writeBlob(t, dir, mediaTypeIndex, marshal(t, index{2, mediaTypeIndex, manifests}))
	}
	digest = top.Digest
	top.Annotations = map[string]string{"org.opencontainers.image.ref.name": tag}
	writeFile(t, filepath.Join(dir, "oci-layout"), []byte(`{"imageLayoutVersion":"1.0.0"}`), 0o644)
	writeFile(t, filepath.Join(dir, "index.json"), marshal(t, index{2, mediaTypeIndex, []descriptor{top}}), 0o644)
	return dir, digest
}

// layoutManifest writes the blobs of one platform's image and describes its
// manifest.
func (i Image) layoutManifest(t testing.TB, dir, platform string) descriptor {
	t.Helper()
	layers := i.layers(t, platform)
	m := manifest{SchemaVersion: 2, MediaType: mediaTypeManifest}
	m.Config = writeBlob(t, dir, mediaTypeConfig, marshal(t, newConfig(platform, layers)))
	for _, l := range layers {
		m.Layers = append(m.Layers, writeBlob(t, dir, mediaTypeLayer, l.compressed(t)))
	}
	return writeBlob(t, dir, mediaTypeManifest, marshal(t, m))
}

// file is an entry of a tar archive.
type file struct {
	name string
	data []byte
	mode os.FileMode
}

// layer is one file, and the archive with it alone.
type layer struct{ tar []byte }

// files are the image's files, the bottom layer's first.
func (i Image) files(t testing.TB, platform string) []file {
	t.Helper()
	files := []file{
		{"hello", program(t, platform), 0o755},
		{"message", []byte(i.Message()), 0o644},
	}
	if i.Size > 0 {
		data := make([]byte, i.Size)
		seed := sha256.Sum256([]byte(i.Seed))
		if _, err := io.ReadFull(rand.NewChaCha8(seed), data); err != nil {
			t.Fatalf("no data: %v", err)
		}
		files = append(files, file{"data", data, 0o644})
	}
	return files
}

func (i Image) layers(t testing.TB, platform string) []layer {
	t.Helper()
	var layers []layer
	for _, f := range i.files(t, platform) {
		layers = append(layers, layer{tarOf(t, f)})
	}
	return layers
}

func (l layer) compressed(t testing.TB) []byte {
	t.Helper()
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	if _, err := w.Write(l.tar); err != nil {
		t.Fatalf("gzip: %v", err)
	}
	if err := w.Close(); err != nil {
		t.Fatalf("gzip: %v", err)
	}
	return b.Bytes()
}

// program is package hello, built for platform. The linker is all that runs
// after the first time.
func program(t testing.TB, platform string) []byte {
	t.Helper()
	p := newPlatform(platform)
	path := filepath.Join(t.TempDir(), "hello")
	cmd := exec.Command("go", "build", "-trimpath", "-buildvcs=false", "-ldflags=-s -w -buildid=",
		"-o", path, "gatehouse/testbench/hello")
	cmd.Dir = moduleRoot()
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOFLAGS=", "GOOS="+p.OS, "GOARCH="+p.Architecture)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("cannot build the images' program for %s: %v\n%s", platform, err, out)
	}
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatalf("cannot read the images' program: %v", err)
	}
	return data
}

// tarOf makes an archive whose bytes depend on the files alone.
func tarOf(t testing.TB, files ...file) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, f := range files {
		header := &tar.Header{Typeflag: tar.TypeReg, Name: f.name, Mode: int64(f.mode), Size: int64(len(f.data)), ModTime: epoch}
		if err := w.WriteHeader(header); err != nil {
			t.Fatalf("tar: %v", err)
		}
		if _, err := w.Write(f.data); err != nil {
			t.Fatalf("tar: %v", err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatalf("tar: %v", err)
	}
	return b.Bytes()
}

// The OCI image specification's JSON, as far as these images need it.
type (
	descriptor struct {
		MediaType   string            `json:"mediaType"`
		Digest      string            `json:"digest"`
		Size        int               `json:"size"`
		Platform    *platform         `json:"platform,omitempty"`
		Annotations map[string]string `json:"annotations,omitempty"`
	}
	platform struct {
		Architecture string `json:"architecture"`
		OS           string `json:"os"`
	}
	index struct {
		SchemaVersion int          `json:"schemaVersion"`
		MediaType     string       `json:"mediaType"`
		Manifests     []descriptor `json:"manifests"`
	}
	manifest struct {
		SchemaVersion int          `json:"schemaVersion"`
		MediaType     string       `json:"mediaType"`
		Config        descriptor   `json:"config"`
		Layers        []descriptor `json:"layers"`
	}
	config struct {
		platform
		Config struct {
			Entrypoint []string
		} `json:"config"`
		RootFS struct {
			Type    string   `json:"type"`
			DiffIDs []string `json:"diff_ids"`
		} `json:"rootfs"`
	}
)

func newPlatform(s string) *platform {
	os, arch, _ := strings.Cut(s, "/")
	return &platform{Architecture: arch, OS: os}
}

func newConfig(platform string, layers []layer) config {
	var c config
	c.platform = *newPlatform(platform)
	c.Config.Entrypoint = []string{"/hello"}
	c.RootFS.Type = "layers"
	for _, l := range layers {
		c.RootFS.DiffIDs = append(c.RootFS.DiffIDs, "sha256:"+hexDigest(l.tar))
	}
	return c
}

func writeBlob(t testing.TB, layout, mediaType string, data []byte) descriptor {
	t.Helper()
	name := hexDigest(data)
	writeFile(t, filepath.Join(layout, "blobs", "sha256", name), data, 0o644)
	return descriptor{MediaType: mediaType, Digest: "sha256:" + name, Size: len(data)}
}

func hexDigest(data []byte) string {
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:])
}

func marshal(t testing.TB, v any) []byte {
	t.Helper()
	data, err := json.Marshal(v)
	if err != nil {
		t.Fatalf("json: %v", err)
	}
	return data
}

// writeFile writes a file and the directories above it.
func writeFile(t testing.TB, path string, data []byte, mode os.FileMode) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, data, mode); err != nil {
		t.Fatal(err)
	}
}
