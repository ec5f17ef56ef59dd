package main

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"encoding/json"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"

	"gatehouse/registry/index"
	"gatehouse/testbench"
)

// layer returns a layer with one file.
func layer(t testing.TB, name string) []byte {
	t.Helper()
	b := &bytes.Buffer{}
	z := gzip.NewWriter(b)
	w := tar.NewWriter(z)
	content := strings.Repeat(name+"\n", 200)
	fatal(t, w.WriteHeader(&tar.Header{Name: name, Mode: 0o644, Size: int64(len(content))}))
	_, err := w.Write([]byte(content))
	fatal(t, err)
	fatal(t, w.Close())
	fatal(t, z.Close())
	return b.Bytes()
}

// build pushes an image of layers that clients can unpack. more is put into its manifest.
func (p *peer) build(repo, name, more string, layers []string, tags ...string) digest.Digest {
	p.t.Helper()
	var descriptors, diffs []string
	push := func(mediaType string, content []byte) string {
		d := digest.FromBytes(content)
		if p.blobs[repo+"@"+string(d)] == nil {
			p.blob(repo, d, content)
		}
		return fmt.Sprintf(`{"mediaType":%q,"digest":%q,"size":%d}`, mediaType, d, len(content))
	}
	for _, l := range layers {
		packed := layer(p.t, l)
		descriptors = append(descriptors, push("application/vnd.oci.image.layer.v1.tar+gzip", packed))
		z, err := gzip.NewReader(bytes.NewReader(packed))
		fatal(p.t, err)
		diff, err := digest.Canonical.FromReader(z)
		fatal(p.t, err)
		diffs = append(diffs, fmt.Sprintf("%q", diff))
	}
	config := push("application/vnd.oci.image.config.v1+json", fmt.Appendf(nil,
		`{"architecture":"amd64","os":"linux","config":{"Labels":{"name":%q}},"rootfs":{"type":"layers","diff_ids":[%s]}}`, name, strings.Join(diffs, ",")))
	document := fmt.Sprintf(`{"schemaVersion":2,"mediaType":%q,"config":%s,"layers":[%s]%s}`, ociManifest, config, strings.Join(descriptors, ","), more)
	return p.manifest(repo, ociManifest, document, tags...)
}

// pushMany pushes 200 images that share layers, in two repositories. Some are two platforms below an index, some are signed.
func (p *peer) pushMany() {
	for i := range 200 {
		repo, tag := []string{"team/app", "tools/lint"}[i%2], fmt.Sprint("v", i)
		layers := []string{fmt.Sprint("base ", i%3), fmt.Sprint("runtime ", i/10), fmt.Sprint("app ", i)}
		switch {
		case i%10 == 4:
			var children []string
			for _, platform := range []string{"amd64", "arm64"} {
				d := p.build(repo, tag+platform, "", append(layers, platform+tag))
				children = append(children, fmt.Sprintf(`{"mediaType":%q,"digest":%q,"size":%d,"platform":{"architecture":%q,"os":"linux"}}`,
					ociManifest, d, len(p.manifests[repo+"@"+string(d)]), platform))
			}
			p.manifest(repo, ociIndex, fmt.Sprintf(`{"schemaVersion":2,"mediaType":%q,"manifests":[%s]}`, ociIndex, strings.Join(children, ",")), tag)
		default:
			d := p.build(repo, tag, "", layers, tag)
			if i%10 == 7 {
				p.build(repo, "signature of "+tag, fmt.Sprintf(`,"subject":{"mediaType":%q,"digest":%q,"size":%d}`, ociManifest, d, len(p.manifests[repo+"@"+string(d)])), []string{"signature " + tag})
			}
		}
	}
}

// document is what a manifest names.
type document struct {
	Config, Subject   struct{ Digest digest.Digest }
	Layers, Manifests []struct{ Digest digest.Digest }
}

func (d document) names() (all []digest.Digest) {
	for _, one := range append(slices.Clone(d.Layers), d.Manifests...) {
		all = append(all, one.Digest)
	}
	if d.Config.Digest != "" {
		all = append(all, d.Config.Digest)
	}
	return all
}

// onDisk is what a tree says, read from its files alone.
type onDisk struct {
	documents map[string]document      // manifests, by "repository@digest"
	needed    map[string]bool          // "repository@digest", of manifests and blobs that a tag leads to
	bytes     map[digest.Digest]int64  // of blobs
	tags      map[string]digest.Digest // by "repository:tag"
}

