package gc_test

import (
	"encoding/json"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"

	"gatehouse/registry/index"
	"gatehouse/registry/manifest"
	"gatehouse/testbench"
)

// TestDistributionTakesOver: when all is collected, and the tree has followed, distribution's own registry serves every tag that is
// left from it, whole, and none that was removed.
func TestDistributionTakesOver(t *testing.T) {
	for name, start := range map[string]func(testing.TB, string) *testbench.Distribution{
		"registry 3": testbench.StartRegistry3, "registry 2": testbench.StartRegistry2,
	} {
		t.Run(name, func(t *testing.T) {
			p := plant(t)
			old := p.image("a", "old", "config old", "layer old", "base")
			p.image("a", "", "config gone", "layer gone", "base")
			b := p.adopted()
			b.acked["a:old"] = old
			b.image("a", "v1", "config", "layer", "base")
			b.image("a", "v1", "config of v1", "layer of v1", "base") // the first is a past target of the tag
			b.image("a", "removed", "config removed", "layer removed", "base")
			child := b.image("b/c", "", "config", "base")
			multi := b.put("b/c", "multi", indexOf(child))
			b.put("b/c", "", imageWith(descriptor(b.blob("b/c", "{}")), nil, subject(multi)))
			b.image("d", "v1", "config", "layer d")
			b.image("e", "v1", "config", "layer e")
			b.untag("a", "removed")
			b.untag("e", "v1")
			_, err := b.index.RemoveRepository(t.Context(), "d", "alice", func(index.Removal) error { return nil })
			ok(t, err)
			delete(b.acked, "d:v1")
			b.rest()
			b.close()

			other := &elsewhere{t, start(t, b.root).URL + "/v2/"}
			for name, d := range b.acked {
				repo, tag, _ := strings.Cut(name, ":")
				other.served(repo, tag, d)
			}
			var signed string
			for name, d := range b.loose {
				repo, _, _ := strings.Cut(name, "@")
				other.served(repo, string(d), d)
				signed = repo
			}
			if signed == "" {
				t.Error("there is no signature in this test")
			}
			for repo, want := range map[string][]string{"a": {"old", "v1"}, "b/c": {"multi"}, "d": nil, "e": nil} {
				var list struct{ Tags []string }
				_, body := other.get(repo + "/tags/list")
				_ = json.Unmarshal(body, &list) // of a repository that is not there any more it is an error
				if slices.Sort(list.Tags); !slices.Equal(list.Tags, want) {
					t.Errorf("%s has the tags %q, want %q", repo, list.Tags, want)
				}
			}
			for _, gone := range []string{"a/manifests/removed", "d/manifests/v1", "e/manifests/v1", "a/blobs/" + string(digest.FromString("layer removed"))} {
				if status, _ := other.get(gone); status != 404 {
					t.Errorf("%s: %d", gone, status)
				}
			}
		})
	}
}

// elsewhere is another registry.
type elsewhere struct {
	testing.TB
	url string
}

func (e *elsewhere) get(path string) (status int, body []byte) {
	e.Helper()
	r, err := http.NewRequestWithContext(e.Context(), http.MethodGet, e.url+path, nil)
	ok(e, err)
	r.Header["Accept"] = []string{manifest.OCIManifest, manifest.OCIIndex}
	client := http.Client{Timeout: time.Minute}
	resp, err := client.Do(r)
	ok(e, err)
	defer resp.Body.Close()
	body, err = io.ReadAll(resp.Body)
	ok(e, err)
	return resp.StatusCode, body
}

// served pulls a manifest with all that it names.
func (e *elsewhere) served(repo, reference string, want digest.Digest) {
	e.Helper()
	status, body := e.get(repo + "/manifests/" + reference)
	if status != 200 || want.Algorithm().FromBytes(body) != want {
		e.Errorf("%s:%s has to be %s: %d, %d bytes", repo, reference, want, status, len(body))
		return
	}
	var doc document
	ok(e, json.Unmarshal(body, &doc))
	for _, d := range doc.blobs() {
		if status, content := e.get(repo + "/blobs/" + string(d)); status != 200 || d.Algorithm().FromBytes(content) != d {
			e.Errorf("%s:%s needs %s: %d, %d bytes", repo, reference, d, status, len(content))
		}
	}
	for _, child := range doc.Manifests {
		e.served(repo, string(child.Digest), child.Digest)
	}
}
