package tree

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"path"
	"sync"
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
//
// Removing a link needs no space, and writing one does. A link for which there is none is lacking until there is: its event waits
// in the outbox, those behind it do not wait for it, and what it was to replace is removed. So what the index let go of goes from
// the tree on a full disk too, and deleting images can make room again.
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
	// longestLink is more than any digest has.
	longestLink = 1 << 10
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

// Drain projects all events that there are. Where there is no space for links it goes on with the others, tells the index how far
// it came, and returns driver.ErrNoSpace in the end.
func (p *Projector) Drain(ctx context.Context) error {
	reported := time.Now()
	after, left := "", 0 // what was looked at, and how much of it waits for space
	var lacking error
	for done := 0; ; {
		events, err := p.index.Outbox(ctx, after, eventsAtOnce)
		if err != nil {
			return err
		}
		if len(events) == 0 {
			break
		}
		followed, err := p.projectAll(ctx, events)
		if err != nil && !lacksSpace(err) {
			return err
		}
		if err != nil {
			lacking = err
			left += len(events) - len(followed)
		}
		if err := p.index.Done(ctx, followed); err != nil {
			return err
		}
		after = events[len(events)-1].Sequence
		done += len(followed)
		if time.Since(reported) > reportEvery {
			reported = time.Now()
			p.log.InfoContext(ctx, "projecting links into the tree", "events", done)
		}
	}
	if lacking == nil {
		return nil
	}
	p.index.Postponed(after)
	return fmt.Errorf("%d changes wait until there is space for their links: %w", left, lacking)
}

// projectAll projects events: links first, then the removal of repositories, of which whole folders go while nothing is
// written below them. It returns those that the tree has followed: all, or none when there is an error; but with
// driver.ErrNoSpace some, and then no link is left that any of the others is to replace or to remove.
func (p *Projector) projectAll(ctx context.Context, events []index.Event) (followed []index.Event, err error) {
	var links, removals []index.Event
	removed := make(map[string]bool)
	for _, e := range events {
		if e.Kind == index.RepositoryChanged {
			removals = append(removals, e)
			removed[e.Repository] = true
		} else {
			links = append(links, e)
		}
	}
	followed, lacking := p.projectLinks(ctx, links)
	if lacking != nil && !lacksSpace(lacking) {
		return nil, lacking
	}
	for repo := range removed {
		if err := p.removed(ctx, repo); err != nil {
			return nil, fmt.Errorf("project the removal of %s: %w", repo, err)
		}
	}
	return append(followed, removals...), lacking
}

// projectLinks projects events that are about links, and makes that durable: all at once, or, where there is no space for that, one
// by one, which tells for which there is none. It returns what projectAll does.
func (p *Projector) projectLinks(ctx context.Context, events []index.Event) (followed []index.Event, err error) {
	if p.batcher == nil {
		return p.writeLinks(ctx, events, writer{write: p.driver.WriteFile})
	}
	followed, lacking := p.writeLinks(ctx, events, writer{write: p.batcher.WriteFileLater})
	if lacking != nil && !lacksSpace(lacking) {
		return nil, lacking
	}
	err = p.batcher.Sync(ctx) // half of what a push of a small image syncs were its links
	if errors.Is(err, driver.ErrNoSpace) {
		return p.writeLinks(ctx, events, writer{write: p.driver.WriteFile, doubt: true})
	}
	if err != nil {
		return nil, fmt.Errorf("make links durable: %w", err)
	}
	return followed, lacking
}

// writeLinks projects events side by side. Those that are about the same are one, since each is projected as things are now: so
// no two goroutines write the same link, but for the entries of a tag's index, which are all kept. It returns what projectAll does.
func (p *Projector) writeLinks(ctx context.Context, events []index.Event, w writer) (followed []index.Event, err error) {
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
	var mu sync.Mutex
	var lacking error
	group, groupCtx := errgroup.WithContext(ctx)
	group.SetLimit(writers)
	for _, same := range subjects {
		group.Go(func() error {
			err := p.projectSame(groupCtx, same, w)
			mu.Lock()
			defer mu.Unlock()
			switch {
			case err == nil:
				followed = append(followed, same...)
			case lacksSpace(err):
				lacking, err = err, nil
			}
			return err
		})
	}
	if err := group.Wait(); err != nil {
		return nil, err
	}
	return followed, lacking
}

