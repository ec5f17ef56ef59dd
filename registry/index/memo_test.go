package index

import (
	"strings"
	"testing"

	"gatehouse/registry/index/kv"
)

// TestMemoFollowsTheRecords reads what pulls read, twice each, while the records change below.
func TestMemoFollowsTheRecords(t *testing.T) {
	x, ctx := open(t), t.Context()
	wantTagged := func(tag, name string) {
		t.Helper()
		for range 2 {
			m, err := x.Tagged(ctx, "a", tag)
			if err != nil || m.Digest != dgst(name) || len(m.Blobs) != 1 || m.Blobs[0] != dgst("layer of "+name) {
				t.Errorf("tag %s: %+v, %v; want %s", tag, m, err, name)
			}
		}
	}
	image(t, x, "a", "m1", []string{"layer of m1"}, "v1")
	wantTagged("v1", "m1")
	image(t, x, "a", "m2", []string{"layer of m2"}, "v1", "v2")
	wantTagged("v1", "m2")
	wantTagged("v2", "m2")
	ok(t, x.DeleteTag(ctx, "a", "v1", "alice"))
	_, err := x.Tagged(ctx, "a", "v1")
	wantErr(t, err, ErrManifestUnknown)
	ok(t, x.DeleteManifest(ctx, "a", dgst("m2"), "alice"))
	_, err = x.Manifest(ctx, "a", dgst("m2"))
	wantErr(t, err, ErrManifestUnknown)
	_, err = x.Manifest(ctx, "b", dgst("m1"))
	wantErr(t, err, ErrNameUnknown)

	if _, err := x.Blob(ctx, "a", dgst("layer of m1")); err != nil {
		t.Error(err)
	}
	damaged := key(kindLink, "a", string(dgst("layer of m1")))
	ok(t, x.db.Update(ctx, func(w kv.Writer) error { return w.Put(damaged, []byte("{")) }))
	for range 2 {
		if _, err := x.Blob(ctx, "a", dgst("layer of m1")); err == nil || !strings.Contains(err.Error(), "damaged") {
			t.Errorf("a damaged record: %v", err)
		}
	}
}

// TestMemoIsBounded: a manifest may bring megabytes of annotations.
func TestMemoIsBounded(t *testing.T) {
	x, ctx := open(t), t.Context()
	for name, size := range map[string]int{"small": 100, "large": maxRemembered} {
		m := Manifest{Digest: dgst(name), Annotations: map[string]string{"long": strings.Repeat("x", size)}}
		ok(t, putManifest(ctx, x, "a", m, name))
		for range 2 {
			if got, err := x.Tagged(ctx, "a", name); err != nil || len(got.Annotations["long"]) != size {
				t.Errorf("%s: %v", name, err)
			}
		}
	}
	kept := 0
	for i := range x.manifests.slots {
		if d := x.manifests.slots[i].Load(); d != nil {
			kept++
			if len(d.value) > maxRemembered {
				t.Errorf("a record of %d bytes is kept", len(d.value))
			}
		}
	}
	if kept != 1 {
		t.Errorf("%d records are kept, want the small one", kept)
	}
}
