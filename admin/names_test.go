package admin

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"

	"gatehouse/registry/index"
)

func TestRepositories(t *testing.T) {
	b := newBench(t)
	for _, repo := range []string{"team", "team/app", "team/app/deep", "teammate", "tea", "zoo"} {
		b.push(repo, "one", "v1", "v2")
	}
	ticket, err := b.index.Prepare(t.Context(), digest.FromString("blob"))
	ok(t, err)
	ok(t, b.index.LinkBlob(t.Context(), ticket, "team/ghost", 7)) // a blob, and no manifest
	for prefix, want := range map[string][]string{
		"":           {"tea", "team", "team/app", "team/app/deep", "team/ghost", "teammate", "zoo"},
		"team":       {"team", "team/app", "team/app/deep", "team/ghost", "teammate"},
		"team/":      {"team/app", "team/app/deep", "team/ghost"},
		"team/app":   {"team/app", "team/app/deep"},
		"zoo":        {"zoo"},
		"zoological": nil,
		"a":          nil,
		"\x00":       nil,
	} {
		list, err := lines[Repository](t, b.Client, "GET", "/v1/repositories?prefix="+escape(prefix), nil)
		ok(t, err)
		var names []string
		for _, r := range list {
			names = append(names, r.Name)
		}
		if !slices.Equal(names, want) {
			t.Errorf("prefix %q: %q, want %q", prefix, names, want)
		}
	}
	var got Repository
	ok(t, b.Call(t.Context(), "GET", RepositoryPath("team/app", ""), nil, &got))
	if want := (Repository{Name: "team/app", Tags: 2, Manifests: 1, Blobs: 1, Bytes: 1100}); got != want {
		t.Errorf("%+v, want %+v", got, want)
	}
}

func escape(s string) string { return strings.NewReplacer("/", "%2F", "\x00", "%00").Replace(s) }

func TestTags(t *testing.T) {
	b := newBench(t)
	for i := range 2*tagsAtOnce + 1 {
		b.push("team/app", "one", fmt.Sprintf("v%04d", i))
	}
	list, err := lines[Tag](t, b.Client, "GET", RepositoryPath("team/app", "/tags"), nil)
	if len(list) != 2*tagsAtOnce+1 || err != nil || !slices.IsSortedFunc(list, func(a, b Tag) int { return strings.Compare(a.Name, b.Name) }) {
		t.Errorf("%d tags, %v", len(list), err)
	}
	for _, tag := range list {
		if tag.Digest != digest.FromString("one") || tag.Size != 1100 || tag.PushedBy != "alice" || tag.PushedAt.IsZero() {
			t.Fatalf("%+v", tag)
		}
	}
}

