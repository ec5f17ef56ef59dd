package registry

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
	"golang.org/x/sync/errgroup"

	"gatehouse/registry/driver/inmemory"
	"gatehouse/registry/index"
	"gatehouse/registry/index/kv/bolt"
	"gatehouse/registry/index/kv/kvtest"
	"gatehouse/registry/manifest"
	"gatehouse/registry/store"
)

// newCountedHarness is newHarness over an index whose reads are counted.
func newCountedHarness(t testing.TB) (*harness, *kvtest.Reads) {
	t.Helper()
	db, err := bolt.Open(filepath.Join(t.TempDir(), "index.db"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	counter := kvtest.CountReads(db)
	x, err := index.Open(t.Context(), counter, time.Now)
	if err != nil {
		t.Fatal(err)
	}
	log, d := slog.New(slog.DiscardHandler), inmemory.New()
	g := New(Options{Index: x, Store: store.New(d, time.Now, log), Secret: []byte("s"), Log: log})
	return &harness{TB: t, Registry: g, driver: d}, counter
}

func sampleManifest(content string) index.Manifest {
	return index.Manifest{Digest: digest.FromString(content), MediaType: manifest.OCIIndex, Size: 2}
}

// enter puts a manifest into the index, which has no bytes.
func (h *harness) enter(repo string, m index.Manifest, tags ...string) error {
	ticket, err := h.Index.Prepare(h.Context(), m.Digest)
	if err != nil {
		return err
	}
	return h.Index.PutManifest(h.Context(), ticket, repo, m, tags...)
}

// together runs fn for 0 to count-1, many at a time: they share commits.
func together(t testing.TB, count int, fn func(i int) error) {
	t.Helper()
	var group errgroup.Group
	group.SetLimit(256)
	for i := range count {
		group.Go(func() error { return fn(i) })
	}
	if err := group.Wait(); err != nil {
		t.Fatal(err)
	}
}

// manyTags gives the repository a that many tags: t000000 and so on.
func (h *harness) manyTags(count int) {
	h.Helper()
	tags := make([]string, count)
	for i := range tags {
		tags[i] = fmt.Sprintf("t%06d", i)
	}
	parts := slices.Collect(slices.Chunk(tags, maxTags))
	together(h, len(parts), func(i int) error { return h.enter("a", sampleManifest("m"), parts[i]...) })
}

// manyRepositories makes that many repositories: r/000000 and so on.
func (h *harness) manyRepositories(count int) {
	h.Helper()
	together(h, count, func(i int) error {
		return h.enter(fmt.Sprintf("r/%06d", i), sampleManifest("m"))
	})
}

// manyReferrers gives a subject in the repository s that many referrers, every tenth of them a signature.
func (h *harness) manyReferrers(subject digest.Digest, count int) {
	h.Helper()
	together(h, count, func(i int) error {
		m := sampleManifest(fmt.Sprint(i))
		m.Subject, m.ArtifactType = subject, sbomType
		if i%10 == 0 {
			m.ArtifactType = signatureType
		}
		return h.enter("s", m)
	})
}

// TestAPageCostsThePage: of long lists, a page reads about as much of the index as it has entries, wherever it begins.
func TestAPageCostsThePage(t *testing.T) {
	h, counter := newCountedHarness(t)
	h.manyTags(5_000) // package index has the test with 100,000 of each, which here would be pushes
	h.manyRepositories(2_000)
	subject := digest.FromString("subject")
	h.manyReferrers(subject, 2_000)
	referrers := "/v2/s/referrers/" + string(subject)
	const about = 5 // the repository, and a look at whether there is more
	for _, test := range []struct {
		path        string
		entries     int
		more        bool
		readsAtMost int64
	}{
		{"/v2/a/tags/list?n=100", 100, true, 100 + about},
		{"/v2/a/tags/list", 1000, true, 1000 + about},
		{"/v2/a/tags/list?n=1000000", 1000, true, 1000 + about},
		{"/v2/a/tags/list?n=100&last=t002500", 100, true, 100 + about},
		{"/v2/a/tags/list?n=100&last=t004949", 50, false, 50 + about},
		{"/v2/a/tags/list?n=100&last=zzz", 0, false, about},
		{"/v2/a/tags/list?n=0", 0, false, about},
		{"/v2/_catalog?n=100", 100, true, 100 + about},
		{"/v2/_catalog", 100, true, 100 + about},
		{"/v2/_catalog?n=1000", 1000, true, 1000 + about},
		{"/v2/_catalog?n=100&last=r/001000", 100, true, 100 + about},
		{"/v2/_catalog?n=100&last=r/001899", 100, true, 100 + about}, // s is behind
		{"/v2/_catalog?n=100&last=r/001989", 11, false, 11 + about},
		{referrers + "?n=100", 100, true, 2*100 + about},
		{referrers, 1000, true, 2*1000 + about},
		{referrers + "?n=10&artifactType=" + "application/vnd.example.signature.v1%2Bjson", 10, true, 2*10*50 + about}, // what the filter passes over counts
	} {
		counter.Take()
		a := h.want(h.do("GET", test.path, nil), 200)
		reads := counter.Take()
		var list struct {
			Tags, Repositories []string
			Manifests          []json.RawMessage
		}
		if err := json.Unmarshal(a.body, &list); err != nil {
			t.Fatal(err)
		}
		if n := len(list.Tags) + len(list.Repositories) + len(list.Manifests); n != test.entries || (h.link(a) != "") != test.more {
			t.Errorf("%s: %d entries and the Link %q, want %d and %v", test.path, n, a.Header.Get("Link"), test.entries, test.more)
		}
		if reads > test.readsAtMost || reads < int64(test.entries) {
			t.Errorf("%s: %d reads of the index for %d entries, want %d at most", test.path, reads, test.entries, test.readsAtMost)
		}
	}
}

// TestOneNameCostsOneLook: what is asked for by name costs the same in a full index as in an empty one.
func TestOneNameCostsOneLook(t *testing.T) {
	var reads [2][]int64
	for i, many := range []int{1, 2_000} {
		h, counter := newCountedHarness(t)
		h.manyTags(many)
		h.manyRepositories(many)
		d := h.blob("a", "layer")
		m := string(digest.FromString("m"))
		for _, path := range []string{
			"/v2/a/manifests/t000000", "/v2/a/manifests/" + m, "/v2/a/blobs/" + string(d), "/v2/a/manifests/none", "/v2/none/manifests/none",
			"/v2/a/blobs/" + m, "/v2/none/tags/list", "/v2/none/referrers/" + m,
		} {
			counter.Take()
			h.do("HEAD", path, nil)
			h.do("GET", path, nil)
			reads[i] = append(reads[i], counter.Take())
		}
	}
	for i, few := range reads[0] {
		if few != reads[1][i] || few > 8 {
			t.Errorf("request %d: %d reads in an empty index, %d in a full one", i, few, reads[1][i])
		}
	}
}

// BenchmarkTagPages compares a page of 100 tags of a repository of 1,000 with one of 10,000, headers and JSON included.
func BenchmarkTagPages(b *testing.B) {
	for _, many := range []int{1_000, 10_000} {
		h, _ := newCountedHarness(b)
		h.manyTags(many)
		for name, last := range map[string]int{"first": 0, "middle": many / 2, "last": many - 101} {
			path := fmt.Sprintf("/v2/a/tags/list?n=100&last=t%06d", last)
			b.Run(fmt.Sprintf("of=%d/%s", many, name), func(b *testing.B) {
				for b.Loop() {
					h.do("GET", path, nil)
				}
			})
		}
	}
}
