package index

import (
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
)

// TestTheTreeIsWaitedFor: whatever else the tree has followed, bytes are marked only when it has followed what let go of them.
// (Found by the model in registry/gc/model: "event before number".)
func TestTheTreeIsWaitedFor(t *testing.T) {
	for name, letGo := range map[string]func(*bench) (digest.Digest, error){
		"a link": func(b *bench) (digest.Digest, error) {
			return dgst("layer"), b.UnlinkBlob(b.Context(), "a", dgst("layer"))
		},
		"a manifest": func(b *bench) (digest.Digest, error) {
			return dgst("m"), b.DeleteManifest(b.Context(), "a", dgst("m"), "alice")
		},
		"a link to bytes under another digest": func(b *bench) (digest.Digest, error) {
			return dgst("layer 2"), b.UnlinkBlob(b.Context(), "a", digest.SHA512.FromString("layer 2"))
		},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t)
			ctx := t.Context()
			ok(t, b.StartAdoption(ctx))
			ok(t, b.Import(ctx, Import{Repository: "a", Links: []ImportedLink{
				{Digest: digest.SHA512.FromString("layer 2"), At: dgst("layer 2"), Size: 7},
			}}))
			ok(t, b.FinishAdoption(ctx, nil))
			b.link("a", "layer")
			b.put("a", Manifest{Digest: dgst("m")}) // without a tag, whose event would come first
			events, err := b.Events(ctx, 1<<20)
			ok(t, err)
			ok(t, b.Done(ctx, events)) // the tree is true

			d, err := letGo(b)
			ok(t, err)
			b.pass(b.policy.Quarantine)
			v := []Review{{Class: Condemned, Digest: d}}
			outcomes, err := b.Collect(ctx, b.policy, v)
			ok(t, err)
			if outcomes[0].Verdict != Waiting {
				t.Errorf("%s, while the tree has the link", outcomes[0].Verdict)
			}
			events, err = b.Events(ctx, 1<<20)
			ok(t, err)
			ok(t, b.Done(ctx, events))
			outcomes, err = b.Collect(ctx, b.policy, v)
			ok(t, err)
			if outcomes[0].Verdict != Marked {
				t.Errorf("%s, when the tree has followed", outcomes[0].Verdict)
			}
		})
	}
}

// TestPushingAManifestIsAPromise, also where what it hangs on goes a moment later: a HEAD after the push renews nothing, since
// the push is recent. (Found by the model in registry/gc/model: "push is a promise".)
func TestPushingAManifestIsAPromise(t *testing.T) {
	b := newBench(t)
	b.put("a", Manifest{Digest: dgst("subject")})
	b.pass(b.policy.Grace)
	b.put("a", Manifest{Digest: dgst("signature"), Subject: dgst("subject")})
	b.want(b.collect(), "untagged a subject")
	b.pass(b.policy.Quarantine)
	_, err := b.PromiseManifest(t.Context(), "a", dgst("signature"))
	ok(t, err)
	b.want(b.collect(), "bytes subject")
	b.pass(b.policy.Grace/2 - time.Second)
	b.collect()
	b.put("a", Manifest{Digest: dgst("index"), Manifests: []digest.Digest{dgst("signature")}}, "v1")
}

// TestLackingLinksAreNotWaitedFor: a link that the tree lacks leads to nothing, so that its event holds up no deletion; what happened
// after the tree was last looked at does.
func TestLackingLinksAreNotWaitedFor(t *testing.T) {
	b := newBench(t)
	ctx := t.Context()
	b.link("a", "layer")
	b.link("a", "layer 2") // of these the tree has no link
	pending, err := b.Outbox(ctx, "", 100)
	ok(t, err)
	ok(t, b.UnlinkBlob(ctx, "a", dgst("layer")))
	b.pass(b.policy.Quarantine)
	collect := func(want Verdict) {
		t.Helper()
		outcomes, err := b.Collect(ctx, b.policy, []Review{{Class: Condemned, Digest: dgst("layer")}})
		ok(t, err)
		if outcomes[0].Verdict != want {
			t.Errorf("%s, want %s", outcomes[0].Verdict, want)
		}
	}
	collect(Waiting)
	b.Postponed(pending[len(pending)-1].Sequence)
	events, err := b.Events(ctx, 100)
	ok(t, err)
	if len(events) != 1 || events[0].Digest != dgst("layer") {
		t.Errorf("the tree is to follow %v", events)
	}
	collect(Waiting)
	ok(t, b.Done(ctx, events))
	collect(Marked)
	if all, err := b.Outbox(ctx, "", 100); err != nil || len(all) != len(pending) {
		t.Errorf("%v are kept, want %v: %v", all, pending, err)
	}
}
