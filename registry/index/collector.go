package index

import (
	"context"
	"time"

	"gatehouse/registry/index/kv"
)

// CollectorState is what the collector remembers from one cycle to the next, and over a restart.
type CollectorState struct {
	LastCycle time.Time `json:"lastCycle,omitzero"` // when the last one ended
	LastScan  time.Time `json:"lastScan,omitzero"`  // when store and index were last compared
	// Paused is why no cycle runs until somebody resumes; "" when none is paused.
	Paused   string    `json:"paused,omitempty"`
	PausedAt time.Time `json:"pausedAt,omitzero"`
	// Tripped is why the collector stopped itself: a person has to look before it goes on.
	Tripped   string    `json:"tripped,omitempty"`
	TrippedAt time.Time `json:"trippedAt,omitzero"`

	Deleted      int64 `json:"deleted"`      // blobs, ever
	DeletedBytes int64 `json:"deletedBytes"` // ever
}

var collectorKey = key(kindMeta, "collector")

// Collector returns what the collector remembers.
func (x *Index) Collector(ctx context.Context) (s CollectorState, err error) {
	err = x.db.View(ctx, func(r kv.Reader) error {
		s, err = get[CollectorState](r, collectorKey)
		return unless(err, kv.ErrNotFound)
	})
	return s, err
}

// ChangeCollector changes what the collector remembers, in one transaction. change may be called more than once.
func (x *Index) ChangeCollector(ctx context.Context, change func(*CollectorState)) error {
	return x.db.Update(ctx, func(w kv.Writer) error {
		s, err := get[CollectorState](w, collectorKey)
		if err := unless(err, kv.ErrNotFound); err != nil {
			return err
		}
		change(&s)
		return x.begin(w).put(collectorKey, s)
	})
}

// QueueState is how long a queue is.
type QueueState struct {
	Class  Class     `json:"class"`
	Depth  int       `json:"depth"`
	Oldest time.Time `json:"oldest,omitzero"` // since when the first has waited
}

// Queues returns how long each queue is. It costs the queues.
func (x *Index) Queues(ctx context.Context) (queues []QueueState, err error) {
	for _, class := range classes {
		q := QueueState{Class: class}
		read := func(_ kv.Reader, p kv.Pair) (Review, error) { return parsePlace(p.Key) }
		err := walk(ctx, x, key(kindPlace, string(class), ""), read, func(v Review) error {
			if q.Depth++; q.Depth == 1 {
				q.Oldest = v.At
			}
			return nil
		})
		if err != nil {
			return nil, err
		}
		queues = append(queues, q)
	}
	return queues, nil
}

// CountBlobs returns how many blobs the store has, or max when there are more.
func (x *Index) CountBlobs(ctx context.Context, max int) (n int, err error) {
	prefix := key(kindBlob, "")
	err = x.db.View(ctx, func(r kv.Reader) error {
		n = 0
		for _, err := range r.Scan(prefix, kv.End(prefix)) {
			if err != nil || n == max {
				return err
			}
			n++
		}
		return nil
	})
	return n, err
}

// Revived returns how many condemned blobs came to be needed again since the index was opened.
func (x *Index) Revived() int64 { return x.revived.Load() }
