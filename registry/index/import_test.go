package index

import (
	"context"
	_ "crypto/sha512" // for digest.SHA512
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"

	"gatehouse/registry/index/kv"
)

func noEvents(t *testing.T, x *Index) {
	t.Helper()
	if events, err := x.Events(t.Context(), 1); len(events) > 0 || err != nil {
		t.Errorf("events %v, %v: the tree has it all", events, err)
	}
}

// imported returns a repository of n layers and manifests, tagged v0 and on.
func imported(repo string, n int) Import {
	in := Import{Repository: repo}
	for i := range n {
		layer := dgst(fmt.Sprint("layer", i))
		in.Links = append(in.Links, ImportedLink{Digest: layer, Size: 5})
		in.Manifests = append(in.Manifests, Manifest{Digest: dgst(fmt.Sprint("m", i)), Size: 2, Blobs: []digest.Digest{layer}, PushedAt: time.Unix(int64(i), 0).UTC()})
		in.Tags = append(in.Tags, ImportedTag{Name: fmt.Sprint("v", i), Digest: dgst(fmt.Sprint("m", i)), At: time.Unix(int64(i), 0).UTC()})
	}
	return in
}

func TestImport(t *testing.T) {
	x, ctx := open(t), t.Context()
	ok(t, x.StartAdoption(ctx))
	in := imported("a/b", 2)
	in.Tags[0].Earlier = []Moved{{To: dgst("older"), At: time.Unix(-9, 0).UTC()}, {To: dgst("old"), At: time.Unix(-1, 0).UTC()}}
	in.Tags = append(in.Tags, ImportedTag{Name: "dangling", Digest: dgst("nothing")})
	in.Findings = []Finding{{Path: "a/b/odd", Kind: "foreign"}}
	ok(t, x.Import(ctx, in))
	noEvents(t, x)
	if m, err := x.Tagged(ctx, "a/b", "v1"); err != nil || m.Digest != dgst("m1") || !m.PushedAt.Equal(time.Unix(1, 0)) {
		t.Errorf("tag v1: %v, %v", m, err)
	}
	if size, err := x.Blob(ctx, "a/b", dgst("layer0")); size != 5 || err != nil {
		t.Errorf("blob: %d, %v", size, err)
	}
	if _, err := x.Tagged(ctx, "a/b", "dangling"); !errors.Is(err, ErrManifestUnknown) {
		t.Errorf("a tag that points to nothing: %v", err)
	}
	moves, err := x.History(ctx, "a/b", "v0")
	want := []Moved{
		{To: dgst("older"), At: time.Unix(-9, 0).UTC()},
		{To: dgst("old"), From: dgst("older"), At: time.Unix(-1, 0).UTC()},
		{To: dgst("m0"), From: dgst("old"), At: time.Unix(0, 0).UTC()},
	}
	if err != nil || !reflect.DeepEqual(moves, want) {
		t.Errorf("history %v, %v, want %v", moves, err, want)
	}

	// A repository that was entered is not entered again, whatever comes.
	ok(t, x.DeleteTag(ctx, "a/b", "v1", "alice"))
	before := dump(t, x)
	ok(t, x.Import(ctx, in))
	if !slices.Equal(dump(t, x), before) {
		t.Error("a second import changed something")
	}
	a, err := x.Adoption(ctx)
	if want := (Adoption{State: AdoptionRunning, Generation: 1, Started: a.Started, Repositories: 1, Links: 2, Manifests: 2, Tags: 3, Findings: 1}); a != want || err != nil {
		t.Errorf("adoption %+v, %v, want %+v", a, err, want)
	}
	ok(t, x.FinishAdoption(ctx, []Finding{{Path: "else"}}))
	if err := x.Import(ctx, imported("late", 1)); err == nil {
		t.Error("imported after the end")
	}
	if found, err := x.Findings(ctx); len(found) != 2 || found[1].Path != "else" || err != nil {
		t.Errorf("findings %v, %v", found, err)
	}
	verified(t, x)
}

func TestPushWinsOverImport(t *testing.T) {
	x, ctx := open(t), t.Context()
	m := image(t, x, "a", "pushed", []string{"layer"}, "v0")
	ok(t, x.StartAdoption(ctx))
	ok(t, x.Import(ctx, imported("a", 2)))
	if got, err := x.Tagged(ctx, "a", "v0"); err != nil || got.Digest != m.Digest || got.PushedBy != "alice" {
		t.Errorf("v0 is %v, %v, want what was pushed", got, err)
	}
	if got, err := x.Tagged(ctx, "a", "v1"); err != nil || got.Digest != dgst("m1") {
		t.Errorf("v1 is %v, %v, want what the tree has", got, err)
	}
	verified(t, x)
}

// cutting fails the transaction after so many.
type cutting struct {
	kv.DB
	left int
}

var errCut = errors.New("power cut")