// projectSame projects events that are about the same. After driver.ErrNoSpace it has seen to all of them.
func (p *Projector) projectSame(ctx context.Context, same []index.Event, w writer) (lacking error) {
	if same[0].Kind != index.TagChanged {
		same = same[:1]
	}
	for _, e := range same {
		err := p.project(ctx, e, w)
		if err != nil {
			err = fmt.Errorf("project %s of %s: %w", e.Kind, e.Repository, err)
		}
		if err != nil && !lacksSpace(err) {
			return err
		}
		lacking = cmp.Or(lacking, err)
	}
	return lacking
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
func (p *Projector) project(ctx context.Context, e index.Event, w writer) error {
	if planted.On(planted.EventsDropped) {
		return nil
	}
	switch e.Kind {
	case index.LinkChanged:
		stored, _, err := p.index.Locate(ctx, e.Repository, e.Digest)
		return p.link(ctx, Layer(e.Repository, e.Digest), stored, err, w)
	case index.ManifestChanged:
		_, err := p.index.Manifest(ctx, e.Repository, e.Digest)
		return p.link(ctx, Revision(e.Repository, e.Digest), e.Digest, err, w)
	case index.TagChanged:
		return p.tag(ctx, e, w)
	}
	return fmt.Errorf("an event of unknown kind %q: use the version of gatehouse that wrote it", e.Kind)
}

// tag projects a tag: its current target, and the entry of its index for the event's target.
func (p *Projector) tag(ctx context.Context, e index.Event, w writer) error {
	m, err := p.index.Tagged(ctx, e.Repository, e.Tag)
	if isUnknown(err) {
		return absent(p.driver.Delete(ctx, Tag(e.Repository, e.Tag)))
	}
	if err != nil {
		return err
	}
	var lacking error
	for _, d := range []digest.Digest{e.Digest, m.Digest} {
		if d == "" {
			continue
		}
		err := p.link(ctx, TagIndex(e.Repository, e.Tag, d), d, nil, w)
		if err != nil && !lacksSpace(err) {
			return err
		}
		lacking = cmp.Or(lacking, err) // and the current target is still seen to: it may be an old one
	}
	return cmp.Or(p.link(ctx, TagCurrent(e.Repository, e.Tag), m.Digest, nil, w), lacking)
}

// writer is how links are written.
type writer struct {
	write func(ctx context.Context, name string, data []byte) error // driver.Driver's WriteFile or driver.Batcher's WriteFileLater
	doubt bool                                                      // what is read of a link may not be what the disk has
}

// link writes a link, or removes it where the index does not know what it is for. After driver.ErrNoSpace there is none that leads
// elsewhere.
func (p *Projector) link(ctx context.Context, name string, d digest.Digest, known error, w writer) error {
	if isUnknown(known) {
		return absent(p.driver.Delete(ctx, path.Dir(name)))
	}
	if known != nil {
		return known
	}
	err := w.write(ctx, name, []byte(d))
	if !errors.Is(err, driver.ErrNoSpace) || errors.Is(err, driver.ErrDamaged) {
		return err
	}
	err = lack{err}
	if old, e := p.driver.ReadFile(ctx, name, longestLink); e == nil && string(old) == string(d) && !w.doubt {
		return err
	}
	// Where it leads to may be deleted at any time from now on: better none than one that lies.
	if e := absent(p.driver.Delete(ctx, path.Dir(name))); e != nil {
		return fmt.Errorf("remove %s, which leads elsewhere: %w (there is no space for a new one)", name, e)
	}
	return err
}

// lack is a driver.ErrNoSpace of a link that could not be written, and where there is no old one. One that could not be removed for
// want of space is none: nobody may go on then.
type lack struct{ error }

func (l lack) Unwrap() error { return l.error }

func lacksSpace(err error) bool { return errors.As(err, new(lack)) }

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
