// Package adopt takes over a tree that distribution's registry 2.x or 3.x wrote: what its links say goes into the index, and
// not a byte is moved. A repository is read when somebody first asks for it, and then served; the others follow in the
// background. Every oddity of the tree is a finding, none stops anything; but storage that fails is never taken for a tree
// that lacks something: then a repository is not entered at all, and read again later.
//
// Start at Adopter for when things happen, at Read for what is read of a repository, at findings.go for what can be odd.
package adopt

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"gatehouse/registry/driver"
	"gatehouse/registry/index"
	"gatehouse/registry/tree"
)

const (
	repositoriesAtOnce = 4                // in the background
	retryTouchAfter    = 5 * time.Second  // a repository that could not be read is not tried more often, however many ask
	retryPassAfter     = 30 * time.Second // pause of the background after something could not be read
	aheadOf            = 1 << 16          // repositories that a pass may have come upon before it reads them
	reportEvery        = 30 * time.Second // progress in the log
)

// Adopter enters a tree into an index. Its methods may be called at once from many goroutines.
type Adopter struct {
	index  *index.Index
	driver driver.Driver
	now    func() time.Time
	log    *slog.Logger

	done    atomic.Bool
	adopted sync.Map // repositories that are in the index; what is not here may be, too

	mu      sync.Mutex
	flights map[string]*flight // by repository; guarded by mu
	failed  map[string]failure // by repository; guarded by mu

	progress Progress // guarded by mu
}

// flight is the reading of a repository under way.
type flight struct {
	landed  chan struct{} // closed at its end
	present bool          // whether the tree has the repository; then it is in the index
	err     error
}

// failure is why a repository could not be read, and until when that is taken for an answer.
type failure struct {
	err   error
	until time.Time
}

// New returns an adopter of d's tree into x. now is the clock for when what failed is tried again. Start comes next.
func New(x *index.Index, d driver.Driver, now func() time.Time, log *slog.Logger) *Adopter {
	return &Adopter{
		index: x, driver: d, now: now, log: log, flights: make(map[string]*flight), failed: make(map[string]failure),
	}
}

// Start finds out whether there is something to adopt, or goes on where an earlier process stopped. It takes one look at
// the tree, whatever its size. Where the index has changes that the tree does not have yet, they are projected before.
func (a *Adopter) Start(ctx context.Context) error {
	now, err := a.index.Adoption(ctx)
	if err != nil {
		return err
	}
	switch now.State {
	case index.AdoptionDone:
		a.done.Store(true)
		return nil
	case index.AdoptionRunning:
		return nil
	}
	for _, err := range a.driver.List(ctx, tree.Repositories) {
		if isAbsent(err) {
			break
		}
		if err != nil {
			return fmt.Errorf("look for a tree of distribution's: %w", err)
		}
		return a.begin(ctx)
	}
	if err := a.index.FinishAdoption(ctx, nil); err != nil {
		return err
	}
	a.done.Store(true)
	return nil
}

// Again begins another adoption, after distribution has written to a tree that was adopted: in each repository that is read
// from now on the index follows the tree. Nobody else may use the index while Again runs.
func (a *Adopter) Again(ctx context.Context) error {
	a.done.Store(false)
	a.adopted.Clear()
	return a.begin(ctx)
}

func (a *Adopter) begin(ctx context.Context) error {
	if err := tree.NewProjector(a.index, a.driver, a.log).Drain(ctx); err != nil {
		return fmt.Errorf("bring the tree up to date before it is read: %w", err)
	}
	return a.index.StartAdoption(ctx)
}

// Touch returns when the index knows what the tree says of a repository. writes says that the caller is going to change
// names of it: then the tree is not read for it any more, even where it had nothing. An error means that the tree could
// not be read, and that the index does not know the repository.
//
// It takes no lock for a repository that is known, and one look at a flag when all are.
func (a *Adopter) Touch(ctx context.Context, repo string, writes bool) error {
	if a.done.Load() {
		return nil
	}
	return a.touch(ctx, context.WithoutCancel(ctx), repo, writes) // others may wait for what this request begins
}

