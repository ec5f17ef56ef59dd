package s3

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sync/errgroup"

	"gatehouse/registry/driver"
)

// TestOrder has keys in S3's order come out in the order of names, each once.
func TestOrder(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for range 2000 {
		set := make(map[string]bool) // name to whether it is a folder
		for range r.IntN(30) {
			var b strings.Builder
			for range 1 + r.IntN(4) {
				b.WriteByte("-.0aA"[r.IntN(5)])
			}
			if driver.ValidPath(b.String()) {
				set[b.String()] = r.IntN(2) == 0
			}
		}
		var keys, want, got []string
		for name, dir := range set {
			want = append(want, name)
			if dir {
				name += "/"
			}
			keys = append(keys, name)
		}
		slices.Sort(keys)
		slices.Sort(want)
		o := order{yield: func(e driver.Entry) bool {
			got = append(got, e.Name)
			if e.Dir != set[e.Name] {
				t.Errorf("%s: folder %v", e.Name, e.Dir)
			}
			return true
		}}
		for _, key := range keys {
			o.add(key)
		}
		o.end()
		if !slices.Equal(got, want) {
			t.Fatalf("from %q came %q", keys, got)
		}
	}
}

// TestOrderHoldsLittle: what cannot be followed by a folder that belongs before it is yielded at once.
func TestOrderHoldsLittle(t *testing.T) {
	most := 0
	o := order{yield: func(driver.Entry) bool { return true }}
	for i := range 10000 {
		o.add(fmt.Sprintf("%064x/", i))
		most = max(most, len(o.held))
	}
	if most > 1 {
		t.Errorf("%d entries were held back", most)
	}
}

// TestListLarge lists a folder of several pages, and deletes it.
func TestListLarge(t *testing.T) {
	for name, start := range servers {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d := newDriver(t, options(start(t)))
			var g errgroup.Group
			g.SetLimit(8)
			var want []string
			for i := range 1050 {
				name := fmt.Sprintf("v1.%04d", i)
				want = append(want, name)
				g.Go(func() error { return d.WriteFile(t.Context(), "tags/"+name, nil) })
			}
			want = append([]string{"v1"}, want...)
			g.Go(func() error { return d.WriteFile(t.Context(), "tags/v1/link", nil) })
			g.Go(func() error { return d.WriteFile(t.Context(), "tags-other", nil) })
			must(t, g.Wait())
			var got []string
			for e, err := range d.List(t.Context(), "tags") {
				must(t, err)
				got = append(got, e.Name)
			}
			if !slices.Equal(got, want) {
				t.Errorf("listed %d entries, want %d", len(got), len(want))
			}
			must(t, d.Delete(t.Context(), "tags"))
			for e, err := range d.List(t.Context(), ".") {
				if must(t, err); e.Name != "tags-other" {
					t.Errorf("%s is left", e.Name)
				}
			}
		})
	}
}

// TestSplit: spans cover the sources in order, and S3 takes each of them as a part.
func TestSplit(t *testing.T) {
	const mib = 1 << 20
	for _, sizes := range [][]int64{
		{33 * mib}, {6 * mib, 3}, {5 * mib, 6 * mib, 63 * mib, 1}, {5 << 40}, {64 * mib}, {20 << 30, 10 * mib, 10 * mib},
		slices.Repeat([]int64{10 * mib}, maxParts),
	} {
		for _, chunk := range []int64{5 * mib, 32 * mib, maxCopy} {
			var list []source
			var total, at int64
			for _, size := range sizes {
				list = append(list, source{first: total, size: size})
				total += size
			}
			spans := split(list, chunk)
			for i, s := range spans {
				if s.first+s.from != at || s.to <= s.from || s.to-s.from > maxCopy || i < len(spans)-1 && s.to-s.from < minPart {
					t.Errorf("%d sources in chunks of %d: span %d is %d-%d of the source at %d", len(list), chunk, i, s.from, s.to, s.first)
				}
				at += s.to - s.from
			}
			if at != total || len(spans) > maxParts {
				t.Errorf("%d sources in chunks of %d: %d spans with %d of %d bytes", len(list), chunk, len(spans), at, total)
			}
		}
	}
}
