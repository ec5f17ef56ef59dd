package main

import (
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"strconv"
	"sync"
	"time"
)

// options is what a soak is asked to be.
type options struct {
	binary  string        // of the program
	dir     string        // for the server's storage and log
	length  time.Duration // of the time in which clients work, unless kills says when it ends
	kills   int           // after so many SIGKILLs the soak is over; 0: when its length is
	pause   time.Duration // the longest time between two ends of the server
	seed    uint64
	first   bool   // ends at the first broken promise
	bug     string // that the server has: only programs built with the tag bugs have any
	verbose bool
	out     io.Writer
}

// soak is a server under load that is killed and collects, and what its clients saw.
type soak struct {
	options
	ctx     context.Context
	history *history
	verdict *verdict
	server  *server
	pool    *pool
	over    chan struct{} // closed when clients are to stop

	mu     sync.Mutex
	recent map[string][]*image // what was pushed last to each repository
	keeps  []kept              // what keepers left
}

// run runs a soak to its end and tells what it found. An error is one of the soak; what the server did wrong is in the verdict.
func run(ctx context.Context, o options) (_ *verdict, err error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	h := newHistory()
	s := &soak{
		options: o, ctx: ctx, history: h, verdict: newVerdict(h), over: make(chan struct{}),
		pool: newPool(rand.New(rand.NewPCG(o.seed, 1))), recent: map[string][]*image{},
	}
	s.verdict.note("seed", strconv.FormatUint(o.seed, 10))
	s.verdict.note("kills", "0")
	if s.server, err = newServer(o.binary, o.dir, o.bug, h); err != nil {
		return nil, err
	}
	defer s.server.close()
	if err := s.server.start(ctx); err != nil {
		return nil, err
	}
	if err := s.work(cancel); err != nil {
		return nil, err
	}
	if !o.first || s.verdict.good() {
		if err := s.audit(); err != nil {
			return nil, err
		}
	}
	s.count()
	s.verdict.explain(o.out, s.server.log)
	return s.verdict, nil
}

// work has the clients and the chaos work until it is time. fail ends the clients where the server cannot be started.
func (s *soak) work(fail context.CancelFunc) error {
	var clients sync.WaitGroup
	for kind, a := range actors {
		for n := range a.n {
			c := s.newClient(a.name+strconv.Itoa(n), uint64(100*kind+n+2))
			clients.Go(func() {
				for c.rest(a.every) && s.ctx.Err() == nil {
					a.act(c)
				}
			})
		}
	}
	ended := make(chan error, 1)
	go func() { ended <- s.chaos(s.ctx, rand.New(rand.NewPCG(s.seed, 0))) }()
	var length <-chan time.Time
	if s.kills == 0 {
		length = time.After(s.length)
	}
	var first <-chan struct{}
	if s.first {
		first = s.verdict.first
	}
	var err error
	over := false
	select {
	case <-length:
	case <-first:
	case <-s.ctx.Done():
	case err = <-ended:
		over = true
	}
	close(s.over)
	if !over {
		err = <-ended
	}
	if err != nil {
		fail()
	}
	clients.Wait()
	if err == nil {
		err = s.ctx.Err()
	}
	return err
}

// count enters the figures of the verdict line.
func (s *soak) count() {
	s.server.log.mu.Lock()
	cycles := len(s.server.log.cycles)
	s.server.log.mu.Unlock()
	acked := s.history.count(func(o op) bool {
		switch o.kind {
		case upload, mount, putManifest, deleteBlob, deleteManifest, deleteTag:
			return o.outcome == done
		}
		return false
	})
	s.verdict.note("cycles", strconv.Itoa(cycles))
	s.verdict.note("acked", strconv.Itoa(acked))
	s.verdict.note("unknown", strconv.Itoa(s.history.count(func(o op) bool { return o.outcome == unknown })))
}

// maxRecent is how many manifests of each repository are remembered.
const maxRecent = 10

// remember enters a manifest that was pushed, for others to pull or delete it by digest. What a keeper has is its own.
func (s *soak) remember(repo string, i *image) {
	if s.pool.byName[i.digest] == nil {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	list := append(s.recent[repo], i)
	s.recent[repo] = list[max(0, len(list)-maxRecent):]
}

// lately returns a manifest that was pushed to a repository lately, or nil.
func (s *soak) lately(r *rand.Rand, repo string) *image {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.recent[repo]) == 0 {
		return nil
	}
	return pick(r, s.recent[repo])
}

// keep enters what a keeper leaves: it has to be there in the end.
func (s *soak) keep(k kept) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.keeps = append(s.keeps, k)
}

// say prints a line when the soak is verbose.
func (s *soak) say(format string, args ...any) {
	if s.verbose {
		fmt.Fprintf(s.out, "%8.1fs "+format+"\n", append([]any{s.history.now().Seconds()}, args...)...)
	}
}