// touch is Touch; flying is the context of a reading that the caller carries out.
func (a *Adopter) touch(ctx, flying context.Context, repo string, writes bool) error {
	for {
		if _, known := a.adopted.Load(repo); known {
			return nil
		}
		f, mine, err := a.flight(repo)
		if err != nil {
			return err
		}
		if mine {
			a.fly(flying, f, repo, writes)
		}
		select {
		case <-f.landed:
		case <-ctx.Done():
			return ctx.Err()
		}
		if f.err != nil || !f.present && !writes {
			return f.err
		}
	}
}

// flight returns the reading of a repository that is under way, or a new one that is the caller's to carry out.
func (a *Adopter) flight(repo string) (f *flight, mine bool, err error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if f := a.flights[repo]; f != nil {
		return f, false, nil
	}
	if last, found := a.failed[repo]; found {
		if a.now().Before(last.until) {
			return nil, false, last.err
		}
		delete(a.failed, repo)
	}
	f = &flight{landed: make(chan struct{}), err: fmt.Errorf("reading repository %s ended early", repo)}
	a.flights[repo] = f
	return f, true, nil
}

// fly carries out a reading.
func (a *Adopter) fly(ctx context.Context, f *flight, repo string, writes bool) {
	defer func() {
		a.mu.Lock()
		defer a.mu.Unlock()
		if f.err != nil {
			a.failed[repo] = failure{f.err, a.now().Add(retryTouchAfter)}
		} else if f.present {
			a.adopted.Store(repo, nil)
		}
		delete(a.flights, repo)
		close(f.landed)
	}()
	f.present, f.err = a.adopt(ctx, repo, writes)
}

// adopt enters a repository into the index, unless it is there. A repository that the tree does not have is only noted
// for a writer: readers may ask for any name.
func (a *Adopter) adopt(ctx context.Context, repo string, writes bool) (known bool, err error) {
	if known, err = a.index.Adopted(ctx, repo); known || err != nil {
		return known, err
	}
	in, present, err := Read(ctx, a.driver, repo)
	if err != nil {
		return false, err
	}
	if !present && !writes {
		known, err := a.index.Knows(ctx, repo)
		if err != nil || !known { // else the tree has lost it, or never had it
			return false, err
		}
	}
	if err := a.index.Import(ctx, in); err != nil {
		return false, err
	}
	for _, f := range in.Findings {
		a.warn(ctx, f)
	}
	return true, nil
}

func (a *Adopter) warn(ctx context.Context, f index.Finding) {
	a.log.WarnContext(ctx, "an oddity in the tree", "path", f.Path, "kind", f.Kind, "detail", f.Detail)
}

// Run adopts what nobody asks for, until all is adopted or ctx is done. What cannot be read is logged and tried again.
func (a *Adopter) Run(ctx context.Context) error {
	for !a.done.Load() {
		err := a.Pass(ctx, func(index.Adoption) {})
		if err == nil {
			break
		}
		if ctx.Err() != nil {
			return nil
		}
		a.log.ErrorContext(ctx, "adopting the tree failed; trying again", "err", err)
		select {
		case <-time.After(retryPassAfter):
		case <-ctx.Done():
			return nil
		}
	}
	return nil
}

// Pass goes through the tree once and adopts what is not. When all could be read, the adoption is done; else it returns the
// first error, having adopted what it could. progress is told of the counts now and then.
func (a *Adopter) Pass(ctx context.Context, progress func(index.Adoption)) (err error) {
	if a.done.Load() {
		return nil
	}
	a.log.InfoContext(ctx, "adopting the tree")
	a.advance(func(p *Progress) { *p = Progress{} })
	defer func() { a.advance(func(p *Progress) { p.Failure = err }) }()
	stop := a.follow(ctx, progress)
	defer stop()
	odd, err := oddBlobs(ctx, a.driver)
	if err != nil {
		return err
	}
	more, err := a.readAll(ctx)
	if err != nil {
		return err
	}
	return a.finish(ctx, append(odd, more...))
}

