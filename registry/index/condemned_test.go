package index

import (
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
)

// TestTickets: bytes that the collector may have taken are not entered.
func TestTickets(t *testing.T) {
	b, layer := newBench(t), dgst("layer")
	ctx := t.Context()
	before, err := b.Prepare(ctx, layer) // nothing is known of it
	ok(t, err)
	b.link("a", "layer")
	living, err := b.Prepare(ctx, layer)
	ok(t, err)
	if before.Stored || !living.Stored {
		t.Errorf("stored: %v before, %v after", before.Stored, living.Stored)
	}
	ok(t, b.UnlinkBlob(ctx, "a", layer))
	b.clock = b.clock.Add(time.Minute)

	events, err := b.Events(ctx, 100)
	ok(t, err)
	due, err := b.Due(ctx, b.policy, 10)
	ok(t, err)
	outcomes, err := b.Collect(ctx, b.policy, due)
	ok(t, err)
	if outcomes[0].Verdict != Waiting {
		t.Errorf("%s while the tree still has the link", outcomes[0].Verdict)
	}
	ok(t, b.Done(ctx, events))
	outcomes, err = b.Collect(ctx, b.policy, due)
	ok(t, err)
	if o := outcomes[0]; o.Verdict != Marked || o.Size != 5 {
		t.Fatalf("%+v", o)
	}
	refused := func(tickets ...Ticket) {
		t.Helper()
		for _, ticket := range tickets {
			wantErr(t, b.LinkBlob(ctx, ticket, "a", 5), ErrCollected)
			wantErr(t, b.PutManifest(ctx, ticket, "a", Manifest{}, "v1"), ErrCollected)
		}
		b.verify()
	}
	_, err = b.Prepare(ctx, layer)
	wantErr(t, err, ErrCollected)
	refused(before, living, Ticket{Digest: layer})
	ok(t, b.Deleted(ctx, []digest.Digest{layer}))
	refused(before, living, Ticket{Digest: layer})
	after, err := b.Prepare(ctx, layer)
	ok(t, err)
	b.clock = b.clock.Add(settling/2 + 1)
	refused(after) // it took too long: the tombstone may be gone before the bytes are entered
	fresh, err := b.Prepare(ctx, layer)
	ok(t, err)
	b.pass(settling)
	b.collect()
	refused(after, fresh)
	fresh, err = b.Prepare(ctx, layer)
	ok(t, err)
	ok(t, b.LinkBlob(ctx, fresh, "a", 5))
	b.verify()
}

// TestStrays: what the index knows nothing of waits for the grace time and the quarantine, and lives when it is entered.
func TestStrays(t *testing.T) {
	b := newBench(t)
	b.link("a", "layer")
	blobs := []StoredBlob{{dgst("layer"), 5}, {dgst("stray"), 5}, {dgst("layer 2"), 7}}
	for _, want := range []int{2, 0} {
		if n, err := b.Stray(t.Context(), b.policy, blobs); n != want || err != nil {
			t.Errorf("%d strays, %v; want %d", n, err, want)
		}
	}
	b.link("a", "layer 2")
	b.put("a", Manifest{Digest: dgst("m"), Blobs: []digest.Digest{dgst("layer"), dgst("layer 2")}}, "v1")
	b.pass(time.Hour + 59*time.Second)
	b.want(b.collect())
	b.pass(time.Second)
	b.want(b.collect(), "bytes stray")
}
