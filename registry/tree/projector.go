package tree

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"path"
	"time"

	"github.com/opencontainers/go-digest"
	"golang.org/x/sync/errgroup"

	"gatehouse/registry/driver"
	"gatehouse/registry/index"
	"gatehouse/registry/planted"
)

// Projector makes the tree's links follow the index. For each event it looks at how things are now and writes or removes the
// links that belong to it, so an event may come twice or late; it forgets an event only when its links are durable. What is
// in the tree is therefore true after a clean stop, and soon true while the server runs.
type Projector struct {
	index   *index.Index
	driver  driver.Driver
	batcher driver.Batcher // the driver, if it is one
	log     *slog.Logger
}

// NewProjector returns a projector of x into d.
func NewProjector(x *index.Index, d driver.Driver, log *slog.Logger) *Projector {
	p := &Projector{index: x, driver: d, log: log}
	p.batcher, _ = d.(driver.Batcher)
	return p
}

const (
	eventsAtOnce = 1000            // events between two transactions that forget them
	writers      = 16              // at once, for a bucket that takes its time, and for removals, of which each is synced
	retryAfter   = 5 * time.Second // pause after a storage that failed
	reportEvery  = 10 * time.Second
	// gather is how long events are let come together before they are projected: all of them are made durable at once.
	gather = 50 * time.Millisecond
)

// Run projects until ctx is done, and then what is left, however long that takes: only then the tree is true. An error says
// that it is not.
func (p *Projector) Run(ctx context.Context) error {
	for {
		wait := p.index.Changed()
		var retry <-chan time.Time
		if err := p.Drain(ctx); err != nil && ctx.Err() == nil {
			p.log.ErrorContext(ctx, "projecting links into the tree failed; trying again", "err", err)
			wait, retry = nil, time.After(retryAfter)
		}
		select {
		case <-wait:
			select {
			case <-time.After(gather):
			case <-ctx.Done():
			}
		case <-retry:
		case <-ctx.Done():
			if err := p.Drain(context.WithoutCancel(ctx)); err != nil {
				return fmt.Errorf("the tree lags behind the index, and its links are projected at the next start: %w", err)
			}
			return nil
		}
	}
}

// Drain projects all events that there are.
func (p *Projector) Drain(ctx context.Context) error {
	reported := time.Now()
	for done := 0; ; {
		events, err := p.index.Events(ctx, eventsAtOnce)
		if err != nil || len(events) == 0 {
			return err
		}
		if err := p.projectAll(ctx, events); err != nil {
			return err
		}
		if err := p.index.Done(ctx, events); err != nil {
			return err
		}
		done += len(events)
		if time.Since(reported) > reportEvery {
			reported = time.Now()
			p.log.InfoContext(ctx, "projecting links into the tree", "events", done)
		}
	}
}

// projectAll projects events: links first, then the removal of repositories, of which whole folders go while nothing is
// written below them.
func (p *Projector) projectAll(ctx context.Context, events []index.Event) error {
	var links []index.Event
	removed := make(map[string]bool)
	for _, e := range events {
		if e.Kind == index.RepositoryChanged {
			removed[e.Repository] = true
		} else {
			links = append(links, e)
		}
	}
	if err := p.projectLinks(ctx, links); err != nil {
		return err
	}
	if p.batcher != nil { // half of what a push of a small image syncs were its links
		if err := p.batcher.Sync(ctx); err != nil {
			return fmt.Errorf("make links durable: %w", err)
		}
	}
	for repo := range removed {
		if err := p.removed(ctx, repo); err != nil {
			return fmt.Errorf("project the removal of %s: %w", repo, err)
		}
	}
	return nil
}

// projectLinks projects events side by side. Those that are about the same are one, since each is projected as things are now: so
// no two goroutines write the same link, but for the entries of a tag's index, which are all kept.
func (p *Projector) projectLinks(ctx context.Context, events []index.Event) error {
	type subject struct {
		kind      index.EventKind
		repo, tag string
		digest    digest.Digest
	}
	subjects := make(map[subject][]index.Event)
	for _, e := range events {
		s := subject{kind: e.Kind, repo: e.Repository, tag: e.Tag}
		if e.Kind != index.TagChanged {
			s.digest = e.Digest
		}
		subjects[s] = append(subjects[s], e)
	}
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(writers)
	for _, same := range subjects {
		group.Go(func() error {
			if same[0].Kind != index.TagChanged {
				same = same[:1]
			}
			for _, e := range same {
				if err := p.project(ctx, e); err != nil {
					return fmt.Errorf("project %s of %s: %w", e.Kind, e.Repository, err)
				}
			}
			return nil
		})
	}
	return group.Wait()
}

// removed removes what is left of a repository that the index does not have: the folders by which registry 2.x (_layers) and 3.x
// (_manifests) know one, and in them what the index never knew. Its uploads, and repositories that lie in it, stay.
func (p *Projector) removed(ctx context.Context, repo string) error {
	links, manifests, err := p.index.Holds(ctx, repo)
	if err == nil && !manifests {
		err = absent(p.driver.Delete(ctx, Manifests(repo)))
	}
	if err == nil && !links {
		err = absent(p.driver.Delete(ctx, Layers(repo)))
	}
	return err
}

// project makes the links that an event is about as the index has them now.
func (p *Projector) project(ctx context.Context, e index.Event) error {
	if planted.On(planted.EventsDropped) {
		return nil
	}
	switch e.Kind {
	case index.LinkChanged:
		stored, _, err := p.index.Locate(ctx, e.Repository, e.Digest)
		return p.link(ctx, Layer(e.Repository, e.Digest), stored, err)
	case index.ManifestChanged:
		_, err := p.index.Manifest(ctx, e.Repository, e.Digest)
		return p.link(ctx, Revision(e.Repository, e.Digest), e.Digest, err)
	case index.TagChanged:
		return p.tag(ctx, e)
	}
	return fmt.Errorf("an event of unknown kind %q: use the version of gatehouse that wrote it", e.Kind)
}

// tag projects a tag: its current target, and the entry of its index for the event's target.
func (p *Projector) tag(ctx context.Context, e index.Event) error {
	m, err := p.index.Tagged(ctx, e.Repository, e.Tag)
	if isUnknown(err) {
		return absent(p.driver.Delete(ctx, Tag(e.Repository, e.Tag)))
	}
	if err != nil {
		return err
	}
	for _, d := range []digest.Digest{e.Digest, m.Digest} {
		if d == "" {
			continue
		}
		if err := p.link(ctx, TagIndex(e.Repository, e.Tag, d), d, nil); err != nil {
			return err
		}
	}
	return p.link(ctx, TagCurrent(e.Repository, e.Tag), m.Digest, nil)
}

// link writes a link, or removes it where the index does not know what it is for.
func (p *Projector) link(ctx context.Context, name string, d digest.Digest, known error) error {
	switch {
	case known == nil && p.batcher != nil:
		return p.batcher.WriteFileLater(ctx, name, []byte(d))
	case known == nil:
		return p.driver.WriteFile(ctx, name, []byte(d))
	case isUnknown(known):
		return absent(p.driver.Delete(ctx, path.Dir(name)))
	}
	return known
}

func isUnknown(err error) bool {
	return errors.Is(err, index.ErrBlobUnknown) || errors.Is(err, index.ErrManifestUnknown) || errors.Is(err, index.ErrNameUnknown)
}

// absent makes nothing of an error that says that what was to be removed is not there.
func absent(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}
