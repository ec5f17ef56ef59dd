package index

import (
	"errors"
	"fmt"
	"path/filepath"
	"testing"
	"time"

	"gatehouse/registry/index/kv/bolt"
	"gatehouse/registry/index/kv/kvtest"
)

// manyNames returns an index that counts its reads, with that many repositories, r/000000 and so on, and as many tags in the
// first: t000000 and so on.
func manyNames(t testing.TB, count int) (*Index, *kvtest.Reads) {
	t.Helper()
	db, err := bolt.Open(filepath.Join(t.TempDir(), "index.db"))
	ok(t, err)
	t.Cleanup(func() { db.Close() })
	reads := kvtest.CountReads(db)
	x, err := Open(t.Context(), reads, time.Now)
	ok(t, err)
	const part = 10_000 // a transaction each, for a hundred thousand would take minutes
	for first := 0; first < count; first += part {
		ok(t, x.update(t.Context(), func(t *tx) error {
			for i := first; i < min(first+part, count); i++ {
				err := errors.Join(
					t.put(key(kindRepository, fmt.Sprintf("r/%06d", i)), repositoryRecord{Since: t.at}),
					t.put(key(kindTag, "r/000000", fmt.Sprintf("t%06d", i)), tagRecord{Digest: dgst("m"), At: t.at}))
				if err != nil {
					return err
				}
			}
			return nil
		}))
	}
	return x, reads
}

// TestAPageOfManyNames: a page of 100,000 repositories or tags reads the page, wherever it begins.
func TestAPageOfManyNames(t *testing.T) {
	x, reads := manyNames(t, 100_000)
	for _, list := range []struct {
		name, prefix string
		beside       int64 // reads beside the page's
		page         func(last string) ([]string, bool, error)
	}{
		{"repositories", "r/", 0, func(last string) ([]string, bool, error) { return x.Repositories(t.Context(), last, 100) }},
		{"tags", "t", 1, func(last string) ([]string, bool, error) { return x.Tags(t.Context(), "r/000000", last, 100) }},
	} {
		for _, test := range []struct {
			last string
			want int
			more bool
		}{
			{"", 100, true}, {"000000", 100, true}, {"050000", 100, true}, {"099898", 100, true}, {"099899", 100, false},
			{"099989", 10, false}, {"099999", 0, false}, {"zzz", 0, false},
		} {
			last := test.last
			if last != "" {
				last = list.prefix + last
			}
			reads.Take()
			names, more, err := list.page(last)
			n := reads.Take()
			if err != nil || len(names) != test.want || more != test.more {
				t.Errorf("%s behind %q: %d, more %v, %v; want %d, %v", list.name, last, len(names), more, err, test.want, test.more)
			}
			if n > int64(test.want)+1+list.beside || n < int64(test.want) { // one more tells whether there is more
				t.Errorf("%s behind %q: %d reads for %d", list.name, last, n, test.want)
			}
		}
	}
}

// BenchmarkPages compares a page of 100 of 1,000 names with one of 100,000.
func BenchmarkPages(b *testing.B) {
	for _, many := range []int{1_000, 100_000} {
		x, _ := manyNames(b, many)
		for place, at := range map[string]int{"first": 0, "middle": many / 2, "last": many - 101} {
			b.Run(fmt.Sprintf("repositories/of=%d/%s", many, place), func(b *testing.B) {
				for b.Loop() {
					_, _, err := x.Repositories(b.Context(), fmt.Sprintf("r/%06d", at), 100)
					ok(b, err)
				}
			})
			b.Run(fmt.Sprintf("tags/of=%d/%s", many, place), func(b *testing.B) {
				for b.Loop() {
					_, _, err := x.Tags(b.Context(), "r/000000", fmt.Sprintf("t%06d", at), 100)
					ok(b, err)
				}
			})
		}
	}
}