func (c *cutting) Update(ctx context.Context, fn func(kv.Writer) error) error {
	if c.left--; c.left < 0 {
		return errCut
	}
	return c.DB.Update(ctx, fn)
}

func TestImportIsCutShort(t *testing.T) {
	x, ctx := open(t), t.Context()
	db := x.db
	ok(t, x.StartAdoption(ctx))
	in := imported("a", importAtOnce)
	for cut := 0; ; cut++ {
		if cut > 10 {
			t.Fatal("it never ends")
		}
		x.db = &cutting{db, cut}
		err := x.Import(ctx, in)
		x.db = db
		verified(t, x) // however far it came
		adopted, e := x.Adopted(ctx, "a")
		ok(t, e)
		if adopted != (err == nil) {
			t.Errorf("cut after %d: error %v, adopted %v", cut, err, adopted)
		}
		if err == nil {
			if cut < 3 {
				t.Errorf("only %d transactions", cut)
			}
			break
		}
		wantErr(t, err, errCut)
	}
	got, err := x.Contents(ctx, "a")
	ok(t, err)
	if len(got.Links) != importAtOnce || len(got.Manifests) != importAtOnce || len(got.Tags) != importAtOnce {
		t.Errorf("%d links, %d manifests, %d tags", len(got.Links), len(got.Manifests), len(got.Tags))
	}
	if a, err := x.Adoption(ctx); a.Links != importAtOnce || a.Repositories != 1 || err != nil {
		t.Errorf("counted %+v, %v", a, err)
	}
}

func TestImportAgain(t *testing.T) {
	x, ctx := open(t), t.Context()
	ok(t, x.StartAdoption(ctx))
	ok(t, x.Import(ctx, imported("a", 3)))
	ok(t, x.Import(ctx, imported("gone", 1)))
	ok(t, x.FinishAdoption(ctx, nil))

	// Meanwhile: v0 moved to m1, v2 and m2 went, m0 lost its tag and layer0 its link.
	ok(t, x.StartAdoption(ctx))
	if adopted, err := x.Adopted(ctx, "a"); adopted || err != nil {
		t.Errorf("adopted before it was read: %v, %v", adopted, err)
	}
	in := imported("a", 3)
	in.Links, in.Manifests, in.Tags = in.Links[1:], in.Manifests[:2], in.Tags[:2]
	in.Tags[0].Digest = dgst("m1")
	ok(t, x.Import(ctx, in))
	ok(t, x.Import(ctx, Import{Repository: "gone"}))
	noEvents(t, x)
	verified(t, x)

	got, err := x.Contents(ctx, "a")
	ok(t, err)
	slices.SortFunc(in.Links, func(a, b ImportedLink) int { return strings.Compare(string(a.Digest), string(b.Digest)) })
	slices.SortFunc(in.Manifests, func(a, b Manifest) int { return strings.Compare(string(a.Digest), string(b.Digest)) })
	if !reflect.DeepEqual(got, in) {
		t.Errorf("the index has\n%+v, the tree\n%+v", got, in)
	}
	if moves, err := x.History(ctx, "a", "v0"); len(moves) != 2 || moves[1].To != dgst("m1") || moves[1].From != dgst("m0") || err != nil {
		t.Errorf("history of the one that moved: %v, %v", moves, err)
	}
	if moves, err := x.History(ctx, "a", "v2"); len(moves) != 2 || moves[1].To != "" || err != nil {
		t.Errorf("history of the one that went: %v, %v", moves, err)
	}
	if known, err := x.Knows(ctx, "gone"); known || err != nil {
		t.Errorf("what is gone is known: %v, %v", known, err)
	}
	if next, err := x.Next(ctx, "a"); next != "" || err != nil {
		t.Errorf("behind a: %q, %v", next, err)
	}
}

func TestStoredUnderAnotherDigest(t *testing.T) {
	x, ctx := open(t), t.Context()
	long, short := digest.SHA512.FromString("x"), dgst("x")
	ok(t, x.StartAdoption(ctx))
	ok(t, x.Import(ctx, Import{Repository: "a", Links: []ImportedLink{{Digest: long, At: short, Size: 1}, {Digest: short, Size: 1}}}))
	ok(t, x.Mount(ctx, "b", "a", long))
	for _, repo := range []string{"a", "b"} {
		if stored, size, err := x.Locate(ctx, repo, long); stored != short || size != 1 || err != nil {
			t.Errorf("in %s: %s, %d, %v", repo, stored, size, err)
		}
		if _, err := x.Blob(ctx, repo, short); err != nil { // distribution follows the link within the repository
			t.Errorf("in %s the bytes' own digest: %v", repo, err)
		}
	}
	if stored, err := x.Stored(ctx, long); stored || err != nil {
		t.Errorf("stored under its own digest: %v, %v", stored, err)
	}
	verified(t, x)
	ok(t, linkBlob(ctx, x, "a", long, 1)) // pushed: the bytes are where they belong now
	if stored, _, err := x.Locate(ctx, "a", long); stored != long || err != nil {
		t.Errorf("after a push: %s, %v", stored, err)
	}
	verified(t, x)
}