func readTree(t testing.TB, root string) *onDisk {
	t.Helper()
	d := &onDisk{map[string]document{}, map[string]bool{}, map[digest.Digest]int64{}, map[string]digest.Digest{}}
	v2 := filepath.Join(root, "docker/registry/v2")
	for _, path := range treeFiles(t, root) {
		name, err := filepath.Rel(v2, path)
		fatal(t, err)
		content, err := os.ReadFile(path)
		fatal(t, err)
		repo, rest, link := strings.Cut(strings.TrimPrefix(name, "repositories/"), "/_manifests/")
		switch {
		case strings.HasPrefix(name, "blobs/sha256/"):
			dgst := digest.Digest("sha256:" + filepath.Base(filepath.Dir(path)))
			if d.bytes[dgst] = int64(len(content)); digest.FromBytes(content) != dgst {
				t.Errorf("%s has other bytes", name)
			}
		case link && strings.HasPrefix(rest, "revisions/"):
			blob, err := os.ReadFile(filepath.Join(v2, blobPath(digest.Digest(content))))
			fatal(t, err)
			var m document
			fatal(t, json.Unmarshal(blob, &m))
			d.documents[repo+"@"+string(content)] = m
		case link && strings.HasSuffix(rest, "/current/link"):
			d.tags[repo+":"+strings.Split(rest, "/")[1]] = digest.Digest(content)
		}
	}
	var need func(repo string, dgst digest.Digest)
	need = func(repo string, dgst digest.Digest) {
		if d.needed[repo+"@"+string(dgst)] {
			return
		}
		d.needed[repo+"@"+string(dgst)] = true
		for _, below := range d.documents[repo+"@"+string(dgst)].names() {
			need(repo, below)
		}
		for name, m := range d.documents {
			if r, referrer, _ := strings.Cut(name, "@"); r == repo && m.Subject.Digest == dgst {
				need(repo, digest.Digest(referrer))
			}
		}
	}
	for name, dgst := range d.tags {
		repo, _, _ := strings.Cut(name, ":")
		need(repo, dgst)
	}
	return d
}

// kept returns the blobs that something needs.
func (d *onDisk) kept() map[digest.Digest]bool {
	kept := map[digest.Digest]bool{}
	for name := range d.needed {
		_, dgst, _ := strings.Cut(name, "@")
		kept[digest.Digest(dgst)] = true
	}
	return kept
}

// sample returns ten digests of each kind, of what is needed and of what is not.
func (d *onDisk) sample() map[string][]digest.Digest {
	kinds, kept := map[string]map[digest.Digest]bool{}, d.kept()
	add := func(kind string, dgst digest.Digest) {
		if kind = fmt.Sprintf("%s, needed: %v", kind, kept[dgst]); kinds[kind] == nil {
			kinds[kind] = map[digest.Digest]bool{}
		}
		kinds[kind][dgst] = true
	}
	for name, m := range d.documents {
		_, own, _ := strings.Cut(name, "@")
		switch {
		case len(m.Manifests) > 0:
			add("index", digest.Digest(own))
		case m.Subject.Digest != "":
			add("referrer", digest.Digest(own))
		default:
			add("manifest", digest.Digest(own))
		}
		for _, l := range m.Layers {
			add("layer", l.Digest)
		}
		if m.Config.Digest != "" {
			add("config", m.Config.Digest)
		}
	}
	random, out := rand.New(rand.NewPCG(1, 1)), map[string][]digest.Digest{}
	for kind, all := range kinds {
		list := slices.Sorted(maps.Keys(all))
		random.Shuffle(len(list), func(i, j int) { list[i], list[j] = list[j], list[i] })
		out[kind] = list[:min(10, len(list))]
	}
	return out
}

// explainJSON asks the verb.
func explainJSON(t testing.TB, config string, d digest.Digest) (e index.Explanation) {
	t.Helper()
	program, err := built()
	fatal(t, err)
	out, err := exec.Command(program, "gc", "explain", string(d), "--json", "--config", config).Output()
	fatal(t, err)
	fatal(t, json.Unmarshal(out, &e))
	return e
}

// checkExplanation checks each step of an explanation against the tree's own files.
func (d *onDisk) checkExplanation(t testing.TB, e index.Explanation) {
	t.Helper()
	tagged := false
	for _, u := range e.Uses {
		if tagged = tagged || u.Tagged; u.Tagged != d.needed[u.Repository+"@"+string(u.Digest)] || u.Tagged != u.Due.IsZero() {
			t.Errorf("%s: in %s a tag leads to it: %v; removed at %s", e.Digest, u.Repository, u.Tagged, u.Due)
		}
		path := u.Path
		if u.Tagged {
			if to := d.tags[u.Repository+":"+path[0].Tag]; to != path[1].Digest {
				t.Errorf("%s: tag %s points to %q: %+v", e.Digest, path[0].Tag, to, path)
			}
			path = path[1:]
		}
		for i := range path[1:] {
			upper := d.documents[u.Repository+"@"+string(path[i].Digest)]
			lower := d.documents[u.Repository+"@"+string(path[i+1].Digest)]
			if !slices.Contains(upper.names(), path[i+1].Digest) && lower.Subject.Digest != path[i].Digest {
				t.Errorf("%s: %s does not need %s", e.Digest, path[i].Digest, path[i+1].Digest)
			}
		}
		if last := path[len(path)-1]; last.Digest != e.Digest {
			t.Errorf("%s: the path ends at %s", e.Digest, last.Digest)
		}
	}
	if needed := d.kept()[e.Digest]; e.State != index.StateLive || e.Size != d.bytes[e.Digest] || tagged != needed {
		t.Errorf("%s: %q, %d bytes, a tag leads to it: %v, want %v", e.Digest, e.State, e.Size, tagged, needed)
	}
}

