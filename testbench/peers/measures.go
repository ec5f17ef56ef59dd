package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"
)

// bench is the run: both servers with the same content.
type bench struct {
	options
	content
	ours, theirs *server

	images atomic.Uint64 // small images pushed so far: none is pushed twice
}

func (b *bench) stop() {
	b.ours.stop()
	b.theirs.stop()
}

const manifestPath = "/v2/" + repository + "/manifests/" + tag

// crowd is how many clients pull one blob at once.
const crowd = 200

// measures is what is measured, with its aim. The aims are for HTTP/1.1, which docker, containerd, podman and skopeo speak to a
// registry; crane and helm speak HTTP/2.
func (b *bench) measures() []measure {
	manifest := func(pick func(*server) *client) round {
		return b.cpuPerGet(pick, manifestPath, int64(len(b.manifest)))
	}
	small := func(pick func(*server) *client) round { return b.cpuPerGet(pick, b.small.path(), b.small.size) }
	large := fmt.Sprintf("GET of a %d MiB blob, CPU per GiB", b.largeMiB)
	return []measure{
		{"manifest", "GET of a manifest by tag, CPU", "µs", ratioAtMost(1, 6), manifest(http1)},
		{"manifest-h2", "the same over HTTP/2", "µs", aim{}, manifest(http2)},
		{"blob", "GET of a 4 KiB blob, CPU", "µs", ratioAtMost(1, 40), small(http1)},
		{"blob-h2", "the same over HTTP/2", "µs", aim{}, small(http2)},
		{"large", large, "ms", ratioAtMost(3, 4), b.cpuPerGiB(http1)},
		{"large-h2", "the same over HTTP/2", "ms", aim{}, b.cpuPerGiB(http2)},
		{"push", fmt.Sprintf("pushes of small images, %d at a time", b.clients), "1/s", ratioAtLeast(5), b.pushes},
		{"tags", fmt.Sprintf("%d tags by 100, time", b.tags), "ms", ratioAtMost(1, 15), b.listTags},
		{"memory", fmt.Sprintf("%d clients of one 16 MiB blob, peak memory", crowd), "MiB", oursAtMost(64), b.crowded},
	}
}

// http1 and http2 choose a client of a server.
func http1(s *server) *client { return s.http1 }
func http2(s *server) *client { return s.http2 }

// cpuPerGet is a round that gets what is at a path, again and again: µs of the server's CPU for one.
func (b *bench) cpuPerGet(pick func(*server) *client, path string, size int64) round {
	return func(ctx context.Context, s *server) (float64, error) {
		before, err := s.cpu()
		if err != nil {
			return 0, err
		}
		n, err := b.repeat(ctx, func(ctx context.Context) error { return pick(s).get(ctx, path, size, io.Discard) })
		if err != nil {
			return 0, err
		}
		after, err := s.cpu()
		return float64((after - before).Nanoseconds()) / 1e3 / float64(n), err
	}
}

// repeat runs an operation for a period, by several clients at once, and returns how often.
func (b *bench) repeat(ctx context.Context, operation func(context.Context) error) (int64, error) {
	var n atomic.Int64
	end := time.Now().Add(b.period)
	group, ctx := errgroup.WithContext(ctx)
	for range b.clients {
		group.Go(func() error {
			for time.Now().Before(end) {
				if err := operation(ctx); err != nil {
					return err
				}
				n.Add(1)
			}
			return nil
		})
	}
	err := group.Wait()
	return n.Load(), err
}

// cpuPerGiB is a round that gets the large blob once: ms of the server's CPU, for 1 GiB.
func (b *bench) cpuPerGiB(pick func(*server) *client) round {
	return func(ctx context.Context, s *server) (float64, error) {
		before, err := s.cpu()
		if err != nil {
			return 0, err
		}
		if err := pick(s).get(ctx, b.large.path(), b.large.size, io.Discard); err != nil {
			return 0, err
		}
		after, err := s.cpu()
		return float64((after - before).Nanoseconds()) / 1e6 * (1 << 30) / float64(b.large.size), err
	}
}

// pushes is a round of images that were never there, a config and a layer of 4 KiB each: how many in a second.
func (b *bench) pushes(ctx context.Context, s *server) (float64, error) {
	start := time.Now()
	n, err := b.repeat(ctx, func(ctx context.Context) error { return b.pushImage(ctx, s.http1) })
	return float64(n) / time.Since(start).Seconds(), err
}

func (b *bench) pushImage(ctx context.Context, c *client) error {
	number := b.images.Add(1) << 8 // the numbers below are content's
	image := []blob{blobOf(number, smallSize), blobOf(number+1, smallSize)}
	for i, d := range image {
		if err := c.pushBlob(ctx, repository, d.digest, d.size, newNoise(number+uint64(i), d.size)); err != nil {
			return err
		}
	}
	return c.pushManifest(ctx, repository, fmt.Sprintf("n%d", number), manifestOf(image))
}

// listTags is a round that follows the pages to the end, once: ms.
func (b *bench) listTags(ctx context.Context, s *server) (float64, error) {
	start, seen := time.Now(), 0
	for url := s.url + "/v2/" + tagged + "/tags/list?n=100"; url != ""; {
		answer, err := s.http1.send(ctx, "GET", url, http.StatusOK, nil, 0, "")
		if err != nil {
			return 0, err
		}
		var page struct{ Tags []string }
		err = json.NewDecoder(answer.Body).Decode(&page)
		answer.Body.Close()
		if err != nil {
			return 0, err
		}
		seen += len(page.Tags)
		if url, err = nextPage(answer); err != nil {
			return 0, err
		}
	}
	if seen != b.tags {
		return 0, fmt.Errorf("%s lists %d tags, not %d", s.name, seen, b.tags)
	}
	return float64(time.Since(start).Microseconds()) / 1e3, nil
}

// crowded is a round on a server that was just started: clients that all have their answer's header before the first of them
// reads on, so that no answer is over before the last has begun. The peak of the server's memory in MiB.
func (b *bench) crowded(ctx context.Context, s *server) (float64, error) {
	if err := s.restart(ctx); err != nil {
		return 0, err
	}
	var waiting sync.WaitGroup
	waiting.Add(crowd)
	errs := make(chan error, crowd)
	for range crowd {
		go func() {
			answer, err := s.http1.send(ctx, "GET", s.url+b.medium.path(), http.StatusOK, nil, 0, "")
			waiting.Done()
			waiting.Wait()
			if err == nil {
				err = drain(answer, b.medium.path(), b.medium.size, io.Discard)
			}
			errs <- err
		}()
	}
	var failed error
	for range crowd {
		failed = errors.Join(failed, <-errs)
	}
	if failed != nil {
		return 0, failed
	}
	peak, err := s.peak()
	return float64(peak) / (1 << 20), err
}
