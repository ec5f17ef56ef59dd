package index

import (
	"context"
	"errors"
	"fmt"
	"strconv"

	"github.com/opencontainers/go-digest"

	"gatehouse/registry/index/kv"
)

// EventKind says what an event is about.
type EventKind string

// The kinds of events. Each says that something changed, not into what: a follower looks up how it is now, so that events may
// be seen twice or late.
const (
	LinkChanged     EventKind = "link"     // Repository, Digest
	ManifestChanged EventKind = "manifest" // Repository, Digest
	TagChanged      EventKind = "tag"      // Repository, Tag, and Digest: the target then, if any
	// RepositoryChanged says that a repository was removed. What it had comes before, in events of its own.
	RepositoryChanged EventKind = "repository" // Repository
)

// Event is an entry of the outbox: written in the transaction of the change, kept until Done.
type Event struct {
	Sequence   string        `json:"-"` // ascending
	Kind       EventKind     `json:"kind"`
	Repository string        `json:"repository"`
	Digest     digest.Digest `json:"digest,omitempty"`
	Tag        string        `json:"tag,omitempty"`
}

// Changed gets an element after changes, at least one for any number of them: then there may be events.
func (x *Index) Changed() <-chan struct{} { return x.changed }

// Events returns the oldest n events that the tree has yet to follow. Those of which Postponed was told are not among them.
func (x *Index) Events(ctx context.Context, n int) ([]Event, error) {
	return x.Outbox(ctx, x.followed(), n)
}

// Outbox returns the oldest n events behind a sequence, "" for all: also those that were postponed.
func (x *Index) Outbox(ctx context.Context, after string, n int) (events []Event, err error) {
	err = x.db.View(ctx, func(r kv.Reader) error {
		events = nil
		for p, err := range r.Scan(eventsBehind(after)) {
			if err != nil {
				return err
			}
			if len(events) == n {
				return nil
			}
			e := Event{Sequence: lastPart(p.Key)}
			if err := decode(p.Key, p.Value, &e); err != nil {
				return err
			}
			events = append(events, e)
		}
		return nil
	})
	return events, err
}

// eventsBehind returns where the events lie that come behind a sequence: sequences are all of one length.
func eventsBehind(after string) (from, to []byte) {
	from, to = key(kindEvent, ""), kv.End(key(kindEvent, ""))
	if after != "" {
		from = append(key(kindEvent, after), 0)
	}
	return from, to
}

// Postponed says that the tree has followed all events up to a sequence, but for links that it lacks, and gets later: of what the
// index had let go of by then, no link is left. What is still in the outbox up to there holds up nobody who waits for the tree,
// so that a disk which has no room for a link has room again one day. It is not durable: after a restart the events are looked at
// once more.
func (x *Index) Postponed(sequence string) { x.postponed.Store(&sequence) }

// followed returns what Postponed was told last.
func (x *Index) followed() string {
	if sequence := x.postponed.Load(); sequence != nil {
		return *sequence
	}
	return ""
}

// Done removes events that have been seen to. It is not an event itself.
func (x *Index) Done(ctx context.Context, events []Event) error {
	return x.db.Update(ctx, func(w kv.Writer) error {
		for _, e := range events {
			if err := w.Delete(key(kindEvent, e.Sequence)); err != nil {
				return err
			}
		}
		return nil
	})
}

// event writes an entry of the outbox.
func (t *tx) event(e Event) error {
	if t.quiet {
		return nil
	}
	sequence, err := t.next()
	if err != nil {
		return err
	}
	return t.put(key(kindEvent, sequence), e)
}

// next returns the next number of the index, in a form that sorts by number.
func (t *tx) next() (string, error) {
	n := uint64(0)
	v, err := t.w.Get(sequenceKey)
	switch {
	case err == nil:
		if n, err = strconv.ParseUint(string(v), 16, 64); err != nil {
			return "", fmt.Errorf("the index is damaged at %q: %w", sequenceKey, err)
		}
	case !errors.Is(err, kv.ErrNotFound):
		return "", err
	}
	sequence := fmt.Sprintf("%016x", n+1)
	return sequence, t.w.Put(sequenceKey, []byte(sequence))
}
