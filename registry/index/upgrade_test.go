package index

import (
	"slices"
	"strings"
	"testing"
	"time"

	"gatehouse/registry/index/kv"
)

// TestUpgrade: an index of the format before gets what the collector needs.
func TestUpgrade(t *testing.T) {
	b := newBench(t)
	image(t, b.Index, "a", "m", []string{"config", "layer"}, "v1")
	b.link("a", "layer 2")
	image(t, b.Index, "b", "m 2", []string{"layer"})
	b.link("b", "stray")
	want := dump(t, b.Index)
	ok(t, b.db.Update(t.Context(), func(w kv.Writer) error {
		for p, err := range w.Scan(nil, nil) {
			if err != nil {
				return err
			}
			if strings.ContainsRune("vqpu", rune(p.Key[0])) {
				if err := w.Delete(p.Key); err != nil {
					return err
				}
			}
		}
		if err := w.Delete(key(kindLink, "b", string(dgst("stray")))); err != nil {
			return err
		}
		return w.Put(formatKey, []byte(formatBefore))
	}))
	x, err := Open(t.Context(), b.db, b.now)
	ok(t, err)
	b.Index = x
	want = slices.DeleteFunc(want, func(k string) bool { return strings.Contains(k, string(dgst("stray"))) && k[0] != 'b' })
	if got := dump(t, x); !slices.Equal(got, want) {
		t.Errorf("upgraded\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	b.pass(time.Minute)
	b.want(b.collect(), "bytes stray")
	b.pass(time.Hour)
	b.want(b.collect(), "untagged b m 2", "unreferenced a layer 2")
}