func TestUntag(t *testing.T) {
	b, ctx := newBench(t), t.Context()
	d := b.push("a", "one", "v1", "v2", "v3")
	untag := func(in Untag) (out Untagged, err error) {
		return out, b.Call(ctx, "POST", RepositoryPath("a", "/untag"), in, &out)
	}
	names := func() string {
		tags, _, err := b.index.Tags(ctx, "a", "", 10)
		ok(t, err)
		return strings.Join(tags, " ")
	}
	would, err := untag(Untag{Tags: []string{"v1"}, DryRun: true})
	if len(would.Tags) != 1 || would.Tags[0].Digest != d || would.WouldFree != nil || err != nil || names() != "v1 v2 v3" {
		t.Errorf("dry run: %+v, %v; left %s", would, err, names())
	}
	b.names.WouldFree = func(_ context.Context, repo string, tags []string) (WouldFree, error) {
		return WouldFree{Bytes: int64(len(repo) + len(tags))}, nil
	}
	if would, err := untag(Untag{Tags: []string{"v1"}, DryRun: true}); err != nil || would.WouldFree.Bytes != 2 {
		t.Errorf("dry run with a collector: %+v, %v", would, err)
	}
	_, err = untag(Untag{Tags: []string{"v1", "v9"}})
	if wantStatus(t, "a tag that is not there", err, 404); names() != "v1 v2 v3" {
		t.Errorf("left %s", names())
	}
	b.readOnly.Set(true)
	_, err = untag(Untag{Tags: []string{"v1"}})
	wantStatus(t, "read-only", err, 409)
	if _, err := untag(Untag{Tags: []string{"v1"}, DryRun: true}); err != nil {
		t.Errorf("a dry run while read-only: %v", err)
	}
	b.readOnly.Set(false)
	if out, err := untag(Untag{Tags: []string{"v1", "v3", "v1"}}); err != nil || len(out.Tags) != 2 || names() != "v2" {
		t.Errorf("%+v, %v; left %s", out, err, names())
	}
	moves, err := lines[Move](t, b.Client, "GET", RepositoryPath("a", "/history?tag=v1"), nil)
	if len(moves) != 2 || moves[0].By != "alice" || moves[0].To != d || moves[1].To != "" || moves[1].From != d || moves[1].By != "unix:tester" || err != nil {
		t.Errorf("history %+v, %v", moves, err)
	}
	if all, err := lines[Move](t, b.Client, "GET", RepositoryPath("a", "/history"), nil); len(all) != 5 || err != nil {
		t.Errorf("history of all: %+v, %v", all, err)
	}
}

func TestRemoveRepository(t *testing.T) {
	b, ctx := newBench(t), t.Context()
	for i := range 250 {
		b.push("a", fmt.Sprint(i), fmt.Sprint("v", i))
	}
	b.push("a/b", "one", "v1")
	remove := func(dryRun bool, each func(RemovedRepository)) (last RemovedRepository, err error) {
		return last, StreamOf(ctx, b.Client, "POST", RepositoryPath("a", "/remove"), RemoveRepository{DryRun: dryRun}, func(r RemovedRepository) error {
			last = r
			each(r)
			return nil
		})
	}
	whole := RemovedRepository{Tags: 250, Manifests: 250, Blobs: 250, Done: true}
	if would, err := remove(true, func(RemovedRepository) {}); would != whole || err != nil {
		t.Errorf("dry run: %+v, %v", would, err)
	}
	last, err := remove(false, func(RemovedRepository) { b.readOnly.Set(true) })
	if wantStatus(t, "made read-only meanwhile", err, 409); last.Done {
		t.Errorf("it went on to its end: %+v", last)
	}
	if u, err := b.index.Usage(ctx, "a"); u.Tags == 250 || u.Manifests != 250 || err != nil {
		t.Errorf("left: %+v, %v", u, err)
	}
	_, err = remove(false, func(RemovedRepository) {})
	wantStatus(t, "read-only", err, 409)
	b.readOnly.Set(false)
	words := 0
	last, err = remove(false, func(RemovedRepository) { words++ })
	if err != nil || !last.Done || last.Remains || last.Manifests != 250 || words < 7 {
		t.Errorf("%+v after %d words, %v", last, words, err)
	}
	if u, err := b.index.Usage(ctx, "a"); u != (index.Usage{}) || err != nil {
		t.Errorf("left: %+v, %v", u, err)
	}
	if u, err := b.index.Usage(ctx, "a/b"); u.Tags != 1 || err != nil {
		t.Errorf("left of another: %+v, %v", u, err)
	}
	if _, err := remove(false, func(RemovedRepository) {}); err == nil {
		t.Error("what is gone was removed again")
	}
}