func TestFindingsAreBounded(t *testing.T) {
	x, ctx := open(t), t.Context()
	ok(t, x.StartAdoption(ctx))
	for n := range 3 {
		in := Import{Repository: fmt.Sprint("r", n)}
		for i := range maxFindings - 100 {
			in.Findings = append(in.Findings, Finding{Path: fmt.Sprint(n, " ", i)})
		}
		ok(t, x.Import(ctx, in))
	}
	found, err := x.Findings(ctx)
	if len(found) != maxFindings || found[0].Path != "1 800" || found[maxFindings-1].Path != "2 899" || err != nil {
		t.Errorf("%d findings, from %v to %v, %v", len(found), found[0], found[len(found)-1], err)
	}
	if a, err := x.Adoption(ctx); a.Findings != 3*(maxFindings-100) || err != nil {
		t.Errorf("counted %d, %v", a.Findings, err)
	}
	ok(t, x.StartAdoption(ctx))
	if found, err := x.Findings(ctx); len(found) != 0 || err != nil {
		t.Errorf("findings of before: %d, %v", len(found), err)
	}
}

func TestNextFindsAllRepositories(t *testing.T) {
	x, ctx := open(t), t.Context()
	image(t, x, "a", "m", []string{"l"}, "v1")
	ok(t, linkBlob(ctx, x, "a-b", dgst("l"), 1))
	ok(t, linkBlob(ctx, x, "a/b", dgst("l"), 1))
	image(t, x, "b", "m", nil)
	var names []string
	for name := ""; ; {
		next, err := x.Next(ctx, name)
		ok(t, err)
		if name = next; name == "" {
			break
		}
		names = append(names, name)
	}
	if want := []string{"a", "a-b", "a/b", "b"}; !slices.Equal(names, want) {
		t.Errorf("%v, want %v", names, want)
	}
}

// verified fails the test when the index does not agree with itself.
func verified(t testing.TB, x *Index) {
	t.Helper()
	ok(t, x.Verify(t.Context(), func(record, problem string) { t.Errorf("record %q: %s", record, problem) }))
}

func TestVerify(t *testing.T) {
	m, sub := string(dgst("m")), string(dgst("subject"))
	layer := string(dgst("layer"))
	other := string(dgst("other"))
	for name, broken := range map[string]struct {
		record []byte
		value  string // "" deletes it
	}{
		"blob missing":           {key(kindBlob, layer), ""},
		"blob of another size":   {key(kindBlob, layer), `{"size":7}`},
		"blob unreadable":        {key(kindBlob, layer), `{`},
		"link unreadable":        {key(kindLink, "a", layer), `{`},
		"manifest missing":       {key(kindManifest, "a", m), ""},
		"manifest unreadable":    {key(kindManifest, "a", m), `{`},
		"manifest's bytes":       {key(kindBlob, m), ""},
		"tag to nothing":         {key(kindTag, "a", "v2"), `{"digest":"` + other + `"}`},
		"tag unreadable":         {key(kindTag, "a", "v1"), `{`},
		"tagged missing":         {key(kindTagged, "a", m, "v1"), ""},
		"tagged dangling":        {key(kindTagged, "a", m, "v2"), "{}"},
		"reference missing":      {key(kindReference, layer, "a", m), ""},
		"reference dangling":     {key(kindReference, layer, "a", other), "{}"},
		"reference to no such":   {key(kindReference, other, "a", m), "{}"},
		"referrer missing":       {key(kindReferrer, "a", sub, m), ""},
		"referrer dangling":      {key(kindReferrer, "a", sub, other), "{}"},
		"repository missing":     {key(kindRepository, "a"), ""},
		"repository empty":       {key(kindRepository, "b"), "{}"},
		"history unreadable":     {key(kindHistory, "a", "v1", "f"), "{"},
		"history ends elsewhere": {key(kindHistory, "a", "v1", "f"), `{"to":"` + other + `"}`},
		"unknown kind":           {key('?', "a"), "{}"},
		"too few parts":          {key(kindLink, "a"), "{}"},
	} {
		t.Run(name, func(t *testing.T) {
			x, ctx := open(t), t.Context()
			ok(t, linkBlob(ctx, x, "a", dgst("layer"), 5))
			ok(t, putManifest(ctx, x, "a", Manifest{Digest: dgst("m"), Blobs: []digest.Digest{dgst("layer")}, Subject: dgst("subject")}, "v1"))
			verified(t, x)
			ok(t, x.db.Update(ctx, func(w kv.Writer) error {
				if broken.value == "" {
					return w.Delete(broken.record)
				}
				return w.Put(broken.record, []byte(broken.value))
			}))
			var said []string
			ok(t, x.Verify(ctx, func(record, problem string) { said = append(said, record+": "+problem) }))
			if len(said) == 0 {
				t.Error("nothing was said")
			}
		})
	}
}
