package index

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"

	"gatehouse/registry/index/kv"
	"gatehouse/registry/index/kv/bolt"
)

// open returns an empty index whose clock stands still.
func open(t testing.TB) *Index {
	t.Helper()
	db, err := bolt.Open(filepath.Join(t.TempDir(), "index.db"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	x, err := Open(t.Context(), db, func() time.Time { return time.Unix(1700000000, 0) })
	if err != nil {
		t.Fatal(err)
	}
	return x
}

func ok(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func wantErr(t testing.TB, err, want error) {
	t.Helper()
	if !errors.Is(err, want) {
		t.Errorf("error %v, want %v", err, want)
	}
}

func dgst(s string) digest.Digest { return digest.FromString(s) }

// image pushes a manifest made of the blobs named, which are pushed before.
func image(t testing.TB, x *Index, repo, name string, blobs []string, tags ...string) Manifest {
	t.Helper()
	m := Manifest{Digest: dgst(name), MediaType: "application/vnd.oci.image.manifest.v1+json", Size: 3, PushedBy: "alice"}
	for _, b := range blobs {
		ok(t, linkBlob(t.Context(), x, repo, dgst(b), int64(len(b))))
		m.Blobs = append(m.Blobs, dgst(b))
	}
	ok(t, putManifest(t.Context(), x, repo, m, tags...))
	return m
}

// dump returns all keys of the index, readable, without events, numbers and what is the collector's.
func dump(t testing.TB, x *Index) []string {
	t.Helper()
	var keys []string
	ok(t, x.db.View(t.Context(), func(r kv.Reader) error {
		for p, err := range r.Scan(nil, nil) {
			if err != nil {
				return err
			}
			if k := string(p.Key); !strings.ContainsRune("exhvqp", rune(k[0])) {
				keys = append(keys, strings.ReplaceAll(k, "\x00", " "))
			}
		}
		return nil
	}))
	return keys
}

func TestBlobIsServedOnlyWhereItIsLinked(t *testing.T) {
	x, ctx := open(t), t.Context()
	_, err := x.Blob(ctx, "a", dgst("one"))
	wantErr(t, err, ErrBlobUnknown)
	ok(t, linkBlob(ctx, x, "a", dgst("one"), 3))
	ok(t, linkBlob(ctx, x, "a", dgst("one"), 3))
	if size, err := x.Blob(ctx, "a", dgst("one")); size != 3 || err != nil {
		t.Errorf("blob: %d, %v", size, err)
	}
	for _, repo := range []string{"b", "a/b", ""} {
		_, err = x.Blob(ctx, repo, dgst("one"))
		wantErr(t, err, ErrBlobUnknown)
	}
	wantErr(t, x.Mount(ctx, "b", "c", dgst("one")), ErrBlobUnknown)
	ok(t, x.Mount(ctx, "b", "a", dgst("one")))
	ok(t, x.UnlinkBlob(ctx, "a", dgst("one")))
	wantErr(t, x.UnlinkBlob(ctx, "a", dgst("one")), ErrBlobUnknown)
	_, err = x.Blob(ctx, "a", dgst("one"))
	wantErr(t, err, ErrBlobUnknown)
	if size, err := x.Blob(ctx, "b", dgst("one")); size != 3 || err != nil {
		t.Errorf("blob mounted elsewhere: %d, %v", size, err)
	}
	if stored, err := x.Stored(ctx, dgst("one")); !stored || err != nil {
		t.Errorf("stored: %v, %v: unlinking must leave the bytes", stored, err)
	}
}

func TestPutManifestWantsAllItNeeds(t *testing.T) {
	x, ctx := open(t), t.Context()
	ok(t, linkBlob(ctx, x, "a", dgst("config"), 6))
	ok(t, linkBlob(ctx, x, "b", dgst("layer"), 5)) // another repository's does not count
	m := Manifest{Digest: dgst("m"), Blobs: []digest.Digest{dgst("config"), dgst("layer"), dgst("layer")}, Manifests: []digest.Digest{dgst("child")}}
	var missing *MissingError
	for _, err := range []error{x.Complete(ctx, "a", m), putManifest(ctx, x, "a", m, "latest")} {
		if !errors.As(err, &missing) || !slices.Equal(missing.Digests, []digest.Digest{dgst("layer"), dgst("child")}) {
			t.Errorf("error %v, want layer and child missing", err)
		}
	}
	_, err := x.Tagged(ctx, "a", "latest")
	wantErr(t, err, ErrNameUnknown)
	image(t, x, "a", "child", nil)
	ok(t, x.Mount(ctx, "a", "b", dgst("layer")))
	ok(t, putManifest(ctx, x, "a", m, "latest", "v1"))
	for _, tag := range []string{"latest", "v1"} {
		if got, err := x.Tagged(ctx, "a", tag); err != nil || got.Digest != dgst("m") || got.PushedAt.Unix() != 1700000000 {
			t.Errorf("tag %s: %+v, %v", tag, got, err)
		}
	}
	_, err = x.Manifest(ctx, "a", dgst("other"))
	wantErr(t, err, ErrManifestUnknown)
	_, err = x.Manifest(ctx, "b", dgst("m"))
	wantErr(t, err, ErrNameUnknown)
}

func TestDeleteLeavesNothingBehind(t *testing.T) {
	x, ctx := open(t), t.Context()
	image(t, x, "a", "keep", []string{"layer"}, "keep")
	before := dump(t, x)
	m := image(t, x, "a", "m", []string{"layer", "config"}, "latest", "v1")
	m2 := Manifest{Digest: dgst("signature"), Subject: m.Digest}
	ok(t, putManifest(ctx, x, "a", m2))

	ok(t, x.DeleteManifest(ctx, "a", m2.Digest, "bob"))
	ok(t, x.DeleteManifest(ctx, "a", m.Digest, "bob"))
	wantErr(t, x.DeleteManifest(ctx, "a", m.Digest, "bob"), ErrManifestUnknown)
	ok(t, x.UnlinkBlob(ctx, "a", dgst("config")))
	after := slices.DeleteFunc(dump(t, x), func(k string) bool { return k[0] == kindBlob && !slices.Contains(before, k) })
	if !slices.Equal(before, after) {
		t.Errorf("before\n%s\nafter\n%s", strings.Join(before, "\n"), strings.Join(after, "\n"))
	}
	ok(t, x.DeleteManifest(ctx, "a", dgst("keep"), "bob"))
	_, _, err := x.Tags(ctx, "a", "", 10)
	wantErr(t, err, ErrNameUnknown)
	wantErr(t, x.DeleteManifest(ctx, "a", dgst("keep"), "bob"), ErrNameUnknown)
	wantErr(t, x.DeleteTag(ctx, "a", "keep", "bob"), ErrNameUnknown)
}

func TestWhatAManifestNeedsStays(t *testing.T) {
	x, ctx := open(t), t.Context()
	child := image(t, x, "a", "child", []string{"layer"})
	parent := Manifest{Digest: dgst("parent"), Manifests: []digest.Digest{child.Digest}}
	ok(t, putManifest(ctx, x, "a", parent, "latest"))
	var referenced *ReferencedError
	if err := x.UnlinkBlob(ctx, "a", dgst("layer")); !errors.As(err, &referenced) || referenced.By != child.Digest {
		t.Errorf("unlink: %v, want it needed by the child", err)
	}
	if err := x.DeleteManifest(ctx, "a", child.Digest, ""); !errors.As(err, &referenced) || referenced.By != parent.Digest {
		t.Errorf("delete: %v, want it needed by the parent", err)
	}
	ok(t, linkBlob(ctx, x, "b", dgst("layer"), 5))
	ok(t, x.UnlinkBlob(ctx, "b", dgst("layer"))) // what another repository needs does not matter here
	ok(t, x.DeleteManifest(ctx, "a", parent.Digest, ""))
	ok(t, x.DeleteManifest(ctx, "a", child.Digest, ""))
	ok(t, x.UnlinkBlob(ctx, "a", dgst("layer")))
}

func TestTagHistory(t *testing.T) {
	x, ctx := open(t), t.Context()
	one := image(t, x, "a", "one", nil, "latest")
	two := image(t, x, "a", "two", nil, "latest")
	ok(t, putManifest(ctx, x, "a", two, "latest")) // again: no move
	ok(t, x.DeleteTag(ctx, "a", "latest", "bob"))
	wantErr(t, x.DeleteTag(ctx, "a", "latest", "bob"), ErrManifestUnknown)
	ok(t, putManifest(ctx, x, "a", one, "latest"))
	ok(t, x.DeleteManifest(ctx, "a", one.Digest, "carol"))
	got, err := x.History(ctx, "a", "latest")
	ok(t, err)
	at := time.Unix(1700000000, 0).UTC()
	want := []Moved{
		{To: one.Digest, At: at, By: "alice"},
		{To: two.Digest, From: one.Digest, At: at, By: "alice"},
		{From: two.Digest, At: at, By: "bob"},
		{To: one.Digest, At: at, By: "alice"},
		{From: one.Digest, At: at, By: "carol"},
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("history\n%+v\nwant\n%+v", got, want)
	}
	if other, err := x.History(ctx, "a", "late"); len(other) != 0 || err != nil {
		t.Errorf("history of a tag that never was: %v, %v", other, err)
	}
}

func TestPages(t *testing.T) {
	x, ctx := open(t), t.Context()
	all := []string{"1.2", "1.2.3", "1.2.3-rc", "A", "a", "a-b", "a.b", "a_b", "b"}
	for _, tag := range all {
		image(t, x, "team/app", "m", nil, tag)
	}
	image(t, x, "team/app2", "m", nil, "zzz")
	image(t, x, "team", "m", nil, "zzz")
	for n := 1; n <= len(all)+1; n++ {
		var got []string
		last, more := "", true
		for more {
			var page []string
			var err error
			page, more, err = x.Tags(ctx, "team/app", last, n)
			ok(t, err)
			if len(page) == 0 || len(page) > n {
				t.Fatalf("a page of %d with n = %d", len(page), n)
			}
			got = append(got, page...)
			last = page[len(page)-1]
		}
		if !slices.Equal(got, all) {
			t.Errorf("n = %d: %q, want %q", n, got, all)
		}
	}
	if page, more, err := x.Tags(ctx, "team/app", "a-a", 2); err != nil || !more || !slices.Equal(page, []string{"a-b", "a.b"}) {
		t.Errorf("after a tag that is not there: %q, %v, %v", page, more, err)
	}
	if page, more, err := x.Tags(ctx, "team/app", "b", 2); err != nil || more || page == nil || len(page) > 0 {
		t.Errorf("after the last tag: %#v, %v, %v", page, more, err)
	}
	names, more, err := x.Repositories(ctx, "", 10)
	if err != nil || more || !slices.Equal(names, []string{"team", "team/app", "team/app2"}) {
		t.Errorf("repositories: %q, %v, %v", names, more, err)
	}
	if names, more, err = x.Repositories(ctx, "team", 1); err != nil || !more || !slices.Equal(names, []string{"team/app"}) {
		t.Errorf("repositories after team: %q, %v, %v", names, more, err)
	}
}

func TestEvents(t *testing.T) {
	x, ctx := open(t), t.Context()
	image(t, x, "a", "m", []string{"layer"}, "latest")
	select {
	case <-x.Changed():
	default:
		t.Error("nobody was told of the change")
	}
	first, err := x.Events(ctx, 2)
	ok(t, err)
	if len(first) != 2 || first[0].Kind != LinkChanged || first[0].Digest != dgst("layer") || first[1].Kind != ManifestChanged {
		t.Fatalf("events %+v", first)
	}
	ok(t, x.Done(ctx, first))
	rest, err := x.Events(ctx, 100)
	ok(t, err)
	if len(rest) != 1 || rest[0].Kind != TagChanged || rest[0].Tag != "latest" || rest[0].Digest != dgst("m") || rest[0].Sequence <= first[1].Sequence {
		t.Errorf("events after those done: %+v", rest)
	}
}

func TestConcurrentMoves(t *testing.T) {
	x, ctx := open(t), t.Context()
	var wg sync.WaitGroup
	for i := range 8 {
		m := image(t, x, "a", fmt.Sprint(i), nil)
		wg.Go(func() {
			for range 20 {
				if err := putManifest(ctx, x, "a", m, "latest"); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	moves, err := x.History(ctx, "a", "latest")
	ok(t, err)
	for i, m := range moves {
		if i > 0 && m.From != moves[i-1].To {
			t.Fatalf("move %d goes from %s, but the one before led to %s", i, m.From, moves[i-1].To)
		}
	}
	current, err := x.Tagged(ctx, "a", "latest")
	if err != nil || current.Digest != moves[len(moves)-1].To {
		t.Errorf("the tag points to %s, %v; its history ends at %s", current.Digest, err, moves[len(moves)-1].To)
	}
	tagged := 0
	for _, k := range dump(t, x) {
		if k[0] == kindTagged {
			tagged++
		}
	}
	if tagged != 1 {
		t.Errorf("%d manifests are marked as tagged, want 1", tagged)
	}
}

// TestDamageIsNotAbsence: a record that cannot be read must never be taken for one that is not there.
func TestDamageIsNotAbsence(t *testing.T) {
	x, ctx := open(t), t.Context()
	m := image(t, x, "a", "m", []string{"layer"}, "latest")
	ok(t, x.db.Update(ctx, func(w kv.Writer) error {
		for _, k := range [][]byte{key(kindLink, "a", string(dgst("layer"))), key(kindManifest, "a", string(m.Digest)), key(kindTag, "a", "latest")} {
			if err := w.Put(k, []byte("{")); err != nil {
				return err
			}
		}
		return nil
	}))
	_, blob := x.Blob(ctx, "a", dgst("layer"))
	_, manifest := x.Manifest(ctx, "a", m.Digest)
	_, tag := x.Tagged(ctx, "a", "latest")
	for _, err := range []error{blob, manifest, tag, x.Mount(ctx, "b", "a", dgst("layer")), x.DeleteManifest(ctx, "a", m.Digest, ""), x.DeleteTag(ctx, "a", "latest", "")} {
		if err == nil || errors.Is(err, ErrBlobUnknown) || errors.Is(err, ErrManifestUnknown) || errors.Is(err, ErrNameUnknown) {
			t.Errorf("error %v, want one that says the index is damaged", err)
		}
	}
}

func TestOtherFormat(t *testing.T) {
	x := open(t)
	ok(t, x.db.Update(t.Context(), func(w kv.Writer) error { return w.Put(formatKey, []byte("99")) }))
	if _, err := Open(t.Context(), x.db, time.Now); err == nil || !strings.Contains(err.Error(), `"99"`) {
		t.Errorf("open: %v, want it refused", err)
	}
}

func TestReferrers(t *testing.T) {
	x, ctx := open(t), t.Context()
	subject := dgst("subject") // never pushed
	want := []digest.Digest{}
	for i := range 5 {
		m := Manifest{Digest: dgst(fmt.Sprint(i)), Subject: subject, ArtifactType: []string{"sbom", "signature"}[i%2], Annotations: map[string]string{"n": fmt.Sprint(i)}}
		ok(t, putManifest(ctx, x, "a", m))
		want = append(want, m.Digest)
	}
	ok(t, putManifest(ctx, x, "b", Manifest{Digest: dgst("elsewhere"), Subject: subject}))
	slices.Sort(want)
	var got []digest.Digest
	last, more := digest.Digest(""), true
	for more {
		var page []Manifest
		var err error
		page, more, err = x.Referrers(ctx, "a", subject, "", last, 2)
		ok(t, err)
		for _, m := range page {
			got = append(got, m.Digest)
			last = m.Digest
		}
	}
	if !slices.Equal(got, want) {
		t.Errorf("referrers %v, want %v", got, want)
	}
	signatures, more, err := x.Referrers(ctx, "a", subject, "signature", "", 10)
	if err != nil || more || len(signatures) != 2 || signatures[0].Annotations["n"] == "" {
		t.Errorf("signatures: %+v, %v, %v", signatures, more, err)
	}
	ok(t, x.DeleteManifest(ctx, "a", want[0], ""))
	if rest, _, err := x.Referrers(ctx, "a", subject, "", "", 10); err != nil || len(rest) != 4 {
		t.Errorf("after a deletion: %d, %v", len(rest), err)
	}
	if none, _, err := x.Referrers(ctx, "nowhere", subject, "", "", 10); err != nil || len(none) != 0 {
		t.Errorf("of a repository that is not there: %v, %v", none, err)
	}
}

// linkBlob links a blob whose bytes nobody deletes.
func linkBlob(ctx context.Context, x *Index, repo string, d digest.Digest, size int64) error {
	ticket, err := x.Prepare(ctx, d)
	if err != nil {
		return err
	}
	return x.LinkBlob(ctx, ticket, repo, size)
}

// putManifest puts a manifest whose bytes nobody deletes.
func putManifest(ctx context.Context, x *Index, repo string, m Manifest, tags ...string) error {
	ticket, err := x.Prepare(ctx, m.Digest)
	if err != nil {
		return err
	}
	return x.PutManifest(ctx, ticket, repo, m, tags...)
}
