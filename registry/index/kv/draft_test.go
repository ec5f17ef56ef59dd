package kv_test

import (
	"errors"
	"fmt"
	"iter"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"

	"gatehouse/registry/index/kv"
)

// model is a Writer over a map.
type model map[string]string

func (m model) Get(key []byte) ([]byte, error) {
	v, ok := m[string(key)]
	if !ok {
		return nil, kv.ErrNotFound
	}
	return []byte(v), nil
}

func (m model) Scan(from, to []byte) iter.Seq2[kv.Pair, error] {
	var pairs []kv.Pair
	for _, k := range slices.Sorted(maps.Keys(m)) {
		if k >= string(from) && (to == nil || k < string(to)) {
			pairs = append(pairs, kv.Pair{Key: []byte(k), Value: []byte(m[k])})
		}
	}
	return func(yield func(kv.Pair, error) bool) {
		for _, p := range pairs {
			if !yield(p, nil) {
				return
			}
		}
	}
}

func collect(t *testing.T, r kv.Reader, from, to []byte, most int) (got []string) {
	t.Helper()
	for p, err := range r.Scan(from, to) {
		if err != nil {
			t.Fatal(err)
		}
		if len(got) == most {
			break
		}
		got = append(got, fmt.Sprintf("%s=%s", p.Key, p.Value))
	}
	return got
}

// TestDraft compares drafts with maps: after random writes every key and random ranges read the same, and what a draft is over stays as
// it was.
func TestDraft(t *testing.T) {
	for seed := range uint64(200) {
		random := rand.New(rand.NewPCG(seed, 0))
		name := func() []byte { return fmt.Appendf(nil, "%02d", random.IntN(20)) }
		base := model{}
		for range random.IntN(20) {
			base[string(name())] = "base"
		}
		before, want, written, draft := maps.Clone(base), maps.Clone(base), model{}, kv.NewDraft(base)
		for i := range 40 {
			k := name()
			if random.IntN(3) == 0 {
				delete(want, string(k))
				delete(written, string(k))
				if err := draft.Delete(k); err != nil {
					t.Fatal(err)
				}
			} else {
				v := fmt.Appendf(nil, "%d", i)
				want[string(k)], written[string(k)] = string(v), string(v)
				if err := draft.Put(k, v); err != nil {
					t.Fatal(err)
				}
				v[0] = 'x' // a draft keeps copies
			}
			from, to, most := name(), name(), 1+random.IntN(30)
			switch random.IntN(4) {
			case 0:
				from = nil
			case 1:
				to = nil
			}
			if got, want := collect(t, draft, from, to, most), collect(t, want, from, to, most); !slices.Equal(got, want) {
				t.Fatalf("seed %d: from %q to %q: %q, want %q", seed, from, to, got, want)
			}
			if got, want := collect(t, draft.Written(), from, to, most), collect(t, written, from, to, most); !slices.Equal(got, want) {
				t.Fatalf("seed %d: written from %q to %q: %q, want %q", seed, from, to, got, want)
			}
		}
		for i := range 20 {
			k := fmt.Appendf(nil, "%02d", i)
			got, err := draft.Get(k)
			v, wantErr := want.Get(k)
			if string(got) != string(v) || !errors.Is(err, wantErr) {
				t.Fatalf("seed %d: %s is %q, %v; want %q, %v", seed, k, got, err, v, wantErr)
			}
		}
		if !maps.Equal(base, before) {
			t.Fatalf("seed %d: what the draft is over has changed", seed)
		}
	}
}

// TestDraftScansWhatWas: a scan sees no writes that are made while it runs.
func TestDraftScansWhatWas(t *testing.T) {
	draft := kv.NewDraft(model{"b": "1", "d": "1"})
	if err := draft.Put([]byte("c"), []byte("1")); err != nil {
		t.Fatal(err)
	}
	var got []string
	for p, err := range draft.Scan(nil, nil) {
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, string(p.Key)+string(p.Value))
		for _, k := range []string{"a", "c", "e"} {
			if err := errors.Join(draft.Put([]byte(k), []byte("2")), draft.Delete([]byte("d"))); err != nil {
				t.Fatal(err)
			}
		}
	}
	if want := []string{"b1", "c1", "d1"}; !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
	if got, want := collect(t, draft, nil, nil, 9), []string{"a=2", "b=1", "c=2", "e=2"}; !slices.Equal(got, want) {
		t.Errorf("then %q, want %q", got, want)
	}
	if draft.Put(nil, nil) == nil {
		t.Error("an empty key was put")
	}
}

// TestDraftPassesErrorsOn: an error of what the draft is over ends a scan.
func TestDraftPassesErrorsOn(t *testing.T) {
	draft := kv.NewDraft(failing{})
	_ = draft.Put([]byte("a"), nil)
	n := 0
	for _, err := range draft.Scan(nil, nil) {
		if n++; !errors.Is(err, errFailed) {
			t.Errorf("%v", err)
		}
	}
	if _, err := draft.Get([]byte("b")); n != 1 || !errors.Is(err, errFailed) {
		t.Errorf("%d pairs; %v", n, err)
	}
}

var errFailed = errors.New("failed")

type failing struct{}

func (failing) Get([]byte) ([]byte, error) { return nil, errFailed }
func (failing) Scan([]byte, []byte) iter.Seq2[kv.Pair, error] {
	return func(yield func(kv.Pair, error) bool) { yield(kv.Pair{}, errFailed) }
}
