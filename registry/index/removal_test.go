package index

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/opencontainers/go-digest"
)

// noWord lets a removal go on.
func noWord(Removal) error { return nil }

// sound fails the test when records of the index do not agree.
func sound(t testing.TB, x *Index) {
	t.Helper()
	ok(t, x.Verify(t.Context(), func(record, problem string) { t.Errorf("%s: %s", record, problem) }))
}

func TestRemoveRepository(t *testing.T) {
	x, ctx := open(t), t.Context()
	repositoryOfAllKinds(t, x, "a")
	image(t, x, "a/b", "one", []string{"config one", "shared layer"}, "v1")
	before, err := x.Usage(ctx, "a/b")
	ok(t, err)

	removed, err := x.RemoveRepository(ctx, "a", "unix:root", noWord)
	if want := (Removal{Tags: 4, Manifests: 7, Links: 8}); removed != want || err != nil {
		t.Errorf("removed %+v, %v; want %+v", removed, err, want)
	}
	sound(t, x)
	if known, err := x.Knows(ctx, "a"); known || err != nil {
		t.Errorf("something is left: %v, %v", known, err)
	}
	for _, k := range dump(t, x) {
		if parts := strings.Fields(k); len(parts) > 1 && parts[0] != "b" && parts[0] != "u" && parts[1] == "a" {
			t.Errorf("a record is left: %s", k)
		}
	}
	_, err = x.Tagged(ctx, "a", "v1")
	wantErr(t, err, ErrNameUnknown)
	if names, _, err := x.Repositories(ctx, "", 10); len(names) != 1 || names[0] != "a/b" || err != nil {
		t.Errorf("repositories %v, %v", names, err)
	}
	if after, err := x.Usage(ctx, "a/b"); after != before || err != nil {
		t.Errorf("the repository below it has %+v, had %+v", after, before)
	}
	moves, err := x.History(ctx, "a", "v1")
	if len(moves) != 2 || moves[1].To != "" || moves[1].By != "unix:root" || err != nil {
		t.Errorf("history of a tag that is gone: %+v, %v", moves, err)
	}
	last := Event{}
	events, err := x.Events(ctx, 1000)
	ok(t, err)
	for _, e := range events {
		last = e
	}
	if last.Kind != RepositoryChanged || last.Repository != "a" {
		t.Errorf("the last event is %+v", last)
	}

	if removed, err := x.RemoveRepository(ctx, "a", "unix:root", noWord); removed != (Removal{}) || err != nil {
		t.Errorf("again: %+v, %v", removed, err)
	}
	repositoryOfAllKinds(t, x, "a")
	sound(t, x)
}

// TestRemovalIsBounded: however much there is, no transaction removes much at once, and each is announced.
func TestRemovalIsBounded(t *testing.T) {
	x, ctx := open(t), t.Context()
	var children []digest.Digest
	for i := range 3 * removeAtOnce {
		children = append(children, image(t, x, "a", fmt.Sprint("image ", i), []string{fmt.Sprint("layer ", i)}, fmt.Sprint("v", i)).Digest)
	}
	ok(t, putManifest(ctx, x, "a", Manifest{Digest: dgst("index"), Manifests: children}, "all"))
	words, last := 0, Removal{}
	removed, err := x.RemoveRepository(ctx, "a", "", func(so Removal) error {
		words++
		if n := so.Tags + so.Manifests + so.Links - last.Tags - last.Manifests - last.Links; n > removeWeight {
			t.Errorf("%d in one transaction", n)
		}
		last = so
		return nil
	})
	if want := (Removal{Tags: 301, Manifests: 301, Links: 300}); removed != want || err != nil {
		t.Errorf("removed %+v, %v; want %+v", removed, err, want)
	}
	if words < 8 {
		t.Errorf("%d words about it", words)
	}
	sound(t, x)
}

// TestRemovalGoesOn: cut short anywhere, what is left is whole, and calling it again removes the rest.
func TestRemovalGoesOn(t *testing.T) {
	x, ctx := open(t), t.Context()
	for i := range 2 * removeAtOnce {
		image(t, x, "a", fmt.Sprint("image ", i), []string{fmt.Sprint("layer ", i)}, fmt.Sprint("v", i))
	}
	repositoryOfAllKinds(t, x, "a")
	enough := errors.New("enough")
	for after := 1; ; after++ {
		words := 0
		_, err := x.RemoveRepository(ctx, "a", "", func(Removal) error {
			if words++; words > after%3+1 {
				return enough
			}
			return nil
		})
		sound(t, x)
		if err == nil {
			break
		}
		wantErr(t, err, enough)
		if after > 100 {
			t.Fatal("it does not come to an end")
		}
	}
	if known, err := x.Knows(ctx, "a"); known || err != nil {
		t.Errorf("something is left: %v, %v", known, err)
	}
}

// TestRemovalWhilePushing: of what is pushed meanwhile, each tag is there with all that it needs, or is not there.
func TestRemovalWhilePushing(t *testing.T) {
	x, ctx := open(t), t.Context()
	for i := range 2 * removeAtOnce {
		image(t, x, "a", fmt.Sprint("image ", i), []string{"shared layer"}, fmt.Sprint("v", i))
	}
	var pushes sync.WaitGroup
	pushed := make(chan error, 1000)
	for worker := range 4 {
		pushes.Go(func() {
			for i := range 50 {
				name := fmt.Sprintf("pushed %d %d", worker, i)
				m := Manifest{Digest: dgst(name), Blobs: []digest.Digest{dgst("shared layer"), dgst(name + " layer")}}
				err := errors.Join(linkBlob(ctx, x, "a", dgst("shared layer"), 1), linkBlob(ctx, x, "a", dgst(name+" layer"), 1))
				if err == nil {
					err = putManifest(ctx, x, "a", m, fmt.Sprintf("p%d-%d", worker, i))
				}
				pushed <- err
			}
		})
	}
	_, err := x.RemoveRepository(ctx, "a", "", noWord)
	ok(t, err)
	pushes.Wait()
	close(pushed)
	for err := range pushed {
		if missing := (*MissingError)(nil); err != nil && !errors.As(err, &missing) {
			t.Errorf("a push ended with %v", err)
		}
	}
	sound(t, x)
	whole, err := x.Contents(ctx, "a")
	ok(t, err)
	links := map[digest.Digest]bool{}
	for _, l := range whole.Links {
		links[l.Digest] = true
	}
	for _, m := range whole.Manifests {
		for _, b := range m.Blobs {
			if !links[b] {
				t.Errorf("manifest %s lacks %s", m.Digest, b)
			}
		}
	}
}