// TestTouch: before the index is asked about a repository, the tree is, and one that cannot be read is not taken for an empty one.
func TestTouch(t *testing.T) {
	b, broken := newBench(t), errors.New("input/output error")
	var asked []bool
	b.names.Touch = func(_ context.Context, repo string, writes bool) error {
		asked = append(asked, writes)
		return broken
	}
	for _, c := range []struct {
		method, rest string
		in           any
	}{
		{"GET", "", nil}, {"GET", "/tags", nil}, {"GET", "/history", nil},
		{"POST", "/remove", RemoveRepository{DryRun: true}}, {"POST", "/untag", Untag{Tags: []string{"v1"}, DryRun: true}},
		{"POST", "/remove", RemoveRepository{}}, {"POST", "/untag", Untag{Tags: []string{"v1"}}},
	} {
		wantStatus(t, c.method+" "+c.rest, b.Call(t.Context(), c.method, RepositoryPath("a", c.rest), c.in, nil), 500)
	}
	if !slices.Equal(asked, []bool{false, false, false, false, false, true, true}) {
		t.Errorf("asked to write: %v", asked)
	}
}

func TestReadOnly(t *testing.T) {
	b, ctx := newBench(t), t.Context()
	var now ReadOnlyState
	_, changed := b.readOnly.State()
	ok(t, b.Call(ctx, "PUT", "/v1/readonly", map[string]bool{"enabled": true}, &now))
	if !now.Enabled || !now.Server || !b.readOnly.Enabled() {
		t.Errorf("set: %+v", now)
	}
	<-changed
	_, changed = b.readOnly.State()
	ok(t, b.Call(ctx, "PUT", "/v1/readonly", map[string]bool{"enabled": true}, &now))
	select {
	case <-changed:
		t.Error("it changed from on to on")
	default:
	}
	offline := NewServer(b.server.log)
	NewReadOnly(true).Register(offline, false)
	c := NewClient(InProcess(offline, "unix:tester"))
	wantStatus(t, "set without a server", c.Call(ctx, "PUT", "/v1/readonly", map[string]bool{"enabled": false}, nil), 409)
	ok(t, c.Call(ctx, "GET", "/v1/readonly", nil, &now))
	if !now.Enabled || now.Server {
		t.Errorf("without a server: %+v", now)
	}
}

// TestWhileOff: work goes on only while the switch is off, and has ended when it is on.
func TestWhileOff(t *testing.T) {
	s := NewReadOnly(true)
	began, ended, returned := make(chan struct{}), make(chan struct{}), make(chan error, 1)
	ctx, stop := context.WithCancel(t.Context())
	work := func(ctx context.Context) error {
		if s.Enabled() {
			t.Error("work began while read-only")
		}
		began <- struct{}{}
		<-ctx.Done()
		ended <- struct{}{}
		return nil
	}
	go func() { returned <- s.WhileOff(ctx, work) }()
	for range 3 {
		s.Set(false)
		<-began
		s.Set(true)
		<-ended
	}
	s.Set(false)
	<-began
	stop()
	<-ended
	ok(t, <-returned)
	broken := errors.New("broken")
	if err := s.WhileOff(t.Context(), func(context.Context) error { return broken }); !errors.Is(err, broken) {
		t.Errorf("work that fails: %v", err)
	}
	ok(t, s.WhileOff(t.Context(), func(context.Context) error { return nil }))
}

func TestAdoption(t *testing.T) {
	b, ctx := newBench(t), t.Context()
	var now Adoption
	ok(t, b.Call(ctx, "GET", "/v1/adoption", nil, &now))
	if now.State != AdoptionNone {
		t.Errorf("before: %+v", now)
	}
	ok(t, b.index.StartAdoption(ctx))
	ok(t, b.Call(ctx, "GET", "/v1/adoption", nil, &now))
	if now.State != AdoptionRunning || !now.Server {
		t.Errorf("under way: %+v", now)
	}
	ok(t, b.index.FinishAdoption(ctx, []index.Finding{{Path: "p", Kind: "k"}}))
	ok(t, b.Call(ctx, "GET", "/v1/adoption", nil, &now))
	if now.State != AdoptionDone || len(now.Kept) != 1 || now.Findings != 1 {
		t.Errorf("done: %+v", now)
	}
}
