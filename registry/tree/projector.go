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

	"gatehouse/registry/driver"
	"gatehouse/registry/index"
)

// Projector makes the tree's links follow the index. For each event it looks at how things are now and writes or removes the
// links that belong to it, so an event may come twice or late; it forgets an event only when its links are durable. What is
// in the tree is therefore true after a clean stop, and soon true while the server runs.
type Projector struct {
	index  *index.Index
	driver driver.Driver
	log    *slog.Logger
}

// NewProjector returns a projector of x into d.
func NewProjector(x *index.Index, d driver.Driver, log *slog.Logger) *Projector {
	return &Projector{index: x, driver: d, log: log}
}

const (
	eventsAtOnce = 100             // events between two transactions that forget them
	retryAfter   = 5 * time.Second // pause after a storage that failed
	drainFor     = 30 * time.Second
)

// Run projects until ctx is done, and then what is left, for at most half a minute.
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
		case <-retry:
		case <-ctx.Done():
			last, cancel := context.WithTimeout(context.WithoutCancel(ctx), drainFor)
			defer cancel()
			if err := p.Drain(last); err != nil {
				p.log.Error("the tree lags behind the index: its links are projected at the next start", "err", err)
			}
			return nil
		}
	}
}

// Drain projects all events that there are.
func (p *Projector) Drain(ctx context.Context) error {
	for {
		events, err := p.index.Events(ctx, eventsAtOnce)
		if err != nil || len(events) == 0 {
			return err
		}
		for _, e := range events {
			if err := p.project(ctx, e); err != nil {
				return fmt.Errorf("project %s of %s: %w", e.Kind, e.Repository, err)
			}
		}
		if err := p.index.Done(ctx, events); err != nil {
			return err
		}
	}
}

// project makes the links that an event is about as the index has them now.
func (p *Projector) project(ctx context.Context, e index.Event) error {
	switch e.Kind {
	case index.LinkChanged:
		_, err := p.index.Blob(ctx, e.Repository, e.Digest)
		return p.link(ctx, Layer(e.Repository, e.Digest), e.Digest, err)
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