// readAll touches all repositories of the tree, and returns what else is odd in it.
func (a *Adopter) readAll(ctx context.Context) (odd []index.Finding, err error) {
	var mu sync.Mutex
	var first error // guarded by mu
	var repositories errgroup.Group
	repositories.SetLimit(repositoriesAtOnce)
	touch := func(repo string, read func()) error {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		repositories.Go(func() error {
			err := a.touch(ctx, ctx, repo, false)
			if err == nil {
				read()
				return nil
			}
			a.log.ErrorContext(ctx, "a repository of the tree could not be read", "repo", repo, "err", err)
			mu.Lock()
			defer mu.Unlock()
			if first == nil {
				first = err
			}
			return nil
		})
		return nil
	}
	read := func() { a.advance(func(p *Progress) { p.Read++ }) }
	odd, err = a.walkAhead(ctx, func(repo string) error { return touch(repo, read) })
	if err == nil {
		err = a.leftOver(ctx, func(repo string) error { return touch(repo, func() {}) })
	}
	_ = repositories.Wait() // its errors are noted
	if err == nil {
		err = first
	}
	return odd, err
}

// walkAhead calls touch for each repository of the tree, and returns what else is odd in it. The walk runs ahead, so that soon
// it is known how many there are.
func (a *Adopter) walkAhead(ctx context.Context, touch func(string) error) (odd []index.Finding, err error) {
	walking, stop := context.WithCancel(ctx)
	found, walked := make(chan string, aheadOf), make(chan error, 1)
	go func() {
		defer close(found)
		err := Walk(walking, a.driver, func(repo string) error {
			a.advance(func(p *Progress) { p.Found++ })
			select {
			case found <- repo:
				return nil
			case <-walking.Done():
				return walking.Err()
			}
		}, func(f index.Finding) { odd = append(odd, f) })
		if err == nil {
			a.advance(func(p *Progress) { p.Counted = true })
		}
		walked <- err
	}()
	for repo := range found {
		if err = touch(repo); err != nil {
			break
		}
	}
	stop()
	if e := <-walked; err == nil {
		err = e
	}
	return odd, err
}

// leftOver touches what only the index knows: in another adoption of a tree, what is not there any more.
func (a *Adopter) leftOver(ctx context.Context, touch func(string) error) error {
	name := ""
	for {
		var err error
		if name, err = a.index.Next(ctx, name); err != nil || name == "" {
			return err
		}
		if err := touch(name); err != nil {
			return err
		}
	}
}

func (a *Adopter) finish(ctx context.Context, odd []index.Finding) error {
	for _, f := range odd {
		a.warn(ctx, f)
	}
	if err := a.index.FinishAdoption(ctx, odd); err != nil {
		return err
	}
	a.done.Store(true)
	a.adopted.Clear()
	now, err := a.index.Adoption(ctx)
	if err == nil {
		a.log.InfoContext(ctx, "the tree is adopted", "repositories", now.Repositories, "manifests", now.Manifests,
			"tags", now.Tags, "links", now.Links, "findings", now.Findings)
	}
	return err
}

// follow tells of the counts until stop is called, and then once more.
func (a *Adopter) follow(ctx context.Context, progress func(index.Adoption)) (stop func()) {
	ended, over := make(chan struct{}), make(chan struct{})
	tell := func() {
		if now, err := a.index.Adoption(ctx); err == nil {
			progress(now)
		}
	}
	go func() {
		defer close(over)
		tick, report := time.NewTicker(time.Second), time.NewTicker(reportEvery)
		defer tick.Stop()
		defer report.Stop()
		for {
			select {
			case <-tick.C:
				tell()
			case <-report.C:
				if now, err := a.index.Adoption(ctx); err == nil {
					a.log.InfoContext(ctx, "adopting the tree", "repositories", now.Repositories, "manifests", now.Manifests)
				}
			case <-ended:
				tell()
				return
			}
		}
	}()
	return func() { close(ended); <-over }
}
