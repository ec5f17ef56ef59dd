// Package fsck compares three things that have to agree: the bytes, distribution's tree of links, and the index. It needs them
// for itself: no server runs. It names what does not agree; asked to repair, it writes links that are missing or wrong from
// the index, and enters what only the tree knows. It deletes nothing.
//
// Start at Check; blobs.go looks at bytes, repositories.go at names.
package fsck

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"

	"github.com/opencontainers/go-digest"

	"gatehouse/registry/driver"
	"gatehouse/registry/index"
	"gatehouse/registry/tree"
)

// The kinds of defects beside those of package adopt, which are about the tree alone.
const (
	KindUnreachable  = "unreachable"   // the storage failed; whether something is wrong is not known
	KindNoBytes      = "no bytes"      // the index knows a blob, the store has no bytes of it
	KindWrongSize    = "wrong size"    // the bytes are more or fewer than the index says
	KindWrongDigest  = "wrong digest"  // the bytes are not those of their digest
	KindNoLink       = "no link"       // the index has it, the tree lacks its link
	KindWrongLink    = "wrong link"    // the link is not what the index says
	KindNotIndexed   = "not indexed"   // the tree has it, the index does not
	KindNotProjected = "not projected" // changes of the index that the tree does not have yet
	KindIndex        = "index"         // records of the index that do not agree with each other
	KindOrphan       = "orphan"        // bytes that the index does not know: harmless, the room they take aside
)

// Defect is something that does not agree, or a note of something that is odd and does no harm.
type Defect struct {
	Kind       string
	Repository string
	Path       string // in the tree
	Digest     digest.Digest
	Detail     string
	Note       bool
	Repaired   bool
}

// Options say what to check and what to do about it.
type Options struct {
	Index  *index.Index
	Driver driver.Driver
	// Repair writes links from the index, and enters into the index what only the tree has.
	Repair bool
	// Digests reads all bytes and hashes them.
	Digests bool
	// Progress is told how much has been looked at, often. Defect is told of each defect. Neither runs twice at once.
	Progress func(Summary)
	Defect   func(Defect)
	Log      *slog.Logger
}

// Summary counts what was looked at and what was found.
type Summary struct {
	Blobs        int
	Bytes        int64 // hashed
	Repositories int
	Manifests    int
	Tags         int
	Links        int
	Defects      int // notes and what was repaired not counted
	Repaired     int
	Notes        int
}

// ErrNotAdopted is what Check returns while the index does not know the whole tree.
var ErrNotAdopted = errors.New("the tree is not adopted yet: run `gatehouse adopt` first")

// Check compares bytes, tree and index. An error means that it did not get to the end; defects are none.
func Check(ctx context.Context, o Options) (Summary, error) {
	a, err := o.Index.Adoption(ctx)
	if err != nil {
		return Summary{}, err
	}
	if a.State != index.AdoptionDone {
		return Summary{}, ErrNotAdopted
	}
	c := &check{Options: o, bad: make(map[digest.Digest]string)}
	for _, step := range []func(context.Context) error{c.outbox, c.blobs, c.orphans, c.repositories, c.records} {
		if err := step(ctx); err != nil {
			return c.summary, err
		}
	}
	return c.summary, nil
}

// check is one run.
type check struct {
	Options

	mu      sync.Mutex
	summary Summary                  // guarded by mu
	bad     map[digest.Digest]string // what is wrong with bytes; guarded by mu while blobs runs
}

func (c *check) report(d Defect) {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case d.Note:
		c.summary.Notes++
	case d.Repaired:
		c.summary.Repaired++
	default:
		c.summary.Defects++
	}
	c.Defect(d)
}

// count adds to the summary.
func (c *check) count(add func(*Summary)) {
	c.mu.Lock()
	defer c.mu.Unlock()
	add(&c.summary)
	c.Progress(c.summary)
}

// outbox looks for changes that the tree does not have yet. Repairing begins with them: they are the index's word.
func (c *check) outbox(ctx context.Context) error {
	waiting, err := c.Index.Outbox(ctx, "", 1)
	if err != nil || len(waiting) == 0 {
		return err
	}
	d := Defect{Kind: KindNotProjected, Repository: waiting[0].Repository,
		Detail: "the index has changes that the tree does not have: the server did not stop in order"}
	if c.Repair {
		if err := tree.NewProjector(c.Index, c.Driver, c.Log).Drain(ctx); err != nil {
			return fmt.Errorf("bring the tree up to date: %w", err)
		}
		d.Repaired = true
	}
	c.report(d)
	return nil
}

// records looks at the index by itself.
func (c *check) records(ctx context.Context) error {
	return c.Index.Verify(ctx, func(record, problem string) {
		c.report(Defect{Kind: KindIndex, Detail: fmt.Sprintf("record %q: %s", record, problem)})
	})
}
