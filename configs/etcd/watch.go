package etcd

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"strings"
	"sync"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"
	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/connectivity"

	"gatehouse/zaplog"
)

const (
	minBackoff = 100 * time.Millisecond
	// maxBackoff also bounds how long after the end of an outage a change takes to arrive.
	maxBackoff = time.Second
	// maxAnswer bounds what is read from etcd: more than maxValue, so that an oversized value is seen to be one.
	maxAnswer = 16 << 20
)

// Run keeps the value in step until ctx is done; then it returns nil and nothing of it runs any more. An outage is
// reported and waited for. The error is about options that no client can be made of. Call it once.
func (s *Source) Run(ctx context.Context) error {
	logger := zap.NewNop()
	if s.log.Enabled(ctx, slog.LevelDebug) { // otherwise its warnings would repeat ours every second of an outage
		logger = zaplog.New(s.log)
	}
	cli, err := clientv3.New(clientv3.Config{
		Endpoints:            s.opt.Endpoints,
		DialTimeout:          s.opt.RequestTimeout,
		DialKeepAliveTime:    10 * time.Second, // not below the server's grpc-keepalive-min-time, 5s
		DialKeepAliveTimeout: 3 * time.Second,
		PermitWithoutStream:  true,
		MaxCallRecvMsgSize:   maxAnswer,
		Logger:               logger,
		DialOptions: []grpc.DialOption{grpc.WithConnectParams(grpc.ConnectParams{
			Backoff:           backoff.Config{BaseDelay: minBackoff, Multiplier: 2, Jitter: 0.2, MaxDelay: maxBackoff},
			MinConnectTimeout: s.opt.RequestTimeout,
		})},
	})
	if err != nil {
		return fmt.Errorf("could not use etcd at %s: %w", strings.Join(s.opt.Endpoints, ", "), err)
	}
	defer cli.Close()
	var others sync.WaitGroup
	defer others.Wait()
	for wait := minBackoff; ; wait = min(2*wait, maxBackoff) {
		watched, err := s.follow(ctx, cli, &others)
		if ctx.Err() != nil {
			return nil
		}
		if watched {
			wait = minBackoff
		}
		if err == nil {
			continue
		}
		s.lost(err)
		select {
		case <-time.After(wait/2 + rand.N(wait/2)):
		case <-ctx.Done():
			return nil
		}
	}
}

// lost reports that etcd does not answer, once for each outage.
func (s *Source) lost(err error) {
	if !s.outage {
		s.outage = true
		s.log.Warn("etcd does not answer: the configuration in force stays", "inforce", s.raw != nil, "err", err)
	}
	s.update(func(st *Status) {
		st.Connected = false
		if st.State != Rejected {
			st.Err = err
		}
	})
}

// found reports that etcd answered.
func (s *Source) found(revision int64) {
	if s.outage {
		s.outage = false
		s.log.Info("etcd answers again", "revision", revision)
	}
	s.update(func(st *Status) {
		st.Connected, st.SeenRevision = true, revision
		if st.State != Rejected {
			st.Err = nil
		}
	})
}

// follow reads the key and watches it from there. It returns nil when it is time to read again, else why the watch ended,
// and whether there was one.
func (s *Source) follow(ctx context.Context, cli *clientv3.Client, others *sync.WaitGroup) (watched bool, err error) {
	asking, cancel := context.WithTimeout(ctx, s.opt.RequestTimeout)
	defer cancel()
	resp, err := cli.Get(asking, s.key) // without a deadline it would wait for ever
	if err != nil {
		return false, fmt.Errorf("could not read %s: %w", s.key, err)
	}
	s.found(resp.Header.GetRevision())
	if len(resp.Kvs) == 0 {
		s.absent()
	} else {
		s.put(resp.Kvs[0].Value, resp.Kvs[0].ModRevision)
	}
	s.save()
	if !s.versionsSeen {
		s.versionsSeen = true
		others.Go(func() { s.checkVersions(ctx, cli) })
	}
	return s.watch(ctx, cli, resp.Header.GetRevision())
}

// watch applies what changes after revision. The client would resume a broken watch by itself, but then a store that was
// restored from a backup, whose revisions begin lower, would keep silent: so a lost connection ends the watch. The pattern's
// source is the etcd documentation's "watch API guarantees": a compacted revision is never resumed from.
func (s *Source) watch(ctx context.Context, cli *clientv3.Client, revision int64) (watched bool, err error) {
	watching, cancel := context.WithCancel(clientv3.WithRequireLeader(ctx))
	defer cancel()
	silence := 3 * s.opt.ProgressInterval
	watchdog := time.AfterFunc(silence, cancel)
	defer watchdog.Stop()
	var guard sync.WaitGroup
	defer guard.Wait()
	defer cancel()
	guard.Go(func() {
		if outlived(watching, cli.ActiveConnection()) {
			cancel()
		}
	})
	events := cli.Watch(watching, s.key, clientv3.WithRev(revision+1), clientv3.WithProgressNotify(), clientv3.WithCreatedNotify())
	progress := time.NewTicker(s.opt.ProgressInterval)
	defer progress.Stop()
	resync := time.NewTimer(s.opt.ResyncInterval)
	defer resync.Stop()
	for {
		select {
		case resp, ok := <-events:
			if !ok {
				return watched, errors.New("the connection was lost, or etcd was silent for too long")
			}
			if err := resp.Err(); err != nil {
				return watched, fmt.Errorf("could not watch %s: %w", s.key, err)
			}
			if resp.Header.GetRevision() < revision {
				return watched, fmt.Errorf("etcd is at revision %d after %d: it lags behind or was restored", resp.Header.GetRevision(), revision)
			}
			watched = true
			watchdog.Reset(silence)
			revision = resp.Header.GetRevision()
			s.take(resp, events)
		case <-progress.C:
			asking, done := context.WithTimeout(watching, s.opt.RequestTimeout)
			err := cli.RequestProgress(asking)
			done()
			if err != nil {
				return watched, fmt.Errorf("could not watch %s: %w", s.key, err)
			}
		case <-resync.C:
			return watched, nil
		}
	}
}

// outlived returns true when conn is lost and false when ctx is done before. That requests pass does not mean that conn says
// it is ready: it may say so a moment later.
func outlived(ctx context.Context, conn *grpc.ClientConn) bool {
	for ready := false; ; {
		state := conn.GetState()
		if ready = ready || state == connectivity.Ready; ready && state != connectivity.Ready || state == connectivity.TransientFailure {
			return true
		}
		if !conn.WaitForStateChange(ctx, state) {
			return false
		}
	}
}

// take applies an answer. Its events are of one transaction or several, in order, and only the last of a key counts.
// The disk is written when no further answer is waiting, so that a burst of changes does not queue up behind it.
func (s *Source) take(resp clientv3.WatchResponse, more clientv3.WatchChan) {
	s.found(resp.Header.GetRevision())
	if n := len(resp.Events); n > 0 {
		switch last := resp.Events[n-1]; last.Type {
		case clientv3.EventTypePut:
			s.put(last.Kv.Value, last.Kv.ModRevision)
		case clientv3.EventTypeDelete:
			s.absent()
		}
	}
	if len(more) == 0 {
		s.save()
	}
}
