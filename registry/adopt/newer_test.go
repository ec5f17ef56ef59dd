package adopt

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"

	"github.com/opencontainers/go-digest"

	"gatehouse/registry/driver/drivertest"
	"gatehouse/registry/driver/inmemory"
	"gatehouse/registry/index"
	"gatehouse/registry/tree"
)

// adopted returns an index that has adopted a tree with some of everything, and what is odd besides.
func adopted(t *testing.T) (*index.Index, planter) {
	t.Helper()
	x, p := openIndex(t), planter{t, inmemory.New()}
	plant(t, p.Driver)
	lost := p.blob("a", "lost")
	ok(t, p.Delete(t.Context(), tree.Blob(lost)))
	p.file(tree.Layer("a", digest.FromString("empty")), "")
	p.file(tree.TagCurrent("a", "nowhere"), string(digest.FromString("nowhere")))
	p.file(tree.Tag("a", "folder")+"/index/x", "")
	p.manifest("a", `not a manifest`, "odd")
	a, _ := newAdopter(t, x, p.Driver)
	ok(t, a.Run(t.Context()))
	return x, p
}

func TestNewer(t *testing.T) {
	first := digest.FromString(fmt.Sprintf(`{%s,"config":{"mediaType":"c","digest":%q},"layers":[{"digest":%q}]}`, oci,
		digest.FromString("config first"), digest.FromString("layer first")))
	for name, change := range map[string]func(p planter) (want string){
		"nothing": func(planter) string { return "" },
		"a blob":  func(p planter) string { return tree.Layer("a/b", p.blob("a/b", "new")) },
		"a manifest": func(p planter) string {
			return tree.Revision("z", p.manifest("z", fmt.Sprintf(`{%s,"layers":[]}`, oci)))
		},
		"a tag": func(p planter) string {
			p.file(tree.TagCurrent("a", "new"), string(first))
			return tree.TagCurrent("a", "new")
		},
		"a tag that went": func(p planter) string {
			p.file(tree.TagCurrent("a", "latest"), string(first))
			return tree.TagCurrent("a", "latest")
		},
		"a repository": func(p planter) string { return tree.Layer("new/repository", p.blob("new/repository", "new")) },
		"something odd": func(p planter) string {
			p.file(tree.Layer("z", digest.FromString("no bytes")), string(digest.FromString("no bytes")))
			p.file(tree.Repository("z")+"/_manifests/revisions/sha256/x/link", "x")
			return ""
		},
		"what was deleted": func(p planter) string {
			ok(t, p.Delete(t.Context(), tree.Repository("z")))
			return ""
		},
	} {
		t.Run(name, func(t *testing.T) {
			x, p := adopted(t)
			if at, err := Newer(t.Context(), x, p.Driver); at != "" || err != nil {
				t.Fatalf("what was just adopted: %q, %v", at, err)
			}
			want := change(p)
			if at, err := Newer(t.Context(), x, p.Driver); at != want || err != nil {
				t.Errorf("it found %q, %v; want %q", at, err, want)
			}
		})
	}
}

// TestNewerFails: storage that fails is no tree without news.
func TestNewerFails(t *testing.T) {
	x, p := adopted(t)
	news := p.blob("z", "new")
	broken := errors.New("input/output error")
	faults := drivertest.NewFaults(p.Driver)
	if at, err := Newer(t.Context(), x, faults); at != tree.Layer("z", news) || err != nil {
		t.Fatal(at, err)
	}
	operations := faults.Seen()
	if operations < 10 {
		t.Fatalf("only %d operations", operations)
	}
	for k := range operations {
		faults.Set(drivertest.Fault{Skip: k, Times: 1, Err: broken})
		if at, err := Newer(t.Context(), x, faults); !errors.Is(err, broken) && at == "" {
			t.Errorf("operation %d failed: %q, %v", k, at, err)
		}
	}
}

// TestNewerWaits: a link that the tree still has, because it follows the index a little later, is no news.
func TestNewerWaits(t *testing.T) {
	x, p := adopted(t)
	d := digest.FromString("long")
	ok(t, x.UnlinkBlob(t.Context(), "a", d))
	looked := make(chan struct{})
	go func() {
		<-looked
		events, err := x.Events(context.Background(), 100)
		if err == nil {
			err = p.Delete(context.Background(), tree.Layer("a", d))
		}
		if err == nil {
			err = x.Done(context.Background(), events)
		}
		if err != nil {
			t.Error(err)
		}
	}()
	var once sync.Once
	watched := drivertest.NewFaults(p.Driver, drivertest.Fault{Match: func(drivertest.Op) bool { once.Do(func() { close(looked) }); return false }})
	if at, err := Newer(t.Context(), x, watched); at != "" || err != nil {
		t.Errorf("it found %q, %v", at, err)
	}
}
