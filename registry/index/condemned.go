package index

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/opencontainers/go-digest"

	"gatehouse/registry/index/kv"
	"gatehouse/registry/planted"
)

// ErrCollected is why bytes that were just written were not entered: the collector was deleting the digest meanwhile, so they
// may be gone. Whoever has them still writes them anew, with a new Ticket.
var ErrCollected = errors.New("the collector was deleting this digest: push it again")

// State is what becomes of bytes that the store has.
type State string

// The states, in order. Bytes go back from StateCondemned to StateLive when somebody comes to need them; from
// StateDeleting there is no way back: new bytes wait until the old have gone.
const (
	StateLive      State = ""
	StateCondemned State = "condemned" // nothing needs them; in quarantine
	StateDeleting  State = "deleting"
	StateGone      State = "gone" // a tombstone: there are none
)

// Former is what held condemned bytes last: enough to put it back.
type Former struct {
	Repository string        `json:"repository,omitempty"`
	Link       digest.Digest `json:"link,omitempty"` // the digest of the link
	Manifest   *Manifest     `json:"manifest,omitempty"`
	Reason     string        `json:"reason"` // why it does no more
}

// Ticket is leave to write the bytes of a digest and to enter them: what Prepare saw of it before they were written. It
// lasts as long as the collector remembers what it deleted.
type Ticket struct {
	Digest digest.Digest
	// Stored says that the store should have the bytes: writing them again only mends them.
	Stored bool

	gone   string    // the number of the tombstone that Prepare saw, if any
	number string    // the index's own when it looked, if any
	at     time.Time // when it looked
}

// settling is how long a digest that was deleted is remembered. A Ticket is good for half of it. Should the clock be set meanwhile,
// forgottenKey holds the largest number of a tombstone that was forgotten: who looked before that was given may have missed it.
const settling = 10 * time.Minute

var forgottenKey = key(kindMeta, "forgotten")

// forget forgets that a digest was deleted.
func (t *tx) forget(dgst digest.Digest) error {
	k := key(kindBlob, string(dgst))
	b, err := get[blobRecord](t.w, k)
	if err != nil {
		return err
	}
	last, err := text(t.w, forgottenKey)
	if err == nil && b.Number > last {
		err = t.w.Put(forgottenKey, []byte(b.Number))
	}
	return errors.Join(err, t.unqueue(Gone, "", dgst), t.w.Delete(k))
}

// missed reports whether a tombstone of the ticket's digest may have come and gone since it was had.
func (t *tx) missed(ticket Ticket) (bool, error) {
	last, err := text(t.w, forgottenKey)
	return ticket.at.IsZero() || t.at.Sub(ticket.at) > settling/2 || ticket.number < last, err
}

// text returns what is at k, or "".
func text(r kv.Reader, k []byte) (string, error) {
	v, err := r.Get(k)
	return string(v), unless(err, kv.ErrNotFound)
}

// Prepare looks at a digest before its bytes are written to where blobs are: ErrCollected while the collector is deleting
// it, which takes a moment. What is written without a Ticket, or after one has run out, is not entered.
func (x *Index) Prepare(ctx context.Context, dgst digest.Digest) (ticket Ticket, err error) {
	err = x.db.View(ctx, func(r kv.Reader) error {
		number, err := text(r, sequenceKey)
		if err != nil {
			return err
		}
		ticket = Ticket{Digest: dgst, number: number, at: x.now()}
		b, err := get[blobRecord](r, key(kindBlob, string(dgst)))
		switch {
		case errors.Is(err, kv.ErrNotFound):
			return nil
		case err != nil:
			return err
		case b.State == StateDeleting:
			return ErrCollected
		case b.State == StateGone:
			ticket.gone = b.Number
		default:
			ticket.Stored = true
		}
		return nil
	})
	return ticket, err
}

// store records that the store holds the bytes of a ticket's digest. Condemned ones live again. Where nothing is known of
// them they were written just now; that the collector deleted nothing of the digest meanwhile is seen by the same tombstone, or
// none, being there as before.
func (t *tx) store(ticket Ticket, size int64) error {
	k := key(kindBlob, string(ticket.Digest))
	b, err := get[blobRecord](t.w, k)
	switch {
	case err != nil && !errors.Is(err, kv.ErrNotFound):
		return err
	case err == nil && (b.State == StateLive || b.State == StateCondemned && planted.On(planted.NoRevival)):
		return nil
	case err == nil && b.State == StateCondemned:
		if err := t.unqueue(Condemned, "", ticket.Digest); err != nil {
			return err
		}
		t.revived++
		return t.put(k, blobRecord{Size: size, Since: b.Since}) // the store's word on what was damaged may have been another
	case t.quiet, planted.On(planted.TicketUnchecked): // an import: the bytes were just seen, and no collector runs
	case b.State == StateDeleting, b.Number != ticket.gone:
		return fmt.Errorf("%s: %w", ticket.Digest, ErrCollected)
	default:
		if missed, err := t.missed(ticket); err != nil || missed {
			return cmp.Or(err, fmt.Errorf("%s: %w", ticket.Digest, ErrCollected))
		}
	}
	for _, class := range []Class{Deleting, Gone} {
		if err := t.unqueue(class, "", ticket.Digest); err != nil {
			return err
		}
	}
	return t.put(k, blobRecord{Size: size, Since: t.at})
}

// condemn begins the end of bytes that nothing holds. The events of what let go of them are written before: mark waits for those.
func (t *tx) condemn(dgst digest.Digest, former Former) error {
	k := key(kindBlob, string(dgst))
	b, err := get[blobRecord](t.w, k)
	if err != nil || b.State != StateLive {
		return unless(err, kv.ErrNotFound)
	}
	if b.Number, err = t.next(); err != nil {
		return err
	}
	b.State, b.At, b.Former = StateCondemned, t.at, former
	t.condemned = append(t.condemned, StoredBlob{Digest: dgst, Size: b.Size})
	if err := t.put(k, b); err != nil {
		return err
	}
	return t.queue(Review{Class: Condemned, Digest: dgst, At: t.at, Reason: former.Reason})
}