// TestCollection pushes 200 images, takes half of the tags away and collects, while the server runs and offline: exactly the bytes are
// gone that no tag leads to by the tree's own files, explain is right about what goes and what stays, every other tag is served
// whole, and registry 3.1.2 serves them too.
func TestCollection(t *testing.T) {
	for _, running := range []bool{true, false} {
		t.Run(fmt.Sprintf("server=%v", running), func(t *testing.T) {
			root, x := t.TempDir(), expectNothing()
			config := gatehouseConfig(t, root)
			p, stop := x.openGatehouse(t, config)
			p.pushMany()
			for name := range maps.Clone(p.tags) {
				if repo, tag, _ := strings.Cut(name, ":"); digest.FromString(tag).Encoded()[0]&1 == 0 {
					p.remove(repo, tag)
				}
			}
			stop() // now the tree is true
			before := readTree(t, root)
			if running {
				p, stop = x.openGatehouse(t, config)
			}
			now := []string{"--grace", "0s", "--quarantine", "0s", "--untagged", "0s", "--force", "--config", config}
			t.Setenv("REGISTRY_GC_UNTAGGED", "24h") // of explain, offline
			sample := before.sample()
			if len(sample) != 10 {
				t.Errorf("%d kinds: %v", len(sample), slices.Sorted(maps.Keys(sample)))
			}
			if !running {
				for _, list := range sample {
					for _, d := range list {
						before.checkExplanation(t, explainJSON(t, config, d))
					}
				}
			}
			var kept, all int64
			needed := before.kept()
			for d, size := range before.bytes {
				if all += size; needed[d] {
					kept += size
				}
			}
			want := fmt.Sprintf(" %d blobs deleted, %s freed, in ", len(before.bytes)-len(needed), byteSize(all-kept))
			if out := verb(t, 0, append([]string{"gc", "run"}, now...)...); !strings.Contains(out, want) {
				t.Errorf("%s\nwant %q", out, want)
			}
			after := readTree(t, root)
			if got := slices.Sorted(maps.Keys(after.bytes)); !slices.Equal(got, slices.Sorted(maps.Keys(needed))) || len(needed) == len(before.bytes) {
				t.Errorf("%d of %d blobs are left, %d are needed", len(got), len(before.bytes), len(needed))
			}
			for kind, list := range sample {
				for _, d := range list {
					if e := explainJSON(t, config, d); strings.HasSuffix(kind, "true") {
						after.checkExplanation(t, e)
					} else if e.State != index.StateGone || len(e.Uses) > 0 {
						t.Errorf("%s %s: %+v", kind, d, e)
					}
				}
			}
			x.keepOnly(before)
			if !running {
				p, stop = x.openGatehouse(t, config)
			}
			p.check()
			stop()
			for name, to := range after.tags {
				if x.tags[name] != string(to) {
					t.Errorf("the tree has a tag %s", name)
				}
			}
			three := testbench.StartRegistry3(t, root)
			p = &peer{t: t, name: "registry 3.1", url: three.URL, expectation: x}
			p.check()
			repo, tag, _ := strings.Cut(slices.Min(slices.Collect(maps.Keys(x.tags))), ":")
			crane := exec.Command(testbench.Tool(t, "crane"), "validate", "--insecure", "--remote", strings.TrimPrefix(three.URL, "http://")+"/"+repo+":"+tag)
			if out, err := crane.CombinedOutput(); err != nil {
				t.Errorf("crane: %v\n%s", err, out)
			}
			if out := verb(t, 0, "fsck", "--digests", config); !strings.Contains(out, "\n0 defects") {
				t.Errorf("fsck: %s", out)
			}
		})
	}
}

// keepOnly takes what no tag leads to out of what must be served: it must be gone.
func (x *expectation) keepOnly(d *onDisk) {
	for name := range maps.Clone(x.manifests) {
		if !d.needed[name] {
			delete(x.manifests, name)
			x.gone[strings.Replace(name, "@", "/manifests/", 1)] = true
		}
	}
	for name := range maps.Clone(x.blobs) {
		if !d.needed[name] {
			delete(x.blobs, name)
			x.gone[strings.Replace(name, "@", "/blobs/", 1)] = true
		}
	}
}
