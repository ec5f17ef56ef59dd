package registry

import (
	"context"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"

	"gatehouse/registry/index"
	"gatehouse/registry/tree"
)

// TestPushFinishesADeletion: a digest whose deletion was begun, by a collector that does not run any more, can be pushed.
func TestPushFinishesADeletion(t *testing.T) {
	h := newHarness(t, nil)
	h.blob("a", "layer")
	d := digest.FromString("layer")
	h.want(h.do("DELETE", "/v2/a/blobs/"+string(d), nil), 202)
	ctx := t.Context()
	events, err := h.Registry.Index.Events(ctx, 1000)
	if err == nil {
		err = h.Registry.Index.Done(ctx, events)
	}
	if err != nil {
		t.Fatal(err)
	}
	due, err := h.Registry.Index.Due(ctx, index.Policy{}, 10)
	if err != nil || len(due) != 1 {
		t.Fatalf("due are %v, %v", due, err)
	}
	if out, err := h.Registry.Index.Collect(ctx, index.Policy{}, due); err != nil || len(out) != 1 || out[0].Verdict != index.Marked {
		t.Fatalf("collected are %v, %v", out, err)
	}
	finished := 0
	h.Registry.Finish = func(ctx context.Context, asked digest.Digest) error {
		if finished++; asked != d {
			t.Errorf("asked to finish %s", asked)
		}
		if err := h.driver.Delete(ctx, tree.BlobFolder(d)); err != nil {
			return err
		}
		return h.Registry.Index.Deleted(ctx, []digest.Digest{d})
	}
	h.blob("a", "layer")
	if h.want(h.do("GET", "/v2/a/blobs/"+string(d), nil), 200); finished != 1 {
		t.Errorf("the deletion was finished %d times", finished)
	}
	h.Registry.Finish = nil
	if collectedPoll*collectedPatience >= collectedWait || collectedPoll < time.Millisecond {
		t.Error("nobody would ever ask")
	}
}
